"""Generate to adapt."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from l2o_env.adaptation.method import Batch, Method, Task
from l2o_env.models.blocks import initialise, linear

MAX_SIDE = 64
"""Largest side of generated images, in pixels (Sankaranarayanan et al., 2018)."""


class _Generator(nn.Module):
    """Numbers ``(n, n_inputs)`` to images ``(n, 3, side, side)``; without bounds, as normalised images have none."""

    def __init__(self, n_inputs: int, width: int, side: int) -> None:
        super().__init__()
        self.width, self.side = width, side
        self.first = linear(n_inputs, 2 * width * (side // 4) ** 2)
        self.second, self.third = _convolution(2 * width, width), _convolution(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x)).unflatten(1, (2 * self.width, self.side // 4, self.side // 4))
        x = F.relu(self.second(F.interpolate(x, scale_factor=2.0)))
        return self.third(F.interpolate(x, scale_factor=2.0))


class _Discriminator(nn.Module):
    """Images to a logit that says "real" ``(n,)`` and logits of the classes ``(n, n_classes)``."""

    def __init__(self, n_classes: int, width: int, side: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(3, width, 2), _convolution(width, 2 * width, 2)
        n = 2 * width * (side // 4) ** 2
        self.real, self.classes = linear(n, 1), linear(n, n_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.leaky_relu(self.second(F.leaky_relu(self.first(images), 0.2)), 0.2).flatten(1)
        return self.real(x)[:, 0], self.classes(x)


def _convolution(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride, 1, device="meta").to_empty(device="cpu")


class GTA(Method):
    """Generate to adapt (Sankaranarayanan et al., CVPR 2018): features from which source-like images can be generated.

    Four networks: the body and the head are the network's own; a generator makes small images of the features, noise
    and the class (for the target one of its own); a discriminator tells real from generated, and the classes. Updates
    are in the published order: discriminator, generator, head, body. Generator and discriminator for larger images than
    digits were not published; they are two convolutions each here, without batch normalisation, and the rate is
    constant.
    """

    name = "gta"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        c = self.config
        self.side = max(4, min(task.side, MAX_SIDE) // 4 * 4)
        self.n_noise = min(c.gta_noise, 4 * self.n_features)
        n_inputs = self.n_features + self.n_noise + self.n_classes + 1
        for name, network in (
            ("generator", _Generator(n_inputs, c.gta_width, self.side)),
            ("discriminator", _Discriminator(self.n_classes, c.gta_width, self.side)),
        ):
            initialise(network, self.generator)
            self.add(name, network, draw=False)
            self.optimizers[name] = torch.optim.Adam(network.parameters(), lr=c.gta_lr, betas=(0.8, 0.999))

    def _generated(self, features: Tensor, labels: Tensor) -> Tensor:
        noise = torch.randn(len(features), self.n_noise, generator=self.generator).to(features)
        classes = F.one_hot(labels, self.n_classes + 1).to(features)
        return self.networks["generator"](torch.cat([features, noise, classes], 1))

    def _of_both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images generated of the features of source and target."""
        features = self.features(torch.cat([batch.source, batch.target]))
        unknown = torch.full((len(batch.target),), self.n_classes, device=batch.labels.device)
        generated = self._generated(features, torch.cat([batch.labels, unknown]))
        return generated[: len(batch.source)], generated[len(batch.source) :]

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Makes the four updates."""
        c, judge, labels = self.config, self.networks["discriminator"], batch.labels
        real_images = F.interpolate(batch.source, (self.side, self.side), mode="bilinear", align_corners=False)
        with torch.no_grad():
            of_source, of_target = self._of_both(batch)
        real, classes = judge(real_images)
        fake = judge(of_source)[0], judge(of_target)[0]
        loss_d = F.cross_entropy(classes, labels) + says(real, True) + says(fake[0], False) + says(fake[1], False)
        self.descend(loss_d, "discriminator")

        real, classes = judge(self._of_both(batch)[0])
        loss_g = F.cross_entropy(classes, labels) + says(real, True)
        self.descend(loss_g, "generator")

        with torch.no_grad():
            features = self.features(batch.source)
        self.descend(F.cross_entropy(self.head(features), labels), "head")

        ce = F.cross_entropy(self.model(batch.source)[0], labels)
        of_source, of_target = self._of_both(batch)
        told = F.cross_entropy(judge(of_source)[1], labels) + c.gta_adversarial * says(judge(of_target)[0], True)
        self.descend(ce + c.gta_weight * told, "body")
        return {"ce": ce.detach(), "discriminator": loss_d.detach(), "generator": loss_g.detach()}


def says(logits: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of logits ``(n,)`` of "real"."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
