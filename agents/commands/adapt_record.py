"""What a round of an adaptation came to, as numbers, and which round is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from l2o_env.adaptation import Round, TargetOracle, information_maximisation
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.pair import Pair


def class_names(pair: Pair) -> tuple[str, ...]:
    """Names of the classes, or their numbers."""
    return pair.classes or tuple(map(str, range(pair.n_classes)))


def record(found: Round, oracle: TargetOracle, names: Sequence[str]) -> dict[str, Any]:
    """Numbers of a round by name; those with a slash go to TensorBoard, under ``oracle/`` what reads target labels.

    Args:
        found: The round.
        oracle: What knows the labels.
        names: Names of the classes.
    """
    result: dict[str, Any] = {
        "round": found.number,
        "real_accuracy": oracle.accuracy(found.probabilities),
        "information": float(information_maximisation(found.probabilities)),
        "labelled": float("nan"),
        "pseudo_accuracy": float("nan"),
        **{f"loss/{key}": value for key, value in found.losses.items()},
    }
    result |= {"adapt/information": result["information"], "oracle/real_accuracy": result["real_accuracy"]}
    if found.pseudo is None:
        return result
    counts = _counts(found.pseudo, len(names)).double()
    shares = counts / counts.sum().clamp(min=1)
    balance = -torch.xlogy(shares, shares).sum() / torch.tensor(float(len(names))).log()
    result |= {
        "labelled": float((found.pseudo != IGNORED).double().mean()),
        "pseudo_accuracy": oracle.pseudo_accuracy(found.pseudo),
        "pseudo/balance": float(balance),
        **{f"pseudo/share/{name}": float(share) for name, share in zip(names, shares, strict=True)},
    }
    return result | {"pseudo/labelled": result["labelled"], "oracle/pseudo_accuracy": result["pseudo_accuracy"]}


def missing_classes(found: Round, names: Sequence[str]) -> list[str]:
    """Names of the classes that no image was labelled as; none where a method has no pseudo labels."""
    if found.pseudo is None:
        return []
    return [name for name, n in zip(names, _counts(found.pseudo, len(names)).tolist(), strict=True) if not n]


def _counts(pseudo: torch.Tensor, n_classes: int) -> torch.Tensor:
    return torch.bincount(pseudo[pseudo != IGNORED].flatten(), minlength=n_classes)


def selected(history: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Rounds by how they are chosen: the last, the one of the most information, and the target oracle's.

    Args:
        history: What :func:`record` returned of each round; the start, round 0, is chosen only if there is no other.
    """
    rounds = [line["round"] for line in history][1:] or [0]
    return {
        "last": rounds[-1],
        "information-maximisation": max(rounds, key=lambda k: history[k]["information"]),
        "target-oracle": max(rounds, key=lambda k: history[k]["real_accuracy"]),
    }
