"""Packages of an extra that are missing: one clear error wherever they are needed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import agents
import train_policy
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.extras import MissingExtraError, require

ROOT = Path(__file__).parents[1]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of an extra is installed, and nothing of ours that needs it is loaded yet."""
    for name in ("captum", "numba", "sb3_contrib"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith("agents.sb3")]:
        monkeypatch.delitem(sys.modules, name)


def test_extras_that_errors_name_install_what_is_missing() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project.partition("[project.optional-dependencies]")[2].partition("[project.scripts]")[0]
    extras = dict(re.findall(r"^(\w+) = \[(.*)\]$", table, flags=re.MULTILINE))
    named = set()
    for path in (*ROOT.glob("l2o_env/**/*.py"), *ROOT.glob("agents/**/*.py")):
        for package, extra in re.findall(r'require\(\s*"([\w.]+)", extra="(\w+)"', path.read_text(encoding="utf-8")):
            assert package.partition(".")[0].lower().replace("_", "-") in re.findall(r'"([\w-]+)', extras[extra]), path
            named.add(extra)
    assert named == set(extras) - {"all"}


def test_what_is_there_is_imported() -> None:
    assert require("json", extra="text", what="a test") is json


def test_what_is_missing_is_told_with_what_to_type(without: None) -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("captum", extra="attention", what="l2o attention")
    assert str(caught.value) == 'captum is not installed; l2o attention needs it: pip install "l2o-env[attention]".'
    assert isinstance(caught.value, ConfigError) and isinstance(caught.value, ImportError)


@pytest.mark.parametrize(
    ("code", "told", "mend"),
    [
        # The extra would install nothing.
        ("raise ImportError('needs NumPy 2')", r"ImportError: needs NumPy 2", "--upgrade broken-package"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'", r'"l2o-env\[text\]"'),
    ],
)
def test_what_does_not_go_with_the_rest_is_told_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str, mend: str
) -> None:
    (tmp_path / "broken_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    message = rf"^broken_package cannot be imported \({told}\); a test needs it: pip install {mend}\.$"
    with pytest.raises(MissingExtraError, match=message):
        require("broken_package", extra="text", what="a test")


def test_commands_end_with_one_line(
    without: None, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Reinforce(EnvConfig(pairs=(tiny,))).save(tmp_path / "policy")
    for command, told in (
        ("train --algo ppo", 'sb3_contrib is not installed; --algo ppo needs it: pip install "l2o-env[sb3]".'),
        ("attention policy", 'captum is not installed; l2o attention needs it: pip install "l2o-env[attention]".'),
    ):
        assert train_policy.main(command.split()) == 2
        assert capsys.readouterr().err == f"error: {told}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_a_policy_of_another_package_says_what_reads_it(without: None, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"agent": "sb3"}')
    with pytest.raises(MissingExtraError, match=r'a policy of Stable-Baselines3 .* pip install "l2o-env\[sb3\]"'):
        agents.load(tmp_path)
