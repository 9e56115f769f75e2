"""The reference figures of the embedded pair beside ours: ``l2o reproduce glyphs-digits``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from l2o_env.config import EnvConfig, GuidanceName, resolve_device
from l2o_env.errors import require_integer, unknown_name
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.evaluation.intervals import plus_minus

from ..opponents import PerLayer, Schedule
from .console import Reporter, steps

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


@dataclass(frozen=True)
class Reference:
    """One row of the reference table, measured with a prototype of this package; means and standard deviations."""

    rates: Schedule | PerLayer
    """The learning rates; their name is how the table calls them."""
    guidance: GuidanceName
    """Guidance of the run; its weight is the default."""
    real_accuracy: tuple[float, float]
    """Share of the target images that is classified rightly."""
    value: tuple[float, float] | None = None
    """V = -(CE_val + KL_val) at the end, in nats; None where it was not measured."""


_FOUND = tuple(10.0**x for x in (-3.0, -2.4, -2.3, -1.2, -1.5))
REFERENCES: dict[str, tuple[Reference, ...]] = {
    "glyphs-digits": (
        Reference(Schedule("0.1 everywhere", 0.1), "none", (0.410, 0.043)),
        Reference(Schedule("0.1 everywhere, guided", 0.1), "kl", (0.476, 0.005)),
        Reference(Schedule("0.003 backbone, 0.1 head", 0.1, "small_backbone"), "none", (0.597, 0.046)),
        Reference(Schedule("backbone frozen, 0.1 head", 0.1, "head_only"), "none", (0.382, 0.031)),
        Reference(Schedule("0.01 everywhere", 0.01), "none", (0.593, 0.041)),
        Reference(Schedule("0.01 everywhere, guided", 0.01), "kl", (0.618, 0.027), (-1.057, 0.072)),
        Reference(Schedule("0.02 everywhere, guided", 0.02), "kl", (0.589, 0.029), (-1.013, 0.077)),
        Reference(
            Schedule("0.05, warm-up + poly 0.9", 0.05, "uniform", "warmup_poly"), "kl", (0.527, 0.029), (-0.916, 0.048)
        ),
        Reference(PerLayer("constant per layer, by search", _FOUND), "kl", (0.630, 0.035), (-0.836, 0.073)),
        Reference(
            PerLayer("doubled, warm-up + poly 0.9", tuple(2 * rate for rate in _FOUND), "warmup_poly"),
            "kl",
            (0.634, 0.030),
            (-0.785, 0.028),
        ),
    ),
}
"""Rows of each pair that has reference figures."""


@dataclass(frozen=True)
class ReproduceArgs:
    """Prints reference figures of a pair beside ours: mean ± standard deviation over seeds."""

    pair: Positional[Annotated[str, arg(metavar="PAIR")]] = "glyphs-digits"
    """Pair that has reference figures."""
    seeds: int = 16
    """Fine-tuning runs per row, at least 8."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""

    def check(self) -> None:
        """Raises ConfigError if a setting cannot work."""
        if self.pair not in REFERENCES:
            raise unknown_name("pair with reference figures", self.pair, REFERENCES)
        require_integer("--seeds", self.seeds, 8, expected="an integer >= 8, or the spread says little")


def reproduce(args: ReproduceArgs, reporter: Reporter | None = None) -> int:
    """Measures and prints the table; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work.
    """
    args.check()
    reporter = reporter or Reporter()
    of_value: dict[str, Any] = {"reward": "proxy_guided", "kl_weight": 1.0}  # as the reference figures have V
    config = EnvConfig(pairs=(args.pair,), optimizer="sgd", device=str(resolve_device(args.device)), **of_value)
    frame = measure(REFERENCES[args.pair], config, args.seeds, args.seed, reporter)
    reporter.out.print(table(REFERENCES[args.pair], frame))
    reporter.out.print(f"Rank correlation of our rows with the reference: {ordering(REFERENCES[args.pair], frame):.2f}")
    return 0


def measure(
    rows: tuple[Reference, ...], config: EnvConfig, n_seeds: int, seed: int, reporter: Reporter
) -> pd.DataFrame:
    """Runs each row on the same seeds; one line per row and seed, as :func:`evaluate` has it."""
    import pandas as pd

    frames, share = [], config.window / config.budget
    with reporter.stage(f"Reference rows of {config.pairs[0]}", 1, "steps") as update:
        for k, row in enumerate(rows):
            agents = {row.rates.name: replace(row.rates, window_share=share)}
            settings, progress = replace(config, guidance=row.guidance), steps(update, k, len(rows))
            frames.append(evaluate(agents, config.pairs, n_seeds, settings, seed=seed, progress=progress))
    return pd.concat(frames, ignore_index=True)


def fits(ours: tuple[float, float], reference: tuple[float, float]) -> bool:
    """Whether two means differ by at most two of their standard deviations, taken together."""
    return abs(ours[0] - reference[0]) <= 2 * math.hypot(ours[1], reference[1])


def ordering(rows: tuple[Reference, ...], frame: pd.DataFrame) -> float:
    """Spearman's rank correlation of our real accuracies with the reference's, over rows."""
    from scipy.stats import spearmanr

    ours = [_spread(frame, row, "real_accuracy")[0] for row in rows]
    return float(spearmanr(ours, [row.real_accuracy[0] for row in rows]).statistic)


def table(rows: tuple[Reference, ...], frame: pd.DataFrame) -> Table:
    """The printed table: reference and ours, side by side."""
    from rich.table import Table

    n = frame.groupby("policy").size().max()
    printed = Table(title=f"Mean ± standard deviation over {n} seeds; V = -(CE_val + KL_val) in nats")
    for heading in ("learning rates", "guidance"):
        printed.add_column(heading, no_wrap=True)
    for heading in ("real accuracy: reference", "ours", "fits", "V: reference", "ours", "fits"):
        printed.add_column(heading, justify="right")
    for row in rows:
        accuracy, value = _spread(frame, row, "real_accuracy"), _spread(frame, row, "v_end")
        reference = row.value or (math.nan, math.nan)
        printed.add_row(
            row.rates.name.removesuffix(", guided"),
            row.guidance,
            plus_minus(*row.real_accuracy),
            plus_minus(*accuracy),
            "yes" if fits(accuracy, row.real_accuracy) else "no",
            plus_minus(*reference),
            plus_minus(*value),
            "" if row.value is None else "yes" if fits(value, row.value) else "no",
        )
    return printed


def _spread(frame: pd.DataFrame, row: Reference, column: str) -> tuple[float, float]:
    values = frame.loc[frame["policy"] == row.rates.name, column]
    return float(values.mean()), float(values.std(ddof=1))
