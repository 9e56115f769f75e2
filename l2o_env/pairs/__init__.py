"""Pairs: what they are (base.py), the registry, and the embedded family (glyphs.py, members.py)."""

from l2o_env.pairs.base import Factory, FamilySplit, Pair, Split, make, names, register
from l2o_env.pairs.members import register_members

register_members()

__all__ = ["Factory", "FamilySplit", "Pair", "Split", "make", "names", "register"]
