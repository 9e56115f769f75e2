"""Labelled images that pairs are made of.

``listing`` has image files and what is known of them, ``labelled`` images that are in memory; ``folder_listings`` and
``datasets`` make these, ``label_maps`` says what the values of masks mean, ``verify`` looks at all files once, and
``held_out`` divides them. ``image_split`` decodes images as they are needed.
"""
