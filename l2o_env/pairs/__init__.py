"""Pairs: what they are and the registry (base.py), the embedded family (glyphs.py), pairs of image files."""

from l2o_env.pairs.base import IGNORED, Factory, FamilySplit, Pair, Split, check, make, names, register
from l2o_env.pairs.image_pairs import register_image_pairs
from l2o_env.pairs.members import register_members
from l2o_env.pairs.spec import label, spec

register_members()
register_image_pairs()

__all__ = ["IGNORED", "Factory", "FamilySplit", "Pair", "Split", "check", "label", "make", "names", "register", "spec"]
