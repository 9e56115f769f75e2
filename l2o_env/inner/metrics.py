"""How optimizees are judged on a split: losses, predictions and the pair's metric, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
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


class _Sums(NamedTuple):
    """Of one part of a split: sums of CE and KL ``(R,)``, and the numbers of labels and of places that they are of."""

    ce: Tensor
    kl: Tensor
    n_labels: Tensor
    n_places: Tensor


@dataclass(frozen=True)
class SplitJudge:
    """Judges some optimizees on a split of their pair.

    Attributes:
        forward: The population's forward pass.
        pair: The pair; its metric counts, and on the target its flip average and its sliding window.
        rows: The optimizees.
        split: ``"validation"``, ``"target"`` or ``"proxy_test"``. The last is about the proxy's head; where that gives
            one answer per place and an image has one label, it is averaged over the image.
    """

    forward: Forward
    pair: Pair
    rows: list[int]
    split: str

    @property
    def averaged(self) -> bool:
        """Whether predictions are means over mirror images or sliding windows."""
        return self.split == "target" and bool(self.pair.flip_average or self.pair.sliding_window)

    def evaluate(self, chunks: Iterable[Batch]) -> Evaluation:
        """Losses and metric on a split that comes in parts.

        Returns:
            CE (mean over images or labelled pixels; NaN where predictions are averaged), KL (mean over images or
            places; 0 but for validation), and the metric.
        """
        metrics: list[Any] = []
        total: _Sums | None = None
        for batch in chunks:
            sums, predicted = self._sums(batch)
            total = sums if total is None else _Sums(*(a + b for a, b in zip(total, sums, strict=True)))
            metrics = metrics or [self._metric(batch) for _ in self.rows]
            for metric, row in zip(metrics, predicted, strict=True):
                metric.update(row, batch.labels)
        assert total is not None
        accuracy = torch.stack([metric.compute() for metric in metrics]).to(total.ce.dtype)
        return Evaluation(total.ce / total.n_labels.clamp(min=1), total.kl / total.n_places.clamp(min=1), accuracy)

    def evaluate_whole(self, batch: Batch) -> Evaluation:
        """:meth:`evaluate` of one label per image and plain accuracy, with all images in one part.

        Means are taken over the whole split at once, which is one operation for all optimizees.
        """
        logits, proxy_logits = self.forward(self.rows, batch.images)
        n_classes = self.pair.n_proxy_classes
        scores = proxy_logits[..., :n_classes] if self.split == "proxy_test" else logits
        labels = batch.labels.expand(len(self.rows), -1)
        ce = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none").unflatten(0, labels.shape)
        kl = ce.new_zeros(len(self.rows))
        if batch.probs is not None:
            kl = kl_divergence(proxy_logits[..., :n_classes], batch.probs[:, :n_classes])
        return Evaluation(ce.mean(-1), kl, (scores.argmax(-1) == labels).to(ce.dtype).mean(-1))

    def predictions(self, images: Tensor) -> Tensor:
        """Predicted classes ``(R, n, ...)`` on images of the split, as the metric counts them."""
        if self.averaged:
            return torch.cat([self._averaged(row, images) for row in self.rows])
        return self.forward(self.rows, images)[0].argmax(2)

    def class_accuracy(self, chunks: Iterable[Batch], n_classes: int) -> Tensor:
        """What the pair's metric is the mean of, class by class: ``(R, n_classes)``, float64; NaN for none.

        The intersection over union if the metric is ``"miou"``, else the share of the class's images (or pixels) that
        is right.
        """
        counts: list[Tensor] = []
        for batch in chunks:
            labelled = batch.labels != IGNORED
            labels = batch.labels[labelled]
            of_rows: list[Tensor] = []
            for row in self.predictions(batch.images):
                predicted = row[labelled]
                hits = labels[predicted == labels]
                classes = (hits, labels, predicted)
                of_rows.append(torch.stack([torch.bincount(kind, minlength=n_classes) for kind in classes]))
            counts.append(torch.stack(of_rows))
        right, labelled_as, predicted_as = torch.stack(counts).sum(0).double().unbind(1)
        return right / (labelled_as + predicted_as - right if self.pair.metric == "miou" else labelled_as)

    def _metric(self, batch: Batch) -> Any:
        of_proxy = self.split == "proxy_test"
        kind: MetricName = "accuracy" if of_proxy and batch.labels.dim() == 1 else self.pair.metric
        n_classes = self.pair.n_proxy_classes if of_proxy else self.pair.n_classes
        return make_metric(kind, n_classes, batch.images.device)

    def _sums(self, batch: Batch) -> tuple[_Sums, Tensor]:
        """Sums over one part, and the predictions ``(R, ...)`` on it."""
        images, labels = batch.images, batch.labels
        n_labels = (labels != IGNORED).sum()
        none = images.new_zeros(len(self.rows))
        if self.averaged:  # a mean of several predictions has no cross-entropy
            return _Sums(none * torch.nan, none, n_labels, n_labels), self.predictions(images)
        logits, proxy_logits = self.forward(self.rows, images)
        proxy_logits = proxy_logits[:, :, : self.pair.n_proxy_classes]
        scores = _fit(proxy_logits, labels) if self.split == "proxy_test" else logits
        ce = torch.stack([F.cross_entropy(row, labels, ignore_index=IGNORED, reduction="sum") for row in scores])
        if batch.probs is None:
            return _Sums(ce, none, n_labels, n_labels), scores.argmax(2)
        probs = as_rows(batch.probs)[:, : self.pair.n_proxy_classes]
        kl = torch.stack([kl_divergence(as_rows(row), probs) for row in proxy_logits]) * len(probs)
        return _Sums(ce, kl, n_labels, n_labels.new_tensor(len(probs))), scores.argmax(2)

    def _averaged(self, row: int, images: Tensor) -> Tensor:
        """Predicted classes of one optimizee, ``(1, n)`` or ``(1, n, h, w)``.

        Scores are sigmoids for one label per image (as in ASG), softmaxes for one per pixel.
        """
        pair = self.pair

        def scores(part: Tensor) -> Tensor:
            logits = self.forward([row], part)[0][0]
            dense = logits.dim() == 4
            mean = logits.softmax(1) if dense else logits.sigmoid()
            if pair.flip_average:
                mirrored = self.forward([row], part.flip(-1))[0][0]
                mean = mean + (mirrored.softmax(1).flip(-1) if dense else mirrored.sigmoid())
            return mean

        averaged = slide(scores, images, pair.sliding_window) if pair.sliding_window else scores(images)
        return averaged.argmax(1)[None]


def _fit(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores ``(R, n, classes, ...)`` of every place to one per label."""
    if scores.dim() == 3:
        return scores
    if labels.dim() == 1:
        return scores.mean((-2, -1))
    flat = F.interpolate(scores.flatten(0, 1), labels.shape[1:], mode="bilinear", align_corners=False)
    return flat.unflatten(0, scores.shape[:2])


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
    for top in window_starts(images.shape[-2], height):
        for left in window_starts(images.shape[-1], width):
            found = scores(images[..., top : top + height, left : left + width])
            if total.dim() == 0:
                total = found.new_zeros(*found.shape[:2], *images.shape[-2:])
                count = found.new_zeros(images.shape[-2:])
            total[..., top : top + height, left : left + width] += found
            count[top : top + height, left : left + width] += 1
    return total / count


def window_starts(length: int, side: int) -> list[int]:
    """Where sliding windows start, so that they cover the length and the last one ends with it."""
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
