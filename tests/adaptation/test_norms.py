"""AdaBN and Tent, which are about normalisation, and all methods on a network with batch normalisation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from l2o_env import pairs
from l2o_env.adaptation import METHODS, UnlabelledImages
from l2o_env.errors import ConfigError
from l2o_env.models.adapted.folded_norms import unfold_norms
from l2o_env.pairs.pair import Pair
from tests.adaptation.made import CPU, adaptation
from tests.image_trees import MicroNet, class_folders, save_weights
from tests.tiny import tiny_pair


@pytest.fixture
def folders(tmp_path: Path) -> Pair:
    class_folders(tmp_path / "source", n=6)
    class_folders(tmp_path / "target", n=3, seed=1)
    weights = save_weights(tmp_path / "weights.pt")
    settings = {"weights": weights, "backbone": MicroNet, "size": 12, "n_validation": 4}
    return pairs.make("folders", source=tmp_path / "source", target=tmp_path / "target", **settings)


def test_statistics_become_the_targets(folders: Pair) -> None:
    run = adaptation("adabn", folders)
    weights = [p.clone() for p in run.model.parameters()]
    found = run.run_round()
    images = torch.cat(list(UnlabelledImages.of(folders, CPU).chunks()))
    stem = unfold_norms(run.model.get_submodule("network.stem"))
    inputs = stem[0](images)  # type: ignore[index]
    torch.testing.assert_close(stem[1].running_mean, inputs.mean((0, 2, 3)))  # type: ignore[index]
    torch.testing.assert_close(stem[1].running_var, inputs.var((0, 2, 3)))  # type: ignore[index]
    assert all(torch.equal(a, b) for a, b in zip(weights, run.model.parameters(), strict=True))
    assert found.losses == {}


def test_without_batch_normalisation_adabn_is_told() -> None:
    with pytest.raises(ConfigError, match="'adabn' sets the statistics of batch normalisation, and TinyNet has none"):
        adaptation("adabn")


def test_tent_trains_scales_and_shifts_alone(folders: Pair) -> None:
    for pair, expected in ((folders, {"stem.1", "body.1"}), (tiny_pair(), {"stem_norm", "layer1_norm"})):
        run = adaptation("tent", pair)
        before = {key: value.clone() for key, value in run.model.named_parameters()}
        buffers = {key: value.clone() for key, value in run.model.named_buffers() if "num_batches" not in key}
        run.run_round()
        moved = {k for k, p in run.model.named_parameters() if not torch.equal(p, before[k])}
        assert {k.removeprefix("network.").rpartition(".")[0] for k in moved} == expected
        assert all(torch.equal(dict(run.model.named_buffers())[k], v) for k, v in buffers.items())


@pytest.mark.parametrize("method", list(METHODS))
def test_all_methods_run_on_a_network_with_batch_normalisation(method: str, folders: Pair) -> None:
    found = adaptation(method, folders).run_round()
    assert found.probabilities.shape == (6, 2)
    assert not found.diverged


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if kind.dense and name != "adabn"])
def test_methods_of_pixels_run_on_the_embedded_segmentation(method: str) -> None:
    pair = pairs.make("glyphs-digits-seg")
    run = adaptation(method, pair, updates=1)
    found = run.run_round()
    n_classes, side = pair.n_classes, pair.target.images.shape[-1]  # type: ignore[union-attr]
    assert found.probabilities.shape == (len(pair.target), n_classes, side, side)  # type: ignore[arg-type]
    assert found.pseudo is None or found.pseudo.shape == (len(pair.target), side, side)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if not kind.dense])
def test_the_others_say_that_they_are_for_images(method: str) -> None:
    with pytest.raises(ConfigError, match=f"'{method}' is for one class per image"):
        adaptation(method, pairs.make("glyphs-digits-seg"))
