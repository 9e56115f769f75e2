"""Networks by name, of files, of functions, and everything that can be wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from l2o_env import layer_groups
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


def test_what_torchvision_does_not_have_timm_may(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    network = builder("test_resnet")(num_classes=3)
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert list(layer_groups(network)) == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "head"]
    with pytest.raises(ConfigError, match=r"Did you mean 'resnet18'\?.*timm has none of that name either"):
        builder("resnet19")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"Unknown network 'test_resnet'.*l2o-env\[timm\]"):
        builder("test_resnet")
