"""Hyper-parameters from text and YAML: values, closest names, wrong types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from agents.algorithms.reinforce_config import ReinforceConfig
from agents.algorithms.sb3_config import PPOConfig, SACConfig, TRPOConfig
from agents.algorithms.table import ALGORITHMS, configure, find
from agents.options import override, parse_assignments, read_file
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
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_file(path)


def test_settings_of_the_algorithms() -> None:
    assert configure("reinforce", {"gamma": "0.5"}) == ReinforceConfig(gamma=0.5)
    assert configure("ppo", {"clip_range": "0.1", "net_arch": [32]}) == PPOConfig(clip_range=0.1, net_arch=(32,))
    assert configure("trpo") == TRPOConfig()
    with pytest.raises(ConfigError, match=r"Unknown hyper-parameter of ppo 'n_epoch'\. Did you mean 'n_epochs'"):
        configure("ppo", {"n_epoch": 3})
    with pytest.raises(ConfigError, match=r"Unknown algorithm 'pppo'\. Did you mean 'ppo'"):
        configure("pppo")
    for name, value, told in (
        ("gamma", 1.5, r"gamma is 1\.5; expected a number in \[0, 1\]"),
        ("learning_rate", 0, r"learning_rate is 0\.0; expected a number > 0"),
        ("noise_std", -1, "Unknown hyper-parameter"),
        ("learning_starts", -1, "learning_starts is -1; expected a number >= 0"),
        ("net_arch", [0], r"net_arch is \(0,\); expected widths >= 1"),
        ("ent_coef", "much", "ent_coef is 'much'; expected a number or auto"),
    ):
        with pytest.raises(ConfigError, match=told):
            configure("sac", {name: value})
    assert configure("sac", {"ent_coef": "auto"}) == SACConfig(ent_coef="auto")


def test_an_algorithm_and_an_action_form_that_do_not_fit() -> None:
    with pytest.raises(
        ConfigError, match=r"'sac' takes the forms log, relative, log\+guidance; 'discrete' goes with reinforce, .*ppo"
    ):
        find("sac", "discrete")
    with pytest.raises(ConfigError, match=r"'dqn' takes the forms discrete; 'log' goes with reinforce, .*ars"):
        find("dqn", "log")
    for name, algorithm in ALGORITHMS.items():
        for form in algorithm.forms:
            assert find(name, form) is algorithm
