"""Drawn objects to photographs, from packages of Debian and npm: the paper's setting on any machine.

``manifest`` names the images, ``packages`` reads them from where packages have them, ``assemble`` puts the data set
together, ``drawing`` draws source images of its cut-outs, and ``clipart_photos`` is the pair.
"""
