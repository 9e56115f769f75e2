"""Evaluates trained policies beside their opponents, zero-shot on any pairs: ``l2o evaluate RUN... --pairs ...``."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from tyro.conf import FlagCreatePairsOff, Positional, arg

from l2o_env import pairs as pair_registry
from l2o_env.action import takes_any_optimizer
from l2o_env.cluster.tasks import Tasks
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, require_integer, unknown_name
from l2o_env.evaluation.ablation import ablated, check_ablations, gains
from l2o_env.evaluation.contestant import Contestant, Mode
from l2o_env.evaluation.evaluate import check_runs
from l2o_env.evaluation.report import overall, to_markdown, write_pictures
from l2o_env.evaluation.results_view import ResultsView
from l2o_env.evaluation.resumable import evaluate_in_parts
from l2o_env.evaluation.rollout import Progress
from l2o_env.results.run_folder import (
    ABLATIONS,
    EVALUATION_FILE,
    EVENTS,
    PARTS,
    RESULTS_PARQUET,
    RESULTS_TABLE,
    SUMMARY,
    TUNED_FOLDER,
    RunFolder,
)
from l2o_env.tasks import TASKS, Task, held_out_tasks

from ..opponents import SEARCHES, TUNED, check_searches, default_opponents
from ..options import EnvAssignments, RayAddress, device_of, tasks_of
from .console import Reporter, prepare_pairs, steps
from .contestants import (
    TrainedPolicy,
    common_settings,
    contestants_of,
    find_policy,
    given_settings,
    opponents,
)
from .printed_tables import evaluation_table, gains_table
from .tuned import tuned_opponents

if TYPE_CHECKING:
    import pandas as pd


NO_OPPONENTS = "none"


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
    tasks: Annotated[str | None, arg(metavar="{" + ",".join(TASKS) + "}", help_behavior_hint="(default: none)")] = None
    """Evaluate on held-out tasks instead, each of which has its pair, network, budget, batch size, number of images,
    noise of the labels, weight of the guidance and, if all policies take any, its optimizer."""
    n_tasks: int = 12
    """How many of these tasks."""
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
        for name in self.pairs or ():
            pair_registry.check(name)
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


def evaluate_runs(args: EvaluateArgs, reporter: Reporter | None = None) -> pd.DataFrame:
    """Does what ``l2o evaluate`` does.

    Args:
        args: The command line.
        reporter: Where progress and results are told.

    Returns:
        The tidy table; see :func:`l2o_env.evaluation.resumable.evaluate_in_parts`.

    Raises:
        ConfigError: Before anything runs, if a setting cannot work or a policy does not fit a pair's network.
        WriteError: If something cannot be written; what is finished stays.
    """
    args.check()
    reporter = reporter or Reporter()
    tasks = tasks_of(args.ray, args.gpus_per_worker)
    device = device_of(args.device, args.gpus_per_worker)
    policies = [find_policy(argument) for argument in args.runs]
    config = common_settings(policies, given_settings(args.env, device, budget=args.budget, window=args.window))
    if args.optimizer is not None:
        config = config.with_optimizer(args.optimizer)
    for policy in policies if args.optimizer is not None else ():
        _tell_optimizer(policy, config, reporter)
    drawn = _tasks_of(args, policies)
    pairs = tuple(task.pair for task in drawn) or tuple(dict.fromkeys(args.pairs or pair_registry.names("test")))
    trained, hand_made = [], []
    for task in drawn or (None,):
        settings = config if task is None else task.config(config)
        optimizer = args.optimizer if task is None else task.settings.get("optimizer")
        only = None if task is None else (task.pair,)
        found = [
            contestant
            for policy in policies
            for contestant in contestants_of(
                policy, settings, args.modes, all_checkpoints=args.all_checkpoints, optimizer=optimizer
            )
        ]
        trained += [replace(each, pairs=only) for each in found]
        names = _opponent_names(args, settings)
        hand_made += [replace(each, pairs=only) for each in opponents(names, settings, args.seed)]
    _check_names(policies, hand_made, args)
    folder = RunFolder(_folder(args, trained, pairs))
    folder.claim()
    try:
        return _Evaluation(args, policies, config, pairs, drawn, folder, reporter, tasks).run(trained, hand_made).table
    finally:
        folder.release()


def _tasks_of(args: EvaluateArgs, policies: Sequence[TrainedPolicy]) -> list[Task]:
    """The held-out tasks that are asked for; none, if pairs are."""
    if args.tasks is None:
        return []
    any_optimizer = all(policy.config is not None and takes_any_optimizer(policy.config) for policy in policies)
    return held_out_tasks(args.tasks, args.n_tasks, any_optimizer=any_optimizer)


def _tell_optimizer(policy: TrainedPolicy, config: EnvConfig, reporter: Reporter) -> None:
    trained = policy.config
    if trained is None or trained.optimizer != config.optimizer:
        was = "another optimizer" if trained is None else trained.optimizer
        reporter.say(
            f"{policy.name!r} was trained with {was}: its actions are taken over the rates of {config.optimizer}, "
            f"{config.lr_min:g} to {config.lr_max:g}."
        )


def evaluate_command(args: EvaluateArgs, reporter: Reporter | None = None) -> int:
    """Runs ``l2o evaluate``; returns the exit status.

    Raises:
        ConfigError: See :func:`evaluate_runs`.
        WriteError: Likewise.
    """
    evaluate_runs(args, reporter)
    return 0


def _opponent_names(args: EvaluateArgs, config: EnvConfig) -> tuple[str, ...]:
    if args.opponents is None:
        return tuple(default_opponents(config))
    return () if args.opponents == (NO_OPPONENTS,) else tuple(dict.fromkeys(args.opponents))


def _check_names(policies: list[TrainedPolicy], hand_made: list[Contestant], args: EvaluateArgs) -> None:
    """No trained policy may have the name of an opponent, and the reference must be one of them all."""
    tuned = [name for search in args.searches for name in TUNED[search]] if args.tuning_episodes else []
    fixed = [each.policy for each in hand_made] + tuned
    taken = list(fixed)
    for policy in policies:
        if policy.name in fixed:
            raise ConfigError(f"Two policies are called {policy.name!r}; give one another name, as NAME=FOLDER.")
        taken.append(policy.name)
    if args.reference is not None and args.reference not in taken:
        raise unknown_name("reference", args.reference, taken)


def _folder(args: EvaluateArgs, trained: list[Contestant], pairs: tuple[str, ...]) -> Path:
    """The folder of the evaluation: the same for the same command and the same policies."""
    if args.out is not None:
        path = args.out.expanduser()
        if path.is_dir() and any(path.iterdir()) and not (path / PARTS).is_dir():
            raise ConfigError(f"The folder {path} holds something that is no evaluation; name another one with --out.")
        return path
    settings = {**asdict(args), "pairs": pairs, "runs": [(each.policy, each.digest) for each in trained]}
    del settings["ray"], settings["gpus_per_worker"]  # wherever it is computed, it is the same evaluation
    text = json.dumps(settings, sort_keys=True, default=str)
    return Path("runs") / f"evaluation-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation with nothing left open, which runs it and writes what comes out."""

    args: EvaluateArgs
    policies: Sequence[TrainedPolicy]
    config: EnvConfig
    pairs: tuple[str, ...]
    drawn: Sequence[Task]
    folder: RunFolder
    reporter: Reporter
    tasks: Tasks | None

    def run(self, trained: Sequence[Contestant], hand_made: Sequence[Contestant]) -> ResultsView:
        """Tunes what is to be tuned, evaluates everyone, writes and prints."""
        prepare_pairs(self.pairs, self.reporter)
        ablations = self._ablated(trained)
        contestants = [*trained, *(each for _, found in ablations for each in found), *hand_made]
        if self.args.tuning_episodes:
            for each in contestants:  # now, because tuning may take long
                check_runs({each.policy: each.load()}, each.pairs or self.pairs, each.config)
            contestants += self._tuned()
        with self.folder.guard(PARTS), self._progress("Evaluating") as progress:
            evaluated = evaluate_in_parts(
                contestants, self.pairs, self.args.seeds, self.folder.path, seed=self.args.seed, progress=progress,
                tasks=self.tasks,
            )  # fmt: skip
        if evaluated.kept:
            self.reporter.say(f"{evaluated.kept} of {evaluated.n_parts} parts were finished before, and are kept.")
        results = ResultsView(evaluated.results, self.args.reference)
        self._write(results)
        out = self.reporter.out
        out.print(evaluation_table(overall(results), results.pairs, out.width))
        if ablations:
            bases = {(base.policy, base.run): base for base, _ in ablations}
            self._tell_gains(results.table, list(bases.values()))
        self.reporter.say(f"The evaluation is in {self.folder.path}.")
        return results

    def _ablated(self, trained: Sequence[Contestant]) -> list[tuple[Contestant, list[Contestant]]]:
        """Each policy, as it was selected on the source or else the last, with what it is compared without."""
        if not self.args.ablate:
            return []
        selected = {
            (each.policy, each.run, each.pairs): each for each in trained if each.selection in ("last", "source")
        }
        self.reporter.say(
            f"Recording mean episodes of {', '.join(sorted({each.policy for each in selected.values()}))}."
        )
        args = self.args
        return [
            (base, ablated(base, args.ablate, base.pairs or self.pairs, args.seeds, args.seed))
            for base in selected.values()
        ]

    def _tell_gains(self, table: pd.DataFrame, policies: Sequence[Contestant]) -> None:
        import pandas as pd

        found = pd.concat([gains(table, base, self.args.ablate) for base in policies], ignore_index=True)
        with self.folder.writing(ABLATIONS) as path:
            found.to_csv(path, index=False)
        self.reporter.out.print(gains_table(found, len(self.pairs), self.args.seeds))

    def _tuned(self) -> list[Contestant]:
        args = self.args
        each: list[tuple[Sequence[str], EnvConfig]] = [(self.pairs, self.config)]
        if self.drawn:
            each = [((task.pair,), task.config(self.config)) for task in self.drawn]
        with self.folder.guard(TUNED_FOLDER) as path:
            return [
                contestant
                for pairs, config in each
                for contestant in tuned_opponents(
                    args.searches, pairs, config, args.tuning_episodes, args.seed, path, self._tuning_progress,
                    self.tasks,
                )
            ]  # fmt: skip

    def _tuning_progress(self, pair: str, search: str) -> AbstractContextManager[Progress]:
        return self._progress(f"Tuning {search} on {pair_registry.label(pair)}")

    @contextmanager
    def _progress(self, title: str) -> Iterator[Progress]:
        with self.reporter.stage(title, 1, "steps", 20) as update:
            yield steps(update)

    def _write(self, results: ResultsView) -> None:
        folder = self.folder
        with folder.writing(RESULTS_PARQUET) as path:
            results.table.to_parquet(path, index=False)
        with folder.writing(RESULTS_TABLE) as path:
            results.table.to_csv(path, index=False)
        command = shlex.join(["l2o", *sys.argv[1:]])
        settings: dict[str, Any] = {"command": command, "arguments": asdict(self.args)}
        settings["environment"] = asdict(self.config)
        if self.drawn:
            settings["tasks"] = [task._asdict() for task in self.drawn]
        folder.write_json(EVALUATION_FILE, settings)
        pairs = {name: pair_registry.make(name) for name in results.pairs}
        classes = {name: pair.classes or tuple(map(str, range(pair.n_classes))) for name, pair in pairs.items()}
        folder.write_text(SUMMARY, to_markdown(results, classes))
        with folder.guard("pictures"):
            events = {policy.name: policy.checkpoints["last"].parent / EVENTS for policy in self.policies}
            write_pictures(results, folder.path, events=events)
