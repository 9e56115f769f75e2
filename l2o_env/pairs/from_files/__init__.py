"""Pairs whose source is image files or a data set of torchvision.

``folders``, ``torchvision_sets``, ``visda17`` and ``gta5_cityscapes`` find the images. ``classified`` makes a pair of
those with one class each, ``segmented`` of those with masks, as ``settings`` says; ``class_splits``, ``class_checks``
and ``proxy_images`` are what they need for it.
"""
