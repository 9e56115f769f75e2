"""Pairs: what one is, and all of them by name.

``pair`` and ``splits`` say what a pair is; ``registry`` finds it by the name that ``spec`` takes apart, and ``named``
lists those of this package: ``rendered`` has the ones whose synthetic images are drawn here, ``from_files`` those of
image files and data sets, which ``images`` reads; ``proxies`` pretrains networks that are kept in the ``cache``.
"""

from l2o_env.models.losses import IGNORED
from l2o_env.pairs.named import register_named_pairs
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.registry import Factory, FamilySplit, check, check_all, make, names, register, unregister
from l2o_env.pairs.spec import label, spec
from l2o_env.pairs.splits import Split

register_named_pairs()  # names alone; a pair is built when it is asked for

__all__ = [
    "IGNORED",
    "Factory",
    "FamilySplit",
    "Pair",
    "Split",
    "check",
    "check_all",
    "label",
    "make",
    "names",
    "register",
    "spec",
    "unregister",
]
