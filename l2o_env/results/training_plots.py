"""How trainings went, as pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.spec import label
from l2o_env.results.plot_style import MANY, count_episodes, in_legend, line_style, new_figure, save_figure

Curve = tuple[Sequence[float], Sequence[float]]
"""Episodes so far, and a value at each."""
_MARKERS = "osD^vP*X<>"
"""Of pairs; together with their colours they tell 100 apart."""
UNITS = {"transfer": "share", "val_accuracy": "share", "target_oracle": "share"}
"""Units of the returns of rewards; of others it is nats."""
_DRAWN = {"value_mean": "V at the end of episodes", "return_mean": "return of episodes"}
"""What can be drawn of an update, in words."""
_NOT_ONE = "several pairs"
"""What pictures call updates whose episodes were of more than one pair."""


def plot_learning_curve(
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    smoothing: int | None = None,
    reward: str = "proxy_guided",
) -> None:
    """Draws what a policy gained in training: a point per update in the colour of its pair, and a running mean.

    What is drawn is the V that episodes end with: a return is that minus the V of the start, which differs from one
    random head to the next by more than policies do. Other rewards have their returns drawn. Different pairs lie
    further apart than what a policy gains on one of them, and take turns, so that it is :func:`gains`; where pairs were
    not seen twice there is nothing to compare, and it is the plain values.

    Args:
        records: What ``learn`` hands to its callback: ``episode`` (episodes so far), ``return_mean`` and, if they
            are known, ``value_mean`` and ``pair`` of each update.
        path: Where the PNG goes.
        smoothing: Updates that the running mean reaches over, from the first such stretch on; None takes a tenth of
            them, at least one of each pair.
        reward: What was rewarded, as ``EnvConfig`` calls it.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    episodes = np.array([record["episode"] for record in records], float)
    key = _key(records) if reward in ("proxy_guided", "transfer") else "return_mean"
    values, pairs, comparable = _values(records, key), _pairs(records), shows_gains(records)
    values = gains(values, pairs) if comparable else values
    figure = new_figure(8.0, 4.2, layout="constrained")
    axis = figure.subplots()
    for i, pair in enumerate(dict.fromkeys(pairs)):
        mine = np.array([other == pair for other in pairs])
        colour, marker = MANY[i % len(MANY)], _MARKERS[i // len(MANY) % len(_MARKERS)]
        name = in_legend(label(pair)) if pair else None
        axis.plot(episodes[mine], values[mine], color=colour, lw=0.9, marker=marker, ms=4, alpha=0.7, label=name)
    if comparable:
        axis.axhline(0.0, color="0.35", lw=1.2, ls="--", label="start of training")
    if len(records):
        width = _width(records) if smoothing is None else smoothing
        mean, text = running_mean(values, width)[width - 1 :], f"running mean of {width} updates"
        if len(mean) > 1:
            axis.plot(episodes[width - 1 :], mean, color="black", lw=2.4, label=text)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    count_episodes(axis)
    gained = "gain since the start of training:\n" if comparable else ""
    axis.set_ylabel(f"{gained}{_DRAWN[key]} ({UNITS.get(reward, 'nats')})")
    without = "; differences between the pairs are taken out" if len(set(pairs)) > 1 else ""
    axis.set_title(f"What training gained{without}" if comparable else "What episodes of training came to", fontsize=10)
    axis.grid(alpha=0.3, lw=0.5)
    save_figure(figure, path)


def plot_learning_curves(trainings: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """Draws learning curves of several policies: what each gained since its start (:func:`gains`), as running means.

    Args:
        trainings: Records of each training, by policy; see :func:`plot_learning_curve`.
        path: Where the PNG goes.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    figure = new_figure(8.2, 4.0, layout="constrained")
    axis = figure.subplots()
    axis.axhline(0.0, color="0.35", lw=1.2, ls="--", label="start of training")
    for i, (name, records) in enumerate(trainings.items()):
        values, width = gains(_values(records, _key(records)), _pairs(records)), _width(records)
        episodes = [record["episode"] for record in records[width - 1 :]]
        axis.plot(episodes, running_mean(values, width)[width - 1 :], **line_style(i), lw=1.7, label=in_legend(name))
    count_episodes(axis)
    axis.set_ylabel("gain since the start of training:\nV at the end of episodes, running mean")
    axis.set_title("What trainings gained; differences between the pairs are taken out", fontsize=10)
    axis.grid(alpha=0.3, lw=0.5)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save_figure(figure, path)


def shows_gains(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the pairs of a training were seen twice on average, so that :func:`gains` say something."""
    return bool(records) and 2 * len(set(_pairs(records))) <= len(records)


def _width(records: Sequence[Mapping[str, Any]]) -> int:
    """Updates of a running mean."""
    return min(max(3, len(records) // 10, len(set(_pairs(records)))), len(records))


def _pairs(records: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [str(record.get("pair", "")) for record in records]
    return [_NOT_ONE if "+" in name else name for name in names]


def _values(records: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    return np.array([record[key] for record in records], float)


def _key(records: Sequence[Mapping[str, Any]]) -> str:
    """Of V at the end, or of the return where that is not known."""
    return "value_mean" if all("value_mean" in record for record in records) else "return_mean"


def gains(values: NDArray[np.float64], pairs: Sequence[str]) -> NDArray[np.float64]:
    """What values have over those of the start, without what sets the pairs apart.

    From each pair's values their mean over the training is taken, which leaves the course of time alone as the pairs
    take turns; then all are moved so that the first updates of the pairs have a mean of 0.

    Args:
        values: Of each update ``(n,)``.
        pairs: The pair of each.

    Returns:
        The gains ``(n,)``.
    """
    _, first, index = np.unique(np.asarray(pairs), return_index=True, return_inverse=True)
    centred = values - (np.bincount(index, values) / np.bincount(index))[index]
    moved: NDArray[np.float64] = centred - centred[first].mean()
    return moved


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value ``(n,)`` and up to ``width - 1`` values before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
