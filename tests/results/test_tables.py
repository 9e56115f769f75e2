"""Tables that may be anybody's: what is read of them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2o_env.errors import ConfigError
from l2o_env.results.tables import read_table


def _written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


def _read(path: Path) -> pd.DataFrame:
    return read_table(path, ("policy", "value", "ended"), ("policy", "run"), "mend it.", ("ended",))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_columns_that_are_wanted_are_read(tmp_path: Path, suffix: str) -> None:
    policies = ["1e5", "a, b", "NA", "007", "nan", "None", "", "-1", "TRUE", "2024_05_17", "=1+1", "\u00b2", "a\nb"]
    values = [0.5, float("nan"), *range(11)]
    frame = pd.DataFrame({"more": 1, "policy": policies, "value": values, "ended": [True] * 12 + [False]})
    found = _read(_written(frame, tmp_path / f"t{suffix}"))
    assert found["policy"].tolist() == policies  # names stay names, though they look like numbers
    pd.testing.assert_series_equal(found["value"], frame["value"])
    assert found["ended"].tolist() == [True] * 12 + [False] and "more" not in found


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"value": ["x" * 10**5] * 2}, "value holds 'xxx.*expected numbers"),
        ({"policy": ["$" * 10**5] * 2}, r"policy holds '\$\$\$"),
        ({"ended": [0.5, 1.0]}, "ended holds .*expected true or false"),
        ({"value": None}, "has no column 'value'"),
    ],
)
def test_what_is_no_such_table_is_told(tmp_path: Path, suffix: str, change: dict[str, Any], told: str) -> None:
    columns = {"policy": ["a", "b"], "value": [1.0, 2.0], "ended": [True, False], **change}
    frame = pd.DataFrame({key: value for key, value in columns.items() if value is not None})
    with pytest.raises(ConfigError, match=told) as error:
        _read(_written(frame, tmp_path / f"t{suffix}"))
    assert len(str(error.value)) < 500 and str(error.value).endswith("mend it.")


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"\xff\xfe\x00", b"policy,value\n" + b"," * 10**5])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_damaged_files_are_told(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"t{suffix}").write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged"):
        _read(tmp_path / f"t{suffix}")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a,1.0,True", "b,2.0"], "its rows have 2 to 3 cells"),  # cut off
        (["a,1.0,True", "b, c,2.0,True"], "its rows have 3 to 4 cells"),
        (["a,1.0,True", "," * 10**5], "its rows have 3 to 100001 cells"),
        (['a,1.0,"True', '",' * 10**5], "its rows have 3 to"),
    ],
)
def test_csv_whose_rows_differ_in_length_is_told(tmp_path: Path, rows: list[str], told: str) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["policy,value,ended", *rows]))
    with pytest.raises(ConfigError, match=told):
        _read(tmp_path / "t.csv")


def test_csv_of_any_number_of_columns_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("policy,value,ended" + ",x" * 10_000)
    with pytest.raises(ConfigError, match="it has 10003 columns"):
        _read(tmp_path / "t.csv")


def test_tables_larger_than_any_of_ours_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"policy": ["a"] * 9, "value": [1.0] * 9, "ended": [True] * 9})
    path = _written(frame, tmp_path / "t.parquet")
    monkeypatch.setattr("l2o_env.results.tables.MAX_ROWS", 8)
    with pytest.raises(ConfigError, match="it has 9 rows"):
        _read(path)
    monkeypatch.setattr("l2o_env.results.tables.MAX_CSV", 8)
    with pytest.raises(ConfigError, match="it has more than 0 MiB"):
        _read(_written(frame, tmp_path / "t.csv"))
    with pytest.raises(FileNotFoundError):
        _read(tmp_path / "other.csv")
