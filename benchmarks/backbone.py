"""Large networks: images per second beside a loop in the style of the released ASG code.

``python -m benchmarks.backbone`` runs ResNet-18, 50 and 101 on random images of 224 x 224 in batches of 32.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import tyro
from torch.utils.flop_counter import FlopCounterMode
from tyro.conf import FlagCreatePairsOff, arg

from benchmarks.measure import quartiles
from benchmarks.progress import say, write_json
from benchmarks.synthetic import backbone_pair
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError
from l2o_env.looped import LoopedPopulation
from l2o_env.models.base import new_generator
from l2o_env.pairs.base import Pair, Split
from l2o_env.population import Start

PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0, "RTX 4090": 165.0}
"""Dense bf16 peak of some cards, in TFLOP/s, as their maker gives it (for the SXM form where there is one)."""


@dataclass(frozen=True)
class BackboneArgs:
    """Measures images per second of fine-tuning large networks: our looped population, and a released-style loop."""

    networks: tuple[str, ...] = ("resnet18", "resnet50", "resnet101")
    """Names of torchvision networks."""
    size: int = 224
    """Side of the images in pixels."""
    batch: int = 32
    """Images per update."""
    window: int = 20
    """Updates per measurement; ours validates a batch and takes its statistics after them."""
    rounds: int = 5
    """Interleaved rounds after warming up."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    precision: tuple[str, ...] = ("float32", "bf16")
    """What ours computes in."""
    peak: float | None = None
    """Peak of the card in bf16, in TFLOP/s; default: known for some cards."""
    quick: FlagCreatePairsOff[bool] = False
    """ResNet-18 on small images, one short round."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the figures."""


class ReleasedStyle:
    """Plain PyTorch, as the released ASG code goes about it: float32, and nothing kept that could be computed again.

    The proxy runs on every batch, images come from the host, the update is a Python loop over parameters with the
    rate inside the momentum buffer, losses are read back at every update, and the network is in ``eval()`` mode.
    """

    def __init__(self, pair: Pair, batch: int, device: torch.device, rate: float, guidance_weight: float) -> None:
        assert isinstance(pair.train, Split)
        self.train, self.batch, self.device = pair.train, batch, device
        self.rate, self.guidance_weight = rate, guidance_weight
        self.model = pair.make_model(new_generator(0)).to(device).eval()
        self.proxy = deepcopy(pair.proxy).to(device).eval()
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.momenta = [torch.zeros_like(p) for p in self.params]
        self.losses: list[float] = []

    def window(self, n_updates: int) -> None:
        """Makes some updates."""
        n = len(self.train)
        for update in range(n_updates):
            start = update * self.batch % n
            images = self.train.images[start : start + self.batch].to(self.device)
            labels = self.train.labels[start : start + self.batch].to(self.device)
            with torch.no_grad():
                probs = self.proxy(images).softmax(-1)
            logits, proxy_logits = self.model(images)
            kl = F.kl_div(proxy_logits.log_softmax(-1), probs, reduction="batchmean")
            loss = F.cross_entropy(logits, labels) + self.guidance_weight * kl
            self.model.zero_grad()
            loss.backward()
            for p, v in zip(self.params, self.momenta, strict=True):
                assert p.grad is not None
                v.mul_(0.9).add_(p.grad + 5e-4 * p.data, alpha=self.rate)
                p.data.sub_(v)
            self.losses.append(loss.item())


def ours(pair: Pair, args: BackboneArgs, precision: str, device: torch.device) -> Callable[[int], None]:
    """A window of one optimizee in a looped population."""
    config = EnvConfig(
        pairs=pair.name,  # type: ignore[arg-type]  # one name
        budget=10**4,
        window=args.window,
        batch_size=args.batch,
        device=str(device),
        guidance_weight=0.1,
        precision=precision,  # type: ignore[arg-type]  # EnvConfig checks it
    )
    population = LoopedPopulation([pair], 1, config)
    population.start({0: Start(0, 0, 0)})
    rates = np.full((1, population.n_layers), 1e-4)
    return lambda n_updates: _checked(population, rates, n_updates)


def _checked(population: LoopedPopulation, rates: Any, n_updates: int) -> None:
    if population.run(rates, np.array([n_updates])).diverged.any():
        raise RuntimeError("The network diverged.")


def flops_per_image(pair: Pair, size: int) -> float:
    """Floating-point operations of a forward and a backward pass on one image (multiplying and adding count as two)."""
    model = pair.make_model(new_generator(0)).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        logits, proxy_logits = model(torch.empty(1, 3, size, size, device="meta"))
        (logits.sum() + proxy_logits.sum()).backward()
    return float(counter.get_total_flops())


def run(args: BackboneArgs) -> dict[str, Any]:
    """Measures; returns what ``--json`` writes."""
    device = resolve_device(args.device)
    rounds, window, size, batch = args.rounds, args.window, args.size, args.batch
    networks = args.networks
    if args.quick:
        networks, rounds, window, size, batch = networks[:1], 1, 2, 32, 4
    peak = args.peak if args.peak is not None else _peak(device)
    rows = []
    for network in networks:
        say(f"building {network}")
        pair = backbone_pair(network, size, batch, n_batches=4)
        settings = BackboneArgs(batch=batch, window=window)
        loops = {f"ours, {p}": ours(pair, settings, p, device) for p in args.precision}
        loops["released style"] = ReleasedStyle(pair, batch, device, 1e-4, 0.1).window
        rates: dict[str, list[float]] = {name: [] for name in loops}
        for k in range(rounds + 1):
            for name, loop in loops.items():
                say(f"{network}, {f'round {k} of {rounds}' if k else 'warming up'}: {name}")
                rate = window * batch / _seconds(loop, window, device)
                if k > 0:
                    rates[name].append(rate)
        flops = flops_per_image(pair, size)
        reference = np.array(rates["released style"])
        for name, values in rates.items():
            rows.append(
                {
                    "network": network,
                    "loop": name,
                    "images_per_second": quartiles(np.array(values)),
                    "ratio": quartiles(np.array(values) / reference),
                    "tflops": flops * float(np.median(values)) / 1e12,
                    "share_of_peak": None if peak is None else flops * float(np.median(values)) / 1e12 / peak,
                }
            )
        del loops
    say("")
    return {"device": str(device), "size": size, "batch": batch, "window": window, "peak": peak, "rows": rows}


def _seconds(loop: Callable[[int], None], n_updates: int, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    loop(n_updates)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _peak(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in PEAKS.items() if key in name), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    args = tyro.cli(BackboneArgs, prog="python -m benchmarks.backbone", args=arguments)
    try:
        found = run(args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{found['size']} x {found['size']} pixels, batches of {found['batch']}, device {found['device']}\n")
    print(f"{'network':<12}{'loop':<18}{'images/s':>10}{'÷ released style':>26}{'TFLOP/s':>10}{'of peak':>9}")
    for row in found["rows"]:
        ratio, low, high = row["ratio"]
        share = "–" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        spread = f"{ratio:.2f} ({low:.2f}–{high:.2f})"
        rate = row["images_per_second"][0]
        print(f"{row['network']:<12}{row['loop']:<18}{rate:>10.1f}{spread:>26}{row['tflops']:>10.3f}{share:>9}")
    write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
