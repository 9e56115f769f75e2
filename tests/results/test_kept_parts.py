"""Parts of a table are kept, read again, and made again where they are damaged or of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from l2o_env.errors import ConfigError
from l2o_env.results.kept_parts import KeptParts
from l2o_env.results.run_folder import PARTS, WriteError

FRAME = pd.DataFrame({"policy": ["a", "b"], "V": [-0.1, np.nan], "diverged": [False, True]})


class Maker:
    """Counts how often the part is made."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> pd.DataFrame:
        self.calls += 1
        return FRAME.copy()


def _parts(out: Path) -> list[Path]:
    return sorted((out / PARTS).glob("*.parquet"))


def test_a_part_is_made_once(tmp_path: Path) -> None:
    out, make = tmp_path / "out", Maker()
    for _ in range(2):
        with KeptParts.opened(out, {"pair": "tiny"}) as kept:
            pd.testing.assert_frame_equal(kept.table({"row": 1}, make), FRAME)
    assert make.calls == 1
    with KeptParts.opened(out, {"pair": "tiny"}) as kept:
        kept.table({"row": 2}, make)
    assert make.calls == 2 and len(_parts(out)) == 2


def test_any_flipped_bit_makes_a_part_again_or_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with KeptParts.opened(out, {}) as kept:
        kept.table({}, lambda: FRAME)
    (part,) = _parts(out)
    whole, rng, made = part.read_bytes(), np.random.default_rng(0), Maker()
    for at in rng.integers(len(whole) * 8, size=60):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << (at % 8)
        part.write_bytes(damaged)
        with KeptParts.opened(out, {}) as kept:
            pd.testing.assert_frame_equal(kept.table({}, made), FRAME)
    assert made.calls > 30
    part.write_bytes(whole[:100])
    with KeptParts.opened(out, {}) as kept:
        pd.testing.assert_frame_equal(kept.table({}, made), FRAME)


def test_a_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with KeptParts.opened(out, {"seeds": 2}) as kept:
        kept.table({}, lambda: FRAME)
        with pytest.raises(ConfigError, match="Another run is writing"), KeptParts.opened(out, {"seeds": 2}):
            pass
    with pytest.raises(ConfigError, match="results of another command"), KeptParts.opened(out, {"seeds": 3}):
        pass
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"), KeptParts.opened(tmp_path / "full", {}):
        pass


def test_nothing_is_left_of_a_command_that_could_not_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too small"), KeptParts.opened(tmp_path / "out", {}):
        raise ConfigError("too small")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with (
        pytest.raises(WriteError, match="the disk is full"),
        KeptParts.opened(tmp_path / "out", {}) as kept,
    ):
        kept.table({}, lambda: FRAME)
    assert not _parts(tmp_path / "out")


def test_without_a_folder_nothing_is_kept() -> None:
    make = Maker()
    with KeptParts.opened(None, {}) as kept:
        kept.table({}, make)
        kept.table({}, make)
    assert make.calls == 2 and kept.folder is None
