"""Class-balanced self-training."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.adaptation.config import share_count
from l2o_env.adaptation.method import Batch, Method, Plan, RoundStart
from l2o_env.errors import ConfigError
from l2o_env.models.losses import IGNORED, as_rows


def thresholds(probabilities: Tensor, portion: float) -> Tensor:
    """λ of each class: the confidence of the last of the share of its predictions that is to be labelled.

    Args:
        probabilities: ``(n, n_classes)``.
        portion: The share, in (0, 1].

    Returns:
        ``(n_classes,)``; 1 for a class of which no whole prediction is to be labelled.
    """
    confidence, predicted = probabilities.max(1)
    result = probabilities.new_ones(probabilities.shape[1])
    for k in range(len(result)):
        of_class = confidence[predicted == k].sort(descending=True).values
        m = int(portion * len(of_class))
        if m:
            result[k] = of_class[m - 1]
    return result


def pseudo_labels(probabilities: Tensor, thresholds: Tensor) -> Tensor:
    """The class of the largest p/λ, if that is at least 1, else ``IGNORED``.

    Args:
        probabilities: ``(n, n_classes)``.
        thresholds: λ ``(n_classes,)``.

    Returns:
        ``(n,)``, int64.
    """
    ratio, label = (probabilities / thresholds).max(1)
    return torch.where(ratio >= 1, label, IGNORED)


class CBST(Method):
    """Class-balanced self-training (Zou et al., ECCV 2018), as in CRST (Zou et al., ICCV 2019).

    In each round, the most confident share of the predictions of each class becomes its pseudo labels; batches mix them
    with a few source images. The labels are those of the released segmentation code (argmax of p/λ where that is at
    least 1). The code for classification is not public; its schedule is that of an issue's answer, and the shares of
    source images are those of the only public run that starts from ASG. A round has a fixed number of updates here.
    """

    name = "cbst"
    dense = True
    joint = True
    soft: Tensor | None = None
    """Soft labels of all target images, where a method has them."""

    def begin_round(self, start: RoundStart) -> Plan:
        """Labels the target images, and draws the source images that are mixed in."""
        self.generator = start.generator
        probabilities = start.probabilities
        rows = as_rows(probabilities)
        step = self.config.pixel_step if probabilities.dim() == 4 else 1
        found = thresholds(rows[::step], self.config.portion_of(start.number))
        labels, self.soft = self.label(rows, found)
        shape = (len(probabilities), *probabilities.shape[2:])
        pseudo = labels.reshape(shape)
        if self.soft is not None:
            self.soft = self.soft.reshape(*shape, -1)
            if pseudo.dim() > 1 and start.target.moved:
                raise ConfigError(
                    f"{self.name!r} has soft labels of pixels, which cannot be cropped or mirrored with the images; "
                    "use a pair without augmentation, or another method."
                )
        kept = (pseudo != IGNORED).reshape(len(probabilities), -1).any(1).nonzero()[:, 0]
        n_source = share_count(self.config.source_share_of(start.number), len(start.source))
        source = torch.from_numpy(start.rng.permutation(len(start.source))[:n_source])
        return Plan(source, kept.cpu(), mixed=True, pseudo=pseudo)

    def label(self, rows: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor | None]:
        """Labels ``(n,)`` of probabilities ``(n, n_classes)``, and soft ones if the method has them."""
        return pseudo_labels(rows, thresholds), None

    def regulariser(self, log_p: Tensor) -> Tensor:
        """What is added of the kept target rows ``(n, n_classes)`` of log-probabilities; mean over them."""
        return log_p.new_zeros(())

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, mean over all that is labelled in both domains, and the regulariser over the target's."""
        assert batch.pseudo is not None
        labels = torch.cat([batch.labels, batch.pseudo])
        logits = self.model(torch.cat([batch.source, batch.target]))[0]
        kept = labels.flatten() != IGNORED
        log_p = as_rows(logits.log_softmax(1))[kept]
        target = F.one_hot(labels.flatten()[kept], self.n_classes).to(log_p.dtype)
        of_target = torch.zeros_like(labels, dtype=torch.bool)
        of_target[len(batch.labels) :] = True
        of_target = of_target.flatten()[kept]
        if self.soft is not None:
            n_rows = self.soft[batch.index].flatten(0, -2)
            target[of_target] = n_rows[kept[len(kept) - len(n_rows) :]]
        ce = -(target * log_p).sum() / kept.sum().clamp(min=1)
        extra = self.regulariser(log_p[of_target]) if of_target.any() else ce.new_zeros(())
        self.descend(ce + extra, "model")
        return {"ce": ce.detach(), "regulariser": extra.detach()}
