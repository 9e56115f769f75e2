"""Losses and metrics in parts, beside values computed by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.config import EnvConfig
from l2o_env.inner.metrics import SplitJudge, make_metric, slide, window_starts
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.stream_data import Batch
from l2o_env.inner.window import Start
from l2o_env.models.base import new_generator
from l2o_env.models.losses import IGNORED, task_loss
from l2o_env.pairs.splits import in_memory
from tests.tiny import tiny_pair

CPU = torch.device("cpu")
GENERATOR = new_generator(0)
IMAGES = torch.randn(5, 3, 6, 6, generator=GENERATOR, dtype=torch.float64)
MASKS = torch.randint(3, (5, 6, 6), generator=GENERATOR)
MASKS[:, 0] = IGNORED
PROBS = torch.rand(5, 2, 3, 3, generator=GENERATOR, dtype=torch.float64).softmax(1)
PAIR = dataclasses.replace(tiny_pair(), metric="miou", n_proxy_classes=2)


def _dense(rows: list[int], images: Tensor) -> tuple[Tensor, Tensor]:
    """Row r answers with r + 1 times the colours, and the proxy for every second pixel."""
    logits = torch.stack([(row + 1) * images for row in rows])
    return logits, logits[:, :, :2, ::2, ::2]


def test_parts_add_up_to_the_whole() -> None:
    whole = [Batch(IMAGES, MASKS, PROBS)]
    parts = [Batch(IMAGES[p], MASKS[p], PROBS[p]) for p in (slice(0, 2), slice(2, 5))]
    found = SplitJudge(_dense, PAIR, [0, 1], "validation").evaluate(parts)
    for mine, theirs in zip(found, SplitJudge(_dense, PAIR, [0, 1], "validation").evaluate(whole), strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(found.ce, torch.stack([task_loss(k * IMAGES, MASKS) for k in (1, 2)]))
    log_q = (2 * IMAGES[:, :2, ::2, ::2]).log_softmax(1)
    torch.testing.assert_close(found.kl[1], (PROBS * (PROBS.log() - log_q)).sum(1).mean())


def test_metrics_are_those_of_the_confusion_matrix() -> None:
    predicted, valid = IMAGES.argmax(1), MASKS != IGNORED
    matrix = torch.stack([
        torch.stack([((predicted == p) & (t == MASKS) & valid).sum() for p in range(3)]) for t in range(3)
    ]).double()  # fmt: skip
    hits = matrix.diag()
    expected = {
        "miou": (hits / (matrix.sum(0) + matrix.sum(1) - hits)).mean(),
        "mean_class_accuracy": (hits / matrix.sum(1)).mean(),
        "accuracy": hits.sum() / matrix.sum(),
    }
    for name, value in expected.items():
        metric = make_metric(name, 3, CPU)  # type: ignore[arg-type]
        for k in range(5):
            metric.update(predicted[k : k + 1], MASKS[k : k + 1])
        assert float(metric.compute()) == pytest.approx(float(value), rel=1e-6), name
        pair = dataclasses.replace(PAIR, metric=name)
        found = SplitJudge(_dense, pair, [0], "target").evaluate([Batch(IMAGES, MASKS, None)])
        assert float(found.accuracy) == pytest.approx(float(value), rel=1e-6), name
        of_classes = SplitJudge(_dense, pair, [0], "target").class_accuracy([Batch(IMAGES, MASKS, None)], 4)
        union = matrix.sum(1) if name != "miou" else matrix.sum(0) + matrix.sum(1) - hits
        torch.testing.assert_close(of_classes[0, :3], hits / union)
        assert of_classes[0, 3].isnan()


def test_the_proxys_answers_are_averaged_over_an_image_or_enlarged_to_a_mask() -> None:
    labels = (IMAGES[:, :2, ::2, ::2].mean((-2, -1))).argmax(1)
    found = SplitJudge(_dense, PAIR, [0], "proxy_test").evaluate([Batch(IMAGES, labels, None)])
    assert found.accuracy == 1
    large = F.interpolate(IMAGES[:, :2, ::2, ::2], (6, 6), mode="bilinear", align_corners=False)
    found = SplitJudge(_dense, PAIR, [0], "proxy_test").evaluate([Batch(IMAGES, large.argmax(1), None)])
    assert found.accuracy == 1
    torch.testing.assert_close(found.ce[0], F.cross_entropy(large, large.argmax(1)))


def _one(scores: Callable[[Tensor], Tensor]) -> Callable[[list[int], Tensor], tuple[Tensor, Tensor]]:
    return lambda rows, images: (torch.stack([scores(images) for _ in rows]), torch.zeros(len(rows), len(images), 2))


def test_predictions_are_averaged_with_those_of_the_mirror_image() -> None:
    pair = dataclasses.replace(PAIR, flip_average=True)
    images = 2 * torch.randn(200, 3, 6, 6, generator=new_generator(1), dtype=torch.float64)
    found = SplitJudge(_one(lambda images: images[:, :, 0, 0]), pair, [0, 1], "target").predictions(images)
    left, right = images[:, :, 0, 0], images[:, :, 0, -1]
    assert torch.equal(found, (left.sigmoid() + right.sigmoid()).argmax(1).expand(2, -1))
    for other in (left.softmax(1) + right.sigmoid(), left.sigmoid() + right.softmax(1), left + right):
        assert not torch.equal(found[0], other.argmax(1))
    # A class per pixel: what is said of the mirror image is not the mirror image of what is said.
    bias = 2 * torch.randn(3, 6, 6, generator=new_generator(2), dtype=torch.float64)
    dense = SplitJudge(_one(lambda images: images + bias), pair, [0], "target").predictions(images)
    left, right = images + bias, images + bias.flip(-1)
    assert torch.equal(dense[0], (left.softmax(1) + right.softmax(1)).argmax(1))
    for other in (left.softmax(1) + right.sigmoid(), left.sigmoid() + right.softmax(1), left + right):
        assert not torch.equal(dense[0], other.argmax(1))
    plain = SplitJudge(_one(lambda images: images[:, :, 0, 0]), pair, [0], "validation").predictions(IMAGES)
    assert torch.equal(plain[0], IMAGES[:, :, 0, 0].argmax(1))
    found_ce = SplitJudge(_one(lambda x: x), pair, [0], "target").evaluate([Batch(IMAGES, MASKS, None)]).ce
    assert found_ce.isnan().all()


def test_predictions_on_images_in_memory_are_averaged_too() -> None:
    pair = dataclasses.replace(tiny_pair(), flip_average=True)
    config = EnvConfig(pairs=("tiny",), budget=4, window=2, batch_size=8, device="cpu")
    population, rows = StackedPopulation([pair], 8, config), [*range(8)]
    population.start({i: Start(0, i, i) for i in rows})
    target = in_memory(pair.target)
    images = torch.stack([target.images, target.images.flip(-1)])
    logits = torch.stack([population._logits(rows, view)[0] for view in images])
    expected = (logits.sigmoid().sum(0).argmax(-1) == target.labels).float().mean(-1)
    assert not torch.equal(expected, (logits[0].argmax(-1) == target.labels).float().mean(-1))
    torch.testing.assert_close(population.evaluate("target").accuracy, expected)
    assert population.evaluate("validation").ce.isfinite().all()


def test_a_class_without_labels_does_not_count() -> None:
    metric = make_metric("mean_class_accuracy", 3, CPU)
    metric.update(torch.tensor([0, 2, 1]), torch.tensor([0, 0, 1]))
    metric.update(torch.tensor([1, 2]), torch.tensor([1, IGNORED]))
    assert float(metric.compute()) == pytest.approx((0.5 + 1) / 2)


def test_windows_cover_an_image_and_are_averaged() -> None:
    assert window_starts(20, 6) == [0, 5, 10, 14]
    assert window_starts(6, 6) == [0]
    image = torch.arange(2 * 3 * 11 * 14, dtype=torch.float64).reshape(2, 3, 11, 14)
    torch.testing.assert_close(slide(lambda x: x, image, 6), image)
    torch.testing.assert_close(slide(lambda x: x, image, 64), image)
    # A window that answers with its own mean: every pixel gets the mean over the windows that it lies in.
    row = torch.zeros(1, 1, 1, 8)
    row[..., 0] = 6.0
    found = slide(lambda x: x.mean() * torch.ones_like(x), row, 6)  # heights of 1, widths of 6 at 0 and 2
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]))
