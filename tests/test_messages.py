"""What error messages name is there: commands and their options, ranges, names."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import l2o_env
from agents.algorithms.registry import ALGORITHMS
from agents.commands.option_names import as_option
from agents.main import COMMANDS, _needs_less_memory, _options
from agents.sb3.vec_env import PopulationVecEnv
from l2o_env import ConfigError, pairs
from l2o_env.adaptation import AdaptConfig
from l2o_env.config import EnvConfig
from l2o_env.errors import unknown_name
from l2o_env.pairs.from_files.folders import FoldersSettings
from l2o_env.pairs.from_files.gta5_cityscapes import StreetSettings
from l2o_env.pairs.from_files.visda17 import VisdaSettings
from l2o_env.pairs.spec import LABEL

ROOT = Path(__file__).parents[1]
_CONFIGS = list(dict.fromkeys(type(entry.config) for entry in ALGORITHMS.values()))


@cache
def _messages() -> list[tuple[Path, str]]:
    """Files and the texts of the errors that they raise, with … for what is filled in."""
    found = []
    for path in (*ROOT.glob("l2o_env/**/*.py"), *ROOT.glob("agents/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                texts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
                found.append((path, "…".join(text for text in texts if isinstance(text, str))))
    return found


def _options_of(name: str) -> set[str]:
    return {*map(as_option, _options(COMMANDS[name]))}


def test_commands_and_options_that_errors_name_are_there() -> None:
    every = set().union(*map(_options_of, COMMANDS)) | {"--help", "--head"}  # the last is of `ray start`
    of_file: dict[str, set[str]] = {}
    for name, command in COMMANDS.items():
        for module in {command.module, command.settings.rpartition(":")[0]} - {""}:
            of_file.setdefault(module, set()).update(_options_of(name))
    named = 0
    for path, text in _messages():
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
        commands = set(re.findall(r"\bl2o ([a-z][a-z-]*)", text))
        elsewhere = options if "`l2o" in text else set()  # of the command that is named there
        assert options <= every and commands <= set(COMMANDS), f"{path}: {text}"
        if path.parent.name == "commands" and path.stem in of_file and not elsewhere:
            assert options <= of_file[path.stem] | {"--help"}, f"{path}: {text}"
        named += len(options) + len(commands)
    assert named > 30


def test_settings_that_errors_name_are_there() -> None:
    kinds = [EnvConfig, AdaptConfig, FoldersSettings, VisdaSettings, StreetSettings, *_CONFIGS]
    known = {field.name for kind in kinds for field in fields(kind)} | {*signature(l2o_env.LearnedRates).parameters}
    known |= {*signature(PopulationVecEnv).parameters, LABEL, "key", "name"}  # the last two stand for any
    known |= {"requires_grad", "track_running_stats", "max_grad_norm", "optimizers"}  # of other packages
    named = [(path, key) for path, text in _messages() for key in re.findall(r"(?<![\w…/.-])([a-z_]+)=['\w…]", text)]
    assert len(named) > 30
    assert [(str(path), key) for path, key in named if key not in known] == []


def test_what_a_command_names_where_memory_ran_out_is_its_own() -> None:
    told = {name: _needs_less_memory(_options(command)) for name, command in COMMANDS.items()}
    for name, text in told.items():
        assert set(re.findall(r"--[a-z-]+", text)) <= _options_of(name)
    assert "(--num-envs; l2o_env.fitting_num_envs says" in told["train"] and hasattr(l2o_env, "fitting_num_envs")
    assert told["adapt"] == "Take smaller batches (--hp batch_size=...), or the CPU (--device cpu)."
    assert AdaptConfig(batch_size=2).batch_size == EnvConfig(batch_size=2).batch_size == 2


def _bounds(message: str) -> Iterator[float]:
    """Values that a message says are good: ends of the range that belong to it."""
    for least, low, high, most in re.findall(r" in ([\[(])([\d.]+), ([\d.]+)([\])])", message):
        yield from [float(low)] * (least == "[") + [float(high)] * (most == "]")
    for number in re.findall(r"(?:>=|at most) ([\d.,e+]*\d)", message):
        yield float(number.replace(",", ""))


def _refusal(make: Callable[..., Any], name: str, value: float) -> str:
    """The message of the error that a value of a setting raises; empty if it is taken."""
    try:
        make(**{name: value})
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", [EnvConfig, AdaptConfig, *_CONFIGS])
def test_ranges_that_are_told_are_taken(kind: type) -> None:
    told = 0
    for field in fields(kind):
        if isinstance(field.default, tuple):
            continue
        for bad in (-1, -1e9, 1e300, 10**15):
            for value in _bounds(_refusal(kind, field.name, bad)):
                # It may have to fit other settings, which is the next error, and another one.
                next_one = _refusal(kind, field.name, int(value) if value == int(value) else value)
                assert not next_one.startswith(f"{field.name} is "), next_one
                told += 1
    assert told > 5


def test_names_that_are_proposed_exist() -> None:
    for kind, names in (("pair", pairs.names()), ("algorithm", tuple(ALGORITHMS)), ("command", tuple(COMMANDS))):
        for name in names:
            near = re.search(r"Did you mean '(.*?)'", str(unknown_name(kind, name + "x", names)))
            assert near and near[1] in names
