"""Distributions of tasks: what is drawn lies in the ranges, and is drawn again from the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.pairs.spec import parse
from l2o_env.tasks import TASKS, Task, TaskRanges, held_out_tasks, task_ranges


def _drawn(n: int, *, any_optimizer: bool = True, **settings: Any) -> list[Task]:
    ranges, rng = TaskRanges(("glyphs-sans", "glyphs-parity"), **settings), np.random.default_rng(0)
    return [ranges.draw(rng, any_optimizer=any_optimizer) for _ in range(n)]


def test_what_is_drawn_lies_in_the_ranges_and_reaches_all_of_them() -> None:
    tasks = _drawn(300)
    assert tasks == _drawn(300)
    settings = [parse(task.pair)[1] | task.settings for task in tasks]
    for name, least, most in (
        ("budget", 100, 1000), ("batch_size", 8, 128), ("n_train_per_class", 15, 240), ("guidance_weight", 0.03, 3),
        ("label_noise", 0, 0.5),
    ):  # fmt: skip
        values = np.array([each[name] for each in settings])
        assert values.min() >= least and values.max() <= most
        if name == "label_noise":
            assert 0.4 < (values == 0).mean() < 0.6
        else:  # log-uniform
            assert np.median(values) == pytest.approx(np.sqrt(least * most), rel=0.25)
    assert {each["network"] for each in settings} == {"small", "narrow", "deep", "unnormalised"}
    assert {each["optimizer"] for each in settings} == {"adamw", "sgd"}
    assert {parse(task.pair)[0] for task in tasks} == {"glyphs-sans", "glyphs-parity"}
    assert {pairs.label(task.pair) for task in tasks} == {"glyphs-sans", "glyphs-parity"}
    windows = np.array([each["budget"] / each["window"] for each in settings])
    assert windows.min() > 17 and windows.max() < 23


def test_without_an_optimizer_everything_else_is_the_same() -> None:
    for task, other in zip(_drawn(20), _drawn(20, any_optimizer=False), strict=True):
        assert task.pair == other.pair
        assert {**other.settings, "optimizer": task.settings["optimizer"]} == task.settings


def test_a_task_becomes_settings_with_the_rates_of_its_optimizer() -> None:
    common = EnvConfig(action="relative_update", momentum=0.8)
    task = Task("glyphs-sans:network=narrow", {"budget": 120, "window": 6, "batch_size": 9, "optimizer": "sgd"})
    assert task.config(common) == EnvConfig(
        pairs="glyphs-sans:network=narrow",  # type: ignore[arg-type]
        action="relative_update", momentum=0.8, budget=120, window=6, batch_size=9, optimizer="sgd",
    )  # fmt: skip
    same = Task("glyphs-sans", {"optimizer": "adamw"}).config(EnvConfig(weight_decay=0.3))
    assert same == EnvConfig(pairs=("glyphs-sans",), weight_decay=0.3)


def test_a_range_of_one_value_is_that_value() -> None:
    ranges: dict[str, Any] = {"budget": (60, 60), "label_noise": (0.2, 0.2), "guidance_weight": (0.5, 0.5)}
    assert TaskRanges(("glyphs-sans",), **ranges).mean_budget == 60
    for task in _drawn(5, **ranges):
        assert task.settings["budget"] == 60 and task.settings["guidance_weight"] == 0.5
        assert parse(task.pair)[1]["label_noise"] == 0.2


def test_the_mean_budget_is_that_of_what_is_drawn() -> None:
    drawn = np.mean([task.settings["budget"] for task in _drawn(4000)])
    assert TaskRanges(("glyphs-sans",)).mean_budget == pytest.approx(drawn, rel=0.03)


def test_policies_are_judged_on_pairs_and_networks_that_training_never_sees() -> None:
    train, test = task_ranges("wide", "train"), task_ranges("wide", "test")
    assert train.members == pairs.names("train") and test.members == pairs.names("test")
    assert set(test.networks) - set(train.networks) == {"wide", "deeper"}
    tasks = held_out_tasks("wide", 4, any_optimizer=False)
    assert tasks == held_out_tasks("wide", 9, any_optimizer=False)[:4]
    assert [pairs.label(task.pair) for task in tasks] == ["wide-01", "wide-02", "wide-03", "wide-04"]
    assert len({task.pair for task in tasks}) == 4
    for task in tasks:
        pairs.check(task.pair)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": (1000, 100)}, r"budget is \(1000, 100\); expected a range: the smallest and the largest value, both"
         r" >= 1, in this order\."),
        ({"batch_size": ()}, r"batch_size is \(\); expected a range"),
        ({"guidance_weight": (0.0, 1.0)}, r"guidance_weight is \(0\.0, 1\.0\); expected a range.* > 0"),
        ({"label_noise": (-0.1, 1.0)}, r"label_noise is \(-0\.1, 1\.0\); expected a range.* >= 0"),
        ({"label_noise": (0.0, 2.0)}, r"label_noise is 2\.0; expected a share from 0 to 1"),
        ({"budget": 300}, r"budget is 300; expected a range"),
        ({"networks": ()}, r"networks is \(\); expected a list of at least one name"),
        ({"networks": ("smal",)}, r"Unknown network 'smal'\. Did you mean 'small'"),
        ({"optimizers": ("adam",)}, r"Unknown optimizer 'adam'\. Did you mean 'adamw'"),
        ({"members": ("glyph-sans",)}, r"Unknown member 'glyph-sans'\. Did you mean 'glyphs-sans'"),
        ({"members": "glyphs-sans"}, r"members is 'glyphs-sans'; expected a list"),
        ({"n_windows": 0}, r"n_windows is 0"),
    ],
)  # fmt: skip
def test_ranges_that_cannot_be_drawn_from_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TaskRanges(**{"members": ("glyphs-sans",), **settings})


def test_unknown_distributions_are_refused() -> None:
    assert list(TASKS) == ["wide"]
    with pytest.raises(ConfigError, match=r"Unknown distribution of tasks 'wid'\. Did you mean 'wide'"):
        task_ranges("wid", "train")
    with pytest.raises(ConfigError, match=r"Unknown part 'validation'"):
        task_ranges("wide", "validation")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"n is 0"):
        held_out_tasks("wide", 0, any_optimizer=True)
