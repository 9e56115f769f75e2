"""What a method of adaptation is: networks, their optimizers, and an update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from l2o_env.adaptation.config import AdaptConfig
from l2o_env.adaptation.images import LabelledImages, UnlabelledImages
from l2o_env.errors import ConfigError
from l2o_env.models.adapted.heads import head_inputs
from l2o_env.models.base import Optimizee
from l2o_env.models.blocks import initialise


@dataclass(frozen=True, eq=False)
class Batch:
    """What an update sees; in a mix of both domains, either part may be empty.

    Attributes:
        source: Images ``(n, channels, h, w)``.
        labels: Their labels ``(n,)``, or ``(n, h, w)`` in segmentation.
        target: Images ``(m, channels, h, w)``, without labels.
        pseudo: Pseudo labels of the target images ``(m,)`` or ``(m, h, w)``; None if the round's plan has none.
        index: Which of the target images they are ``(m,)``.
        progress: Share of all updates that is made, 0 to 1.
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    pseudo: Tensor | None
    index: Tensor
    progress: float


class RoundStart(NamedTuple):
    """What a method may use when a round begins.

    Attributes:
        number: The round, from 0.
        probabilities: What the network says of the target images, ``(n, n_classes)`` or ``(n, n_classes, h, w)``.
        source: The source images.
        target: The target images.
        rng: Draws indices.
        generator: Draws tensors, on the host, also for the round's updates.
    """

    number: int
    probabilities: Tensor
    source: LabelledImages
    target: UnlabelledImages
    rng: np.random.Generator
    generator: torch.Generator


class Plan(NamedTuple):
    """Which images a round's batches are drawn from.

    Attributes:
        source: Indices of source images; None: all.
        target: Indices of target images; None: all.
        mixed: Whether a batch is drawn from both together, instead of a batch of each.
        trains: Whether the round has updates at all.
        pseudo: Labels that the method gave the target images, ``IGNORED`` for none; None if it gives none.
    """

    source: Tensor | None = None
    target: Tensor | None = None
    mixed: bool = False
    trains: bool = True
    pseudo: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """What a method is made for.

    Attributes:
        model: The network to adapt, on its device; it is changed.
        n_classes: Classes of the task.
        side: Side of the images, in pixels.
        config: Settings.
        seed: Draws what networks a method adds start from.
    """

    model: Optimizee
    n_classes: int
    side: int
    config: AdaptConfig
    seed: int


class Method(ABC):
    """Adapts a network to target images without labels.

    A class of it says in its docstring where it comes from, what was not public and what is done here instead.

    Attributes:
        name: As the command line calls it.
        dense: Whether it works where every pixel has a class.
        networks: What it trains, by name; the network to adapt is ``"model"``.
        joint: Whether body and head of the network to adapt are updated together, so that one optimizer, ``"model"``,
            has both; otherwise they are ``"body"`` and ``"head"``.
        optimizers: What trains the networks, by name.
        observe: Is called with each loss that is descended on, and returns it; for who sets rates by it.

    Raises:
        ConfigError: If it cannot work on the network.
    """

    name: ClassVar[str]
    dense: ClassVar[bool] = False
    joint: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.model, self.config, self.n_classes = task.model, task.config, task.n_classes
        self.generator = torch.Generator().manual_seed(task.seed)
        self.networks: dict[str, nn.Module] = {"model": task.model}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        named = dict(task.model.named_parameters())
        groups = [[named[name] for name in names] for names in task.model.layer_groups().values()]
        self.head_name = list(task.model.layer_groups())[-1]
        if self.joint:
            self.optimizers["model"] = self.sgd(groups)
        else:
            self.optimizers = {"body": self.sgd(groups[:-1]), "head": self.sgd(groups[-1:])}
        self.observe: Callable[[Tensor], Tensor] = _as_it_is

    def begin_round(self, start: RoundStart) -> Plan:
        """Prepares a round; a method that says nothing draws a batch of each domain from all images."""
        self.generator = start.generator
        return Plan()

    @abstractmethod
    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Makes an update; returns its losses by name."""

    def end_round(self, source: LabelledImages) -> None:  # noqa: B027 - most have nothing to do
        """Is called before predictions, also those of the start."""

    def predict(self, images: Tensor) -> Tensor:
        """Logits of the adapted network ``(n, n_classes, ...)``."""
        return self.model(images)[0]

    # --- what methods are made of ------------------------------------------------------------------------------------

    def sgd(self, groups: Sequence[Sequence[nn.Parameter]]) -> torch.optim.SGD:
        """SGD at the settings' rate."""
        c = self.config
        return torch.optim.SGD(
            [{"params": list(group)} for group in groups if group],
            lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, nesterov=c.momentum > 0,
        )  # fmt: skip

    def add(self, name: str, network: nn.Module, *, draw: bool = True) -> nn.Module:
        """Adds a network of the method's own, drawn anew or as it is, with an optimizer of the same name."""
        if draw:
            initialise(network, self.generator)
        device = next(self.model.parameters()).device
        self.networks[name] = network.to(device).requires_grad_(True)
        self.optimizers[name] = self.sgd([list(network.parameters())])
        return network

    @property
    def head(self) -> nn.Module:
        """The network's head, features to logits.

        Raises:
            ConfigError: If it is not a module of its own.
        """
        try:
            return self.model.get_submodule(self.head_name)
        except AttributeError as error:
            raise ConfigError(
                f"The method {self.name!r} reads the features before the head, and {type(self.model).__name__} has no "
                f"module {self.head_name!r}, as its last layer group is called; give the head a module of that name."
            ) from error

    def features(self, images: Tensor) -> Tensor:
        """What goes into the head: ``(n, n_features)``."""
        with head_inputs(self.head) as inputs:
            self.model(images)
        return inputs[0]

    @property
    def n_features(self) -> int:
        """Numbers that go into the head."""
        layer = next(layer for layer in self.head.modules() if isinstance(layer, nn.Linear))
        return layer.in_features

    def descend(self, loss: Tensor, *optimizers: str) -> None:
        """Makes a step of these optimizers alone; no other parameter has a gradient, decays or moves."""
        chosen = [self.optimizers[name] for name in optimizers]
        loss = self.observe(loss)
        params = [p for optimizer in chosen for group in optimizer.param_groups for p in group["params"]]
        for p, gradient in zip(params, torch.autograd.grad(loss, params, allow_unused=True), strict=True):
            p.grad = gradient
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(params, self.config.clip_norm)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad()


def _as_it_is(loss: Tensor) -> Tensor:
    return loss
