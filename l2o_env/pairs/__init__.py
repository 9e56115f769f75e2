"""Pairs: what one is (pair.py), all of them by name (registry.py, named.py), and those of each kind, a folder each."""

from l2o_env.models.losses import IGNORED
from l2o_env.pairs.named import register_image_pairs
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.registry import Factory, FamilySplit, check, make, names, register
from l2o_env.pairs.rendered.glyph_family import register_members
from l2o_env.pairs.spec import label, spec
from l2o_env.pairs.splits import Split

register_members()
register_image_pairs()

__all__ = ["IGNORED", "Factory", "FamilySplit", "Pair", "Split", "check", "label", "make", "names", "register", "spec"]
