"""Agents that set the learning rates: learned policies and hand-made opponents.

What users need stands in ``__init__.pyi``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
