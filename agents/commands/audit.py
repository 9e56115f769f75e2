"""How well V ranks real accuracy over random per-layer rates: ``l2o audit PAIR...``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from agents.commands.console import Reporter, steps
from agents.opponents import FixedRates
from agents.options import EnvAssignments, environment_settings
from l2o_env import pairs as pair_registry
from l2o_env.config import EnvConfig, GuidanceName, resolve_device
from l2o_env.errors import ConfigError, require_integer
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Progress, Step, episode_seeds, run_episodes, seed_sequence
from l2o_env.inner.stream_data import no_images
from l2o_env.results.decimals import decimal
from l2o_env.vector_env import Syn2RealVectorEnv

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


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
    kl_weights: Annotated[tuple[float, ...], arg(metavar="W ...")] = (0.0, 0.3, 1.0, 2.0)
    """Weights w of V = -(CE_val + w KL_val) to compare."""
    env: EnvAssignments = ()
    """Any other setting of the environment, such as budget=600; can be given many times."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""

    def check(self) -> None:
        """Raises ConfigError if a setting cannot work."""
        for name in self.pairs:
            pair_registry.check(name)
        if not self.pairs:
            raise ConfigError("No pair is named; give at least one.")
        require_integer("--runs", self.runs, 8, expected="an integer >= 8, or ranks say little")
        for weight in self.kl_weights:
            if not 0 <= weight < math.inf:
                raise ConfigError(f"--kl-weights has {weight}; expected finite numbers >= 0.")


def audit(args: AuditArgs, reporter: Reporter | None = None) -> int:
    """Measures and prints one table per pair; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work.
    """
    args.check()
    reporter = reporter or Reporter()
    options: dict[str, Any] = {"guidance_weight": args.guidance_weight, "device": str(resolve_device(args.device))}
    settings = options | environment_settings(args.env, (*options, "pairs", "guidance", "kl_weight"))
    for pair in args.pairs:
        require_target(pair)
    for pair in args.pairs:
        config = EnvConfig(pairs=(pair,), **settings)
        runs: dict[str, pd.DataFrame] = {}
        for guidance in GUIDANCES:
            title = f"Random rates on {pair_registry.label(pair)}, guidance {guidance}"
            with reporter.stage(title, 1, "steps") as update:
                guided = replace(config, guidance=guidance)
                runs[guidance] = random_runs(guided, args.runs, args.seed, steps(update))
        reporter.out.print(table(pair, runs, args.kl_weights))
    return 0


def require_target(name: str) -> None:
    """Raises ConfigError unless a pair has target images."""
    pair = pair_registry.make(name)
    if pair.target is None:
        raise no_images(pair, "target")


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
    frames, n_steps = [], venv.episodes.n_steps()
    for k, start in enumerate(range(0, n, size)):
        rows = np.minimum(np.arange(start, start + size), n - 1)  # the last population is filled up with the last run
        end: dict[str, NDArray[Any]] = {key: np.zeros(size) for key in ("val_ce", "val_kl")}

        def note(step: Step, k: int = k, end: dict[str, NDArray[Any]] = end) -> None:
            for key, values in end.items():
                values[step.ended] = step.info[key][step.ended]
            if progress is not None:
                progress(k * n_steps + step.number, -(-n // size) * n_steps, "")

        outcome = run_episodes(
            venv, FixedRates(rates[rows]), seeds=seeds[rows].tolist(), splits=("target",), on_step=note
        )
        columns = {**end, "validation_accuracy": outcome.validation_accuracy}
        columns |= {"real_accuracy": outcome.accuracy["target"], "diverged": outcome.diverged}
        columns |= {f"lr_{name}": rates[rows, i] for i, name in enumerate(venv.layer_names)}
        frames.append(pd.DataFrame(columns).iloc[: n - start])
    return pd.concat(frames, ignore_index=True)


def values(frame: pd.DataFrame, kl_weights: Sequence[float]) -> dict[str, pd.Series]:
    """What V could be, over the runs of a frame of :func:`random_runs`: -(CE_val + w KL_val), validation accuracy."""
    of_weights = {f"-(CE_val + {w:g} KL_val)": -(frame["val_ce"] + w * frame["val_kl"]) for w in kl_weights}
    return {**of_weights, "validation accuracy": frame["validation_accuracy"]}


def rank_correlation(value: pd.Series, accuracy: pd.Series) -> float:
    """Spearman's rank correlation over runs."""
    from scipy.stats import spearmanr

    return float(spearmanr(value, accuracy).statistic)


def top_loss(value: pd.Series, accuracy: pd.Series, k: int = TOP) -> float:
    """Accuracy of the `k` truly best runs, minus that of the `k` runs that the value ranks first."""
    return float(accuracy.nlargest(k).mean() - accuracy[value.nlargest(k).index].mean())


def table(pair: str, runs: dict[str, pd.DataFrame], kl_weights: Sequence[float]) -> Table:
    """The printed table of a pair: one row per value, columns for each guidance.

    Args:
        pair: The pair's name.
        runs: What :func:`random_runs` returned, by guidance.
        kl_weights: Weights w of V to compare.
    """
    from rich.table import Table

    n = len(next(iter(runs.values())))
    printed = Table(
        title=f"{pair_registry.label(pair)}: Spearman's rank correlation of V with real accuracy over {n} random "
        f"per-layer rates, and how far the {TOP} runs that V ranks first lie below the {TOP} truly best"
    )
    printed.add_column("V", no_wrap=True)
    for guidance in runs:
        printed.add_column(f"guidance {guidance}", justify="right")
        printed.add_column(f"top {TOP} below best", justify="right")
    rows: dict[str, list[str]] = {}
    for frame in runs.values():
        for name, value in values(frame, kl_weights).items():
            accuracy = frame["real_accuracy"]
            cells = [decimal(rank_correlation(value, accuracy), 2), decimal(top_loss(value, accuracy), 3)]
            rows[name] = rows.get(name, []) + cells
    for name, line in rows.items():
        printed.add_row(name, *line)
    printed.add_row("runs that diverged", *(x for frame in runs.values() for x in (str(frame["diverged"].sum()), "")))
    return printed
