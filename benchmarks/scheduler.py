"""What learned rates cost in somebody's own loop: ``python -m benchmarks.scheduler``.

The loop fine-tunes a network on random images with AdamW: as it is, with a scheduler that is told the loss, with the
guidance of a proxy written by hand, and with the scheduler's. Rounds of one window each are timed in turn.
"""

from __future__ import annotations

import copy
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torchvision
import tyro
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tyro.conf import arg

from agents.reinforce import Reinforce
from benchmarks.measure import quartiles
from benchmarks.progress import say, write_json
from l2o_env import LearnedRates, param_groups
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, require_integer
from l2o_env.guidance import kl_divergence
from l2o_env.models.adapted.by_name import local_seed
from l2o_env.models.adapted.heads import find_head, head_inputs, head_of

LIMIT = 3.0
"""Per cent that learned rates may cost."""
LOOPS = {"plain": "learned rates", "guided": "learned rates, guided"}
"""Each loop without a scheduler, and what is compared with it."""


@dataclass(frozen=True)
class SchedulerArgs:
    """Measures what learned rates cost, per update, in per cent of the loop without them."""

    network: str = "resnet18"
    """Network of torchvision."""
    size: int = 64
    """Side of the images in pixels."""
    batch_size: int = 32
    """Images of an update."""
    window: int = 50
    """Updates between two actions; a twentieth of a training of 1000 updates."""
    rounds: int = 5
    """Windows of each loop that are timed, after one to warm up."""
    device: str = "auto"
    """Torch device."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """File of the figures."""


class Loop:
    """Somebody's training loop.

    Args:
        args: The command line.
        guided: Whether the loss has the guidance of a proxy.
        learned: Whether a policy sets the rates.
    """

    def __init__(self, args: SchedulerArgs, *, guided: bool, learned: bool) -> None:
        device = resolve_device(args.device)
        with local_seed(0):
            proxy = torchvision.models.get_model(args.network, weights=None).eval().requires_grad_(False)
            self.images = torch.randn(args.batch_size, 3, args.size, args.size).to(device)
        self.labels = (torch.arange(args.batch_size) % 10).to(device)
        self.proxy = proxy.to(device)
        self.model = copy.deepcopy(self.proxy).requires_grad_(True)
        self.guided, self.head = guided, find_head(proxy)
        self.optimizer = torch.optim.AdamW(param_groups(self.model), lr=1e-3)
        self.rates: LearnedRates | None = None
        if learned:
            total, policy = args.window * (args.rounds + 2), Reinforce(EnvConfig(optimizer="adamw"))
            self.rates = LearnedRates(
                self.optimizer, self.model, policy, total_updates=total, window=args.window,
                proxy=self.proxy if guided else None,
            )  # fmt: skip

    def update(self) -> None:
        """One update."""
        rates = self.rates
        with head_inputs(head_of(self.model, self.head)) as features:
            loss = F.cross_entropy(self.model(self.images), self.labels)
        if rates is not None:
            loss = rates.observe(loss)
        if self.guided:
            loss = loss + (0.3 * self._divergence(features[0]) if rates is None else rates.guidance(self.images))
        loss.backward()
        self.optimizer.step()
        if rates is not None:
            rates.step()
        self.optimizer.zero_grad()

    def _divergence(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            probs = self.proxy(self.images).softmax(1)
        head: nn.Module = head_of(self.proxy, self.head)
        return kl_divergence(head(features), probs)

    def window(self, n: int) -> float:
        """Seconds that each of `n` updates takes, in the mean; on a CPU of its time, which others cannot take away."""
        clock = time.perf_counter if self.images.is_cuda else time.process_time
        started = clock()
        for _ in range(n):
            self.update()
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return (clock() - started) / n

    def host_reads(self, n: int) -> int | None:
        """Times that `n` updates wait for the device; None on a CPU."""
        if not self.images.is_cuda:
            return None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(n):
                    self.update()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in caught)


def measure(args: SchedulerArgs) -> dict[str, Any]:
    """Figures by name of the loop.

    Raises:
        ConfigError: If a setting cannot work.
    """
    for name in ("size", "batch_size", "window", "rounds"):
        require_integer(f"--{name}", getattr(args, name))
    makers: dict[str, Callable[..., Loop]] = {
        "plain": partial(Loop, guided=False, learned=False),
        "learned rates": partial(Loop, guided=False, learned=True),
        "guided": partial(Loop, guided=True, learned=False),
        "learned rates, guided": partial(Loop, guided=True, learned=True),
    }
    loops = {name: make(args) for name, make in makers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for k in range(args.rounds + 1):
        for name, loop in loops.items():
            taken = loop.window(args.window)
            if k:
                seconds[name].append(taken)
    overhead = {
        learned: (100 * (np.array(seconds[learned]) / np.array(seconds[plain]) - 1)).tolist()
        for plain, learned in LOOPS.items()
    }
    reads = {name: loop.host_reads(args.window) for name, loop in loops.items() if loop.rates is not None}
    settings = {key: value if isinstance(value, int | str) else str(value) for key, value in asdict(args).items()}
    return {"settings": settings, "seconds": seconds, "overhead": overhead, "host_reads": reads}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status, 2 for settings that cannot work."""
    args = tyro.cli(SchedulerArgs, prog="python -m benchmarks.scheduler", args=arguments)
    try:
        figures = measure(args)
    except ConfigError as error:
        say(f"error: {error}")
        return 2
    for name, values in figures["seconds"].items():
        print(f"{name}: {1000 * np.median(values):.2f} ms per update")
    for name, values in figures["overhead"].items():
        middle, low, high = quartiles(np.array(values))
        verdict = "within" if middle <= LIMIT else "over"
        print(f"{name}: {middle:+.2f} % ({low:+.2f} to {high:+.2f}), {verdict} the {LIMIT:g} % that they may cost")
    for name, n in figures["host_reads"].items():
        if n is not None:
            print(f"{name}: {n} waits for the device in a window of {args.window} updates")
    write_json(args.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
