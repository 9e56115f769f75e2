"""One kind of file under atheris, which looks for bytes that reach new lines of the reader: see README.md."""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["agents", "l2o_env"]):
    from benchmarks.fuzz_kinds import KINDS, fresh
    from l2o_env.errors import ConfigError

MOST = 500
"""Characters that an error may have."""


def slug(name: str) -> str:
    """A kind as the command line and folders call it."""
    return re.sub(r"[^a-z]+", "-", name.lower()).strip("-")


def main(arguments: list[str]) -> None:
    """Fuzzes the kind that the first argument names; the others are libFuzzer's."""
    kind = {slug(name): kind for name, kind in KINDS.items()}[arguments[1]]
    folder = Path(tempfile.mkdtemp())
    fresh(kind, folder)
    file = next(path for pattern in kind.mutators for path in sorted(folder.glob(pattern)))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")

    def read(content: bytes) -> None:
        file.write_bytes(content)
        try:
            kind.read(folder)
        except ConfigError as error:
            assert len(str(error).replace(str(folder), "")) <= MOST, "the message has no end"

    atheris.Setup([arguments[0], *arguments[2:]], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
