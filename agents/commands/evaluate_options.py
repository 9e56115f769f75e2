"""The options of ``l2o evaluate``, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from tyro.conf import FlagCreatePairsOff, Positional, arg

from l2o_env import pairs as pair_registry
from l2o_env.errors import ConfigError, require_integer, unknown_name
from l2o_env.evaluation.ablation import check_ablations
from l2o_env.evaluation.contestant import Mode
from l2o_env.tasks import TASKS

from ..opponents import SEARCHES, check_searches
from ..options import EnvAssignments, RayAddress

NO_OPPONENTS = "none"
"""What ``--opponents`` is for no hand-made ones."""


def named_opponents(given: tuple[str, ...] | None, default: Iterable[str]) -> tuple[str, ...]:
    """The opponents that ``--opponents`` names, each once; the default ones if it was not given."""
    if given is None:
        return tuple(default)
    return () if given == (NO_OPPONENTS,) else tuple(dict.fromkeys(given))


@dataclass(frozen=True)
class EvaluateArgs:
    """Evaluates policies on pairs and seeds, beside opponents, and says which of them transfer where.

    Writes results.parquet and results.csv (one row per policy, selection, mode, pair and seed), summary.md, the actions
    of every step (actions.parquet) and pictures. What is finished is kept: the same command goes on where it was cut
    off. Pairs may have other networks than those of training.
    """

    runs: Positional[Annotated[tuple[str, ...], arg(metavar="[NAME=]RUN ...")]]
    """Run folders, or folders of saved policies, each with the name that tables give it (default: the folder's). Runs
    of one name count as one policy that was trained several times: its intervals are over these runs."""
    pairs: Annotated[tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint="(default: all held out)")] = (
        None
    )
    """Pairs to evaluate on, by name."""
    seeds: int = 16
    """Evaluation runs of each policy on each pair in each mode."""
    modes: Annotated[tuple[Mode, ...], arg(metavar="{deterministic,sampled} ...")] = ("deterministic", "sampled")
    """Whether policies take their most likely actions, sampled ones, or both in turn."""
    opponents: Annotated[
        tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint="(default: all hand-made ones)")
    ] = None
    """Hand-made opponents by name, or `none`; `l2o opponents` says what they are."""
    tuning_episodes: int = 0
    """Episodes for the opponents that are tuned by V on the very pair they are tested on; 0: leave them out."""
    tuned: Annotated[tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint="(default: all)")] = None
    """What is tuned with these episodes each: recipes by name, `uniform` (best constant and schedule), `per-layer`."""
    ablate: Annotated[tuple[str, ...], arg(metavar="{statistics,each,FEATURE} ...")] = ()
    """What policies are compared without: `statistics` replays a policy's own mean schedule whatever it observes (what
    is lost is the closed-loop gain); the name of a feature hides that one, `each` hides each in turn."""
    tasks: Annotated[str | None, arg(metavar="{" + ",".join(TASKS) + "}", help_behavior_hint="(default: none)")] = None
    """Evaluate on held-out tasks instead, each of which has its pair, network, budget, batch size, number of images,
    noise of the labels, weight of the guidance and, if all policies take any, its optimizer."""
    n_tasks: int = 12
    """How many of these tasks."""
    all_checkpoints: FlagCreatePairsOff[bool] = False
    """Let the target oracle choose among all checkpoints of a run, not only the last and the selected one."""
    reference: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: uniform, else the first opponent)")
    ] = None
    """What the probability of improvement compares each policy with, by name."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/evaluation-<settings>)")] = None
    """Folder of the evaluation; one of the same or other policies may be there, and is added to."""
    seed: int = 0
    """Seed of the evaluation runs, of random opponents and of tuning."""
    budget: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: that of training)")] = None
    """Optimizer updates of an episode."""
    window: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: that of training)")] = None
    """Optimizer updates between two actions."""
    optimizer: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: that of training)")] = None
    """What makes the updates. Actions that are rates are taken over the rates that suit this optimizer."""
    env: EnvAssignments = ()
    """Any other setting of the environment, such as batch_size=6; can be given many times. The default is that of
    training."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    ray: RayAddress = None
    """Ray cluster whose tasks each policy on each pair, and each tuning, is: its address, or auto for the one that runs
    here or is started for this."""
    gpus_per_worker: float = 0.0
    """GPUs of each task: a share of one, or whole ones; 0 computes on CPUs."""

    @property
    def searches(self) -> tuple[str, ...]:
        """What is tuned."""
        return tuple(SEARCHES) if self.tuned is None else self.tuned

    def check(self) -> None:
        """Raises ConfigError if a setting cannot work."""
        if not self.runs:
            raise ConfigError("No run is named; give the folder of at least one.")
        pair_registry.check_all(self.pairs or ())
        if self.pairs == ():
            raise ConfigError("--pairs names none; give at least one, or leave it out.")
        if self.tasks is not None and (self.pairs, self.budget, self.window, self.optimizer) != (None,) * 4:
            raise ConfigError("--tasks says what pair, budget, window and optimizer are; leave out those options.")
        require_integer("--n-tasks", self.n_tasks)
        for mode in self.modes:
            if mode not in get_args(Mode):
                raise unknown_name("mode", mode, get_args(Mode))
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise ConfigError(f"--modes is {' '.join(self.modes)!r}; expected deterministic, sampled, or both.")
        require_integer("--seeds", self.seeds)
        require_integer("--seed", self.seed, 0)
        if self.tuning_episodes:
            check_searches(self.searches, self.tuning_episodes)
        check_ablations(self.ablate)
        if self.ablate and "deterministic" not in self.modes:
            raise ConfigError("--ablate compares the most likely actions; name deterministic among the --modes.")
