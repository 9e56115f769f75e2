"""Settings of the environment: frozen, validated on construction, and the same ones that the command line takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch

from l2o_env.errors import ConfigError, UnknownSettingError, unknown_name

ObservationForm = Literal["layers", "asg"]
WindowForm = Literal["fixed", "asg", "asg_intended"]
UpdateRule = Literal["sgd", "rate_in_momentum"]
Curve = Literal["none", "warmup_poly"]
ActionForm = Literal["log", "relative", "discrete", "log+guidance"]
RewardName = Literal["proxy_guided", "val_loss", "val_accuracy", "train_loss", "target_oracle"]
GuidanceName = Literal["kl", "none", "l2sp", "si", "feature", "csg"]
GuidanceSchedule = Literal["constant", "linear", "cosine", "warmup"]
Implementation = Literal["auto", "stacked", "looped"]
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class EnvConfig:
    """Everything that defines an environment; each field is a keyword of ``gym.make``.

    Raises:
        ConfigError: If a value cannot work, with what came, what was expected and what to do.
    """

    pairs: tuple[str, ...] = ("glyphs-digits",)
    """Names of the pairs that episodes are drawn from (one string is taken as one name); with settings, if it has any:
    `folders:source=renders,target=photos`."""
    budget: int = 300
    """Optimizer updates of an episode."""
    window: int = 15
    """Optimizer updates between two actions; of ASG's windows, the shortest."""
    windows: WindowForm = "fixed"
    """How long windows are: all the same, or as in ASG, growing within an epoch and with the epochs (`asg`, and
    `asg_intended` as it was probably meant). ASG's first window is run at the base rates, before the first action."""
    epoch_updates: int | None = None
    """Optimizer updates that ASG's windows take for an epoch. None: training images over `batch_size`, rounded down."""
    observation: ObservationForm = "layers"
    """Statistics of each layer group (`layers`), or the few raw numbers that the released ASG observes (`asg`)."""
    action: ActionForm = "log"
    """Action form: `log` (absolute rates), `relative` (to the current rates), `discrete` (factors of `base_lr`), or
    `log+guidance` (absolute rates, and the weight of the guidance term as one more number)."""
    reward: RewardName = "proxy_guided"
    """What is rewarded."""
    kl_weight: float = 1.0
    """Weight w of the validation KL in V = -(CE_val + w KL_val)."""
    divergence_penalty: float = 5.0
    """Subtracted from the reward of the step at which an optimizee diverges."""
    guidance: GuidanceName = "kl"
    """Term that keeps the optimizee close to the proxy."""
    guidance_weight: float = 0.3
    """Weight lambda of the guidance term in the training loss. Its authors have, for `kl`, 0.1 (classification) and 75
    (segmentation); for `l2sp` and `csg` 0.1; for `si` 0.01 to 1."""
    guidance_schedule: GuidanceSchedule = "constant"
    """How the weight changes over an episode: not, down to 0 (`linear`, `cosine`), or up from 0 (`warmup`)."""
    guidance_cap: float | None = None
    """The weighted term counts at most this much in the training loss: beyond it, it has no gradient. None: no cap."""
    guidance_weight_min: float = 0.01
    """Smallest weight that an action of the form `log+guidance` can set."""
    guidance_weight_max: float = 10.0
    """Largest weight that an action of the form `log+guidance` can set."""
    l2sp_head: float = 0.1
    """Weight of the head's squared norm in `l2sp`, relative to that of the backbone's distance."""
    csg_temperature: float = 0.07
    """Temperature of the contrastive loss of `csg`."""
    csg_dim: int = 128
    """Numbers that the features of a view are projected to in `csg`."""
    csg_queue: int = 65536
    """Views of other images that `csg` compares with; at most as many as the pair has training images."""
    batch_size: int = 32
    """Images per update."""
    momentum: float = 0.9
    """Momentum of the inner SGD."""
    weight_decay: float = 5e-4
    """Weight decay of the inner SGD."""
    clip_norm: float | None = 5.0
    """Gradients of an optimizee are scaled down to this norm; None: never."""
    update_rule: UpdateRule = "sgd"
    """`sgd` multiplies the momentum buffer by the rate, as torch.optim.SGD does; `rate_in_momentum` sums up gradients
    that are multiplied by the rate of their time already, as ASG does for classification."""
    lr_curve: Curve = "none"
    """A factor of the rates at each update, beside what actions set: ASG's warm-up and polynomial decay, or none."""
    lr_warmup: int = 100
    """Updates that the warm-up of `lr_curve` takes."""
    lr_min: float = 1e-4
    """Smallest learning rate of the `log` and `relative` action forms."""
    lr_max: float = 0.3
    """Largest learning rate of the `log` and `relative` action forms."""
    base_lr: float = 0.02
    """Rate at the start of an episode, and the rate that `discrete` factors multiply."""
    relative_scale: float = 2.0
    """Largest factor by which one `relative` action can change a rate."""
    common_random_numbers: bool = False
    """Give all optimizees of a population the same pair, head initialisation and batches."""
    random_init: bool = False
    """Start from a randomly drawn backbone instead of the proxy's."""
    implementation: Implementation = "auto"
    """How a population runs: `stacked` (one batched graph), `looped` (any network), or `auto`."""
    precision: Precision = "float32"
    """What a network computes in: `bf16` (mixed precision; weights stay float32) is for large networks on a GPU."""
    cuda_graphs: bool = True
    """On a GPU, record the updates of a stacked population as CUDA graphs."""
    workers: int = 1
    """Processes that a population is divided over, on a CPU; at most one per optimizee."""
    device: str = "auto"
    """Torch device; `auto` takes a GPU if there is one."""

    def __post_init__(self) -> None:
        given: object = self.pairs
        names = (given,) if isinstance(given, str) else given
        if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"pairs is {given!r}; expected the name of at least one pair.")
        object.__setattr__(self, "pairs", tuple(names))
        for kind, name, known in (
            ("action form", self.action, get_args(ActionForm)),
            ("window form", self.windows, get_args(WindowForm)),
            ("observation form", self.observation, get_args(ObservationForm)),
            ("update rule", self.update_rule, get_args(UpdateRule)),
            ("learning rate curve", self.lr_curve, get_args(Curve)),
            ("reward", self.reward, get_args(RewardName)),
            ("guidance", self.guidance, get_args(GuidanceName)),
            ("guidance schedule", self.guidance_schedule, get_args(GuidanceSchedule)),
            ("implementation", self.implementation, get_args(Implementation)),
            ("precision", self.precision, get_args(Precision)),
        ):
            if name not in known:
                raise unknown_name(kind, name, known)
        for key in ("budget", "window", "batch_size", "workers", "csg_dim", "csg_queue", "lr_warmup"):
            _require_integer(key, getattr(self, key))
        if self.epoch_updates is not None:
            _require_integer("epoch_updates", self.epoch_updates)
        for key in ("common_random_numbers", "random_init", "cuda_graphs"):
            if not isinstance(getattr(self, key), bool):
                raise ConfigError(f"{key} is {getattr(self, key)!r}; expected True or False.")
        if self.window > self.budget:
            raise ConfigError(
                f"window {self.window} is larger than the budget of {self.budget} updates; "
                "choose a window of at most the budget."
            )
        for key in ("kl_weight", "divergence_penalty", "guidance_weight", "weight_decay", "l2sp_head"):
            _require(key, getattr(self, key), "a finite number >= 0", lambda x: x >= 0)
        positive = ("lr_min", "lr_max", "base_lr", "guidance_weight_min", "guidance_weight_max")
        optional = [key for key in ("clip_norm", "guidance_cap") if getattr(self, key) is not None]
        for key in (*positive, "csg_temperature", *optional):
            _require(key, getattr(self, key), "a finite number > 0", lambda x: x > 0)
        _require("momentum", self.momentum, "a number in [0, 1)", lambda x: 0 <= x < 1)
        _require("relative_scale", self.relative_scale, "a finite number > 1", lambda x: x > 1)
        if self.windows != "fixed" and self.window == self.budget:
            raise ConfigError(
                f"The windows {self.windows!r} begin with one of {self.window} updates before the first action, and "
                "the budget is no more than that; give a larger budget or a smaller window."
            )
        if self.lr_min >= self.lr_max:
            raise ConfigError(f"lr_min {self.lr_min} must be smaller than lr_max {self.lr_max}.")
        if self.guidance_weight_min >= self.guidance_weight_max:
            raise ConfigError(
                f"guidance_weight_min {self.guidance_weight_min} must be smaller than guidance_weight_max "
                f"{self.guidance_weight_max}."
            )
        if self.action == "log+guidance" and self.guidance == "none":
            raise ConfigError("The action form 'log+guidance' sets the weight of a guidance term; guidance is 'none'.")

    @property
    def n_steps(self) -> int:
        """Environment steps of an episode; the last window is shorter if the budget is no multiple of it.

        Of ASG's windows, which depend on the pair's images, it is the number that fixed ones would make; see
        ``l2o_env.episodes.n_steps`` for theirs.
        """
        return -(-self.budget // self.window)

    @property
    def kl_loss_weight(self) -> float:
        """Weight of the KL term in the training loss: `guidance_weight`, or 0 without guidance."""
        return self.guidance_weight if self.guidance == "kl" else 0.0

    @classmethod
    def from_kwargs(cls, kwargs: dict[str, Any]) -> EnvConfig:
        """Builds the settings from keywords; an unknown keyword is an error that names the closest."""
        known = [field.name for field in fields(cls)]
        for key in kwargs:
            if key not in known:
                hint = unknown_name("setting", key, known)
                raise UnknownSettingError(f"{hint} (Got an unexpected keyword argument {key!r}.)")
        return cls(**kwargs)


def resolve_device(name: str) -> torch.device:
    """Turns a device setting into a device that exists.

    Raises:
        ConfigError: If the name is no device or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # "meta" and the like are devices, but hold nothing
    except (RuntimeError, AssertionError, TypeError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ConfigError(
            f"Device {name!r} is not there; this machine has {', '.join(found)}. Use one of them or 'auto'."
        ) from error
    return device


def _require_integer(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{key} is {value!r}; expected an integer >= 1.")


def _require(key: str, value: object, expected: str, accepts: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not accepts(value):
        raise ConfigError(f"{key} is {value!r}; expected {expected}.")
