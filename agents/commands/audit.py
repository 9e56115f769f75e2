"""How well V ranks real accuracy, over random rates or among good schedules and policies: ``l2o audit PAIR...``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from l2o_env import pairs as pair_registry
from l2o_env.cluster.tasks import Tasks
from l2o_env.config import EnvConfig, GuidanceName
from l2o_env.errors import ConfigError, require_integer
from l2o_env.evaluation.intervals import plus_minus
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.inner.stream_data import no_images
from l2o_env.results.decimals import decimal
from l2o_env.results.kept_parts import KeptParts
from l2o_env.reward import kl_weight

from ..base import Agent
from ..factory import load
from ..options import EnvAssignments, RayAddress, device_of, environment_settings, tasks_of
from .audit_runs import good_runs, random_runs
from .cells import kept_arguments, on_cluster
from .console import Reporter, steps
from .contestants import TrainedPolicy, agent_digest, find_policy

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


GUIDANCES: tuple[GuidanceName, ...] = ("kl", "none")
BEST_SHARE = 5
"""Of good candidates, one in so many is looked at."""
TOP = 8
"""Runs that V ranks first, whose real accuracy is compared with that of the truly best."""


@dataclass(frozen=True)
class AuditArgs:
    """Prints the rank correlation of V with real accuracy over fine-tuning runs, with guidance and without.

    By default every run draws one rate per layer group, log-uniformly between the limits of the action, and keeps it.
    `--among good` looks where a policy has to choose: at the best fifth by V of random schedules, what people use,
    and trained policies. Target labels are read here: this judges rewards, it trains nothing.
    """

    pairs: Positional[Annotated[tuple[str, ...], arg(metavar="PAIR ...")]] = ("glyphs-digits",)
    """Pairs to audit, by name."""
    among: Literal["random", "good"] = "random"
    """What values have to rank: constant random rates, or what is in the best fifth by the value itself."""
    policies: Annotated[tuple[str, ...], arg(metavar="RUN ...")] = ()
    """With `--among good`: run folders, all of whose checkpoints are candidates too."""
    runs: int = 64
    """Fine-tuning runs per pair and guidance, at least 8; of good ones, random schedules, at least 40."""
    seed: int = 0
    """Seed of rates and runs."""
    guidance_weight: float = EnvConfig.guidance_weight
    """Weight lambda of the guidance term, per nat."""
    kl_weights: Annotated[tuple[float | Literal["auto"], ...], arg(metavar="W ...")] = ("auto", 0.0, 0.3, 1.0, 2.0)
    """Weights w of V = -(CE_val + w KL_val) to compare beside the value of the reward transfer; auto: by the classes
    of the pair."""
    env: EnvAssignments = ()
    """Any other setting of the environment, such as budget=600; can be given many times."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: print only)")] = None
    """Folder for audit.csv, one line per run; it must not exist or be empty. What is finished is kept there: the same
    command goes on where it was cut off."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    ray: RayAddress = None
    """Ray cluster whose tasks the guidances of each pair are: its address, or auto for the one that runs here or is
    started for this."""
    gpus_per_worker: float = 0.0
    """GPUs of each task: a share of one, or whole ones; 0 computes on CPUs."""

    def check(self) -> None:
        """Raises ConfigError if a setting cannot work."""
        pair_registry.check_all(self.pairs)
        if not self.pairs:
            raise ConfigError("No pair is named; give at least one.")
        least = 8 if self.among == "random" else 40
        require_integer("--runs", self.runs, least, expected=f"an integer >= {least}, or ranks say little")
        if self.policies and self.among == "random":
            raise ConfigError("--policies are candidates among good ones; give --among good too.")
        for weight in self.kl_weights:
            if weight != "auto" and not 0 <= weight < math.inf:
                raise ConfigError(f"--kl-weights has {weight}; expected finite numbers >= 0, or auto.")


def audit(args: AuditArgs, reporter: Reporter | None = None) -> int:
    """Measures and prints one table per pair; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the folder cannot be written to.
    """
    import pandas as pd

    args.check()
    reporter = reporter or Reporter()
    tasks = tasks_of(args.ray, args.gpus_per_worker)
    options: dict[str, Any] = {
        "guidance_weight": args.guidance_weight,
        "device": device_of(args.device, args.gpus_per_worker),
    }
    settings = options | environment_settings(args.env, (*options, "pairs", "guidance", "kl_weight", "reward"))
    for pair in args.pairs:
        require_target(pair)
    policies = [_named(folder) for run in args.policies for folder in _checkpoints(find_policy(run))]
    with KeptParts.opened(args.out, kept_arguments("audit", args)) as kept:
        found = []
        for pairs in [args.pairs] if tasks is not None else [(pair,) for pair in args.pairs]:
            configs = {pair: EnvConfig(pairs=(pair,), **settings) for pair in pairs}
            found += _audited(args, configs, policies, reporter, kept, tasks)
        if kept.folder is not None:
            with kept.folder.writing("audit.csv") as path:
                pd.concat(found, ignore_index=True).to_csv(path, index=False)
    return 0


def _audited(
    args: AuditArgs,
    configs: Mapping[str, EnvConfig],
    policies: Sequence[Agent],
    reporter: Reporter,
    kept: KeptParts,
    tasks: Tasks | None,
) -> list[pd.DataFrame]:
    """Runs and prints pairs, with the settings of each; returns the runs of each."""
    cells = [(pair, guidance) for pair in configs for guidance in GUIDANCES]
    title = f"{args.among.capitalize()} rates on {', '.join(map(pair_registry.label, configs))}"
    digests = [agent_digest(each) for each in policies]
    parts = []
    with reporter.stage(title, 1, "steps" if args.among == "random" else "runs", 4) as update:
        run = on_cluster(tasks, list(configs), update)
        for k, (pair, guidance) in enumerate(cells):
            guided = replace(configs[pair], guidance=guidance)
            progress = steps(update, k, len(cells)) if run is None else None
            make = (
                partial(random_runs, guided, args.runs, args.seed, progress)
                if args.among == "random"
                else partial(good_runs, guided, args.runs, args.seed, policies, progress)
            )
            images = pair_digest(pair_registry.make(pair))
            parts.append(({"pair": pair, "guidance": guidance, "images": images, "policies": digests}, make))
        frames = dict(zip(cells, kept.tables(parts, run), strict=True))
    for pair in configs:
        of_pair: dict[str, pd.DataFrame] = {guidance: frames[pair, guidance] for guidance in GUIDANCES}
        built = pair_registry.make(pair)
        of_weights = [EnvConfig(reward="proxy_guided", kl_weight=w) for w in args.kl_weights]
        weights = list(dict.fromkeys(kl_weight(config, built) for config in of_weights))
        transfer = kl_weight(EnvConfig(reward="transfer"), built)
        reporter.out.print(table(pair, of_pair, weights, transfer, good=args.among == "good"))
    return [frame.assign(pair=pair, guidance=guidance) for (pair, guidance), frame in frames.items()]


def require_target(name: str) -> None:
    """Raises ConfigError unless a pair has target images."""
    pair = pair_registry.make(name)
    if pair.target is None:
        raise no_images(pair, "target")


def values(frame: pd.DataFrame, kl_weights: Sequence[float], transfer_weight: float) -> dict[str, pd.Series]:
    """What V could be, over the runs of a frame of :func:`random_runs`.

    Args:
        frame: The runs.
        kl_weights: Weights w of -(CE_val + w KL_val).
        transfer_weight: That of the reward ``"transfer"``.
    """
    transfer = frame["shifted_accuracy"] - transfer_weight * frame["shifted_kl"]
    of_weights = {f"-(CE_val + {w:.4g} KL_val)": -(frame["val_ce"] + w * frame["val_kl"]) for w in kl_weights}
    return {"transfer": transfer, **of_weights, "validation accuracy": frame["validation_accuracy"]}


def rank_correlation(value: pd.Series, accuracy: pd.Series) -> float:
    """Spearman's rank correlation over runs; NaN where one of the two is the same for all."""
    from scipy.stats import spearmanr

    if value.nunique() < 2 or accuracy.nunique() < 2:
        return math.nan
    return float(spearmanr(value, accuracy).statistic)


def top_loss(value: pd.Series, accuracy: pd.Series, k: int = TOP) -> float:
    """Accuracy of the `k` truly best runs, minus that of the `k` runs that the value ranks first."""
    return float(accuracy.nlargest(k).mean() - accuracy[value.nlargest(k).index].mean())


def table(
    pair: str, runs: dict[str, pd.DataFrame], kl_weights: Sequence[float], transfer_weight: float, *, good: bool = False
) -> Table:
    """The printed table of a pair: one row per value, columns for each guidance.

    Args:
        pair: The pair's name.
        runs: What :func:`random_runs` or :func:`good_runs` returned, by guidance.
        kl_weights: See :func:`values`, like the next.
        transfer_weight: Likewise.
        good: Whether each value is judged by the runs of its own best fifth alone.
    """
    from rich.table import Table

    n = len(next(iter(runs.values())))
    k = 1 if good else max(1, min(TOP, n // 2))  # of few runs, the best TOP are all of them, whatever V says
    among = f"the best fifth by V of {n} good candidates" if good else f"{n} random per-layer rates"
    first, best = ("run", "best of them") if good else (f"{k} runs", f"{k} truly best")
    printed = Table(
        title=f"{pair_registry.label(pair)}: Spearman's rank correlation of V with real accuracy over {among}, and how "
        f"far the {first} that V ranks first lie below the {best}"
    )
    printed.add_column("V", no_wrap=True)
    for guidance in runs:
        printed.add_column(f"guidance {guidance}", justify="right")
        printed.add_column(f"top {k} below best", justify="right")
    rows: dict[str, list[str]] = {}
    for frame in runs.values():
        for name, value in values(frame, kl_weights, transfer_weight).items():
            chosen = value.nlargest(-(-len(value) // BEST_SHARE)) if good else value
            accuracy = frame["real_accuracy"][chosen.index]
            cells = [
                plus_minus(rank_correlation(chosen, accuracy), math.nan, 2),
                decimal(top_loss(chosen, accuracy, k), 3),
            ]
            rows[name] = rows.get(name, []) + cells
    for name, line in rows.items():
        printed.add_row(name, *line)
    diverged = (str(int((frame["diverged"] > 0).sum())) for frame in runs.values())
    printed.add_row("runs that diverged", *(x for text in diverged for x in (text, "")))
    return printed


def _checkpoints(policy: TrainedPolicy) -> tuple[Path, ...]:
    return (*policy.others, policy.checkpoints["last"])


def _named(folder: Path) -> Agent:
    agent = load(folder)
    agent.name = str(folder)
    return agent
