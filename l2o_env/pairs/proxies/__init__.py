"""Proxies that this package pretrains.

``pretraining`` is what all have in common; ``embedded`` has the recipe of an embedded pair's proxy, ``any_network``
trains a network of one's own on a folder of images.
"""
