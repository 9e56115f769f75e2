"""Settings of an adaptation."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from l2o_env.errors import ConfigError, require_integer, require_integers


@dataclass(frozen=True)
class AdaptConfig:
    """How a network is adapted; a setting that begins with the name of a method is that method's own.

    The defaults suit the embedded pairs. What was published for VisDA-17 and ResNet-101 stands behind each.

    Raises:
        ConfigError: If a value cannot work.
    """

    rounds: int = 7
    """Rounds; pseudo labels are made anew in each. CBST: 20."""
    updates: int = 30
    """Optimizer updates of a round. CBST: an epoch of what is labelled."""
    batch_size: int = 32
    """Images per update: of the mix of both domains (self-training), or of each domain."""
    lr: float = 0.01
    """Learning rate of all layers. CBST: 1e-4; MCD: 1e-3; MDD: 4e-3; DANN and CDAN: 1e-2."""
    momentum: float = 0.9
    """Of SGD with Nesterov's momentum."""
    weight_decay: float = 5e-4
    """Of SGD."""
    clip_norm: float | None = 5.0
    """Gradients are scaled down to this norm; None: never, as published."""
    hidden: int = 1024
    """Width of domain discriminators; at most four times their inputs."""
    portion: float = 0.2
    """Share of each predicted class that is labelled in the first round of self-training."""
    portion_step: float = 0.05
    """What is added to it each round."""
    portion_end: float = 0.5
    """Largest share."""
    source_share: float = 0.065
    """Share of the source images that are mixed in in the first round of self-training, drawn anew each round."""
    source_share_step: float = 0.0085
    """What is added to it each round."""
    source_share_end: float = 0.165
    """Largest share."""
    pixel_step: int = 4
    """In segmentation, thresholds are computed of every so many pixels."""
    mrkld_weight: float = 0.1
    """α of MRKLD. The segmentation code says 0.1 and applies it twice (0.01); for classification it is not public."""
    lrent_weight: float = 0.25
    """α of LRENT; that of segmentation."""
    mcd_steps: int = 4
    """Updates of the body against both heads, for each of the heads'."""
    mcd_balance: float = 0.01
    """Weight of the term that keeps predictions over the classes balanced."""
    adr_steps: int = 4
    """Updates of the body against the dropout's head, for each of the head's."""
    adr_dropout: float = 0.5
    """Share of the features that are dropped."""
    simnet_regulariser: float = 0.01
    """Weight γ of the prototypes' distance from being orthonormal."""
    simnet_domain: float = 0.5
    """Weight λ of the domain loss."""
    simnet_width: int = 512
    """Numbers that features and prototypes are projected to; at most four times the features."""
    gta_weight: float = 0.1
    """Weight of what the generated images say to the body."""
    gta_adversarial: float = 0.3
    """Weight of the target's part of it."""
    gta_noise: int = 512
    """Random numbers that an image is generated of; at most four times the features."""
    gta_width: int = 16
    """Channels of generator and discriminator. Published: 64."""
    gta_lr: float = 5e-4
    """Adam's rate for generator and discriminator."""
    mdd_margin: float = 4.0
    """γ of MDD, the logarithm of its margin."""
    mdd_reversal: float = 0.1
    """Largest factor of MDD's reversed gradient."""
    mcc_temperature: float = 3.0
    """Temperature of MCC's softmax."""
    shot_pseudo: float = 0.3
    """Weight of SHOT's pseudo labels."""
    device: str = "auto"
    """Torch device; `auto` takes a GPU if there is one."""

    def __post_init__(self) -> None:
        """Checks each setting."""
        require_integers(self, "rounds", "updates", "batch_size", "hidden", "pixel_step", "mcd_steps", "adr_steps",
                         "simnet_width", "gta_noise", "gta_width")  # fmt: skip
        for key in ("portion", "portion_end", "source_share", "source_share_end"):
            if not 0 < getattr(self, key) <= 1:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; expected a share in (0, 1].")
        for key in ("momentum", "adr_dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; expected a number in [0, 1).")
        for key in ("lr", "gta_lr", "mcc_temperature", "lrent_weight", "clip_norm"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{key} is {value!r}; expected a finite number > 0.")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0 <= value < math.inf:
                raise ConfigError(f"{field.name} is {value!r}; expected a finite number >= 0.")

    def portion_of(self, number: int) -> float:
        """Share of each predicted class that is labelled in a round, from 0."""
        return min(self.portion + number * self.portion_step, max(self.portion, self.portion_end))

    def source_share_of(self, number: int) -> float:
        """Share of the source images that are mixed in in a round, from 0."""
        grown = self.source_share + number * self.source_share_step
        return min(grown, max(self.source_share, self.source_share_end))


def share_count(share: float, n: int) -> int:
    """Images of a share of `n`: rounded down, but at least one.

    Raises:
        ConfigError: If there are none to take a share of.
    """
    return max(1, int(share * require_integer("the number of images", n)))
