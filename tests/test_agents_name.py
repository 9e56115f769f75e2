"""Agents are found by the name that they have, whatever else is called `agents`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from l2o_env import agents_name as module
from l2o_env.agents_name import agents_name

ROOT = Path(__file__).parents[1]


def test_in_a_checkout_it_is_the_folder() -> None:
    assert agents_name() == "agents"


def test_as_a_wheel_has_it_another_agents_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "l2o_agents").mkdir()
    (tmp_path / "agents").mkdir()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "l2o_env" / "agents_name.py"))
    assert agents_name() == "l2o_agents"


def test_what_is_in_the_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "l2o_env" / "agents_name.py"))
    with pytest.raises(ModuleNotFoundError, match=f"{ROOT / 'agents'} is another package of that name"):
        agents_name()


def test_the_command_runs_beside_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("raise RuntimeError('not mine')")
    # As an editable installation finds it: by a hook, which is asked before the working folder is.
    code = (
        "import sys; sys.path[:0] = ['', *sys.path[:0]]\n"
        f"sys.path.append({str(ROOT)!r})\n"
        "from importlib.machinery import PathFinder\n"
        "from importlib.util import spec_from_file_location as at\n"
        "class Hook:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        return at(name, {str(ROOT / 'agents' / '__init__.py')!r}) if name == 'l2o_agents' else None\n"
        "sys.meta_path.insert(0, Hook())\n"
        "import runpy; sys.argv = ['l2o', 'opponents', '--help']\n"
        "runpy.run_module('l2o_env', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: l2o opponents" in done.stdout
