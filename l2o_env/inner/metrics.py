"""Losses and metrics over parts of a split: for images that are decoded on demand, and for a class per pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.guidance import kl_divergence
from l2o_env.inner.stream_data import Batch
from l2o_env.models.losses import IGNORED, as_rows
from l2o_env.pairs.pair import MetricName, Pair

STRIDE = 5 / 6
"""Sliding windows advance by this share of their side (Chen et al., 2020)."""

Forward = Callable[[list[int], Tensor], tuple[Tensor, Tensor]]
"""Rows of a population and images to both heads' logits ``(len(rows), n_images, classes, ...)``."""


class Evaluation(NamedTuple):
    """Mean losses and accuracy of each optimizee, ``(N,)``."""

    ce: Tensor
    kl: Tensor
    accuracy: Tensor


def evaluate_chunks(
    forward: Forward, pair: Pair, rows: list[int], name: str, chunks: Iterable[Batch], n_proxy_classes: int
) -> Evaluation:
    """Evaluates some optimizees on a split, part by part.

    Args:
        forward: The population's forward pass.
        pair: The pair; its metric, its flip average and its sliding window count for the target.
        rows: The optimizees.
        name: ``"validation"``, ``"target"`` or ``"proxy_test"``. The last is about the proxy's head; where that gives
            one answer per place and an image has one label, it is averaged over the image.
        chunks: The split.
        n_proxy_classes: Classes of the proxy; further ones are padding.

    Returns:
        CE (mean over images or labelled pixels; NaN where predictions are averaged), KL (mean over images or places;
        0 but for validation), and the metric.
    """
    metrics, sums = None, [Tensor()] * 4
    for batch in chunks:
        ce, kl, predicted, n_labels, n_places = _evaluate_chunk(forward, pair, rows, name, batch, n_proxy_classes)
        if metrics is None:
            n_classes = n_proxy_classes if name == "proxy_test" else pair.n_classes
            kind: MetricName = "accuracy" if name == "proxy_test" and batch.labels.dim() == 1 else pair.metric
            metrics = [make_metric(kind, n_classes, batch.images.device) for _ in rows]
            sums = [torch.zeros_like(ce), torch.zeros_like(ce), ce.new_zeros(()), ce.new_zeros(())]
        for total, more in zip(sums, (ce, kl, n_labels, n_places), strict=True):
            total += more
        for metric, row in zip(metrics, predicted, strict=True):
            metric.update(row, batch.labels)
    assert metrics is not None
    accuracy = torch.stack([metric.compute() for metric in metrics]).to(sums[0].dtype)
    return Evaluation(sums[0] / sums[2].clamp(min=1), sums[1] / sums[3].clamp(min=1), accuracy)


def _evaluate_chunk(
    forward: Forward, pair: Pair, rows: list[int], name: str, batch: Batch, n_proxy_classes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Sums of CE and KL ``(R,)``, predictions ``(R, ...)``, and the numbers of labels and of places."""
    images, labels = batch.images, batch.labels
    n_labels = (labels != IGNORED).sum()
    none = images.new_zeros(len(rows))
    if is_averaged(pair, name):
        predicted = predictions(forward, pair, rows, name, images)
        return none * torch.nan, none, predicted, n_labels, n_labels
    logits, proxy_logits = forward(rows, images)
    proxy_logits = proxy_logits[:, :, :n_proxy_classes]
    scores = _fit(proxy_logits, labels) if name == "proxy_test" else logits
    ce = torch.stack([F.cross_entropy(row, labels, ignore_index=IGNORED, reduction="sum") for row in scores])
    if batch.probs is None:
        return ce, none, scores.argmax(2), n_labels, n_labels
    probs = as_rows(batch.probs)[:, :n_proxy_classes]
    kl = torch.stack([kl_divergence(as_rows(row), probs) for row in proxy_logits]) * len(probs)
    return ce, kl, scores.argmax(2), n_labels, n_labels.new_tensor(len(probs))


def _fit(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores ``(R, n, classes, ...)`` of every place to one per label."""
    if scores.dim() == 3:
        return scores
    if labels.dim() == 1:
        return scores.mean((-2, -1))
    flat = F.interpolate(scores.flatten(0, 1), labels.shape[1:], mode="bilinear", align_corners=False)
    return flat.unflatten(0, scores.shape[:2])


def is_averaged(pair: Pair, name: str) -> bool:
    """Whether predictions on a split are means over mirror images or sliding windows."""
    return name == "target" and bool(pair.flip_average or pair.sliding_window)


def predictions(forward: Forward, pair: Pair, rows: list[int], name: str, images: Tensor) -> Tensor:
    """Predicted classes ``(len(rows), n, ...)`` on images of a split, as its metric counts them."""
    if is_averaged(pair, name):
        return torch.cat([predict(forward, pair, row, images) for row in rows])
    return forward(rows, images)[0].argmax(2)


def class_accuracy(
    forward: Forward, pair: Pair, rows: list[int], name: str, chunks: Iterable[Batch], n_classes: int
) -> Tensor:
    """What the pair's metric is the mean of, class by class: ``(len(rows), n_classes)``, float64; NaN for none.

    The intersection over union if the metric is ``"miou"``, else the share of the class's images (or pixels) that is
    right.
    """
    counts: list[Tensor] = []
    for batch in chunks:
        chosen = batch.labels != IGNORED
        labels = batch.labels[chosen]
        for_each: list[Tensor] = []
        for row in predictions(forward, pair, rows, name, batch.images):
            said = row[chosen]
            found = (labels[said == labels], labels, said)
            for_each.append(torch.stack([torch.bincount(classes, minlength=n_classes) for classes in found]))
        counts.append(torch.stack(for_each))
    right, labelled, predicted = torch.stack(counts).sum(0).double().unbind(1)
    return right / (labelled + predicted - right if pair.metric == "miou" else labelled)


def predict(forward: Forward, pair: Pair, row: int, images: Tensor) -> Tensor:
    """Predicted classes of one optimizee with the pair's flip average and sliding window.

    Scores are sigmoids for one label per image (as in ASG), softmaxes for one per pixel.

    Args:
        forward: The population's forward pass.
        pair: The pair.
        row: The optimizee.
        images: ``(n, 3, h, w)``.

    Returns:
        ``(1, n)`` or ``(1, n, h, w)``.
    """

    def scores(part: Tensor) -> Tensor:
        logits = forward([row], part)[0][0]
        dense = logits.dim() == 4
        found = logits.softmax(1) if dense else logits.sigmoid()
        if pair.flip_average:
            other = forward([row], part.flip(-1))[0][0]
            found = found + (other.softmax(1).flip(-1) if dense else other.sigmoid())
        return found

    found = slide(scores, images, pair.sliding_window) if pair.sliding_window else scores(images)
    return found.argmax(1)[None]


def slide(scores: Callable[[Tensor], Tensor], images: Tensor, side: int) -> Tensor:
    """Mean scores of overlapping windows.

    Args:
        scores: Windows ``(n, 3, a, b)`` to ``(n, n_classes, a, b)``.
        images: ``(n, 3, h, w)``.
        side: Side of the square windows, in pixels; smaller where the image is.

    Returns:
        ``(n, n_classes, h, w)``.
    """
    total, count = torch.zeros(()), torch.zeros(())
    height, width = min(side, images.shape[-2]), min(side, images.shape[-1])
    for top in _places(images.shape[-2], height):
        for left in _places(images.shape[-1], width):
            found = scores(images[..., top : top + height, left : left + width])
            if total.dim() == 0:
                total = found.new_zeros(*found.shape[:2], *images.shape[-2:])
                count = found.new_zeros(images.shape[-2:])
            total[..., top : top + height, left : left + width] += found
            count[top : top + height, left : left + width] += 1
    return total / count


def _places(length: int, side: int) -> list[int]:
    """Where windows start, so that they cover the length and the last one ends with it."""
    stride = max(1, round(side * STRIDE))
    return [*range(0, length - side, stride), length - side]


def make_metric(name: MetricName, n_classes: int, device: torch.device) -> Any:
    """A metric of ``torchmetrics`` that takes predicted classes and labels; ``IGNORED`` labels do not count.

    Args:
        name: ``"accuracy"``, ``"mean_class_accuracy"`` (classes without a label do not count) or ``"miou"`` (classes
            that are neither labelled nor predicted do not count).
        n_classes: Number of classes.
        device: Where it counts.
    """
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex, MulticlassStatScores

    settings: dict[str, Any] = {"num_classes": n_classes, "ignore_index": IGNORED, "validate_args": False}
    if name == "miou":
        return MulticlassJaccardIndex(average="macro", **settings).to(device)
    if name == "accuracy":
        return MulticlassAccuracy(average="micro", **settings).to(device)
    return _MeanRecall(MulticlassStatScores(average="none", **settings).to(device))


class _MeanRecall:
    """Mean over the classes that have labels; torchmetrics' macro average counts those that are only predicted as 0."""

    def __init__(self, counts: Any) -> None:
        self._counts = counts

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        self._counts.update(predicted, labels)

    def compute(self) -> Tensor:
        right, labelled = self._counts.compute()[:, [0, 4]].float().T
        return (right / labelled)[labelled > 0].mean()
