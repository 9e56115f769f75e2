from __future__ import annotations

import pytest
import torch

from l2o_env.adaptation.mcd import balance, discrepancy
from l2o_env.adaptation.method import Method
from tests.adaptation.made import adaptation


def test_discrepancy_and_balance_by_hand() -> None:
    first = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]).log()
    second = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.7, 0.2]]).log()
    torch.testing.assert_close(discrepancy(first, second), torch.tensor((0.3 + 0.3 + 0.1 + 0.1) / 6))
    p = torch.tensor([0.3, 0.55, 0.15])
    torch.testing.assert_close(balance(first), -(p + 1e-6).log().mean())


def test_each_step_touches_only_what_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    run = adaptation("mcd", rounds=3, updates=2, mcd_steps=2)
    run.run_round()  # the second head has learnt by itself, which is tested below
    steps: list[tuple[str, ...]] = []
    descend = Method.descend

    def watched(method: Method, loss: torch.Tensor, *optimizers: str) -> None:
        before = {key: value.clone() for key, value in run.state().items() if not key.startswith("optimizer.")}
        descend(method, loss, *optimizers)
        moved = {key for key, value in before.items() if not torch.equal(value, run.state()[key])}
        owners = {
            "second" if k.startswith("second.") else "head" if k.startswith("model.head.") else "body" for k in moved
        }
        assert owners == set(optimizers)
        steps.append(optimizers)

    monkeypatch.setattr(Method, "descend", watched)
    run.run_round()
    update = [("body", "head", "second"), ("head", "second"), ("body",), ("body",)]
    assert steps == 2 * update


def test_in_the_first_round_the_second_head_learns_alone() -> None:
    run = adaptation("mcd")
    before = {key: value.clone() for key, value in run.state().items()}
    run.run_round()
    moved = {key for key, value in before.items() if not torch.equal(value, run.state()[key])}
    assert moved == {"second.weight", "second.bias"}
