"""The page of an adaptation: its rounds, the choice among them, and examples of pseudo labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from l2o_env.adaptation import Round, TargetOracle
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import images_of
from l2o_env.results.adaptation_plots import MAX_CLASSES, PER_CLASS, plot_label_maps, plot_pseudo_labels, plot_rounds
from l2o_env.results.page import Figure, Section, render_page
from l2o_env.results.run_folder import CONFIG_FILE, PAGE, RunFolder
from l2o_env.safe_json import read_json

from .adapt_record import class_names

if TYPE_CHECKING:
    import pandas as pd

MAPS = 4
"""Examples of a segmentation."""


def write_page(
    folder: RunFolder,
    method: str,
    frame: pd.DataFrame,
    chosen: Mapping[str, int],
    last: Round | None,
    pair: Pair,
    oracle: TargetOracle,
) -> None:
    """Writes ``report.html``, with its pictures.

    Args:
        folder: The run's folder.
        method: Name of the method.
        frame: A line per round, from 0.
        chosen: Rounds by how they are chosen.
        last: The last round, whose pseudo labels are shown; None if it was made earlier.
        pair: The pair.
        oracle: What knows the labels.

    Raises:
        WriteError: If the page or a picture cannot be written.
    """
    with folder.guard("rounds.png") as path:
        plot_rounds(frame, path)
        curves = Figure(
            path, "Accuracy and the share of pseudo labels over the rounds; information, which reads no labels."
        )
    accuracy = frame.set_index("round")["real_accuracy"]
    lines = [["how the round is chosen", "round", "real accuracy"], ["the start", "0", f"{accuracy[0]:.3f}"]]
    lines += [[name, str(number), f"{accuracy[number]:.3f}"] for name, number in chosen.items()]
    oracle_note = (
        "Accuracies read the target's labels, which the adaptation never sees; so does the target oracle's choice."
    )
    columns = ["round", "real_accuracy", "information", "labelled", "pseudo_accuracy"]
    rounds = [
        columns,
        *([f"{line['round']:.0f}", *(f"{line[key]:.3f}" for key in columns[1:])] for _, line in frame.iterrows()),
    ]
    sections = [
        Section("Result", [oracle_note], lines),
        Section("Rounds", ["labelled: share of target images (pixels) with a pseudo label."], rounds, [curves]),
        *_examples(folder, last, pair, oracle),
        Section("Settings", source=json.dumps(read_json(folder.path / CONFIG_FILE, "start anew."), indent=2)),
    ]
    subtitle = f"{method} on {pair.name}"
    folder.write_text(PAGE, render_page(f"l2o-env: {folder.path.resolve().name}", subtitle, sections))


def _examples(folder: RunFolder, last: Round | None, pair: Pair, oracle: TargetOracle) -> Iterator[Section]:
    if last is None or last.pseudo is None or pair.target is None or not bool((last.pseudo != IGNORED).any()):
        return
    pseudo = last.pseudo.cpu()
    with folder.guard("pseudo_labels.png") as path:
        if pseudo.dim() > 1:
            index = list(range(min(MAPS, len(pseudo))))
            truth = oracle.labels[: len(index)].cpu().numpy()
            plot_label_maps(_shown(pair, index), pseudo[index].numpy(), truth, path)
            caption = "The first target images, their pseudo labels in the last round (white: none), and the true ones."
        else:
            confidence = last.probabilities.max(1).values.cpu()
            index = [i for k in range(min(pair.n_classes, MAX_CLASSES)) for i in _surest(pseudo == k, confidence)]
            truth = oracle.labels.cpu()[index].numpy()
            plot_pseudo_labels(_shown(pair, index), pseudo[index].numpy(), truth, class_names(pair), path)
            caption = "Pseudo labels of the last round, the surest first; red and dashed is a wrong label (oracle)."
    yield Section("Examples of pseudo labels", figures=[Figure(path, caption)])


def _surest(mask: torch.Tensor, confidence: torch.Tensor) -> list[int]:
    index = mask.nonzero()[:, 0]
    return index[confidence[index].argsort(descending=True)][:PER_CLASS].tolist()


def _shown(pair: Pair, index: list[int]) -> np.ndarray:
    """Images as they can be drawn, ``(n, h, w, 3)``: each stretched to 0 to 1."""
    assert pair.target is not None
    images = images_of(pair.target, index).movedim(1, -1).numpy()
    low, high = (f(images, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return (images - low) / np.maximum(high - low, 1e-6)
