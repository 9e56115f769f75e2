from __future__ import annotations

import pytest
import torch

from l2o_env.adaptation.gta import says
from l2o_env.adaptation.method import Method
from tests.adaptation.made import adaptation


def test_what_the_discriminator_says() -> None:
    torch.testing.assert_close(says(torch.tensor([0.0, 0.0]), True), torch.tensor(2.0).log())
    assert says(torch.tensor([9.0]), True) < 0.001 < 8 < says(torch.tensor([9.0]), False)


def test_the_four_networks_are_updated_in_turn_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    run = adaptation("gta", updates=2)
    steps: list[tuple[str, ...]] = []
    descend = Method.descend

    def watched(method: Method, loss: torch.Tensor, *optimizers: str) -> None:
        before = {key: value.clone() for key, value in run.state().items() if not key.startswith("optimizer.")}
        descend(method, loss, *optimizers)
        moved = {key for key, value in before.items() if not torch.equal(value, run.state()[key])}
        owners = {
            key.split(".")[0] if not key.startswith("model.") else "head" if key.startswith("model.head.") else "body"
            for key in moved
        }
        assert owners == set(optimizers)
        steps.append(optimizers)

    monkeypatch.setattr(Method, "descend", watched)
    run.run_round()
    assert steps == 2 * [("discriminator",), ("generator",), ("head",), ("body",)]
