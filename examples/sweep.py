"""Searches settings of fine-tuning with Optuna, side by side on a Ray cluster.

Run it so::

    pip install optuna
    python examples/sweep.py --trials 64 --parallel 8 --ray auto

Each trial is a cell as `l2o evaluate` has them: a schedule of rates with settings of the guidance on pairs and seeds,
judged by V, which never reads the target. Optuna is asked for several trials at a time, and told of each as it ends.
The study is a file: the same command goes on with it, after whatever has ended it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import optuna
import tyro
from l2o_agents.opponents import Schedule

from l2o_env import EnvConfig, evaluate
from l2o_env.cluster import Tasks


@dataclass(frozen=True)
class Args:
    """Settings; the command line is this dataclass."""

    out: Path = Path("sweep.log")
    """File of the study."""
    trials: int = 32
    """Trials in all, those of earlier calls included."""
    parallel: int = 4
    """Trials that Optuna is asked for at a time."""
    ray: str | None = None
    """Ray cluster: an address or auto; without one, trials run here, one after the other."""
    pairs: tuple[str, ...] = ("glyphs-digits",)
    """Pairs."""
    seeds: int = 8
    """Episodes of a trial on each pair."""
    budget: int = EnvConfig.budget
    """Optimizer updates of an episode."""
    window: int = EnvConfig.window
    """Optimizer updates between two actions."""


def value(args: Args, rate: float, guidance_weight: float, weight_decay: float) -> float:
    """V at the end, its mean over pairs and seeds; an episode that diverged counts with its last finite weights."""
    config = EnvConfig(budget=args.budget, window=args.window, device="cpu")
    config = replace(config, guidance_weight=guidance_weight, weight_decay=weight_decay)
    schedule = Schedule("trial", rate, "uniform", "warmup_cosine", window_share=config.window / config.budget)
    return float(evaluate({"trial": schedule}, args.pairs, args.seeds, config)["v_end"].mean())


def ask(study: optuna.Study, args: Args) -> tuple[optuna.Trial, partial[float]]:
    """The next trial, and the cell that it is."""
    trial = study.ask()
    return trial, partial(
        value,
        args,
        rate=trial.suggest_float("rate", 1e-4, 1e-2, log=True),
        guidance_weight=trial.suggest_float("guidance_weight", 0.03, 3.0, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-4, 0.1, log=True),
    )


def main(args: Args) -> optuna.Study:
    """Runs the trials that are missing; returns the study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(args.out)))
    study = optuna.create_study(
        study_name="sweep", storage=storage, direction="maximize", load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True),
    )  # fmt: skip
    done = len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
    while done < args.trials:
        trials, cells = zip(*(ask(study, args) for _ in range(min(args.parallel, args.trials - done))), strict=True)
        found = enumerate(cell() for cell in cells) if args.ray is None else Tasks(args.ray).run(cells, args.pairs)
        for k, v in found:
            study.tell(trials[k], v)
            done += 1
            print(f"{done}/{args.trials}: V {v:.3f} with {trials[k].params}; best so far {study.best_value:.3f}")
    print(f"best: V {study.best_value:.3f} with {study.best_params}")
    return study


if __name__ == "__main__":
    main(tyro.cli(Args))
