"""Pairs whose source is image files or a data set of torchvision."""
