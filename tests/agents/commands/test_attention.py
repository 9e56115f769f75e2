"""``l2o attention``: what it prints and draws, with bad input told in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import train_policy
from agents.commands.attention import one_of_each, summary
from agents.reinforce.agent import Reinforce
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.attention import Look
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from tests.tiny import TINY, tiny_pair

pytest.importorskip("captum")

PAIR = tiny_pair()


def test_the_share_on_the_object_is_told_beside_that_of_chance() -> None:
    maps, masks = np.zeros((3, 2, 2)), np.zeros((3, 2, 2), bool)
    maps[0] = [[0.5, 0.1], [0.2, 0.2]]
    maps[1] = [[0.0, 1.0], [0.0, 0.0]]
    masks[:, 0, 0] = True
    masks[0, 1, 1] = True
    looks = {"net": [Look(maps, np.array([1, 0, 2]), "x"), Look(maps, np.array([1, 1, 2]), "x")]}
    lines = summary(looks, np.array([1, 1, 2]), masks)
    assert lines[0].startswith("net: accuracy 0.833 ± ") and "attention on the object 0.350" in lines[0]
    assert lines[1].startswith("Objects cover 0.333")
    assert "does not know where" in summary(looks, np.array([1, 1, 2]), None)[1]


def test_a_layer_that_cannot_be_read_is_told_before_fine_tuning(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Reinforce(EnvConfig(device="cpu"), seed=1).save(tmp_path)
    assert train_policy.main(["attention", str(tmp_path), "--pair", tiny, "--layer", "layer9", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "error: Unknown layer 'layer9'" in error and "Fine-tuning" not in error


def test_pictures_show_every_class_before_any_twice() -> None:
    labels = np.array([2, 2, 0, 1, 0, 1])
    assert one_of_each(labels, 3) == [2, 3, 0]
    assert one_of_each(labels, 5) == [2, 3, 0, 4, 5]


@pytest.mark.parametrize("kind", [StackedPopulation, LoopedPopulation])
def test_an_optimizee_can_be_taken_out(kind: type[Population]) -> None:
    population = kind([PAIR], 2, EnvConfig(**{**TINY, "budget": 6}))
    with pytest.raises(ConfigError, match="has no weights yet"):
        population.optimizee(0)
    population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
    population.run(np.full((2, 3), 0.05), np.array([4, 2]))
    assert PAIR.target is not None
    for i in range(2):
        model = population.optimizee(i)
        with torch.no_grad():
            said = model(PAIR.target.images)[0].argmax(-1)
        assert (said == PAIR.target.labels).float().mean() == population.evaluate("target").accuracy[i]
        with torch.no_grad():
            next(model.parameters()).zero_()  # a copy: the optimizee stays as it is
    assert population.weights.abs().sum(-1).min() > 0


def test_real_glyphs_know_where_the_digit_is() -> None:
    from l2o_env.pairs.rendered import glyphs

    _, second = glyphs.uci_halves()
    digits = (second[0][:20], second[1][:20])
    split = glyphs._real_split(glyphs.GlyphsConfig(), digits, 2, "right", "target", np.arange(10))
    assert split.masks is not None and split.masks.shape == (40, 16, 16) and split.masks.dtype == torch.bool
    np.testing.assert_array_equal(split.masks[0].numpy(), digits[0][0] > 0.25)
    assert torch.equal(split.masks[:20], split.masks[20:])
    assert 0.1 < split.masks.float().mean() < 0.6


def test_the_command_writes_a_picture_and_tells_the_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = PAIR.target
    assert isinstance(target, pairs.Split)
    masked = replace(PAIR, name="tiny-masked", target=replace(target, masks=target.images.mean(1) > 0))
    if "tiny-masked" not in pairs.names():
        pairs.register("tiny-masked", lambda: masked)
    Reinforce(EnvConfig(pairs=("tiny-masked",), device="cpu"), seed=1).save(tmp_path / "policy")
    fast = "--pair tiny-masked --budget 15 --seeds 2 --images 4 --measured 12 --device cpu".split()  # noqa: SIM905
    assert train_policy.main(["attention", str(tmp_path / "policy"), *fast, "--rows", "1", "9"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("attention on the object") == 2 and "Objects cover" in printed
    picture = (tmp_path / "policy" / "attention.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 20_000


def test_a_run_folder_cannot_name_code_that_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "net.py").write_text(f"open({str(canary)!r}, 'w')")
    Reinforce(EnvConfig(device="cpu"), seed=1).save(tmp_path / "policy")
    foreign = f"folders:source={tmp_path},target={tmp_path},backbone={tmp_path / 'net.py'}:Net" + " " * 300
    (tmp_path / "config.json").write_text(json.dumps({"trained_on": [foreign], "environment": {}}))
    assert train_policy.main(["attention", str(tmp_path / "policy"), "--device", "cpu"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "give it with --pair, if you trust it" in error and not canary.exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rows", "10"], "Unknown row '10'"),
        (["--images", "0"], "--images is 0; expected an integer >= 1"),
        (["--seed", "-1"], "--seed is -1; expected an integer >= 0"),
        (["--pair", "tinny"], "Unknown pair 'tinny'"),
    ],
)
def test_bad_options_are_one_line(
    tiny: str, tmp_path: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Reinforce(EnvConfig(device="cpu"), seed=1).save(tmp_path)
    assert train_policy.main(["attention", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error
