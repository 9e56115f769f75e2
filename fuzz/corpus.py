"""Writes a corpus to begin with, a folder for each kind of file: ``python fuzz/corpus.py FOLDER``."""

from __future__ import annotations

import random
import re
import sys
import tempfile
from pathlib import Path

from benchmarks.fuzz_kinds import KINDS, fresh

MUTANTS = 20
"""Of each sample, beside the sample itself."""


def main(out: Path) -> None:
    """Writes the samples and some of their mutants."""
    for name, kind in KINDS.items():
        place = out / re.sub(r"[^a-z]+", "-", name.lower()).strip("-")
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as root:
            fresh(kind, Path(root) / "sample")
            pattern, mutator = next(iter(kind.mutators.items()))
            content = sorted((Path(root) / "sample").glob(pattern))[0].read_bytes()
        (place / "sample").write_bytes(content)
        for k in range(MUTANTS):
            (place / f"mutant-{k}").write_bytes(mutator(random.Random(k), content)[: 2**20])
        print(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
