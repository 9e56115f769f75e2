"""Labelled images in files: listings, label maps, decoding on demand, what is held out."""
