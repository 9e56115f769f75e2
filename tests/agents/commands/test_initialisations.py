"""Networks that adaptation starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from agents.commands.initialisations import fine_tuned, read_network
from agents.opponents import Schedule
from l2o_env import EnvConfig, evaluate
from l2o_env.adaptation import TargetOracle, UnlabelledImages, predictions
from l2o_env.errors import ConfigError
from l2o_env.models.base import new_generator
from l2o_env.pairs import make
from tests.tiny import TINY, register_tiny_deep, tiny_pair

CPU = torch.device("cpu")


def test_they_are_the_networks_that_an_evaluation_evaluates(tiny: str) -> None:
    config, agent = EnvConfig(**TINY), Schedule("mine", 0.1)
    frame = evaluate({"mine": agent}, [tiny], 3, config)
    pair = make(tiny)
    oracle, target = TargetOracle(pair, CPU), UnlabelledImages.of(pair, CPU)
    found = list(fine_tuned(agent, tiny, config, frame["seed"].tolist()))
    assert [oracle.accuracy(predictions(net, target)) for net in found] == pytest.approx(
        frame["real_accuracy"].tolist()
    )


def test_one_that_diverged_has_its_last_finite_weights(tiny: str) -> None:
    config = EnvConfig(**TINY)
    found = list(fine_tuned(Schedule("wild", 1e25), tiny, config, [1, 2]))
    assert all(bool(p.isfinite().all()) for net in found for p in net.parameters())


def test_weights_of_a_file_are_read(tmp_path: Path) -> None:
    pair = tiny_pair()
    model = pair.make_model(new_generator(7))
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    found = read_network(tmp_path / "weights.safetensors", pair)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), found.parameters(), strict=True))


def test_weights_of_another_network_are_told(tmp_path: Path) -> None:
    other = make(register_tiny_deep()).make_model(new_generator(0))
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="weights of another network than that of 'tiny': they differ in layer2"):
        read_network(tmp_path / "other.safetensors", tiny_pair())
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ConfigError, match=r"text is damaged .* give a safetensors file"):
        read_network(tmp_path / "text", tiny_pair())
    with pytest.raises(ConfigError, match=r"There is no file .*missing; give a safetensors file"):
        read_network(tmp_path / "missing", tiny_pair())
    state = tiny_pair().make_model(new_generator(7)).state_dict()
    state["head.weight"] = state["head.weight"] * torch.nan
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(ConfigError, match=r"numbers of 'head\.weight' are NaN or infinite"):
        read_network(tmp_path / "nan.safetensors", tiny_pair())
