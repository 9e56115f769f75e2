"""Mutants of files: bits and bytes, values of JSON, headers and numbers of safetensors, cells of tables, pickles."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Mutator = Callable[[random.Random, bytes], bytes]
"""A generator and the content of a file to that of another."""

EVIL: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**9, 10**30, 2**200, 1e39, 1e300, -1e-300, 0.0, "", "x" * 10**6,
    "\x00", "../../x", "²", "$a_{", "nan", [], {}, [[]], [1] * 1000, {"a": {"a": {}}}, "null", "log", "discrete", "sgd",
    "folders:source=a,backbone=os:abort", "9" * 5000,
)  # fmt: skip
"""Values that somebody might not have thought of."""
_LONGEST = 10**7
_TOKENS = (
    b'"',
    b"{",
    b"[",
    b"]",
    b"}",
    b":",
    b",",
    b"\n",
    b"\x00",
    b"\xff",
    b"NaN",
    b"1e999",
    b"-",
    b"9" * 400,
    b"\xc2\xb2",
)


def of_bytes(rng: random.Random, content: bytes) -> bytes:
    """Some bits or bytes changed, parts cut out, doubled, filled or added."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        k = rng.randrange(len(data) + 1)
        n = rng.choice((1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(9)
        if kind == 0 and k < len(data):
            data[k] ^= 1 << rng.randrange(8)
        elif kind == 1 and k < len(data):
            data[k] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            del data[k:]
        elif kind == 3:
            del data[k : k + n]
        elif kind == 4:
            data[k:k] = data[k : k + n]
        elif kind == 5:
            data[k : k + n] = rng.randbytes(n)
        elif kind == 6:
            data[k:k] = rng.choice(_TOKENS) * rng.choice((1, 1, 2, 100))
        elif kind == 7:
            data[k : k + 8] = struct.pack("<q", rng.choice((-1, 0, 2**31, 2**40, 2**62)))
        elif rng.random() < 0.05:
            data[k:k] = bytes([rng.randrange(256)]) * 10**6
    return bytes(data)


def of_text(rng: random.Random, content: bytes) -> bytes:
    """Bytes changed, or lines and words: doubled, exchanged, endless, in other encodings."""
    if rng.random() < 0.4:
        return of_bytes(rng, content)
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        k = rng.randrange(len(lines))
        kind = rng.randrange(8)
        words = lines[k].split(" ")
        if kind == 0:
            lines.insert(k, lines[rng.randrange(len(lines))])
        elif kind == 1 and len(lines) > 1:
            del lines[k]
        elif kind == 2:
            words[rng.randrange(len(words))] = _plain(rng.choice(EVIL))
            lines[k] = " ".join(words)
        elif kind == 3:
            lines[k] = (lines[k] * rng.choice((2, 1000)))[:_LONGEST]
        elif kind == 4 and rng.random() < 0.05:
            lines += [lines[k]] * min(rng.choice((10_000, 960_000)), 10 * _LONGEST // (len(lines[k]) + 1))
        elif kind == 5:
            separator = rng.choice((",", "=", ":", "_", "."))
            parts = lines[k].split(separator)
            parts[rng.randrange(len(parts))] = _plain(rng.choice(EVIL))
            lines[k] = separator.join(parts)
        elif kind == 6:
            lines[k] = rng.choice("[({<&*!") * rng.choice((1, 50, 10**5)) + lines[k]
        elif kind == 7:
            lines[k] += rng.choice(("\u2028", "é", "²", "\r", "\t", "\ud7ff", "'", '"', "\\", " # ", "\x1b[31m"))
    return "\n".join(lines).encode(rng.choice(("utf-8",) * 8 + ("utf-16", "latin-1", "utf-8-sig")), "replace")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if rng_safe(value) else "9" * 5000


def rng_safe(value: Any) -> bool:
    """Whether Python writes the number."""
    return not isinstance(value, int) or abs(value) < 10**1000


def of_json(rng: random.Random, content: bytes) -> bytes:
    """Values, names and depth of a JSON text changed, or its bytes."""
    if rng.random() < 0.25:
        return of_text(rng, content)
    try:
        value = json.loads(content)
    except ValueError:
        return of_bytes(rng, content)
    if isinstance(value, dict) and rng.random() < 0.7:
        value.pop("sha256", None)  # so that more than the checksum is asked
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = of_value(rng, value)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    kind = rng.randrange(12)
    if kind == 0:
        text = text.replace(": ", ": " + rng.choice(("[", '{"a": ')) * rng.choice((30, 1000, 10**5)), 1)
    elif kind == 1 and text.startswith("{") and "," in text:
        text = "{" + text[1:].split(",", 1)[0] + "," + text[1:]
    elif kind == 2:
        text = text.replace("0", rng.choice(("NaN", "Infinity", "1e999", "0" * 30, "\\ud800")), 1)
    return text.encode("utf-8", "replace")


def of_value(rng: random.Random, value: Any) -> Any:
    """A value with something in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.randrange(8)
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        if kind == 1:
            return {rng.choice((k, "x" * 10**5, "")) if k == key else k: v for k, v in value.items()}
        if kind == 2:
            return {**value, rng.choice(("pairs", "budget", "unknown", "y" * 10**5)): rng.choice(EVIL)}
        return {k: of_value(rng, v) if k == key else v for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.8:
        k = rng.randrange(len(value))
        return [*value[:k], of_value(rng, value[k]), *value[k + 1 :]]
    return rng.choice(EVIL)


def of_safetensors(rng: random.Random, content: bytes) -> bytes:
    """The header's values or the numbers behind it changed."""
    kind = rng.random()
    (length,) = struct.unpack("<Q", content[:8])
    header, numbers = content[8 : 8 + length], content[8 + length :]
    if kind < 0.3:
        return of_bytes(rng, content)
    if kind < 0.65:
        header = of_json(rng, header)
        return struct.pack("<Q", len(header)) + header + numbers
    values = np.frombuffer(numbers[: len(numbers) // 4 * 4], np.float32).copy()
    if len(values):
        for _ in range(rng.choice((1, 3, 100))):
            values[rng.randrange(len(values))] = rng.choice((np.nan, np.inf, -np.inf, 1e38, -1.0, 0.0, 1e-40))
    return content[: 8 + length] + values.tobytes() + numbers[len(values) * 4 :]


class _Runs:
    """A pickle that runs code where it is loaded without care."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.canary, "w")


def of_checkpoint(rng: random.Random, content: bytes, canary: str = "") -> bytes:
    """A PyTorch file: its bytes, its pickle, or its tensors changed."""
    kind = rng.random()
    if kind < 0.25:
        return of_bytes(rng, content)
    if kind < 0.5:
        return _repacked(rng, content)
    state = torch.load(io.BytesIO(content), weights_only=True)
    if isinstance(state, dict) and state:
        key = rng.choice(list(state))
        state = _with_evil_tensor(rng, state, key, canary)
    file = io.BytesIO()
    if rng.random() < 0.1:
        pickle.dump(state, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=rng.random() < 0.7)
    return file.getvalue() if rng.random() < 0.9 else of_bytes(rng, file.getvalue())


def _with_evil_tensor(rng: random.Random, state: dict[Any, Any], key: Any, canary: str) -> dict[Any, Any]:
    value = state[key] if isinstance(state[key], torch.Tensor) else torch.ones(2)
    kind = rng.randrange(12)
    if kind == 0:
        state["model" if rng.random() < 0.5 else "state_dict"] = state  # holds itself
    elif kind == 1:
        return {**state, rng.choice(("z" * 10**6, "value", 3, "_aux" * 2 * 10**5, "head.9" + "9" * 5000)): value}
    elif kind == 2:
        return {
            "epoch": 3,
            rng.choice(("model", "net", "state_dict", "policy")): {f"module.{k}": v for k, v in state.items()},
        }
    elif kind == 3:
        return {**state, "more": _Runs(canary)}
    elif kind == 4:
        return {k: v for k, v in state.items() if k != key}
    else:
        state = {**state, key: _evil_tensor(rng, kind, value)}
    return state


def _evil_tensor(rng: random.Random, kind: int, value: torch.Tensor) -> Any:
    if kind == 5:
        return torch.sparse_coo_tensor(torch.zeros(value.dim(), 0, dtype=torch.long), [], (10**4,) * value.dim())
    if kind == 6:
        return torch.zeros(1).expand([rng.choice((10**5, *value.shape)) for _ in value.shape] or [10**5])
    if kind == 7:
        return value * rng.choice((float("nan"), float("inf"), 1e38, -1.0, 0.0))
    if kind == 8:
        return value.to(rng.choice((torch.complex64, torch.int64, torch.bool, torch.float64, torch.bfloat16)))
    if kind == 9:
        return value.reshape(-1)[: rng.randrange(value.numel() + 1)]
    if kind == 10:
        return rng.choice((None, 3, "text", [value], {"a": value}))
    return value.unsqueeze(0)


def _repacked(rng: random.Random, content: bytes) -> bytes:
    """The archive with one of its members changed, packed or not."""
    file = io.BytesIO()
    try:
        with (
            zipfile.ZipFile(io.BytesIO(content)) as old,
            zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new,
        ):
            changed = rng.choice(old.namelist())
            for name in old.namelist():
                member = old.read(name)
                if name == changed or name.endswith("data.pkl"):
                    member = of_bytes(rng, member) if rng.random() < 0.95 else bytes(2 * 10**8)
                new.writestr(name, member)
    except (zipfile.BadZipFile, ValueError):
        return of_bytes(rng, content)
    return file.getvalue()


def of_parquet(rng: random.Random, content: bytes) -> bytes:
    """Columns and cells of a table changed, or the file's bytes."""
    import pandas as pd

    if rng.random() < 0.4:
        return of_bytes(rng, content)
    frame = of_frame(rng, pd.read_parquet(io.BytesIO(content)))
    file = io.BytesIO()
    try:
        frame.to_parquet(file, index=rng.random() < 0.1)
    except Exception:  # what no table can hold
        return of_bytes(rng, content)
    return file.getvalue()


def of_csv(rng: random.Random, content: bytes) -> bytes:
    """The same of a CSV file."""
    import pandas as pd

    if rng.random() < 0.5:
        return of_text(rng, content)
    frame = of_frame(rng, pd.read_csv(io.BytesIO(content)))
    return frame.to_csv(index=rng.random() < 0.1).encode("utf-8", "replace")


def of_frame(rng: random.Random, frame: Any) -> Any:
    """A table with something changed."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not len(frame.columns):
            return frame
        column = rng.choice(list(frame.columns))
        kind = rng.randrange(9)
        if kind == 0:
            frame = frame.drop(columns=column)
        elif kind == 1:
            frame = frame.rename(columns={column: "other"})
        elif kind == 2:
            frame = frame.iloc[: rng.choice((0, 0, 1, 2))]
        elif kind == 3 and len(frame):
            frame = frame.assign(
                **{column: [rng.choice((float("nan"), float("inf"), 1e300, -1.0, 0.0)) for _ in range(len(frame))]}
            )
        elif kind == 4:
            frame = frame.assign(**{column: rng.choice(("$a_{", "$" * 101, "name" * 50_000, "", "=1+1", "²", "\x00a"))})
        elif kind == 5 and len(frame):
            frame = frame.assign(**{column: [rng.choice(EVIL[:20]) for _ in range(len(frame))]}).astype({column: str})
        elif kind == 6 and len(frame):
            frame = frame.sample(frac=rng.choice((0.5, 1, 2)), replace=True, random_state=rng.randrange(10**6))
        elif kind == 7 and len(frame):
            frame = frame.assign(**{column: [f"{k}" for k in range(len(frame))]})
        elif kind == 8:
            frame = frame.assign(**{column: None})
    return frame
