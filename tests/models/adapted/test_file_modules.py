"""Modules of files: told apart, read again, sent to other processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from l2o_env.models.adapted.by_name import load_object

NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear({n}, 2)
"""


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for n, folder in ((3, "a"), (4, "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(NET.format(n=n))
    first, second = (load_object(f"{tmp_path / folder}/net.py:Net") for folder in "ab")
    assert (first().fc.in_features, second().fc.in_features) == (3, 4)
    for kind, n in ((first, 3), (second, 4)):
        assert pickle.loads(pickle.dumps(kind)) is kind
        assert pickle.loads(pickle.dumps(kind())).fc.in_features == n
    assert load_object(f"{tmp_path}/a/net.py:Net") is first
    assert "net" not in sys.modules


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    for n in (3, 40):
        file.write_text(NET.format(n=n))
        assert load_object(f"{file}:Net")().fc.in_features == n


@pytest.mark.parametrize("name", ["net.py", "my net-2.0ä.py"])
def test_another_process_finds_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(NET.format(n=3))
    data = pickle.dumps(load_object(f"{tmp_path}/{name}:Net"))
    code = f"import pickle; print(pickle.loads({data!r})().fc.in_features)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "3\n"
