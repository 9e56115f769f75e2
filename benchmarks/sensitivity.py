"""How much a policy depends on what a user tells it or has: ``python -m benchmarks.sensitivity POLICY``.

The network of a pair is fine-tuned in a hand-written loop with learned rates: as the policy was trained, with a wrong
number of updates, with other batches, with another optimizer, and without what a loop may not have.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tyro.conf import Positional, arg

from benchmarks.progress import say, write_json
from l2o_env import AgentLike, LearnedRates, pairs, param_groups
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, require_integer, unknown_name
from l2o_env.evaluation.intervals import mean_and_half_width, plus_minus
from l2o_env.inner.population import batch_order
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.optimizers import RULES
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import ImageSplit, Split, in_memory
from l2o_env.reward import kl_weight
from l2o_env.training.clock import WINDOWS

MEASURED = ("V", "validation accuracy", "real accuracy")
"""V of the default reward, and accuracies."""


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        updates: Updates that are made.
        told: Updates that the policy is told of, over those.
        batch_size: Images of an update.
        optimizer: What makes the updates; None: what the policy was trained with.
        guided: Whether the loss has the guidance of the proxy.
        guidance_weight: Weight of that, λ.
        validated: Whether the policy is told of a validation at each window.
    """

    updates: int = 300
    told: float = 1.0
    batch_size: int = 32
    optimizer: str | None = None
    guided: bool = True
    guidance_weight: float = 0.3
    validated: bool = True


CASES: Mapping[str, Mapping[str, Any]] = {
    "as trained": {},
    "half as many updates told": {"told": 0.5},
    "twice as many updates told": {"told": 2.0},
    "half the batch": {"batch_size": 16},
    "twice the batch": {"batch_size": 64},
    "a third of λ": {"guidance_weight": 0.1},
    "three times λ": {"guidance_weight": 0.9},
    "on SGD": {"optimizer": "sgd"},
    "on AdamW": {"optimizer": "adamw"},
    "not validated": {"validated": False},
    "without guidance": {"guided": False},
}
"""What is changed in each row."""


@dataclass(frozen=True)
class SensitivityArgs:
    """Measures what a policy comes to where it is told something wrong, or where something is different or missing."""

    policy: Positional[str]
    """A policy that comes along, a run folder, or the folder of a saved policy."""
    pair: str = "glyphs-digits"
    """A pair whose images are in memory."""
    cases: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = tuple(CASES)
    """Rows."""
    updates: int = 300
    """Updates of a training."""
    seeds: int = 4
    """Trainings of each row."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """File of the figures."""


def make_optimizer(name: str, model: Optimizee) -> torch.optim.Optimizer:
    """An optimizer with the settings of the environment's own."""
    defaults = RULES[name].defaults
    groups, lr, decay = param_groups(model), defaults.base_lr, defaults.weight_decay
    if name == "sgd":
        return torch.optim.SGD(groups, lr, momentum=0.9, weight_decay=decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr, weight_decay=decay)
    raise unknown_name("optimizer", name, ("adamw", "sgd"))


def train(policy: str | AgentLike, pair: Pair, case: Case, seed: int, batch_seed: int) -> tuple[float, ...]:
    """Fine-tunes once, from a head and with batches of these seeds; what is ``MEASURED`` then."""
    data = in_memory(pair.train)
    model = pair.make_model(new_generator(seed)).train()
    optimizer = make_optimizer(case.optimizer or "adamw", model)
    total, proxy = round(case.told * case.updates), pair.proxy
    rates = LearnedRates(
        optimizer, model, policy, total_updates=total, window=max(total // WINDOWS, 1), head="head", proxy=proxy,
        proxy_head=_head_of(proxy), guidance_weight=case.guidance_weight, any_optimizer=True,
    )  # fmt: skip
    config = EnvConfig(budget=case.updates, window=1, batch_size=case.batch_size)
    for index in batch_order(len(data), config, batch_seed).long():
        if case.validated and rates.due:
            rates.validated(*validate(model, pair, rates))
        images, labels = data.images[index], data.labels[index]
        loss = rates.observe(F.cross_entropy(model(images)[0], labels))
        (loss + rates.guidance(images) if case.guided else loss).backward()
        rates.measure()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
    found = _value(model, pair, rates), _accuracy(model, pair.validation), _accuracy(model, pair.target)
    rates.close()
    return found


def _head_of(proxy: nn.Module) -> str:
    """What embedded proxies call their head; of others it is found."""
    return next((name for name, _ in proxy.named_modules() if name.rpartition(".")[2] == "proxy_head"), "")


@torch.no_grad()
def validate(model: Optimizee, pair: Pair, rates: LearnedRates) -> tuple[float, float]:
    """Cross-entropy and divergence on the held-out synthetic images."""
    data = in_memory(pair.validation)
    return float(F.cross_entropy(model(data.images)[0], data.labels)), float(rates.divergence(data.images))


@torch.no_grad()
def _value(model: Optimizee, pair: Pair, rates: LearnedRates) -> float:
    """V of the reward ``transfer``, from the loop's own accuracy and divergence."""
    shifted = pair.split("shifted")
    accuracy = _accuracy(model, shifted)  # whose pass forward is that of the divergence
    return accuracy - kl_weight(EnvConfig(), pair) * float(rates.divergence(in_memory(shifted).images))


@torch.no_grad()
def _accuracy(model: Optimizee, split: Split | ImageSplit | None) -> float:
    data = in_memory(split)
    return float((model(data.images)[0].argmax(1) == data.labels).float().mean())


def measure(args: SensitivityArgs) -> dict[str, list[tuple[float, ...]]]:
    """What each training of each row came to.

    Raises:
        ConfigError: If a setting cannot work.
    """
    for name in ("updates", "seeds"):
        require_integer(f"--{name}", getattr(args, name))
    pair, found = pairs.make(args.pair), {}
    for name in args.cases:
        if name not in CASES:
            raise unknown_name("row", name, CASES)
        say(name)
        case = replace(Case(updates=args.updates), **CASES[name])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The optimizer has made more")  # which is what a row is about
            found[name] = [train(args.policy, pair, case, seed, seed) for seed in range(args.seeds)]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table as Markdown; returns the exit status, 2 for settings that cannot work."""
    args = tyro.cli(SensitivityArgs, prog="python -m benchmarks.sensitivity", args=arguments)
    try:
        found = measure(args)
    except ConfigError as error:
        say(f"error: {error}")
        return 2
    print("\n".join([f"| | {' | '.join(MEASURED)} |", f"|---|{'---|' * len(MEASURED)}"]))
    for name, rows in found.items():
        cells = [plus_minus(*mean_and_half_width(column)) for column in np.array(rows).T]
        print(f"| {name} | {' | '.join(cells)} |")
    write_json(args.json, {"policy": args.policy, "pair": args.pair, "updates": args.updates, "rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
