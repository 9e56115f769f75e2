"""What tests that follow the advice of error messages have in common."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from agents.main import main
from l2o_env import ConfigError
from tests.image_trees import (
    MicroNet,
    MicroSegNet,
    class_folders,
    mask_folders,
    save_weights,
)


def advice(wrong: Callable[[], Any], pattern: str) -> tuple[str, ...]:
    """What the pattern's groups are in the message of the error that a call raises."""
    with pytest.raises(ConfigError) as caught:
        wrong()
    found = re.search(pattern, str(caught.value))
    assert found, str(caught.value)
    return found.groups()


def l2o(*arguments: object) -> str:
    """Runs ``l2o``; returns what it says on standard error, or raises it if the command fails."""
    with redirect_stderr(io.StringIO()) as said:
        status = main([*map(str, arguments)])
    if status:
        raise ConfigError(said.getvalue())
    return said.getvalue()


class TwoHeads(MicroNet):
    """A network whose last linear layer is not its head."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(8, 2)


def mask_settings(tmp: Path, kind: type[nn.Module] = MicroSegNet, **settings: Any) -> dict[str, Any]:
    """Settings of the pair ``folders`` with images and masks, which are made in a folder."""
    weights = save_weights(tmp / "seg.pt", kind())
    masks = mask_folders(tmp / "masks")
    return {"source": masks, "backbone": kind, "weights": weights, "size": 16, "n_validation": 2, **settings}


def class_settings(tmp: Path, kind: type[nn.Module] = MicroNet, **settings: Any) -> dict[str, Any]:
    """The same with one class for an image."""
    weights = save_weights(tmp / "net.pt", kind())
    images = class_folders(tmp / "images")
    return {"source": images, "backbone": kind, "weights": weights, "size": 16, "n_validation": 4, **settings}
