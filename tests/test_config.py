"""Settings: defaults, derived values, and one clear error for each that cannot work."""

from __future__ import annotations

import dataclasses
import inspect
from collections import UserList
from typing import Any

import numpy as np
import pytest
import torch

from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError


def test_one_name_is_taken_as_one_pair() -> None:
    assert EnvConfig(pairs="glyphs-digits").pairs == ("glyphs-digits",)  # type: ignore[arg-type]
    assert EnvConfig(pairs=["a", "b"]).pairs == ("a", "b")  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers_and_any_sequence_names_pairs() -> None:
    config = EnvConfig(
        pairs=UserList(["a", "b"]),  # type: ignore[arg-type]
        budget=np.int64(30),  # type: ignore[arg-type]
        base_lr=np.float32(0.5),  # type: ignore[arg-type]
        random_init=np.bool_(True),  # type: ignore[arg-type]
    )
    assert EnvConfig(pairs=np.array(["a", "b"])).pairs == ("a", "b")  # type: ignore[arg-type]
    assert config == EnvConfig(pairs=("a", "b"), budget=30, base_lr=0.5, random_init=True)
    assert [type(value) for value in (config.budget, config.base_lr, config.random_init)] == [int, float, bool]


def test_every_setting_has_a_rule() -> None:
    for field in dataclasses.fields(EnvConfig):
        if field.name not in ("pairs", "device"):
            with pytest.raises(ConfigError, match=rf"{field.name.replace('_', '.')}|Unknown"):
                EnvConfig(**{field.name: object()})  # type: ignore[arg-type]


def test_the_kl_term_of_the_loss_has_no_weight_without_guidance() -> None:
    assert EnvConfig(guidance_weight=0.7).kl_loss_weight == 0.7
    assert EnvConfig(guidance_weight=0.7, guidance="none").kl_loss_weight == 0.0


def test_the_terms_of_guidance_have_their_authors_settings() -> None:
    config = EnvConfig()
    assert (config.csg_temperature, config.csg_dim, config.csg_queue) == (0.07, 128, 65_536)
    assert config.l2sp_head == 0.1  # β / α, 0.01 to 0.1


def test_settings_are_frozen_and_every_field_is_documented() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EnvConfig().budget = 3  # type: ignore[misc]
    lines = [line.strip() for line in inspect.getsource(EnvConfig).splitlines()]
    for field in dataclasses.fields(EnvConfig):
        (place,) = (i for i, line in enumerate(lines) if line.startswith(f"{field.name}:"))
        assert lines[place + 1].startswith('"""'), field.name


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"action": "logg"}, ["action form", "'logg'", "'log'?", "'discrete'", "'relative'"]),
    ({"reward": "proxy_gided"}, ["reward", "'proxy_gided'", "'proxy_guided'?", "'val_loss'", "'target_oracle'"]),
    ({"guidance": "kd"}, ["guidance", "'kd'", "'kl'?", "'none'"]),
    ({"implementation": "stack"}, ["implementation", "'stack'", "'stacked'?", "'auto'", "'looped'"]),
    ({"reward": 3}, ["reward", "3", "'val_loss'"]),
    ({"pairs": ()}, ["pairs is ()", "at least one pair"]),
    ({"pairs": 5}, ["pairs is 5", "at least one pair"]),
    ({"pairs": (5,)}, ["pairs is (5,)", "at least one pair"]),
    ({"budget": 0}, ["budget is 0", "integer >= 1"]),
    ({"budget": 10.0}, ["budget is 10.0", "integer >= 1"]),
    ({"window": -1}, ["window is -1", "integer >= 1"]),
    ({"batch_size": True}, ["batch_size is True", "integer >= 1"]),
    ({"window": 11, "budget": 10}, ["window 11", "budget of 10", "at most the budget"]),
    ({"guidance_weight": -0.1}, ["guidance_weight is -0.1", ">= 0"]),
    ({"guidance_weight": float("nan")}, ["guidance_weight is nan", ">= 0"]),
    ({"kl_weight": -1}, ["kl_weight is -1", ">= 0"]),
    ({"kl_weight": "much"}, ["kl_weight is 'much'", "a number, or 'auto'"]),
    ({"divergence_penalty": float("inf")}, ["divergence_penalty is inf", "finite"]),
    ({"weight_decay": "5e-4"}, ["weight_decay is '5e-4'", ">= 0"]),
    ({"momentum": 1.0}, ["momentum is 1.0", "[0, 1)"]),
    ({"clip_norm": 0}, ["clip_norm is 0", "> 0"]),
    ({"base_lr": 0.0}, ["base_lr is 0.0", "> 0"]),
    ({"relative_scale": 1.0}, ["relative_scale is 1.0", "> 1"]),
    ({"base_lr": 1e39}, ["base_lr is 1e+39", "at most 1e+38"]),
    ({"weight_decay": 1e300}, ["weight_decay is 1e+300", "at most 1e+09"]),
    ({"kl_weight": 1e300}, ["kl_weight is 1e+300", "at most 1e+09"]),
    ({"budget": 10**9}, ["budget is 1000000000", "at most 10,000,000"]),
    ({"batch_size": 10**8}, ["batch_size is 100000000", "at most 1,000,000"]),
    ({"workers": 10**4}, ["workers is 10000", "at most 1,024"]),
    ({"optimizer": ["sgd"]}, ["Unknown optimizer", "'sgd'"]),
    ({"reward": "x" * 10**6}, ["Unknown reward 'xxx", "val_loss"]),
    ({"lr_min": 0.0}, ["lr_min is 0.0", "> 0"]),
    ({"lr_min": 0.1, "lr_max": 0.1}, ["lr_min 0.1", "smaller than", "lr_max 0.1"]),
    ({"lr_min": 0.5, "lr_max": 0.3}, ["lr_min 0.5", "smaller than", "lr_max 0.3"]),
    ({"common_random_numbers": "no"}, ["common_random_numbers is 'no'", "True or False"]),
    ({"random_init": 1}, ["random_init is 1", "True or False"]),
    ({"momentum": True}, ["momentum is True", "[0, 1)"]),
    ({"windows": "asg", "window": 10, "budget": 10}, ["'asg'", "10 updates before the first action"]),
    ({"guidance_weight_min": 2.0, "guidance_weight_max": 1.0}, ["guidance_weight_min 2.0", "guidance_weight_max 1.0"]),
    ({"action": "log+guidance", "guidance": "none"}, ["'log+guidance'", "guidance is 'none'"]),
    ({"buget": 10}, ["setting", "'buget'", "'budget'?", "'momentum'"]),
]


@pytest.mark.parametrize(("kwargs", "parts"), BAD, ids=[str(kwargs) for kwargs, _ in BAD])
def test_a_bad_setting_says_what_came_and_what_was_expected(kwargs: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        EnvConfig.from_kwargs(kwargs)
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_config_error_is_a_value_error() -> None:
    assert issubclass(ConfigError, ValueError)


def test_devices_that_are_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu0", "cuda:97", "meta", "", None])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_device(name)
    for part in (repr(name), "not there", "cpu", "'auto'"):
        assert part in str(caught.value)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu(*args: object, **kwargs: object) -> torch.Tensor:
        raise AssertionError("Torch not compiled with CUDA enabled")  # what a CPU build of PyTorch raises

    monkeypatch.setattr(torch, "zeros", no_gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"Device 'cuda' is not there; this machine has cpu\."):
        resolve_device("cuda")


def test_settings_of_older_files_are_read_by_their_new_names() -> None:
    assert EnvConfig.from_saved({"update_rule": "rate_in_momentum", "budget": 30}).optimizer == "rate_in_momentum"
    assert EnvConfig.from_saved({"base_lr": 0.5}).optimizer == "sgd"  # there was no other when files named none
    assert EnvConfig.from_saved({"optimizer": "lion"}).optimizer == "lion"
