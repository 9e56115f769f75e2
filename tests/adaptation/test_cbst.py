from __future__ import annotations

import pytest
import torch

from l2o_env.adaptation.cbst import pseudo_labels, thresholds
from l2o_env.models.losses import IGNORED
from tests.adaptation.made import adaptation

# Twelve images, eight of which are predicted as class 0, four as class 1, none as class 2.
FIRST = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6]
SECOND = [0.99, 0.7, 0.6, 0.5]
PROBABILITIES = torch.tensor(
    [[p, 1 - p, 0.0] for p in FIRST] + [[0.0, p, 1 - p] if p > 0.5 else [0.3, 0.5, 0.2] for p in SECOND]
)


@pytest.mark.parametrize(
    ("portion", "expected"),
    [
        (0.25, [0.9, 0.99, 1.0]),  # the 2nd of eight, the 1st of four
        (0.5, [0.8, 0.7, 1.0]),  # the 4th, the 2nd
        (1.0, [0.6, 0.5, 1.0]),
        (0.2, [0.95, 1.0, 1.0]),  # 1.6 and 0.8 images, rounded down
    ],
)
def test_thresholds_of_twelve_numbers(portion: float, expected: list[float]) -> None:
    torch.testing.assert_close(thresholds(PROBABILITIES, portion), torch.tensor(expected))


def test_labels_are_of_the_largest_ratio_where_it_is_at_least_one() -> None:
    found = pseudo_labels(PROBABILITIES, torch.tensor([0.8, 0.7, 1.0]))
    assert found.tolist() == [0, 0, 0, 0, *[IGNORED] * 4, 1, 1, IGNORED, IGNORED]
    # An image that is predicted as 0 enters as 1, whose threshold is lower: the portion is not kept to.
    assert pseudo_labels(torch.tensor([[0.6, 0.4]]), torch.tensor([0.9, 0.3])).tolist() == [1]


def test_a_round_trains_on_its_labels_and_a_share_of_the_source() -> None:
    run = adaptation("cbst", portion=0.5, source_share=0.2)
    expected = pseudo_labels(run.probabilities(), thresholds(run.probabilities(), 0.5))
    found = run.run_round()
    assert found.pseudo is not None
    assert found.pseudo.tolist() == expected.tolist()
    assert 0 < (expected != IGNORED).sum() < 30


def test_a_round_makes_the_forward_passes_that_it_needs() -> None:
    run = adaptation("cbst", rounds=3, updates=10)
    seen = 0

    def count(module: object, args: tuple[torch.Tensor, ...]) -> None:
        nonlocal seen
        seen += len(args[0])

    run.model.register_forward_pre_hook(count)
    run.probabilities()
    for _ in range(3):
        run.run_round()
    needed = 3 * (30 + 10 * 8)  # labelling, and training
    assert needed <= seen <= 1.3 * needed
    assert seen == needed + 30  # the predictions that the last round is judged by
