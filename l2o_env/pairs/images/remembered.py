"""What looking at image files has found, kept in the cache folder for as long as the files are the same."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError
from l2o_env.pairs.cache import cache_folder
from l2o_env.safe_json import read_json

_MOST = 64 * 2**20
"""Bytes of what is kept."""


def place_of(kind: str, files: str) -> Path:
    """Where it is kept.

    Args:
        kind: What was looked for; the first part of the file's name.
        files: A text that changes with the files.
    """
    return cache_folder() / f"{kind}-{hashlib.sha256(files.encode()).hexdigest()[:32]}.json"


def read_kept(place: Path) -> Any:
    """What is kept, which the caller has to check; None if there is nothing, or it is damaged."""
    try:
        return read_json(place, "it is made anew.", most=_MOST)
    except (OSError, ConfigError):
        return None


def keep(place: Path, found: Any) -> None:
    """Keeps what was found; where the cache cannot be written, everything is looked at again the next time."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(place) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
