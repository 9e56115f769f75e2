"""Opponents of learned policies: hand-made learning rates, and those that are tuned on the very pair."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
