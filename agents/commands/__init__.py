"""The commands of ``l2o``, a file each, and what they share."""
