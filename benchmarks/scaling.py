"""How the cost of an update grows: ``python -m benchmarks.scaling``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from tyro.conf import FlagCreatePairsOff, arg

from benchmarks.contenders import Setting, Spec
from benchmarks.measure import measure, quartiles
from benchmarks.progress import say, write_json
from benchmarks.raw_loop import Recipe
from benchmarks.synthetic import stack_name
from l2o_env.atomic import atomic_path
from l2o_env.config import resolve_device
from l2o_env.errors import ConfigError

AXES = {
    "optimizees": (1, 2, 4, 8, 16, 32, 64, 128),
    "layer groups": (3, 5, 9, 17, 33),
    "updates of a window": (1, 3, 5, 15, 50),
    "side of the images in pixels": (8, 16, 32, 64),
}
"""What is varied."""
QUICK = {
    "optimizees": (1, 4, 16),
    "layer groups": (3, 9),
    "updates of a window": (1, 15),
    "side of the images in pixels": (8, 16),
}


@dataclass(frozen=True)
class ScalingArgs:
    """Measures the time of an update of one optimizee over population size, layers, window length and image size.

    Population size and window length are varied on the embedded pair, layers and images on networks of 8-channel
    convolutions, which have no hand-written kernels.
    """

    out: Annotated[Path, arg(metavar="FILE")] = Path("scaling.png")
    """Where the picture goes."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the figures too."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    pair: str = "glyphs-digits"
    """Pair of the first and third curve."""
    rounds: int = 3
    """Interleaved rounds after warming up."""
    seconds: float = 0.5
    """About how long one measurement may take, in seconds."""
    clock: Literal["wall", "cpu"] = "wall"
    """Wall clock, or the time of this process on the processor, for machines that others use too."""
    quick: FlagCreatePairsOff[bool] = False
    """Fewer points, one short round."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or not self.seconds > 0:
            raise ConfigError(f"--rounds is {self.rounds} and --seconds {self.seconds}; expected at least 1, above 0.")


Point = tuple[Setting, Spec]


def points(args: ScalingArgs, axis: str, x: int) -> dict[str, Point]:
    """What is measured at one place of an axis, by the label of its curve."""
    base = Setting(args.pair, Recipe(), str(resolve_device(args.device)))
    if axis == "optimizees":
        return {"embedded network": (base, Spec("population", x))}
    if axis == "updates of a window":
        setting = replace(base, recipe=base.recipe._replace(window=x, budget=6 * x))
        return {f"{n} optimizee{'s' * (n > 1)}": (setting, Spec("population", n)) for n in (1, 16)}
    depth, size = (x - 1, 16) if axis == "layer groups" else (4, x)
    setting = replace(base, pair=stack_name(depth, size), recipe=base.recipe._replace(window=5, budget=30))
    return {
        "1 optimizee": (setting, Spec("population", 1)),
        "8 optimizees": (setting, Spec("population", 8)),
        "raw loop": (setting, Spec("raw")),
    }


def run(args: ScalingArgs) -> dict[str, list[dict[str, Any]]]:
    """Measures; rows of axis, curve, x and milliseconds of an update of an optimizee (median and quartiles)."""
    rounds, seconds = (1, 0.05) if args.quick else (args.rounds, args.seconds)
    rows = []
    for axis, xs in (QUICK if args.quick else AXES).items():
        for x in xs:
            for curve, (setting, spec) in points(args, axis, x).items():
                say(f"{axis} {x}: {curve}")
                (timing,) = measure(setting, [spec], rounds, seconds)
                per_update = np.array(timing.steps[args.clock]) / timing.updates_per_step * 1e3
                rows.append({"axis": axis, "curve": curve, "x": x, "ms": quartiles(per_update)})
    say("")
    return {"rows": rows}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws one panel per axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    colours = ("#0072B2", "#D55E00", "#009E73")
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(3.2 * len(axes), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, axis in zip(figure.subplots(1, len(axes), squeeze=False)[0], axes, strict=True):
        mine = [row for row in rows if row["axis"] == axis]
        curves = list(dict.fromkeys(row["curve"] for row in mine))
        for curve, colour, marker in zip(curves, colours, "os^", strict=False):
            x, ms = zip(*((row["x"], row["ms"]) for row in mine if row["curve"] == curve), strict=True)
            median, low, high = np.array(ms).T
            panel.plot(x, median, marker=marker, color=colour, label=curve, markersize=4)
            panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        panel.set(xscale="log", yscale="log", xlabel=axis)
        panel.set_xticks(sorted({row["x"] for row in mine}))
        values = [value for row in mine for value in row["ms"]]
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if min(values) / 2 <= t <= max(values) * 2]
        panel.set_yticks(ticks)
        for one in (panel.xaxis, panel.yaxis):
            one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            one.set_minor_locator(NullLocator())
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, frameon=False)
    figure.supylabel("ms per update and optimizee,\nvalidation included", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    try:
        args = tyro.cli(ScalingArgs, prog="python -m benchmarks.scaling", args=arguments)
        found = run(args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in found["rows"]:
        median, low, high = row["ms"]
        print(f"{row['axis']:<30} {row['x']:>4}  {row['curve']:<18} {median:8.3f} ms ({low:.3f}–{high:.3f})")
    draw(found["rows"], args.out)
    print(f"wrote {args.out}")
    write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
