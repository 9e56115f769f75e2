"""Hyper-parameters from text and YAML: values, closest names, wrong types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from agents.options import environment_settings, override, parse_assignments, read_file
from l2o_env.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    n: int = 1
    rate: float = 0.5
    limit: float | None = None
    flag: bool = False
    widths: tuple[int, ...] = (8,)
    word: Literal["a", "b"] = "a"
    weight: float | str = "auto"


def test_text_is_read_as_the_type_of_the_field() -> None:
    text = {"n": "3", "rate": "1e-3", "limit": "2", "flag": "true", "widths": "64,32", "word": "b", "weight": "0.1"}
    assert override(Settings(), text) == Settings(3, 1e-3, 2.0, True, (64, 32), "b", 0.1)
    none = {"limit": "none", "widths": "[]", "flag": "False", "weight": "auto_0.1"}
    assert override(Settings(limit=1.0, flag=True), none) == Settings(widths=(), weight="auto_0.1")


def test_values_of_yaml_keep_their_type(tmp_path: Path) -> None:
    path = tmp_path / "hp.yaml"
    path.write_text("n: 3\nrate: 1\nlimit: null\nflag: true\nwidths: [64, 32]\nword: b\nweight: 1e-3\n")
    found = override(Settings(limit=1.0), read_file(path))
    assert found == Settings(3, 1.0, None, True, (64, 32), "b", 1e-3)
    assert type(found.rate) is float
    path.write_text("")
    assert read_file(path) == {}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rat": 1}, r"Unknown hyper-parameter 'rat'\. Did you mean 'rate'\?"),
        ({"n": "1.5"}, r"n is '1\.5'; expected an integer\."),
        ({"n": True}, r"n is True; expected an integer"),
        ({"n": 2.0}, r"n is 2\.0; expected an integer"),
        ({"rate": "fast"}, r"rate is 'fast'; expected a number\."),
        ({"rate": "nan"}, r"rate is 'nan'; expected a number\."),
        ({"rate": float("inf")}, r"rate is inf; expected a number\."),
        ({"limit": "off"}, r"limit is 'off'; expected a number or none\."),
        ({"flag": "yes"}, r"flag is 'yes'; expected true or false\."),
        ({"flag": 1}, r"flag is 1; expected true or false\."),
        ({"widths": "64,x"}, r"widths is '64,x'; expected a list such as 64,64\."),
        ({"widths": 64}, r"widths is 64; expected a list"),
        ({"word": "c"}, r"word is 'c'; expected one of a, b\."),
        ({"rate": [1]}, r"rate is \[1\]; expected a number\."),
    ],
)
def test_wrong_names_and_types(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        override(Settings(), changes)


def test_assignments() -> None:
    assert parse_assignments(["a=1", "b = x=y", "a=2"]) == {"a": "2", "b": "x=y"}
    for bad in ("gamma", "=3"):
        with pytest.raises(ConfigError, match=r"expected name=value, such as gamma=0\.95"):
            parse_assignments([bad])


def test_files_that_are_no_hyperparameters(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_file(tmp_path / "none.yaml")
    path = tmp_path / "hp.yaml"
    for text, told in (
        ("a: [1", "is no YAML file"),
        ("- 1\n", r"holds \[1\]; expected lines"),
        ("3: 1\n", r"holds \{3: 1\}; expected lines"),
        ("!!python/object/apply:os.getcwd []", "is no YAML file"),
        ("a: &a [1, 1]\nb: [*a, *a]", "it refers to its own parts"),
        ("a: " + "[" * 10**4, "it nests deeper than 10"),
        ("a: 1\nb: 2\na: 3", "it has 'a' twice"),
        ("a: " + "9" * 5000, "is no YAML file"),
        ("a: 2000-99-99", "is no YAML file"),
        ("a: 1\n" * 10**5, "it has more than 0.0625 MiB"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_file(path)


def test_settings_of_the_environment_that_a_command_sets_otherwise_are_no_names_of_env() -> None:
    assert environment_settings(["batch_size=6", "clip_norm=none"], ("budget",)) == {"batch_size": 6, "clip_norm": None}
    with pytest.raises(ConfigError, match="--env sets budget, window, which this command has options of its own for"):
        environment_settings(["window=3", "budget=6"], ("budget", "window"))
    with pytest.raises(ConfigError, match=r"Unknown setting of the environment 'batchsize'\. Did you mean"):
        environment_settings(["batchsize=6"], ())
