"""One episode so far, as a picture: learning rates, losses and drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.results.plot_style import CATEGORICAL, in_legend, layer_colours, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WIDTH, HEIGHT = 1120, 352
"""Pixels; multiples of 16, as video encoders want them."""

_LOSSES = (
    ("train_ce", "train CE", "-"),
    ("val_ce", "validation CE", "-"),
    ("val_kl", "validation KL", "-"),
    ("value", "V", "--"),
)


def draw_episode(history: Sequence[Mapping[str, Any]], layer_names: Sequence[str]) -> NDArray[np.uint8]:
    """Draws an episode.

    Args:
        history: The infos of the episode so far, the one of ``reset`` first; may be empty. Read are ``updates``,
            ``lr`` and ``drift`` (``(n_layers,)``), ``train_ce``, ``val_ce``, ``val_kl``, ``value`` and, for the title,
            ``pair``, ``val_accuracy`` and ``diverged``.
        layer_names: Names of the layer groups, from the input to the head.

    Returns:
        The picture, ``(352, 1120, 3)``: learning rate per layer group (log axis), losses in nats, and drift per layer
        group (log axis), over optimizer updates.
    """
    figure = new_figure(WIDTH / 100, HEIGHT / 100)
    rates, losses, drift = figure.subplots(1, 3, sharex=True)
    # Fixed margins, so that nothing jumps from one frame of a video to the next.
    figure.subplots_adjust(left=0.06, right=0.885, bottom=0.16, top=0.81, wspace=0.3)
    updates = np.array([info["updates"] for info in history], float)
    for i, (name, colour) in enumerate(zip(layer_names, layer_colours(len(layer_names)), strict=True)):
        lr = np.array([info["lr"][i] for info in history], float)
        # The info of reset holds rates with which no update was made: the first window's are drawn from 0 on.
        held = np.concatenate([lr[1:2], lr[1:]])
        frozen = " (frozen)" if len(lr) > 1 and lr[-1] == 0 else ""
        rates.step(
            updates[: len(held)], _positive(held), where="pre", color=colour, lw=1.8, label=in_legend(name + frozen)
        )
        moved = np.array([info["drift"][i] for info in history], float)
        drift.plot(updates, _positive(moved), ".-", color=colour, lw=1.5, ms=4)
    for (key, label, style), line_colour in zip(_LOSSES, CATEGORICAL, strict=False):
        values = np.array([info[key] for info in history], float)
        losses.plot(updates, values, f".{style}", color=line_colour, lw=1.5, ms=4, label=label)
    losses.axhline(0.0, color="0.6", lw=0.8)
    losses.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.21), frameon=False)
    for axis, title in ((rates, "learning rate"), (losses, "nats"), (drift, "drift |θ-θ⁰|/|θ⁰|")):
        _decorate(axis, title, log=axis is not losses)
    figure.legend(
        *(items[::-1] for items in rates.get_legend_handles_labels()),
        loc="center right", fontsize=8, frameon=False, title="layer group", title_fontsize=8,
    )  # fmt: skip
    rates.set_xlim(0.0, max([*updates, 1.0]))
    figure.suptitle(_title(history), fontsize=10, y=0.985)
    canvas: Any = figure.canvas
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, with NaN for those that a logarithmic axis has no place for."""
    return np.where(values > 0, values, np.nan)


def _decorate(axis: Axes, title: str, *, log: bool) -> None:
    axis.set_xlabel("optimizer updates", fontsize=9)
    axis.set_ylabel(title, fontsize=9, labelpad=2)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3, lw=0.5)
    if log:
        axis.set_yscale("log")
        if not np.isfinite(axis.dataLim.minposy):  # nothing above 0 so far, which a logarithmic axis cannot scale to
            axis.set_ylim(1e-4, 1.0)


def _title(history: Sequence[Mapping[str, Any]]) -> str:
    if not history:
        return "no episode yet"
    last = history[-1]
    title = (
        f"{last['pair']}: {int(last['updates'])} updates, V {last['value']:.3f}, "
        f"validation accuracy {last['val_accuracy']:.2f}"
    )
    return f"{title}, DIVERGED" if last["diverged"] else title
