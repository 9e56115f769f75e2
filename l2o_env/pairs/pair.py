"""What a pair is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.layout import Layout
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.splits import Split, check_images
from l2o_env.safe_tensors import require_finite

MetricName = Literal["accuracy", "mean_class_accuracy", "miou"]


@dataclass(frozen=True, eq=False)
class Pair:
    """A (source, target) pair with its proxy: all that an inner training run needs.

    Attributes:
        name: The name it is registered under.
        train: Labelled synthetic images to train on: in memory, or decoded on demand (``ImageSplit``), like all.
        validation: Labelled synthetic images from renderers that training never sees; V is computed here.
        target: Labelled real images. Only evaluation (and the reward ``"target_oracle"``) reads them.
        proxy_test: Real images with the *proxy's* labels that its pretraining never saw; the accuracy of the
            optimizee's proxy head here is the "proxy accuracy kept". None where there are none.
        proxy: The frozen, real-image-pretrained network; maps images to logits ``(n, n_proxy_classes)``.
        make_model: Builds an optimizee: the proxy's backbone and frozen head, and a new head drawn from the given
            ``torch.Generator``.
        make_random_model: The same with a backbone drawn from the generator too (opponent "random-init").
        n_classes: Classes of the task.
        n_proxy_classes: Classes of the proxy.
        classes: Names of the task's classes, in the order of their indices; empty where numbers are their names.
        shifted: Makes labelled synthetic images that look like neither training nor validation, for the reward
            ``"transfer"``; None: validation stands for them.
        importance: What the guidance ``si`` holds the proxy's weights by: Ω by parameter name, from the proxy's own
            training; None where only weights exist (then it is estimated from gradients).
        metric: What "accuracy" is on the task's labels: the share that is right, its mean over the classes
            (``"mean_class_accuracy"``), or the mean intersection over union (``"miou"``).
        flip_average: Whether predictions on the target are averaged over the image and its mirror image.
        sliding_window: Side of the windows that target images are cut into, in pixels; 0: not at all.
        advice: What to do about images that it does not have; empty: they are given by a setting of the split's name.
    """

    name: str
    train: Split | ImageSplit
    validation: Split | ImageSplit
    target: Split | ImageSplit | None
    proxy_test: Split | ImageSplit | None
    proxy: nn.Module
    make_model: Callable[[torch.Generator], Optimizee]
    make_random_model: Callable[[torch.Generator], Optimizee]
    n_classes: int
    n_proxy_classes: int
    classes: tuple[str, ...] = ()
    shifted: Callable[[], Split] | None = None
    importance: Callable[[], dict[str, Tensor]] | None = None
    metric: MetricName = "accuracy"
    flip_average: bool = False
    sliding_window: int = 0
    advice: str = ""

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if its images, labels or proxy cannot be meant: pairs may be anybody's."""
        if self.n_classes < 2:
            raise ConfigError(f"The pair {self.name!r} has {self.n_classes} classes; expected two to tell apart.")
        if self.classes and len(self.classes) != self.n_classes:
            raise ConfigError(
                f"The pair {self.name!r} names {len(self.classes)} classes and has {self.n_classes}; expected a name "
                "for each, or none."
            )
        check_images(self.train, self.n_classes, f"training images of the pair {self.name!r}")
        check_images(self.validation, self.n_classes, f"validation images of the pair {self.name!r}")
        if self.proxy_test is not None:
            check_images(self.proxy_test, self.n_proxy_classes, f"proxy's test images of the pair {self.name!r}")
        try:
            require_finite(self.proxy.state_dict())
        except ValueError as error:
            raise ConfigError(f"The proxy of the pair {self.name!r} cannot be used: {error}.") from error

    def __repr__(self) -> str:
        """Its name, classes and numbers of images, which themselves would fill screens."""
        splits = {name: getattr(self, name) for name in ("train", "validation", "target", "proxy_test")}
        sizes = ", ".join(f"{name}={0 if split is None else len(split)}" for name, split in splits.items())
        return f"Pair({self.name!r}, n_classes={self.n_classes}, {sizes}, metric={self.metric!r})"

    def split(self, name: str) -> Split | ImageSplit | None:
        """Images by the name of their split; the shifted ones are made once, and validation's where there are none.

        Raises:
            ConfigError: If the shifted or the target images cannot be meant.
        """
        if name == "target":
            self.check_target()
        return self._shifted if name == "shifted" else getattr(self, name)

    @cached_property
    def _shifted(self) -> Split | ImageSplit:
        if self.shifted is None:
            return self.validation
        made = self.shifted()
        check_images(made, self.n_classes, f"shifted images of the pair {self.name!r}")
        return made

    def check_target(self) -> None:
        """Raises ``ConfigError`` likewise of the target: before an evaluation, because nothing else reads it."""
        if self.target is not None:
            check_images(self.target, self.n_classes, f"target images of the pair {self.name!r}")

    def no_images(self, split: str, use: str) -> ConfigError:
        """The error for a split that it does not have.

        Args:
            split: ``"target"`` or ``"proxy_test"``.
            use: What there is not without its images, or what needs them.
        """
        mend = self.advice or f"give it some: {split}=…"
        return ConfigError(f"Pair {self.name!r} has no labelled {split} images, {use}; {mend}.")

    @cached_property
    def layout(self) -> Layout:
        """Layer groups and weights of its optimizees, of which one is built the first time.

        Raises:
            ValueError: If a trainable parameter of theirs is in no layer group or in several.
        """
        return Layout.of(self.make_model(new_generator(0)))


def is_streamed(pair: Pair) -> bool:
    """Whether images of a pair are decoded on demand."""
    splits = (pair.train, pair.validation, pair.target, pair.proxy_test)
    return any(isinstance(split, ImageSplit) for split in splits)
