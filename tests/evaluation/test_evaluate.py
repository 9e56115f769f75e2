"""Evaluation: its rows against an episode run by hand, its seeds, its intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from agents.opponents import PerLayer, Schedule
from l2o_env.config import EnvConfig
from l2o_env.env import Syn2RealEnv
from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import settings_for
from l2o_env.evaluation.evaluate import COLUMNS, evaluate
from l2o_env.evaluation.rollout import episode_seeds
from l2o_env.observation import FEATURE_NAMES, split_layers

SETTINGS: dict[str, Any] = {"budget": 9, "window": 4, "batch_size": 8, "device": "cpu"}
AGENTS = {"slow": Schedule("slow", 0.003), "fast": Schedule("fast", 0.1)}


@pytest.fixture
def config(tiny: str) -> EnvConfig:
    return EnvConfig(pairs=(tiny,), **SETTINGS)


def test_a_row_is_what_an_episode_by_hand_gives(config: EnvConfig) -> None:
    row = evaluate(AGENTS, ["tiny"], 3, config).iloc[4]
    assert row["policy"] == "fast"
    env = Syn2RealEnv(pairs="tiny", **SETTINGS, lr_min=0.05, lr_max=0.1)
    _, info = env.reset(seed=int(row["seed"]))
    start, total, terminated = info["value"], 0.0, False
    while not terminated:
        _, reward, terminated, _, info = env.step(np.ones(3))  # lr_max on every layer
        total += reward
    expected = {
        "v_start": start,
        "v_end": info["value"],
        "v_return": info["value"] - start,
        "return": total,
        "real_accuracy": env.evaluate("target"),
        "proxy_accuracy": env.evaluate("proxy_test"),
        "validation_accuracy": info["val_accuracy"],
        "updates": 9,
    }
    for column, value in expected.items():
        assert row[column] == pytest.approx(value, abs=1e-5), column
    assert not row["diverged"]


def test_policies_share_their_seeds_and_more_seeds_begin_with_the_same(config: EnvConfig) -> None:
    few, many = evaluate(AGENTS, ["tiny"], 3, config), evaluate(AGENTS, ["tiny"], 18, config)
    assert tuple(few.columns) == COLUMNS
    assert few["seed"].tolist()[:3] == few["seed"].tolist()[3:] == many["seed"].tolist()[:3]
    assert many["seed"].nunique() == 18
    pd.testing.assert_frame_equal(few.iloc[:3], many.iloc[:3], rtol=1e-4)
    assert set(episode_seeds(0, "evaluation", 18)).isdisjoint(episode_seeds(0, "training", 18))


def test_a_diverging_policy_is_reported_with_finite_values(config: EnvConfig) -> None:
    frame = evaluate({"wild": PerLayer("wild", (1e30,) * 3), **AGENTS}, ["tiny"], 2, config)
    wild = frame[frame["policy"] == "wild"]
    assert wild["diverged"].all()
    assert np.isfinite(wild[["v_end", "v_return", "real_accuracy", "return"]]).all(axis=None)
    assert not frame[frame["policy"] != "wild"]["diverged"].any()


class _DivergesOnce:
    """Rates 0.1, but in row 1 a rate that no network survives, from progress 0.4 on."""

    output: Literal["rates"] = "rates"

    def act(self, observations: np.ndarray, state: None, deterministic: bool) -> tuple[np.ndarray, None]:
        progress = split_layers(observations)[:, 0, FEATURE_NAMES.index("progress")]
        wild = (np.arange(len(progress)) == 1) & (progress > 0.4)
        return np.repeat(np.where(wild, 1e30, 0.1)[:, None], 3, axis=1), None


def test_a_row_that_diverges_early_keeps_its_last_weights_and_leaves_the_others_alone(config: EnvConfig) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    frame = evaluate(
        {"mixed": _DivergesOnce(), "calm": Schedule("calm", 0.1)},
        ["tiny"],
        3,
        replace(config, budget=16),
        on_step=lambda policy, pair, step, obs, info: seen.append((info["_lr"], info["seed"])),
    )
    mixed, calm = frame.iloc[:3], frame.iloc[3:]
    assert mixed["diverged"].tolist() == [False, True, False]
    columns = [column for column in COLUMNS if column != "policy"]
    pd.testing.assert_frame_equal(
        mixed[columns].iloc[[0, 2]], calm[columns].iloc[[0, 2]].set_index(mixed.index[[0, 2]]), rtol=1e-5
    )
    # Two windows went well: row 1 keeps the weights, and so the numbers, of an episode that long.
    short = evaluate({"calm": Schedule("calm", 0.1)}, ["tiny"], 3, replace(config, budget=8)).iloc[1]
    lost = mixed.iloc[1]
    for column in ("v_end", "v_return", "real_accuracy", "proxy_accuracy", "validation_accuracy"):
        assert lost[column] == pytest.approx(short[column], rel=1e-4), column
    assert lost["return"] == pytest.approx(short["return"] - config.divergence_penalty, rel=1e-4)
    # It diverges in the third window; the environment restarts it in the fourth, which does not count.
    assert [mask.tolist() for mask, _ in seen[:5]] == [[True] * 3] * 4 + [[True, False, True]]
    assert seen[0][1].tolist() == mixed["seed"].tolist()


def test_rows_that_fill_up_the_last_population_do_not_count(config: EnvConfig) -> None:
    seen: list[tuple[int, np.ndarray]] = []
    frame = evaluate(
        {"slow": AGENTS["slow"]},
        ["tiny"],
        17,
        config,
        on_step=lambda policy, pair, step, obs, info: seen.append((step, info["seed"][info["_seed"]])),
    )
    assert len(frame) == frame["seed"].nunique() == 17
    for number in range(4):
        rows = np.concatenate([seeds for step, seeds in seen if step == number])
        assert rows.tolist() == frame["seed"].tolist()


def test_the_same_seed_gives_the_same_table(config: EnvConfig) -> None:
    first, again, other = (evaluate(AGENTS, ["tiny"], 2, config, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert set(first["seed"]).isdisjoint(other["seed"])


def test_progress_counts_the_steps_of_all_populations(config: EnvConfig) -> None:
    seen: list[tuple[int, int, str]] = []
    evaluate(AGENTS, ["tiny"], 2, config, progress=lambda *report: seen.append(report))
    done = [0, 1, 2, 3, 3, 3, 4, 5, 6, 6]
    assert seen == [(k, 6, f"{name} on tiny") for k, name in zip(done, ["slow"] * 5 + ["fast"] * 5, strict=True)]


def test_progress_of_asgs_windows_ends_where_it_was_planned(config: EnvConfig) -> None:
    seen: list[tuple[int, int, str]] = []
    settings = replace(config, windows="asg", window=1, budget=40, epoch_updates=20)
    evaluate({"slow": AGENTS["slow"]}, ["tiny"], 2, settings, progress=lambda *report: seen.append(report))
    # Windows of 1, 1, 2, 4, 8, 4, and in the second epoch, after 20 updates, of 1, 2, 4, 8, 5.
    assert [done for done, _, _ in seen] == [*range(11), 10]
    assert {total for _, total, _ in seen} == {10}


def test_nothing_runs_where_one_agent_does_not_fit(config: EnvConfig) -> None:
    seen: list[tuple[int, int, str]] = []
    agents = {**AGENTS, "short": PerLayer("short", (0.1, 0.1))}
    with pytest.raises(
        ConfigError, match="'short' cannot run on the pair 'tiny': 'short' has rates for 2 layer groups"
    ):
        evaluate(agents, ["tiny"], 2, config, progress=lambda *report: seen.append(report))
    assert seen == []


def test_overrides_of_an_agent_are_honoured(config: EnvConfig) -> None:
    agents = {
        "plain": Schedule("plain", 1e-6),
        "drawn": Schedule("drawn", 1e-6, config_overrides={"random_init": True}),
    }
    frame = evaluate(agents, ["tiny"], 2, config)
    kept = frame.groupby("policy")["v_start"].mean()
    assert kept["plain"] > kept["drawn"]  # a drawn backbone is far from the proxy, so its KL is high


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"budget": 400}, "sets 'budget'"),
        ({"window": 5}, "sets 'window'"),
        ({"batch_size": 2, "reward": "val_loss"}, "sets 'batch_size', 'reward'"),
        ({"pairs": ["folders:backbone=os:abort"]}, "sets 'pairs'"),
        ({"x" * 1000: 1}, r"^[^\n]{1,400}$"),
    ],
)
def test_what_is_the_same_for_everyone_is_no_agents_to_set(
    config: EnvConfig, overrides: dict[str, Any], told: str
) -> None:
    own = Schedule("own", 0.01, config_overrides=overrides)
    with pytest.raises(ConfigError, match=told):
        evaluate({"own": own}, ["tiny"], 2, config)


def test_of_asgs_windows_the_shortest_is_the_agents(config: EnvConfig) -> None:
    agent = Schedule("asg", 0.01, config_overrides={"windows": "asg", "window": 2})
    assert settings_for(agent, config).window == 2


def test_every_step_is_seen(config: EnvConfig) -> None:
    seen: list[tuple[str, str, int]] = []
    evaluate(AGENTS, ["tiny"], 2, config, on_step=lambda policy, pair, step, *_: seen.append((policy, pair, step)))
    assert seen == [(policy, "tiny", step) for policy in AGENTS for step in range(4)]


def test_bad_input_is_refused(config: EnvConfig) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tiny'"):
        evaluate(AGENTS, ["tinny"], 2, config)
    with pytest.raises(ConfigError, match="n_seeds is 0"):
        evaluate(AGENTS, ["tiny"], 0, config)
    with pytest.raises(ConfigError, match="expected at least one each"):
        evaluate({}, ["tiny"], 2, config)
