"""Similarity-based classification."""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from l2o_env.adaptation.images import LabelledImages
from l2o_env.adaptation.method import Batch, Method, Task
from l2o_env.adaptation.reversal import discriminator, domain_loss, ramp, reverse
from l2o_env.models.adapted.heads import head_inputs
from l2o_env.models.blocks import linear


def class_means(features: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Mean features of each class ``(n_classes, n_features)``, 0 for none, and how many there are ``(n_classes,)``."""
    members = F.one_hot(labels, n_classes).to(features.dtype)
    counts = members.sum(0)
    return members.T @ features / counts.clamp(min=1)[:, None], counts


def orthonormality(prototypes: Tensor) -> Tensor:
    """‖PPᵀ - I‖² of prototypes ``(n_classes, n_features)``."""
    return (prototypes @ prototypes.T - torch.eye(len(prototypes), device=prototypes.device)).square().sum()


class SimNet(Method):
    """Similarity-based classification (Pinheiro, CVPR 2018): scores are products with prototypes of the classes.

    There is no public code. Features and prototypes come from two networks, both of which start from the
    initialisation, as (Uf)ᵀ(Vμ). How many images a prototype has in training is not published: here those of its class
    in the batch, and a class without any is left out of the softmax; predictions use all source images.
    """

    name = "simnet"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        n = self.n_features
        width = min(self.config.simnet_width, 4 * n)
        self.add("prototypes", deepcopy(task.model), draw=False)
        # The network's own groups: the proxy's head, which add() made trainable, stays as it is.
        trained = [name for names in task.model.layer_groups().values() for name in names]
        for name, p in self.networks["prototypes"].named_parameters():
            p.requires_grad_(name in trained)
        self.optimizers["prototypes"] = self.sgd(
            [[p for p in self.networks["prototypes"].parameters() if p.requires_grad]]
        )
        self.add("projections", nn.ModuleList([linear(n, width), linear(n, width)]))
        self.add("discriminator", discriminator(n, self.config.hidden))
        with torch.no_grad():  # scores of the size of logits, whatever the width
            for projection in self._projections():
                projection.weight.div_(width**0.25)
        self.means: Tensor = torch.zeros(self.n_classes, n)

    def _projections(self) -> list[nn.Linear]:
        return [layer for layer in self.networks["projections"].modules() if isinstance(layer, nn.Linear)]

    def _prototype_features(self, images: Tensor) -> Tensor:
        network = self.networks["prototypes"]
        with head_inputs(network.get_submodule(self.head_name)) as inputs:
            network(images)
        return inputs[0]

    def _scores(self, features: Tensor, means: Tensor) -> Tensor:
        u, v = self._projections()
        return u(features) @ v(means).T

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the similarities, the regulariser, and the reversed domain loss."""
        n = len(batch.source)
        features = self.features(torch.cat([batch.source, batch.target]))
        means, counts = class_means(self._prototype_features(batch.source), batch.labels, self.n_classes)
        scores = self._scores(features[:n], means).masked_fill(counts == 0, -torch.inf)
        ce = F.cross_entropy(scores, batch.labels)
        regulariser = orthonormality(self._projections()[1](means[counts > 0]))
        verdict = self.networks["discriminator"](reverse(features, ramp(batch.progress)))
        domain = domain_loss(verdict[:n], verdict[n:])
        loss = ce + self.config.simnet_regulariser * regulariser + self.config.simnet_domain * domain
        self.descend(loss, "body", "prototypes", "projections", "discriminator")
        return {"ce": ce.detach(), "regulariser": regulariser.detach(), "domain": domain.detach()}

    def end_round(self, source: LabelledImages) -> None:
        """Computes the prototypes of all source images."""
        total, count = torch.zeros(()), torch.zeros(())
        for images, labels in source.chunks():
            means, counts = class_means(self._prototype_features(images), labels, self.n_classes)
            total, count = total.to(means) + means * counts[:, None], count.to(counts) + counts
        self.means = total / count.clamp(min=1)[:, None]

    def predict(self, images: Tensor) -> Tensor:
        """Similarities with all classes' prototypes."""
        return self._scores(self.features(images), self.means)
