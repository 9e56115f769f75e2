"""Evaluates trained policies beside their opponents, zero-shot on any pairs: ``l2o evaluate RUN... --pairs ...``."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from l2o_env import pairs as pair_registry
from l2o_env.action import ANY_OPTIMIZER
from l2o_env.cluster.tasks import Tasks
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.evaluation.ablation import ablated, gains
from l2o_env.evaluation.contestant import Contestant
from l2o_env.evaluation.evaluate import check_runs
from l2o_env.evaluation.report import markdown_table, overall, to_markdown, write_pictures
from l2o_env.evaluation.results_view import ResultsView
from l2o_env.evaluation.resumable import evaluate_in_parts
from l2o_env.evaluation.rollout import Progress
from l2o_env.pairs.spec import parse
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
from l2o_env.tasks import Task, held_out_tasks

from ..factory import load
from ..opponents import TUNED, default_opponents
from ..options import device_of, tasks_of
from .console import Reporter, prepare_pairs
from .contestants import TrainedPolicy, common_settings, contestants_of, find_policy, given_settings, opponents
from .evaluate_options import EvaluateArgs, named_opponents
from .printed_tables import evaluation_table, gains_table
from .tuned import tuned_opponents

if TYPE_CHECKING:
    import pandas as pd


class _Case(NamedTuple):
    """What everyone is run with on some pairs.

    Attributes:
        pairs: The pairs; None: all.
        config: Settings of the environment.
        optimizer: What makes the updates, over whose rates actions are taken; None: that of a policy's training.
    """

    pairs: tuple[str, ...] | None
    config: EnvConfig
    optimizer: str | None


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
    cases: list[_Case] = [_Case(None, config, args.optimizer)]
    if drawn:
        cases = [_Case((task.pair,), task.config(config), task.settings.get("optimizer")) for task in drawn]
    trained = [
        replace(contestant, pairs=case.pairs)
        for case in cases
        for policy in policies
        for contestant in contestants_of(
            policy, case.config, args.modes, all_checkpoints=args.all_checkpoints, optimizer=case.optimizer
        )
    ]
    hand_made = [
        replace(contestant, pairs=case.pairs)
        for case in cases
        for contestant in opponents(
            named_opponents(args.opponents, default_opponents(case.config)), case.config, args.seed
        )
    ]
    _check_names(policies, hand_made, args)
    folder = RunFolder(_folder(args, trained, pairs))
    folder.claim()
    try:
        evaluation = _Evaluation(args, policies, config, pairs, cases, drawn, folder, reporter, tasks)
        return evaluation.run(trained, hand_made).table
    finally:
        folder.release()


def _tasks_of(args: EvaluateArgs, policies: Sequence[TrainedPolicy]) -> list[Task]:
    """The held-out tasks that are asked for; none, if pairs are."""
    if args.tasks is None:
        return []
    forms = {load(policy.checkpoints["last"]).action_settings.get("action") for policy in policies}
    any_optimizer = forms == {ANY_OPTIMIZER}
    return held_out_tasks(args.tasks, args.n_tasks, any_optimizer=any_optimizer)


def _tell_optimizer(policy: TrainedPolicy, config: EnvConfig, reporter: Reporter) -> None:
    trained = policy.config
    if trained is None or trained.optimizer != config.optimizer:
        was = "another optimizer" if trained is None else trained.optimizer
        reporter.say(
            f"{policy.name!r} was trained with {was}: its actions are taken over the rates of {config.optimizer}, "
            f"{config.lr_min:g} to {config.lr_max:g}."
        )


def task_lines(tasks: Sequence[Task]) -> list[list[str]]:
    """What each task is, a line each; the first line is the heading."""
    lines = [["task", "member", "network", "images of a class", "label noise", "optimizer", "updates", "batch", "λ"]]
    for task in tasks:
        (member, of_pair), settings = parse(task.pair), task.settings
        cells = [pair_registry.label(task.pair), member, of_pair["network"], of_pair["n_train_per_class"]]
        cells += [of_pair["label_noise"], settings.get("optimizer", "")]
        cells += [settings["budget"], settings["batch_size"], settings["guidance_weight"]]
        lines.append([str(cell) for cell in cells])
    return lines


def evaluate_command(args: EvaluateArgs, reporter: Reporter | None = None) -> int:
    """Runs ``l2o evaluate``; returns the exit status.

    Raises:
        ConfigError: See :func:`evaluate_runs`.
        WriteError: Likewise.
    """
    evaluate_runs(args, reporter)
    return 0


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
    cases: Sequence[_Case]
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
        with self.folder.guard(PARTS), self.reporter.steps("Evaluating") as progress:
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
            self._tell_gains(results.table, [base for base, _ in ablations])
        self.reporter.say(f"The evaluation is in {self.folder.path}.")
        return results

    def _ablated(self, trained: Sequence[Contestant]) -> list[tuple[Contestant, list[Contestant]]]:
        """Each policy, as it was selected on the source or else the last, with what it is compared without."""
        if not self.args.ablate:
            return []
        selected: dict[tuple[str, str], dict[Any, Contestant]] = {}
        for each in trained:
            if each.selection in ("last", "source"):
                selected.setdefault((each.policy, each.run), {})[each.pairs] = each
        names = sorted({policy for policy, _ in selected})
        self.reporter.say(f"Recording mean episodes of {', '.join(names)}.")
        args = self.args
        return [
            (bases[0], ablated(bases, args.ablate, self.pairs, args.seeds, args.seed))
            for bases in (list(by_case.values()) for by_case in selected.values())
        ]

    def _tell_gains(self, table: pd.DataFrame, policies: Sequence[Contestant]) -> None:
        import pandas as pd

        tasks = bool(self.drawn)
        over = "pair" if tasks else "seed"
        found = pd.concat([gains(table, base, self.args.ablate, over=over) for base in policies], ignore_index=True)
        with self.folder.writing(ABLATIONS) as path:
            found.to_csv(path, index=False)
        self.reporter.out.print(gains_table(found, len(self.pairs), self.args.seeds, tasks=tasks))

    def _tuned(self) -> list[Contestant]:
        args = self.args
        with self.folder.guard(TUNED_FOLDER) as path:
            return [
                contestant
                for case in self.cases
                for contestant in tuned_opponents(
                    args.searches, case.pairs or self.pairs, case.config, args.tuning_episodes, args.seed, path,
                    self._tuning_progress, self.tasks,
                )
            ]  # fmt: skip

    def _tuning_progress(self, pair: str, search: str) -> AbstractContextManager[Progress]:
        return self.reporter.steps(f"Tuning {search} on {pair_registry.label(pair)}")

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
        tasks = f"\n## Tasks\n\n{markdown_table(task_lines(self.drawn))}\n" if self.drawn else ""
        folder.write_text(SUMMARY, to_markdown(results, classes) + tasks)
        with folder.guard("pictures"):
            events = {policy.name: policy.checkpoints["last"].parent / EVENTS for policy in self.policies}
            write_pictures(results, folder.path, events=events)
