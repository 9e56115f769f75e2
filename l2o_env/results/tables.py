"""Tables of runs, which may be anybody's: looked at before they are read, and checked for what is to be in them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o_env.errors import reading, shortened

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_BYTES, MAX_CSV, MAX_ROWS, MAX_COLUMNS, MAX_NAME = 2**30, 2**25, 10**8, 10_000, 10_000
"""Of a table's file, and if it is CSV; of its rows; of its columns, if it is CSV; characters of a name in it."""


def read_table(
    path: Path, columns: Iterable[str], texts: Iterable[str], mend: str, flags: Iterable[str] = ()
) -> pd.DataFrame:
    """Reads a table from CSV or Parquet.

    Args:
        path: The file, whose suffix tells which.
        columns: Columns that it has to have; others are not read, because there may be any number of them.
        texts: Those of them that hold names; the others have to hold numbers.
        mend: What to do if it is damaged; the end of the message.
        flags: Those of the others that have to hold nothing but true or false.

    Raises:
        FileNotFoundError: If there is none.
        ConfigError: If it cannot be read, or lacks a column.
    """
    import pandas as pd

    columns, texts = list(columns), list(texts)
    with reading(path, mend):
        most = MAX_CSV if path.suffix == ".csv" else MAX_BYTES
        if path.stat().st_size > most:
            raise ValueError(f"it has more than {most >> 20} MiB")
        if path.suffix == ".csv":
            _require_rows(path)
            frame = pd.read_csv(
                path,
                dtype=dict.fromkeys(texts, str),
                index_col=False,
                usecols=lambda name: name in columns,
                keep_default_na=False,  # a policy may be called "NA"
                na_values={column: ["", "nan", "NaN"] for column in columns if column not in texts},
            )
        else:
            frame = _read_parquet(path, columns)
        missing = [column for column in columns if column not in frame]
        if missing:
            raise ValueError(f"it has no column {missing[0]!r}; is it of another version?")
        for column in flags:
            if len(frame) and frame[column].dtype != bool:
                raise ValueError(f"{column} holds {shortened(frame[column].iloc[0], 40)}; expected true or false")
        for column in columns:
            frame[column] = _names(frame[column]) if column in texts else _numbers(frame[column])
        return frame


def write_signed(frame: pd.DataFrame, path: Path, **facts: str) -> None:
    """Writes a table as Parquet, with facts about it and its checksum.

    Args:
        frame: The table.
        path: The file.
        **facts: What the table depends on, as :func:`read_signed` is to find it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({**facts, "sha256": _digest(table)}), path)


def read_signed(path: Path, **facts: str) -> pd.DataFrame | None:
    """A table as it was written with these facts; None if there is none, it has others, or it is damaged."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        return table.to_pandas() if found == {**facts, "sha256": _digest(table)} else None
    except Exception:  # a reader of what may be damaged raises anything
        return None


def _digest(table: pa.Table) -> str:
    """SHA-256 of names, types and values of a table."""
    return hashlib.sha256(f"{table.schema.types} {table.to_pydict()}".encode()).hexdigest()


def _require_rows(path: Path) -> None:
    """Raises ``ValueError`` of CSV whose rows differ in length: pandas fills them up, and takes 10 kB for a cell."""
    with path.open(encoding="utf-8", newline="") as file:
        lengths = {len(row) for row in csv.reader(file) if row}
    if len(lengths) > 1:
        raise ValueError(f"its rows have {min(lengths)} to {max(lengths)} cells")
    if max(lengths, default=0) > MAX_COLUMNS:
        raise ValueError(f"it has {max(lengths)} columns")


def _read_parquet(path: Path, columns: list[str]) -> pd.DataFrame:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
        # What is said there costs nothing to read; a few bytes can stand for any number of equal rows.
        if file.metadata.num_rows > MAX_ROWS or sum(group.total_byte_size for group in groups) > 4 * MAX_BYTES:
            raise ValueError(f"it has {file.metadata.num_rows} rows")
        known = [column for column in columns if column in file.schema_arrow.names]
        return file.read(known).to_pandas(ignore_metadata=True)


def _names(values: pd.Series) -> pd.Series:
    names = values.astype(object).where(values.notna(), "").astype(str)
    longest = max(names.unique(), key=len, default="")
    if len(longest) > MAX_NAME:
        raise ValueError(f"{values.name} holds {shortened(longest, 40)}")
    return names


def _numbers(values: pd.Series) -> Any:
    import pandas as pd

    if len(values) and not pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        raise ValueError(f"{values.name} holds {shortened(values.iloc[0], 40)}; expected numbers")
    return values
