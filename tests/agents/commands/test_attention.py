"""Attention: Grad-CAM against its formula, the share on the object, the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import train_policy
from agents.commands.attention import _one_of_each, class_name, draw, summary
from agents.reinforce.agent import Reinforce
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.attention import Look, deepest_map, look, share_on_object
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from l2o_env.models.base import new_generator
from tests.tiny import TINY, TinyNet, tiny_pair

PAIR = tiny_pair()


def test_grad_cam_is_that_of_its_formula() -> None:
    model = TinyNet(new_generator(0)).eval()
    images = PAIR.train.images[:5]
    found = look(model, images)
    kept = []
    handle = model.layer1.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(images)[0]
    handle.remove()
    np.testing.assert_array_equal(found.predicted, logits.argmax(-1).numpy())
    (gradient,) = torch.autograd.grad(logits.amax(-1).sum(), kept[0])
    cam = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp(min=0).detach()
    large = torch.nn.functional.interpolate(cam[:, None], (8, 8), mode="bilinear")[:, 0].double()
    total = large.sum((1, 2), keepdim=True)
    np.testing.assert_allclose(found.maps, (large / total.clamp(min=1e-12)).numpy(), rtol=1e-4, atol=1e-7)
    assert found.maps.shape == (5, 8, 8)


def test_the_deepest_layer_with_enough_places_is_read() -> None:
    model = TinyNet(new_generator(0), n_convolutions=2)
    assert deepest_map(model, torch.zeros(1, 3, 8, 8)) == "layer2"
    assert deepest_map(model, torch.zeros(1, 3, 4, 4)) == "layer1_norm"  # 2 x 2: the network's own choice
    with pytest.raises(ConfigError, match="Unknown layer 'layer9'"):
        look(model, PAIR.train.images[:1], "layer9")
    with pytest.raises(ConfigError, match="is no feature map"):
        look(model, PAIR.train.images[:1], "head")


def test_share_on_the_object_by_hand() -> None:
    maps = np.zeros((3, 2, 2))
    maps[0] = [[0.5, 0.1], [0.2, 0.2]]
    maps[1] = [[0.0, 1.0], [0.0, 0.0]]
    masks = np.zeros((3, 2, 2), bool)
    masks[:, 0, 0] = True
    masks[0, 1, 1] = True
    assert share_on_object(maps, masks) == pytest.approx((0.7 + 0.0) / 2)  # the third has no attention at all
    assert np.isnan(share_on_object(np.zeros((1, 2, 2)), masks[:1]))
    looks = {"net": [Look(maps, np.array([1, 0, 2]), "x"), Look(maps, np.array([1, 1, 2]), "x")]}
    lines = summary(looks, np.array([1, 1, 2]), masks)
    assert lines[0].startswith("net: accuracy 0.833 ± ") and "attention on the object 0.350" in lines[0]
    assert lines[1].startswith("Objects cover 0.333")
    assert "does not know where" in summary(looks, np.array([1, 1, 2]), None)[1]


def test_an_empty_map_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **kwargs: figures.append(figure))
    maps = np.zeros((2, 8, 8))
    maps[1, 3, 3] = 1.0
    assert PAIR.target is not None
    draw(tmp_path / "x.png", PAIR.target.images[:2], np.array([0, 1]), {"net": Look(maps, np.array([0, 1]), "layer1")})
    texts = {axis.get_title(): [text.get_text() for text in axis.texts] for axis in figures[0].axes}
    assert texts["0 ✓"] == ["no attention"] and texts["1 ✓"] == []
    assert "output of layer1" in figures[0].get_suptitle()


def test_a_network_without_a_named_map_lists_modules_that_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyNet, "feature_layer", None)
    model = TinyNet(new_generator(0))
    with pytest.raises(
        ConfigError, match=r"names no feature map .* give --layer, one of stem, stem_norm, layer1, layer1_n"
    ):
        deepest_map(model, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ConfigError, match="no module of it makes one"):
        deepest_map(model, torch.zeros(1, 3, 2, 2))


def test_a_layer_that_cannot_be_read_is_told_before_fine_tuning(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Reinforce(EnvConfig(device="cpu"), seed=1).save(tmp_path)
    assert train_policy.main(["attention", str(tmp_path), "--pair", tiny, "--layer", "layer9", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "error: Unknown layer 'layer9'" in error and "Fine-tuning" not in error


def test_classes_have_names_where_the_pair_has_them() -> None:
    assert [class_name(k, ()) for k in (0, 3)] == ["0", "3"]
    assert [class_name(k, ("cat", "dog")) for k in (0, 1)] == ["cat", "dog"]


def test_pictures_show_every_class_before_any_twice() -> None:
    labels = np.array([2, 2, 0, 1, 0, 1])
    assert _one_of_each(labels, 3) == [2, 3, 0]
    assert _one_of_each(labels, 5) == [2, 3, 0, 4, 5]


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
