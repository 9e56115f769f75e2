"""What tells a contestant's files from any others'."""

from __future__ import annotations

from pathlib import Path

from l2o_env.evaluation.contestant import folder_digest


def _folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_a_digest_is_that_of_names_and_contents(tmp_path: Path) -> None:
    digest = folder_digest(_folder(tmp_path / "a", x="1", y="2"))
    assert digest == folder_digest(_folder(tmp_path / "elsewhere", y="2", x="1"))
    different = [
        _folder(tmp_path / "b", x="1", y="3"),
        _folder(tmp_path / "c", x="1", z="2"),
        _folder(tmp_path / "d", x="12", y=""),
        _folder(tmp_path / "e", **{"x": "1", "y": "2", "deep/z": ""}),
    ]
    assert len({digest, *map(folder_digest, different)}) == 5
