"""Settings of the environment: frozen, validated on construction, and the same ones that the command line takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import torch

from l2o_env.errors import ConfigError, UnknownSettingError, require_integer, shortened, unknown_name
from l2o_env.optimizers import RULES, own_settings

ObservationForm = Literal["layers", "asg"]
WindowForm = Literal["fixed", "asg", "asg_intended"]
Curve = Literal["none", "warmup_poly"]
ActionForm = Literal["log", "relative", "relative_update", "discrete", "log+guidance"]
RewardName = Literal["transfer", "proxy_guided", "val_loss", "val_accuracy", "train_loss", "target_oracle"]
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
    """Action form: `log` (absolute rates), `relative` (to the current rates), `relative_update` (how far a window is to
    move a layer's weights, relative to their norm), `discrete` (factors of `base_lr`), or `log+guidance` (absolute
    rates, and the weight of the guidance term as one more number)."""
    reward: RewardName = "transfer"
    """What is rewarded."""
    kl_weight: float | Literal["auto"] = "auto"
    """Weight w of the KL in V. `auto`, by the classes of the pair: ln(classes) / ln(classes of the proxy) beside a
    cross-entropy (`proxy_guided`), 1 / (4 ln(classes of the proxy)) beside an accuracy (`transfer`)."""
    divergence_penalty: float = 5.0
    """Subtracted from the reward of the step at which an optimizee diverges."""
    divergence_loss: float = 100.0
    """Cross-entropy or KL of the validation, in nats, beyond which an optimizee has diverged though all numbers are
    finite; else one step could cost thousands of times the penalty."""
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
    optimizer: str = "adamw"
    """What makes the updates: `adamw`, `sgd`, `lion`, `prodigy` and `schedule_free` as known, `rate_in_momentum` as ASG
    does for classification (it sums up gradients that are multiplied by the rate of their time already)."""
    momentum: float = 0.9
    """Momentum of SGD; β₁ of AdamW and Lion."""
    beta2: float | None = None
    """β₂ of AdamW and Lion. None: 0.999, 0.99."""
    weight_decay: float = None  # type: ignore[assignment] # a number once settings are made, like the rates below
    """Weight decay; decoupled in AdamW and Lion. None: what suits the optimizer (5e-4 of SGD, 0.01 of AdamW, 0.1 of
    Lion)."""
    clip_norm: float | None = 5.0
    """Gradients of an optimizee are scaled down to this norm; None: never."""
    lr_curve: Curve = "none"
    """A factor of the rates at each update, beside what actions set: ASG's warm-up and polynomial decay, or none."""
    lr_warmup: int = 100
    """Updates that the warm-up of `lr_curve` takes."""
    lr_min: float = None  # type: ignore[assignment]
    """Smallest learning rate of all action forms but `discrete`. None: what suits the optimizer (1e-4 of SGD,
    1e-5 of AdamW, 1e-6 of Lion)."""
    lr_max: float = None  # type: ignore[assignment]
    """Largest learning rate of all action forms but `discrete`. None: 0.3, 3e-2, 3e-3."""
    base_lr: float = None  # type: ignore[assignment]
    """Rate at the start of an episode, and the rate that `discrete` factors multiply. None: 0.02, 1e-3, 1e-4."""
    relative_scale: float = 2.0
    """Largest factor by which one `relative` action can change a rate."""
    update_ratio_min: float = 1e-4
    """Smallest ‖Δθ‖/‖θ‖ of a layer in a window that a `relative_update` action can ask for."""
    update_ratio_max: float = 0.3
    """Largest ‖Δθ‖/‖θ‖ likewise."""
    feature_dropout: float = 0.0
    """Probability with which an episode's observations lack what needs the task's loss, and likewise the proxy, and the
    validation: a policy that saw such episodes bears training loops without them. Evaluation masks nothing."""
    common_random_numbers: bool = False
    """Give all optimizees of a population the same pair, head initialisation and batches."""
    random_init: bool = False
    """Start from a randomly drawn backbone instead of the proxy's."""
    implementation: Implementation = "auto"
    """How a population runs: `stacked` (one batched graph), `looped` (any network), or `auto`."""
    precision: Precision = "float32"
    """What a network computes in: `bf16` (mixed precision; weights stay float32) is for large networks on a GPU."""
    compile: bool = False
    """Compile networks with ``torch.compile``, where they have no kernels of their own and the guidance reads no
    feature map: half a minute and more, once in each process. docs/performance.md says when that pays."""
    cuda_graphs: bool = True
    """On a GPU, record the updates of a stacked population as CUDA graphs."""
    workers: int = 1
    """Processes that a population is divided over, on a CPU; at most one per optimizee. With `ray`, its workers."""
    ray: str | None = None
    """Ray cluster whose workers take the place of processes: its address, or `auto` for the one that runs here or is
    started then. None: no cluster."""
    gpus_per_worker: float = 0.0
    """GPUs of each of Ray's workers, on which its part of the population is then: a share of one, or whole ones."""
    device: str = "auto"
    """Torch device; `auto` takes a GPU if there is one."""

    def __post_init__(self) -> None:
        """Checks each setting by the table below, and then those that have to fit each other."""
        object.__setattr__(self, "pairs", _names(self.pairs))
        if not isinstance(self.optimizer, str) or self.optimizer not in RULES:
            raise unknown_name("optimizer", self.optimizer, RULES)
        for key, value in RULES[self.optimizer].defaults._asdict().items():
            if getattr(self, key) is None:
                object.__setattr__(self, key, value)
        for field in fields(self):
            if field.name not in ("pairs", "optimizer"):
                object.__setattr__(self, field.name, _RULES[field.name](field.name, getattr(self, field.name)))
        for fits, message in _TOGETHER:
            if not fits(self):
                raise ConfigError(message.format(**vars(self)))

    @classmethod
    def from_saved(cls, settings: Mapping[str, Any]) -> EnvConfig:
        """Settings as a file has them that this version wrote, or an older one."""
        return cls.from_kwargs({"optimizer": "sgd", **renamed(settings)})  # once the only one, which no file named

    def with_optimizer(self, name: str, **changes: Any) -> EnvConfig:
        """The same settings with another optimizer, and the rates and the decay that suit it.

        Args:
            name: The optimizer.
            **changes: Other settings to change.
        """
        return replace(self, **{**own_settings(name), **changes})

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
                raise UnknownSettingError(f"{hint} (Got an unexpected keyword argument {shortened(key)}.)")
        return cls(**kwargs)


IN_PROCESS: dict[str, Any] = {"workers": 1, "ray": None, "gpus_per_worker": 0.0}
"""Settings with which a population is not divided over workers."""


# --- what values settings may have -----------------------------------------------------------------------------------

_Rule = Callable[[str, Any], Any]
"""Takes a setting's name and value; returns the value as it is kept, or raises ``ConfigError``."""


def _names(value: object) -> tuple[str, ...]:
    # Any collection will do: a list of a configuration's, an array.
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"pairs is {shortened(value)}; expected the name of at least one pair.")
    return tuple(map(str, names))


def _one_of(kind: str, form: Any) -> _Rule:
    """A name of a ``Literal``; `kind` is what messages call it."""

    def rule(key: str, value: object) -> Any:
        if value not in get_args(form):
            raise unknown_name(kind, value, get_args(form))
        return value

    return rule


def _number(expected: str, accepts: Callable[[float], bool]) -> _Rule:
    def rule(key: str, value: object) -> Any:
        # NumPy's numbers are numbers: settings come from sweeps and tables.
        known = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
        if not known or not math.isfinite(value) or not accepts(value):  # type: ignore[arg-type]
            raise ConfigError(f"{key} is {shortened(value)}; expected {expected}.")
        return value.item() if isinstance(value, np.generic) else value

    return rule


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{key} is {shortened(value)}; expected True or False.")
    return bool(value)


def _or_none(rule: _Rule) -> _Rule:
    return lambda key, value: None if value is None else rule(key, value)


def _or_auto(rule: _Rule) -> _Rule:
    def checked(key: str, value: object) -> Any:
        if isinstance(value, str) and value != "auto":
            raise ConfigError(f"{key} is {shortened(value)}; expected a number, or 'auto'.")
        return value if value == "auto" else rule(key, value)

    return checked


def _address(key: str, value: object) -> Any:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key} is {value!r}; expected 'auto', the address of a Ray cluster, or None.")
    return value


def _text(key: str, value: object) -> Any:
    return value  # `resolve_device` says what devices there are, when one is needed


def _integer(most: int) -> _Rule:
    return lambda key, value: require_integer(key, value, most=most)


MAX_RATE = 1e38
"""Largest learning rate: beyond it, float32 has no numbers."""
MAX_WEIGHT = 1e9
"""Largest weight of a loss: with larger ones, float32 would lose what they are the weight of."""
_WEIGHT = _number(f"a finite number >= 0, at most {MAX_WEIGHT:g}", lambda x: 0 <= x <= MAX_WEIGHT)
_POSITIVE_WEIGHT = _number(f"a number > 0, at most {MAX_WEIGHT:g}", lambda x: 0 < x <= MAX_WEIGHT)
_POSITIVE = _number(f"a finite number > 0, at most {MAX_RATE:g}", lambda x: 0 < x <= MAX_RATE)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("budget", "window"), _integer(10**7)),
    **dict.fromkeys(("batch_size", "csg_dim"), _integer(10**6)),
    **dict.fromkeys(("csg_queue", "lr_warmup"), _integer(10**9)),
    "workers": _integer(1024),
    "epoch_updates": _or_none(_integer(10**9)),
    **dict.fromkeys(("common_random_numbers", "random_init", "compile", "cuda_graphs"), _flag),
    "kl_weight": _or_auto(_WEIGHT),
    **dict.fromkeys(("divergence_penalty", "guidance_weight", "weight_decay", "l2sp_head"), _WEIGHT),
    **dict.fromkeys(("lr_min", "lr_max", "base_lr", "update_ratio_min", "update_ratio_max"), _POSITIVE),
    **dict.fromkeys(("csg_temperature", "divergence_loss"), _POSITIVE_WEIGHT),
    **dict.fromkeys(("guidance_weight_min", "guidance_weight_max"), _POSITIVE_WEIGHT),
    **dict.fromkeys(("clip_norm", "guidance_cap"), _or_none(_POSITIVE)),
    "momentum": _number("a number in [0, 1)", lambda x: 0 <= x < 1),
    "beta2": _or_none(_number("a number in [0, 1)", lambda x: 0 <= x < 1)),
    "feature_dropout": _number("a number in [0, 1]", lambda x: 0 <= x <= 1),
    "relative_scale": _number("a number > 1, at most 1e9", lambda x: 1 < x <= 1e9),
    "action": _one_of("action form", ActionForm),
    "windows": _one_of("window form", WindowForm),
    "observation": _one_of("observation form", ObservationForm),
    "lr_curve": _one_of("learning rate curve", Curve),
    "reward": _one_of("reward", RewardName),
    "guidance": _one_of("guidance", GuidanceName),
    "guidance_schedule": _one_of("guidance schedule", GuidanceSchedule),
    "implementation": _one_of("implementation", Implementation),
    "precision": _one_of("precision", Precision),
    "ray": _or_none(_address),
    "gpus_per_worker": _number("0, a share of a GPU, or a whole number", lambda x: 0 <= x <= 1 or x == int(x) > 1),
    "device": _text,
}
"""What each setting may be."""

_TOGETHER: tuple[tuple[Callable[[EnvConfig], bool], str], ...] = (
    (
        lambda c: c.window <= c.budget,
        "window {window} is larger than the budget of {budget} updates; choose a window of at most the budget.",
    ),
    (
        lambda c: c.windows == "fixed" or c.window < c.budget,
        "The windows {windows!r} begin with one of {window} updates before the first action, and the budget is no more "
        "than that; give a larger budget or a smaller window.",
    ),
    (lambda c: c.lr_min < c.lr_max, "lr_min {lr_min} must be smaller than lr_max {lr_max}."),
    (
        lambda c: c.update_ratio_min < c.update_ratio_max,
        "update_ratio_min {update_ratio_min} must be smaller than update_ratio_max {update_ratio_max}.",
    ),
    (
        lambda c: c.guidance_weight_min < c.guidance_weight_max,
        "guidance_weight_min {guidance_weight_min} must be smaller than guidance_weight_max {guidance_weight_max}.",
    ),
    (
        lambda c: c.feature_dropout == 0 or c.observation == "layers",
        "feature_dropout is {feature_dropout} and masks features of observation='layers'; observation is "
        "{observation!r}.",
    ),
    (
        lambda c: not c.gpus_per_worker or c.ray is not None,
        "gpus_per_worker is {gpus_per_worker}, and there is no Ray cluster; give ray='auto' or an address, too.",
    ),
    (
        lambda c: c.action != "log+guidance" or c.guidance != "none",
        "The action form 'log+guidance' sets the weight of a guidance term; guidance is 'none'.",
    ),
)
"""Which settings fit each other, and what is said where they do not."""


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a file by the names that they have now."""
    before = {"update_rule": "optimizer"}
    return {before.get(key, key): value for key, value in settings.items()}


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
            f"Device {shortened(name)} is not there; this machine has {', '.join(found)}. Use one of them or 'auto'."
        ) from error
    return device
