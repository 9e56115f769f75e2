"""Large networks: images per second and memory beside a loop in the style of the released ASG code.

``python -m benchmarks.backbone`` runs ResNet-18, 50 and 101 on random images of 224 x 224 pixels in batches of 32, and
FCN-8s on random images and masks of 512 x 512 pixels in batches of 6.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode
from tyro.conf import FlagCreatePairsOff, arg

from benchmarks.measure import quartiles
from benchmarks.memory import peak_bytes
from benchmarks.progress import say, write_json
from benchmarks.released_style import ReleasedStyle
from benchmarks.synthetic import backbone_pair, is_dense
from l2o_env.asg import GTA5, VISDA17
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, require_integer
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.window import Start
from l2o_env.models.base import new_generator
from l2o_env.pairs.pair import Pair

PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0, "RTX 4090": 165.0}
"""Dense bf16 peak of some cards, in TFLOP/s, as their maker gives it (for the SXM form where there is one)."""
NETWORKS = ("resnet18", "resnet50", "resnet101", "fcn8s")
QUICK_NETWORKS = ("resnet18", "fcn8s")
RELEASED = "released style"


@dataclass(frozen=True)
class BackboneArgs:
    """Measures fine-tuning of large networks: our looped population, and a released-style loop of the same updates.

    Both follow the released recipe of the task (rates, update rule, weight and cap of the KL term).
    """

    networks: tuple[str, ...] = ()
    """fcn8s, and names of torchvision networks for classification and segmentation; none: resnet18, resnet50, resnet101
    and fcn8s."""
    size: int | None = None
    """Side of the images in pixels; default: 224, and 512 for segmentation."""
    batch: int | None = None
    """Images per update; default: 32, and 6 for segmentation."""
    window: int = 20
    """Updates per measurement; ours validates a batch and takes its statistics after them."""
    rounds: int = 5
    """Interleaved rounds after warming up."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    precision: tuple[str, ...] = ("float32", "bf16")
    """What ours computes in: float32, bf16."""
    memory: bool = True
    """Measure memory too, each loop in a process of its own."""
    peak: float | None = None
    """Peak of the card in bf16, in TFLOP/s; default: known for some cards."""
    quick: FlagCreatePairsOff[bool] = False
    """ResNet-18 and a narrow FCN-8s on small images, one short round."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the figures."""

    def __post_init__(self) -> None:
        for name in ("size", "batch", "window", "rounds"):
            value = getattr(self, name)
            if value is not None:
                require_integer(f"--{name}", value)


@dataclass(frozen=True)
class Case:
    """A network, the images that it is measured on, and how.

    Attributes:
        network: Its name.
        size: Side of the images in pixels.
        width: Channels of FCN-8s, as a share of the published ones.
        window: Updates of a measurement.
        config: The recipe, with batch size and device.
    """

    network: str
    size: int
    width: float
    window: int
    config: EnvConfig

    def pair(self) -> Pair:
        """Random images and a proxy with random weights."""
        return backbone_pair(self.network, self.size, self.config.batch_size, width=self.width)

    def loop(self, name: str, pair: Pair) -> Callable[[int], None]:
        """What makes a number of updates: ``"released style"``, or the precision of ours."""
        if name == RELEASED:
            return ReleasedStyle(pair, self.config).window
        precision: Any = name.removeprefix("ours, ")  # EnvConfig checks it
        config = replace(self.config, precision=precision)
        population = LoopedPopulation([pair], 1, config)
        population.start({0: Start(0, 0, 0)})
        return partial(_window_of_ours, population)

    def peak_memory(self, name: str) -> int:
        """Bytes that a loop takes, images and proxy included, at the peak of a window; in a process of its own."""
        return peak_bytes(partial(_one_window, self, name), self.config.device, torch.get_num_threads())


def _one_window(case: Case, name: str) -> Any:
    loop = case.loop(name, case.pair())
    loop(case.window)
    return loop


def _window_of_ours(population: LoopedPopulation, n_updates: int) -> None:
    rates = np.full((1, population.n_layers), population.config.base_lr)
    if population.run(rates, np.array([n_updates])).diverged.any():
        raise RuntimeError("The network diverged.")


def cases(args: BackboneArgs) -> list[Case]:
    """What the arguments ask for."""
    networks = args.networks or (QUICK_NETWORKS if args.quick else NETWORKS)
    return [_case(network, args) for network in networks]


def _case(network: str, args: BackboneArgs) -> Case:
    dense = is_dense(network)
    size, batch = (512, 6) if dense else (224, 32)
    if args.quick:
        size, batch = (64, 2) if dense else (32, 4)
    window = 2 if args.quick else args.window
    changes = {
        "pairs": network,
        "budget": 10**4,
        "window": window,
        "windows": "fixed",
        "lr_curve": "none",
        "batch_size": args.batch or batch,
        "device": str(resolve_device(args.device)),
        "divergence_loss": 1e6,  # the networks are drawn at random: their losses are large, and nobody minds
    }
    config = EnvConfig(**{**(GTA5 if dense else VISDA17), **changes})
    return Case(network, args.size or size, 1 / 8 if args.quick else 1.0, window, config)


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
    peak = args.peak if args.peak is not None else _peak(device)
    rounds = 1 if args.quick else args.rounds
    names = [*(f"ours, {precision}" for precision in args.precision), RELEASED]
    rows = [row for case in cases(args) for row in _measured(case, names, rounds, args.memory, peak)]
    say("")
    return {"device": str(device), "rounds": rounds, "peak": peak, "rows": rows}


def _measured(
    case: Case, names: Sequence[str], rounds: int, with_memory: bool, peak: float | None
) -> list[dict[str, Any]]:
    """The rows of a network."""
    memory: dict[str, int] = {}
    for name in names if with_memory else ():  # first, while nothing else is held
        say(f"{case.network}, memory: {name}")
        memory[name] = case.peak_memory(name)
    say(f"building {case.network}")
    pair = case.pair()
    flops = flops_per_image(pair, case.size)
    rates = _images_per_second(case, {name: case.loop(name, pair) for name in names}, rounds)
    rows = []
    for name, values in rates.items():
        tflops = flops * float(np.median(values)) / 1e12
        rows.append(
            {
                "network": case.network,
                "size": case.size,
                "batch": case.config.batch_size,
                "window": case.window,
                "loop": name,
                "images_per_second": quartiles(values),
                "ratio": quartiles(values / rates[RELEASED]),
                "tflops": tflops,
                "share_of_peak": None if peak is None else tflops / peak,
                "peak_memory": memory.get(name),
            }
        )
    return rows


def _images_per_second(case: Case, loops: dict[str, Callable[[int], None]], rounds: int) -> dict[str, Any]:
    """Rates of each loop in each round ``(rounds,)``; the loops take turns."""
    device = torch.device(case.config.device)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for k in range(rounds + 1):
        for name, loop in loops.items():
            say(f"{case.network}, {f'round {k} of {rounds}' if k else 'warming up'}: {name}")
            rate = case.window * case.config.batch_size / _seconds(loop, case.window, device)
            if k > 0:
                rates[name].append(rate)
    return {name: np.array(values) for name, values in rates.items()}


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


def table(found: dict[str, Any]) -> str:
    """The result as text."""
    head = f"{'network':<20}{'pixels':>7}{'batch':>6}  {'loop':<16}{'images/s':>10}{'÷ released style':>22}"
    lines = [f"{head}{'TFLOP/s':>10}{'of peak':>9}{'memory':>12}"]
    for row in found["rows"]:
        ratio, low, high = row["ratio"]
        share = "–" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        memory = "–" if row["peak_memory"] is None else f"{row['peak_memory'] / 2**30:.2f} GiB"
        setting = f"{row['network']:<20}{row['size']:>7}{row['batch']:>6}  {row['loop']:<16}"
        speed = f"{row['images_per_second'][0]:>10.2f}{f'{ratio:.2f} ({low:.2f}–{high:.2f})':>22}{row['tflops']:>10.3f}"
        lines.append(f"{setting}{speed}{share:>9}{memory:>12}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    try:
        args = tyro.cli(BackboneArgs, prog="python -m benchmarks.backbone", args=arguments)
        found = run(args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Random images, device {found['device']}, medians of {found['rounds']} rounds (quartiles)\n")
    print(table(found))
    write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
