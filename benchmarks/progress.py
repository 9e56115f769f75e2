"""Progress on standard error, and what was measured in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from l2o_env.atomic import atomic_path


def say(text: str) -> None:
    """Shows what is going on: in place on a terminal, line by line elsewhere; an empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def write_json(path: Path | None, found: dict[str, Any]) -> None:
    """Writes what was measured, if ``--json`` names a file."""
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1))
