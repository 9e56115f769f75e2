"""Algorithms of Stable-Baselines3 and sb3-contrib as agents, and our population as their environment."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
