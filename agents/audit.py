"""How well V ranks real accuracy over random per-layer rates: ``l2o audit PAIR...``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from agents.console import Reporter, steps
from agents.tuning import FixedRates
from l2o_env import pairs as pair_registry
from l2o_env.config import EnvConfig, GuidanceName, resolve_device
from l2o_env.errors import ConfigError
from l2o_env.rollout import MAX_OPTIMIZEES, Progress, Step, episode_seeds, run_episodes, seed_sequence
from l2o_env.vector_env import Syn2RealVectorEnv

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

VALUES = {
    "-CE_val": lambda frame: -frame["val_ce"],
    "-(CE_val + 0.3 KL_val)": lambda frame: -(frame["val_ce"] + 0.3 * frame["val_kl"]),
    "-(CE_val + KL_val)": lambda frame: -(frame["val_ce"] + frame["val_kl"]),
    "-(CE_val + 2 KL_val)": lambda frame: -(frame["val_ce"] + 2 * frame["val_kl"]),
    "validation accuracy": lambda frame: frame["validation_accuracy"],
}
"""What V could be, as a function of a frame of :func:`random_runs`."""
GUIDANCES: tuple[GuidanceName, ...] = ("kl", "none")
TOP = 8
"""Runs that V ranks first, whose real accuracy is compared with that of the truly best."""


@dataclass(frozen=True)
class AuditArgs:
    """Prints the rank correlation of V with real accuracy over random learning rates, with guidance and without.

    Every run draws one rate per layer group, log-uniformly between the limits of the action, and keeps it. Target
    labels are read here: this judges rewards, it trains nothing.
    """

    pairs: Positional[Annotated[tuple[str, ...], arg(metavar="PAIR ...")]] = ("glyphs-digits",)
    """Pairs to audit, by name."""
    runs: int = 64
    """Fine-tuning runs per pair and guidance, at least 8."""
    seed: int = 0
    """Seed of rates and runs."""
    guidance_weight: float = EnvConfig.guidance_weight
    """Weight lambda of the guidance term, per nat."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""

    def check(self) -> None:
        """Raises ConfigError if a setting cannot work."""
        for name in self.pairs:
            pair_registry.check(name)
        if not self.pairs:
            raise ConfigError("No pair is named; give at least one.")
        if self.runs < 8:
            raise ConfigError(f"--runs is {self.runs}; expected an integer >= 8, or ranks say little.")


def audit(args: AuditArgs, reporter: Reporter | None = None) -> int:
    """Measures and prints one table per pair; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work.
    """
    args.check()
    reporter = reporter or Reporter()
    device = str(resolve_device(args.device))
    for pair in args.pairs:
        config = EnvConfig(pairs=(pair,), guidance_weight=args.guidance_weight, device=device)
        found: dict[str, pd.DataFrame] = {}
        for guidance in GUIDANCES:
            with reporter.stage(
                f"Random rates on {pair_registry.label(pair)}, guidance {guidance}", 1, "steps"
            ) as update:
                settings = replace(config, guidance=guidance)
                found[guidance] = random_runs(settings, args.runs, args.seed, steps(update))
        reporter.out.print(table(pair, found))
    return 0


def random_runs(config: EnvConfig, n: int, seed: int, progress: Progress | None = None) -> pd.DataFrame:
    """Fine-tunes with random rates that stay as they are.

    Args:
        config: Settings of the environment; its first pair is used.
        n: Number of runs. All get rates and a seed of their own, the same ones for every pair and guidance.
        seed: Seed of rates and runs.
        progress: Called after each step.

    Returns:
        One row per run: ``val_ce``, ``val_kl`` (nats), ``validation_accuracy``, ``real_accuracy``, ``diverged``, and
        ``lr_<layer>``.
    """
    import pandas as pd

    size = min(n, MAX_OPTIMIZEES)
    settings = replace(config, pairs=config.pairs[:1], common_random_numbers=False)
    venv = Syn2RealVectorEnv(size, **asdict(settings))
    rng = np.random.default_rng(seed_sequence(seed, "audit rates"))
    limits = np.log(config.lr_min), np.log(config.lr_max)
    rates = np.exp(rng.uniform(*limits, (n, len(venv.layer_names))))
    seeds = np.array(episode_seeds(seed, "audit", n))
    parts = []
    for k, start in enumerate(range(0, n, size)):
        rows = np.minimum(np.arange(start, start + size), n - 1)  # the last part repeats its last run
        end: dict[str, NDArray[Any]] = {key: np.zeros(size) for key in ("val_ce", "val_kl")}

        def note(step: Step, k: int = k, end: dict[str, NDArray[Any]] = end) -> None:
            for key, values in end.items():
                values[step.ended] = step.info[key][step.ended]
            if progress is not None:
                progress(k * config.n_steps + step.number, -(-n // size) * config.n_steps, "")

        outcome = run_episodes(
            venv, FixedRates(rates[rows]), seeds=seeds[rows].tolist(), splits=("target",), on_step=note
        )
        part = {**end, "validation_accuracy": outcome.validation_accuracy}
        part |= {"real_accuracy": outcome.accuracy["target"], "diverged": outcome.diverged}
        part |= {f"lr_{name}": rates[rows, i] for i, name in enumerate(venv.layer_names)}
        parts.append(pd.DataFrame(part).iloc[: n - start])
    return pd.concat(parts, ignore_index=True)


def rank_correlation(frame: pd.DataFrame, value: str) -> float:
    """Spearman's rank correlation of a value (a name of ``VALUES``) with real accuracy, over runs."""
    from scipy.stats import spearmanr

    return float(spearmanr(VALUES[value](frame), frame["real_accuracy"]).statistic)


def top_loss(frame: pd.DataFrame, value: str, k: int = TOP) -> float:
    """Real accuracy of the `k` truly best runs, minus that of the `k` runs that the value ranks first."""
    chosen = frame["real_accuracy"][VALUES[value](frame).nlargest(k).index]
    return float(frame["real_accuracy"].nlargest(k).mean() - chosen.mean())


def table(pair: str, found: dict[str, pd.DataFrame]) -> Table:
    """The printed table of a pair: one row per value, columns for each guidance."""
    from rich.table import Table

    n = len(next(iter(found.values())))
    printed = Table(
        title=f"{pair_registry.label(pair)}: Spearman's rank correlation of V with real accuracy over {n} random "
        f"per-layer rates, and how far the {TOP} runs that V ranks first lie below the {TOP} truly best"
    )
    printed.add_column("V", no_wrap=True)
    for guidance in found:
        printed.add_column(f"guidance {guidance}", justify="right")
        printed.add_column(f"top {TOP} below best", justify="right")
    for value in VALUES:
        cells = []
        for frame in found.values():
            cells += [f"{rank_correlation(frame, value):.2f}", f"{top_loss(frame, value):.3f}"]
        printed.add_row(value, *cells)
    printed.add_row("runs that diverged", *(x for frame in found.values() for x in (str(frame["diverged"].sum()), "")))
    return printed
