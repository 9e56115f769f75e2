"""Algorithms of Stable-Baselines3 and sb3-contrib as agents, and our population as their environment."""

from typing import Any

import lazy_loader

from l2o_env.extras import require

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    require("sb3_contrib", extra="sb3", what="a policy of Stable-Baselines3 or sb3-contrib")
    return _load(name)
