from __future__ import annotations

import torch

from l2o_env.adaptation.shot import centroid_labels
from tests.adaptation.made import adaptation


def test_centroids_by_hand() -> None:
    # Two directions; the network is wrong, though not sure, about the fourth image.
    features = torch.tensor([[4.0, 0.0], [5.0, 0.5], [0.0, 4.0], [0.3, 5.0]])
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.55, 0.45]])
    assert p.argmax(1).tolist() == [0, 0, 1, 0]
    assert centroid_labels(features, p).tolist() == [0, 0, 1, 1]


def test_a_class_that_nothing_is_close_to_keeps_its_first_centroid() -> None:
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    p = torch.tensor([[0.98, 0.01, 0.01], [0.98, 0.01, 0.01]])
    assert set(centroid_labels(features, p).tolist()) <= {0, 1, 2}


def test_the_head_stays_and_the_first_round_has_no_pseudo_labels_in_its_loss() -> None:
    run, other = adaptation("shot"), adaptation("shot", shot_pseudo=9.0)
    head = run.model.head.weight.clone()  # type: ignore[union-attr,operator]
    run.run_round()
    other.run_round()
    assert torch.equal(run.model.head.weight, head)  # type: ignore[union-attr,arg-type]
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), other.model.parameters(), strict=True))
    run.run_round()
    other.run_round()
    assert not all(torch.equal(a, b) for a, b in zip(run.model.parameters(), other.model.parameters(), strict=True))
