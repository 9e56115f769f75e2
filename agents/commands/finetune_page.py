"""What a fine-tuning leaves: the plain network, and a page of what it can and what it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from l2o_env.config import EnvConfig
from l2o_env.evaluation.attention import look
from l2o_env.evaluation.attention_picture import plot_attention
from l2o_env.extras import MissingExtraError
from l2o_env.models.adapted.export import plain_network, write_onnx
from l2o_env.models.base import Optimizee
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import images_of
from l2o_env.results.classification_plots import confusion, plot_confusion, plot_mistakes
from l2o_env.results.decimals import decimal
from l2o_env.results.page import Figure, Section, render_page
from l2o_env.results.run_folder import ATTENTION_PICTURE, NETWORK, ONNX, PAGE, PLOTS, RunFolder
from l2o_env.reward import judged_by, kl_weight
from l2o_env.training.fine_tuning import FineTuning

from .attention import one_of_each
from .console import Reporter
from .plot import CAPTIONS, plot_run

SHOWN = 12
"""Mistakes that are shown."""
LOOKED_AT = 8
"""Images on which attention is shown."""
_PICTURES = {
    "actions": "Learning rate of each layer.",
    "heatmap": CAPTIONS["heatmap"],
    "guidance": CAPTIONS["guidance"],
}


def write_page(
    run: FineTuning, folder: RunFolder, measured: dict[str, dict[str, float]], reporter: Reporter
) -> tuple[list[str], dict[str, Any]]:
    """Exports the network, judges it, and writes the page.

    Args:
        run: The fine-tuning, with its best weights.
        folder: Where everything goes.
        measured: Of the weights that are ``"last"`` and ``"best"``, what the validation said.
        reporter: Where it is told what there is none of.

    Returns:
        Lines to print, and the results as ``results.json`` holds them.

    Raises:
        WriteError: If something cannot be written.
    """
    pair = run.venv.episodes.population.pairs[0]
    model = run.venv.episodes.optimizee(0)
    exported = _export(model, pair, folder, reporter)
    results: dict[str, Any] = {**measured, "network": exported}
    sections = [_measured(measured, pair, run.config)]
    if pair.target is not None:
        results["real_accuracy"] = float(run.venv.evaluate("target")[0])
        sections += _on_real_images(run, pair, model, folder, results, reporter)
    pictures = plot_run(folder.path, folder.path / PLOTS)
    figures = [Figure(pictures.paths[key], CAPTIONS[key]) for key in _PICTURES if key in pictures.paths]
    sections += [Section("Learning rates", figures=figures), Section("The network", _use(exported))]
    sections.append(Section("Settings", source=json.dumps(_settings(run), indent=2)))
    page = render_page("Fine-tuning", f"{pair.name}, {run.updates} updates, {run.steps} windows.", sections)
    folder.write_text(PAGE, page)
    lines = [
        f"validation accuracy {decimal(measured['best']['val_accuracy'], 3)} after {measured['best']['updates']:.0f} "
        f"updates, the best; {decimal(measured['last']['val_accuracy'], 3)} at the end"
    ]
    if "real_accuracy" in results:
        lines.append(f"accuracy on the real images {decimal(results['real_accuracy'], 3)}")
    return [*lines, f"network: {folder.path / NETWORK}", f"page: {folder.path / PAGE}"], results


def _settings(run: FineTuning) -> dict[str, Any]:
    return {key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in
            vars(run.config).items()}  # fmt: skip


def _measured(measured: dict[str, dict[str, float]], pair: Pair, config: EnvConfig) -> Section:
    names = {"val_accuracy": "accuracy", "val_ce": "cross-entropy (nats)", "val_kl": "KL from the proxy (nats)"}
    lines = [["weights", *names.values()]]
    for which, values in measured.items():
        lines.append([which, *(decimal(values[key], 3) for key in names)])
    w, transfer = kl_weight(config, pair), judged_by(config) == "transfer"
    value = f"V = accuracy - {w:.3g} KL" if transfer else f"V = -(CE + {w:.3g} KL)"
    where = " on synthetic images unlike these" if transfer and pair.shifted else ""
    text = [f"On held-out synthetic images. The best weights, by {value}{where}, are those of everything below."]
    return Section("Validation", text, lines)


# --- the network by itself -------------------------------------------------------------------------------------------


def _export(model: Optimizee, pair: Pair, folder: RunFolder, reporter: Reporter) -> dict[str, Any]:
    images, reading = images_of(pair.validation, [0, 1]), _reading(pair)
    network, head = plain_network(model, images)
    metadata = {key: json.dumps(value) for key, value in reading.items()}
    with folder.writing(NETWORK) as path:
        save_file({name: tensor.contiguous() for name, tensor in _distinct(network).items()}, path, metadata)
    try:
        with folder.writing(ONNX) as path:
            write_onnx(network, images, path, metadata)
    except MissingExtraError as error:
        reporter.say(f"No ONNX: {error}")
    use = (
        f"{NETWORK} is the state of a {type(network).__name__} whose {head!r} is "
        f"{' '.join(str(network.get_submodule(head)).split())}: exchange it, then load_state_dict."
        if head
        else f"{NETWORK} is the state of {type(network).__name__}({type(model).__name__})."
    )
    return {"class": type(network).__name__, "head": head, "use": use, **reading}


def _use(exported: dict[str, Any]) -> list[str]:
    lines = [str(exported["use"])]
    if "mean" in exported:
        lines.append(
            f"Images: RGB in [0, 1], the shorter side resized to {exported['resize']} pixels (0: as it is), "
            f"{exported['crop']} x {exported['crop']} cut from the centre (0: all), less {exported['mean']}, "
            f"divided by {exported['std']}."
        )
    if "classes" in exported:
        lines.append(f"Outputs, in order: {', '.join(exported['classes'])}.")
    return lines


def _reading(pair: Pair) -> dict[str, Any]:
    """What the network's outputs are called, and how images come to it: to be known by whoever uses it."""
    found: dict[str, Any] = {} if pair.classes is None else {"classes": list(pair.classes)}
    if isinstance(pair.validation, ImageSplit):
        size = pair.validation.size
        found |= {"resize": size.resize, "crop": size.crop, "mean": pair.validation.mean, "std": pair.validation.std}
    return found


def _distinct(network: nn.Module) -> dict[str, Tensor]:
    """The state, with tensors that several names share once for each: safetensors holds no shared ones."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


# --- on real images --------------------------------------------------------------------------------------------------


def _on_real_images(
    run: FineTuning, pair: Pair, model: Optimizee, folder: RunFolder, results: dict[str, Any], reporter: Reporter
) -> Iterator[Section]:
    names = pair.classes or tuple(str(k) for k in range(pair.n_classes))
    of_class = run.venv.class_accuracy("target")[0]
    results["class_accuracy"] = dict(zip(names, of_class.tolist(), strict=False))
    rows = [["class", "accuracy"], *([name, decimal(value, 3)] for name, value in zip(names, of_class, strict=False))]
    text = [f"{pair.metric} {decimal(results['real_accuracy'], 3)}. None of these images was read before now."]
    yield Section("Real images", text, rows)
    target = pair.target
    assert target is not None
    if target.labels is None or target.labels.dim() != 1:  # a class for every pixel
        return
    labels = np.asarray(target.labels, np.int64)
    population: Any = run.venv.episodes.population
    predicted = population.predictions("target")[0].cpu().numpy()
    yield Section("What is taken for what", figures=list(_pictures(pair, labels, predicted, names, folder)))
    shown = one_of_each(labels, LOOKED_AT)
    try:
        yield Section("Where the network looks", figures=[_attention(model, pair, labels, shown, folder)])
    except MissingExtraError as error:
        reporter.say(f"No Grad-CAM: {error}")


def _pictures(
    pair: Pair, labels: NDArray[np.int64], predicted: NDArray[np.int64], names: Sequence[str], folder: RunFolder
) -> Iterator[Figure]:
    plots = folder.path / PLOTS
    with folder.guard(PLOTS):
        plots.mkdir(exist_ok=True)
    with folder.guard(f"{PLOTS}/confusion.png") as path:
        plot_confusion(confusion(labels, predicted, pair.n_classes), names, path)
    yield Figure(plots / "confusion.png", "Share of each class's real images (row) that is taken for each (column).")
    wrong = np.flatnonzero(labels != predicted)
    if len(wrong):
        chosen = [int(wrong[k]) for k in one_of_each(labels[wrong], SHOWN)]
        assert pair.target is not None
        with folder.guard(f"{PLOTS}/mistakes.png") as path:
            plot_mistakes(images_of(pair.target, chosen), labels[chosen], predicted[chosen], names, path)
        yield Figure(
            plots / "mistakes.png", f"{len(chosen)} of {len(wrong)} real images that it takes for another class."
        )


def _attention(model: Optimizee, pair: Pair, labels: NDArray[np.int64], shown: list[int], folder: RunFolder) -> Figure:
    assert pair.target is not None
    images = images_of(pair.target, shown)
    looked = {"fine-tuned": look(model, images)}
    path: Path = folder.path / ATTENTION_PICTURE
    with folder.guard(ATTENTION_PICTURE), torch.enable_grad():
        plot_attention(images, labels[shown], looked, path, pair.classes)
    return Figure(path, "Grad-CAM of the class that it predicts, on real images.")
