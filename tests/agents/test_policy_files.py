"""The two files of a policy: what is written is read again, and what is said of other files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.policy_files import check_features, observed_features, reading_policy, tensors_under, write_policy
from agents.reinforce import Reinforce
from l2o_env import observation
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError

CONFIG = EnvConfig(pairs=("tiny",))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {"policy.weight": torch.arange(6.0).reshape(2, 3).T, "other": torch.ones(())}
    write_policy(tmp_path / "new", {"name": "mine", "n": 3}, tensors)
    with reading_policy(tmp_path / "new") as (description, found):
        assert description == {"name": "mine", "n": 3}
        assert set(found) == set(tensors) and all(torch.equal(found[name], tensors[name]) for name in tensors)
        assert list(tensors_under("policy.", found)) == ["weight"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["policy.json", "policy.safetensors"]


def test_loading_from_a_folder_without_a_policy_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no policy \(policy\.json is missing\)"):
        Reinforce.load(tmp_path)


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_loading_a_damaged_policy_says_so(tmp_path: Path, name: str) -> None:
    Reinforce(CONFIG).save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(ConfigError, match="is damaged"):
        Reinforce.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"features": 3}'])
def test_loading_a_policy_with_another_description_says_so(tmp_path: Path, text: str) -> None:
    Reinforce(CONFIG).save(tmp_path)
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        Reinforce.load(tmp_path)


def test_what_the_block_cannot_make_of_the_files_is_their_damage(tmp_path: Path) -> None:
    write_policy(tmp_path, {"n": 3}, {})
    with (
        pytest.raises(ConfigError, match=r"is damaged \(there is no 'name'\); copy it again, or train anew"),
        reading_policy(tmp_path) as (description, _),
    ):
        description["name"]
    with pytest.raises(ConfigError, match=r"^as it is$"), reading_policy(tmp_path):
        raise ConfigError("as it is")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ["lr"]}, r"expects the features \['lr'\]; this l2o-env has \['task_rms', .*Use the version of"),
        (
            {"observation_version": 0},
            r"observes version 0 of a layer's features; this l2o-env has version 1",
        ),
        ({"observation_version": None}, "observes version None"),
    ],
)
def test_a_policy_for_other_features_says_so(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    check_features(tmp_path, observed_features())
    with pytest.raises(ConfigError, match=message):
        check_features(tmp_path, {**observed_features(), **change})
    Reinforce(CONFIG).save(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    del description["sha256"]
    assert description["observation_version"] == observation.VERSION
    (tmp_path / "policy.json").write_text(json.dumps({**description, **change}))
    with pytest.raises(ConfigError, match=message):
        Reinforce.load(tmp_path)
