"""Networks by name, of files, of functions, and everything that can be wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.by_name import builder


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def Net(:", r"cannot be loaded \(SyntaxError: .*line 1\)\); expected FILE\.py:NAME"),
        ("raise ValueError('first\\nsecond')", r"cannot be loaded \(ValueError: first\)"),
        ("raise KeyError", r"cannot be loaded \(KeyError\)"),
        ("import sys; sys.exit(3)", r"cannot be loaded \(SystemExit: 3\)"),
        (
            "import nowhere_to_be_found",
            r"cannot be loaded \(ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("class Other: pass", r"Unknown name in .*net\.py: 'Net'.*Known: 'Other'"),
        (
            "def Net(n): pass",
            r"The network .*net\.py:Net cannot be made \(TypeError: .*'n'\); expected a class or function",
        ),
        ("def Net(): raise OSError('no file')", r"net\.py:Net cannot be made \(OSError: no file\)"),
        ("Net = 3", r"net\.py:Net cannot be made \(TypeError: 'int' object is not callable\)"),
        ("def Net(): return 3", r"net\.py:Net made a int; expected a class or function that makes a torch\.nn\.Module"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_error(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "net.py").write_text(text)
    before = set(sys.modules)
    with pytest.raises(ConfigError, match=told):
        builder(f"{tmp_path}/net.py:Net")()
    if "cannot be loaded" in told:
        assert not {name for name in set(sys.modules) - before if "net_" in name}


def test_a_network_that_cannot_be_made_leaves_the_random_numbers_alone() -> None:
    def failing() -> torch.nn.Module:
        torch.rand(3)
        raise RuntimeError("no")

    state = torch.get_rng_state()
    with pytest.raises(ConfigError, match=r"The network .*failing cannot be made \(RuntimeError: no\)"):
        builder(failing)()
    assert torch.equal(torch.get_rng_state(), state)
