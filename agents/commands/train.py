"""The main job: train a policy, evaluate it beside its opponents, leave a run folder."""

from __future__ import annotations

import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

import l2o_env
from agents.algorithms.table import find
from agents.base import Learner
from agents.commands.checkpoints import Checkpoints
from agents.commands.console import Reporter, counted, steps
from agents.commands.printed_tables import results_table
from agents.commands.train_options import Plan, TrainArgs
from agents.factory import CONFIG_FILE, make_learner
from agents.opponents.schedules import default_opponents
from agents.opponents.tuning import tune_per_layer, tune_uniform
from l2o_env import pairs as pair_registry
from l2o_env.evaluation.evaluate import SUMMARISED, check_runs, evaluate, summarise
from l2o_env.evaluation.rollout import AgentLike, Progress, episode_seeds
from l2o_env.models.base import new_generator
from l2o_env.results.event_log import LayerLog, TensorBoardLog, log_recording
from l2o_env.results.rate_plots import plot_actions
from l2o_env.results.record import StepRecorder, read_recording, recording
from l2o_env.results.run_folder import RunFolder
from l2o_env.results.training_plots import plot_learning_curve
from l2o_env.vector_env import Syn2RealVectorEnv

if TYPE_CHECKING:
    import pandas as pd


INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
EVENTS = "events"
"""Folder of a run for TensorBoard's events."""
UNITS = {"val_accuracy": "accuracy", "target_oracle": "accuracy"}
"""Units of the rewards that are not in nats."""


def train(args: TrainArgs, reporter: Reporter | None = None) -> int:
    """Runs the main job.

    Args:
        args: The command line.
        reporter: Where progress and results are told.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the run folder cannot be written to.
    """
    plan, reporter = args.plan(), reporter or Reporter()
    folder = RunFolder.create(args.out)
    try:
        return _Run(plan, folder, reporter).run()
    finally:
        folder.remove_if_empty()


class _Run:
    """One run, and what it has come to so far."""

    def __init__(self, plan: Plan, folder: RunFolder, reporter: Reporter) -> None:
        self.plan, self.folder, self.reporter = plan, folder, reporter
        self.agent: Learner | None = None
        self.updates = 0
        self.training_env = replace(plan.env, **find(plan.args.algo).settings)
        self.checkpoints = Checkpoints(
            folder, self.training_env, plan.episodes, plan.checkpoints, plan.eval_seeds, plan.args.seed
        )
        self.records: list[dict[str, Any]] = []
        self.frames: list[pd.DataFrame] = []
        self.tuned: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}

    def run(self) -> int:
        """All stages; what an interrupted one has come to is kept."""
        status = 0
        try:
            self._train(self._prepare())
            self._evaluate()
        except Exception:
            if not self.records:  # it came to nothing, so that the same command can be given again
                self.folder.discard(CONFIG_FILE, EVENTS)
            raise
        except KeyboardInterrupt:
            self.reporter.say("Interrupted: writing what there is. Ctrl-C again stops at once.")
            status = INTERRUPTED
        if self.agent is not None:
            self._finish("finished" if status == 0 else "interrupted")
        return status

    def _prepare(self) -> Syn2RealVectorEnv:
        """Builds the pairs, the agent and the population that it is trained on, and checks that they go together."""
        plan = self.plan
        names = tuple(dict.fromkeys((*plan.env.pairs, *plan.eval_pairs)))
        self.reporter.say(f"Preparing {counted(len(names), 'pair')}.")
        if plan.env.reward == "target_oracle":
            self.reporter.say("The reward target_oracle reads target labels: this policy will not be zero-shot.")
        with self._timed("prepare"):
            for name in names:
                pair_registry.make(name)
            seed, env = plan.args.seed, self.training_env
            venv = Syn2RealVectorEnv(plan.args.num_envs, **asdict(env))
            policy_seed = episode_seeds(seed, "policy", 1)[0]
            agent = make_learner(plan.args.algo, env, plan.settings, policy_seed, len(venv.layer_names))
            check_runs({agent.name: agent}, plan.eval_pairs, plan.env)
            venv.reset(seed=episode_seeds(seed, "training", plan.args.num_envs))
        self.folder.write_json(CONFIG_FILE, _describe(plan))
        self.agent = agent
        return venv

    def _train(self, venv: Syn2RealVectorEnv) -> None:
        plan, reporter, agent = self.plan, self.reporter, self.agent
        assert agent is not None
        venv.on_step = layers = LayerLog(venv.layer_names)
        with (
            self._timed("train"),
            self.folder.guard(EVENTS) as path,
            _closing(TensorBoardLog(path)) as log,
            reporter.stage("Training", plan.episodes, "episodes", 10) as update,
            _deferred_interrupt() as interrupted,
        ):

            def callback(record: dict[str, Any]) -> None:
                self.records.append(record)
                log({**record, **layers.take(), "time/data_wait": venv.episodes.data_wait})
                self.updates = venv.episodes.updates_made
                update(min(record["episode"], plan.episodes), f"return {record['return_mean']:z.3f}")
                if interrupted():
                    raise KeyboardInterrupt
                self.checkpoints(agent)

            agent.learn(venv, plan.episodes, pairs=plan.env.pairs, callback=callback)
            self.updates = venv.episodes.updates_made
        self._save_policy()
        self.checkpoints(agent, last=True)

    def _save_policy(self) -> None:
        assert self.agent is not None
        with self.folder.guard("policy") as path:
            self.agent.save(path)

    def _evaluate(self) -> None:
        names = {name: _layer_names(name) for name in self.plan.eval_pairs}
        with (
            self._timed("evaluate"),
            self.folder.guard("actions.parquet") as path,
            recording(path, names) as recorder,
        ):
            for pair in self.plan.eval_pairs:
                self._evaluate_on(pair, recorder)

    def _evaluate_on(self, pair: str, recorder: StepRecorder) -> None:
        """Tunes the opponents on the very pair, then runs everyone on the same held-out seeds."""
        plan, agent = self.plan, self.agent
        assert agent is not None
        seed, env = plan.args.seed, plan.env
        agents: dict[str, AgentLike] = {agent.name: agent}
        if plan.tuning_episodes:
            agents |= self._tuned_opponents(pair)
        others = default_opponents(env, seed)
        agents |= {name: others[name] for name in plan.opponents or others}
        with self._steps(f"Evaluating on {pair_registry.label(pair)}") as progress:
            frame = evaluate(agents, [pair], plan.eval_seeds, env, seed=seed, progress=progress, on_step=recorder)
        self.frames.append(frame)
        self._write_results("unfinished")

    def _tuned_opponents(self, pair: str) -> dict[str, AgentLike]:
        env, budget, seed = self.plan.env, self.plan.tuning_episodes, self.plan.args.seed
        with self._steps(f"Tuning uniform rates on {pair_registry.label(pair)}") as progress:
            constant, schedule, _ = tune_uniform(env, pair, budget, seed, progress)
        with self._steps(f"Tuning rates per layer on {pair_registry.label(pair)}") as progress:
            per_layer = tune_per_layer(env, pair, budget, seed, progress)
        self.tuned[pair] = {tuned.name: asdict(tuned) for tuned in (constant, schedule, per_layer)}
        return {tuned.name: tuned for tuned in (constant, schedule, per_layer)}

    @contextmanager
    def _steps(self, title: str) -> Iterator[Progress]:
        with self.reporter.stage(title, 1, "steps") as update:
            yield steps(update)

    def _finish(self, status: str) -> None:
        self._save_policy()
        if self.records:
            with self.folder.guard("learning_curve.png") as path:
                plot_learning_curve(self.records, path, unit=UNITS.get(self.plan.env.reward, "nats"))
        recorded = self.folder.path / "actions.parquet"
        if self.frames:
            assert self.agent is not None
            with self.folder.guard("actions.png") as path:
                plot_actions(recorded, path, policy=self.agent.name)
            summary = self._write_results(status)
            with self.folder.guard(EVENTS) as path:
                self._log_results(path, summary)
            self.reporter.out.print(results_table(summary, self._budget()))
        self.reporter.say(f"The run is in {self.folder.path}.")

    def _log_results(self, folder: Path, summary: pd.DataFrame) -> None:
        """Actions, pictures and results as TensorBoard events."""
        assert self.agent is not None
        name = self.agent.name
        rows = read_recording(self.folder.path / "actions.parquet")
        log_recording(folder / "evaluation", rows[rows["policy"] == name])
        with _closing(TensorBoardLog(folder)) as log:
            for path in sorted(self.folder.path.glob("*.png")):
                log.picture(f"pictures/{path.stem}", path)
            means = summary[summary["policy"] == name][[*SUMMARISED]].mean().dropna()
            settings = {"algorithm": self.plan.args.algo, **asdict(self.plan.settings)}
            settings |= {"seed": self.plan.args.seed, "episodes": self.plan.episodes}
            settings |= {"environment": asdict(self.plan.env)}
            log.results(settings, {str(key): float(value) for key, value in means.items()})

    def _budget(self) -> str:
        """How many updates the policy was trained with, in words."""
        assert self.agent is not None
        return (
            f"{self.agent.name} was trained with {counted(self.updates, 'optimizer update')} "
            f"({episodes_of(self.agent.episodes, self.plan.env.budget, self.updates)})"
        )

    def _write_results(self, status: str) -> pd.DataFrame:
        import pandas as pd

        frame = pd.concat(self.frames, ignore_index=True)
        summary = summarise(frame)
        with self.folder.writing("results.csv") as path:
            frame.to_csv(path, index=False)
        results = {
            "status": status,
            "seconds": self.seconds,
            "trained_episodes": self.agent.episodes if self.agent else 0,
            "updates": {"training": self.updates, "selection": self.checkpoints.updates},
            "selection": {"checkpoints": self.checkpoints.judged, "best": self.checkpoints.best},
            "tuned": self.tuned,
            "summary": summary.to_dict("records"),
        }
        self.folder.write_json("results.json", results)
        return summary

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(time.perf_counter() - started, 1)


def episodes_of(episodes: int, budget: int, updates: int) -> str:
    """How many episodes so many updates were, in words: those that diverge are shorter, and others follow them."""
    if updates == episodes * budget:
        return f"{counted(episodes, 'episode')} of {budget}"
    more = ", and parts of others" if updates > episodes * budget else ""
    return f"{counted(episodes, 'episode')} of up to {budget}{more}"


def _describe(plan: Plan) -> dict[str, Any]:
    """All that the run depends on."""
    return {
        "command": sys.argv,
        "arguments": asdict(plan.args),
        "environment": asdict(plan.env),
        "trained_on": plan.env.pairs,
        "algorithm": {"name": plan.args.algo, **asdict(plan.settings)},
        "episodes": plan.episodes,
        "checkpoints": plan.checkpoints,
        "updates_per_episode": plan.env.budget,
        "tuning_episodes": plan.tuning_episodes,
        "eval_pairs": plan.eval_pairs,
        "eval_seeds": plan.eval_seeds,
        "versions": {"l2o-env": l2o_env.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


def _layer_names(pair: str) -> tuple[str, ...]:
    return tuple(pair_registry.make(pair).make_model(new_generator(0)).layer_groups())


@contextmanager
def _closing(log: TensorBoardLog) -> Iterator[TensorBoardLog]:
    try:
        yield log
    finally:
        log.close()


@contextmanager
def _deferred_interrupt() -> Iterator[Any]:
    """Holds the first Ctrl-C back until the policy's update is complete; a second one acts at once.

    Yields:
        A function that tells whether there was one.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():  # only the main thread hears of signals
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
