"""Evaluations in parts: what is kept and what is not, selections, agents that do not fit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.algorithms.reinforce_config import ReinforceConfig
from agents.opponents import Schedule
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation import parts
from l2o_env.evaluation.agent import AgentLike
from l2o_env.evaluation.contestant import Contestant, Mode, SelectionRule
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.evaluation.resumable import evaluate_in_parts
from l2o_env.evaluation.summary import TIDY_COLUMNS
from l2o_env.results.record import read_recording
from tests.tiny import register_tiny_deep

BOTH: tuple[Mode, ...] = ("deterministic", "sampled")


@pytest.fixture
def config(tinies: tuple[str, str]) -> EnvConfig:
    return EnvConfig(pairs=("tiny",), budget=6, window=3, batch_size=8, device="cpu")


def _contestant(
    config: EnvConfig,
    name: str = "learned",
    seed: int = 0,
    selection: SelectionRule = "last",
    modes: tuple[Mode, ...] = BOTH,
    **settings: Any,
) -> Contestant:
    def load() -> AgentLike:
        return Reinforce(config, config=ReinforceConfig(**settings), n_layers=3, seed=seed)

    return Contestant(name, load, f"reinforce {seed} {settings}", config, selection, trained_on=("tiny",), modes=modes)


def _opponent(config: EnvConfig, rate: float = 0.01) -> Contestant:
    return Contestant("uniform", partial(Schedule, "uniform", rate), f"uniform {rate}", config, "fixed")


def test_rows_are_those_of_a_plain_evaluation(config: EnvConfig, tmp_path: Path) -> None:
    learned = _contestant(config)
    found = evaluate_in_parts([learned, _opponent(config)], ["tiny", "tiny-4"], 3, tmp_path)
    frame = found.results
    assert tuple(frame.columns[: len(TIDY_COLUMNS)]) == TIDY_COLUMNS
    assert (found.kept, found.n_parts, len(frame)) == (0, 6, 3 * 2 * 3)
    for mode in BOTH:
        rows = frame[(frame["mode"] == mode) & (frame["policy"] == "learned") & (frame["pair"] == "tiny-4")]
        direct = evaluate({"a": learned.load()}, ["tiny-4"], 3, config, deterministic=mode == "deterministic")
        for column in ("seed", "v_return", "real_accuracy", "proxy_accuracy", "updates", "diverged"):
            assert rows[column].tolist() == direct[column].tolist(), column
    assert set(frame[frame["policy"] == "uniform"]["mode"]) == {"deterministic"}
    assert (frame["wall_time"] > 0).all()


def test_the_accuracy_on_each_class_averages_to_the_accuracy(config: EnvConfig, tmp_path: Path) -> None:
    frame = evaluate_in_parts([_opponent(config)], ["tiny"], 2, tmp_path).results
    classes = frame[[f"real_accuracy_class_{k}" for k in range(3)]]
    assert len(frame.columns) == len(TIDY_COLUMNS) + 3
    np.testing.assert_allclose(classes.mean(axis=1), frame["real_accuracy"])  # the tiny target is balanced
    assert classes.to_numpy().std() > 0


def test_it_goes_on_where_it_was_cut_off(config: EnvConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    contestants = [_contestant(config), _opponent(config)]
    expected = evaluate_in_parts(contestants, ["tiny", "tiny-4"], 2, whole)
    runs: list[str] = []
    real = parts.evaluate

    def counting(agents: Any, pairs: list[str], *args: Any, **kwargs: Any) -> pd.DataFrame:
        runs.append(pairs[0])
        if len(runs) == 4:
            raise KeyboardInterrupt
        return real(agents, pairs, *args, **kwargs)

    monkeypatch.setattr(parts, "evaluate", counting)
    with pytest.raises(KeyboardInterrupt):
        evaluate_in_parts(contestants, ["tiny", "tiny-4"], 2, tmp_path)
    seen: list[tuple[int, int, str]] = []
    again = evaluate_in_parts(contestants, ["tiny", "tiny-4"], 2, tmp_path, progress=lambda *r: seen.append(r))
    assert (again.kept, again.n_parts, len(runs)) == (3, 6, 4 + 3)
    assert seen[-1][:2] == (6, 6)  # two steps of each of the three parts that were open
    without_time = [column for column in expected.results.columns if column != "wall_time"]
    pd.testing.assert_frame_equal(again.results[without_time], expected.results[without_time], check_exact=True)
    pd.testing.assert_frame_equal(
        read_recording(tmp_path / "actions.parquet"), read_recording(whole / "actions.parquet"), check_exact=True
    )
    assert evaluate_in_parts(contestants, ["tiny", "tiny-4"], 2, tmp_path).kept == 6
    assert len(runs) == 7


@pytest.mark.parametrize("change", ["agent", "seeds", "seed", "config", "damage", "images"])
def test_a_part_is_kept_only_if_all_is_as_it_was(
    config: EnvConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    n, seed, opponent = 2, 0, _opponent(config)
    assert evaluate_in_parts([opponent], ["tiny"], n, tmp_path).kept == 0
    if change == "agent":
        opponent = _opponent(config, 0.02)
    elif change == "config":
        opponent = replace(opponent, config=replace(config, guidance_weight=0.1))
    elif change == "damage":
        next(tmp_path.glob("parts/*.parquet")).write_bytes(b"PAR1")
        results = [path for path in tmp_path.glob("parts/*.parquet") if "actions" not in path.name]
        results[0].write_bytes(results[0].read_bytes()[:100])
    elif change == "images":
        monkeypatch.setattr("l2o_env.evaluation.resumable.pair_digest", lambda pair: "others")
    n, seed = n + (change == "seeds"), seed + (change == "seed")
    again = evaluate_in_parts([opponent], ["tiny"], n, tmp_path, seed=seed)
    assert again.kept == 0
    assert len(again.results) == n


def test_flipped_bits_are_seen_and_made_again(config: EnvConfig, tmp_path: Path) -> None:
    opponent = _opponent(config)
    expected = evaluate_in_parts([opponent], ["tiny"], 2, tmp_path).results.drop(columns="wall_time")
    recorded = read_recording(tmp_path / "actions.parquet")
    for pattern in ("parts/*[0-9a-f].parquet", "parts/*.actions.parquet"):
        (path,) = tmp_path.glob(pattern)
        content = path.read_bytes()
        for k in range(5, len(content), len(content) // 5):
            flipped = bytearray(content)
            flipped[k] ^= 4
            path.write_bytes(flipped)
            found = evaluate_in_parts([opponent], ["tiny"], 2, tmp_path)
            assert found.kept == 0 or found.results["wall_time"].notna().all()  # a byte that nothing is read from
            pd.testing.assert_frame_equal(found.results.drop(columns="wall_time"), expected)
            pd.testing.assert_frame_equal(read_recording(tmp_path / "actions.parquet"), recorded)


def test_renaming_and_adding_keep_what_there_is(config: EnvConfig, tmp_path: Path) -> None:
    evaluate_in_parts([_opponent(config)], ["tiny"], 2, tmp_path)
    renamed = replace(_opponent(config), policy="other")
    found = evaluate_in_parts([renamed, _contestant(config)], ["tiny"], 2, tmp_path)
    assert (found.kept, found.n_parts) == (1, 3)
    assert found.results["policy"].tolist() == ["other"] * 2 + ["learned"] * 4
    assert set(read_recording(tmp_path / "actions.parquet")["policy"]) == {"other", "learned"}


def test_all_three_selections_are_in_the_table(config: EnvConfig, tmp_path: Path) -> None:
    last = _contestant(config, seed=0, selection="last", modes=("deterministic",))
    best = _contestant(config, seed=1, selection="source", modes=("deterministic",))
    frame = evaluate_in_parts([last, best, _opponent(config)], ["tiny"], 2, tmp_path).results
    assert frame["selection"].tolist() == ["last"] * 2 + ["source"] * 2 + ["target-oracle"] * 2 + ["fixed"] * 2
    values = {name: rows["real_accuracy"].mean() for name, rows in frame.groupby("selection")}
    assert values["target-oracle"] == max(values["last"], values["source"])
    recorded = read_recording(tmp_path / "actions.parquet")
    assert recorded["policy"].unique().tolist() == ["learned (last)", "learned", "uniform"]


def test_a_shared_policy_runs_on_a_network_of_other_layers(config: EnvConfig, tmp_path: Path) -> None:
    deep = register_tiny_deep()
    found = evaluate_in_parts([_contestant(config, modes=("deterministic",))], ["tiny", deep], 2, tmp_path)
    assert np.isfinite(found.results["v_return"]).all()
    recorded = read_recording(tmp_path / "actions.parquet")
    layers = recorded.groupby("pair")["layer"].unique()
    assert list(layers["tiny"]) == ["stem", "layer1", "head"]
    assert list(layers[deep]) == ["stem", "layer1", "layer2", "layer3", "head"]


def test_heads_per_layer_on_a_network_of_other_layers_fail_before_anything_runs(
    config: EnvConfig, tmp_path: Path
) -> None:
    contestants = [_opponent(config), _contestant(config, per_layer_heads=True)]
    with pytest.raises(
        ConfigError, match=r"'learned' cannot run on the pair 'tiny-deep': .* heads for 3 layer groups and got 5"
    ):
        evaluate_in_parts(contestants, ["tiny", register_tiny_deep()], 2, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_bad_input_fails_before_anything_runs(config: EnvConfig, tmp_path: Path) -> None:
    learned = _contestant(config)
    cases: list[tuple[list[Contestant], list[str], int, str]] = [
        ([learned], ["tinny"], 2, "Did you mean 'tiny'"),
        ([learned], ["tiny"], 0, "n_seeds is 0"),
        ([], ["tiny"], 2, "0 policies"),
        ([learned, learned], ["tiny"], 2, "Two policies are called 'learned'"),
        ([replace(learned, config=replace(config, action="relative"))], ["tiny"], 2, "was trained with .*'log'"),
        ([replace(learned, modes=("samples",))], ["tiny"], 2, "Did you mean 'sampled'"),  # type: ignore[arg-type]
    ]
    for contestants, pairs, n, told in cases:
        with pytest.raises(ConfigError, match=told):
            evaluate_in_parts(contestants, pairs, n, tmp_path)
    assert list(tmp_path.iterdir()) == []
