"""The main job: train a policy, evaluate it beside its opponents, leave a run folder."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o_env import pairs as pair_registry
from l2o_env.errors import ConfigError, one_line
from l2o_env.evaluation.agent import AgentLike
from l2o_env.evaluation.evaluate import check_runs, evaluate
from l2o_env.evaluation.intervals import SUMMARISED, summarise
from l2o_env.evaluation.rollout import episode_seeds
from l2o_env.inner.build import check_workers
from l2o_env.results.decimals import counted, decimal
from l2o_env.results.event_log import LayerLog, TensorBoardLog, cut_events, log_recording, training_events
from l2o_env.results.rate_plots import plot_actions
from l2o_env.results.record import StepRecorder, read_recording, recording
from l2o_env.results.run_folder import (
    ACTIONS_PICTURE,
    BEST_POLICY,
    CHECKPOINTS,
    CONFIG_FILE,
    EVENTS,
    LEARNING_CURVE_PICTURE,
    POLICY,
    RECORDING,
    RESULTS_JSON,
    RESULTS_TABLE,
    RunFolder,
)
from l2o_env.results.training_plots import UNITS, plot_learning_curve
from l2o_env.task_vector_env import TaskVectorEnv
from l2o_env.vector_env import Syn2RealVectorEnv

from ..algorithms.registry import find
from ..base import Learner
from ..factory import make_learner
from ..opponents import SEARCHES, default_opponents
from .checkpoints import Checkpoints
from .console import Reporter, in_episodes, prepare_pairs
from .hyper_parameters import hyper_parameters
from .interrupts import Interrupt, deferred_interrupt, exit_status
from .phases import UpdateClock
from .printed_tables import results_table
from .saved_settings import differences
from .train_options import Plan, TrainArgs
from .train_work import episodes_of, estimate, next_steps, outline, phases_of
from .training_state import TrainingStates, resumed_plan

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def train(args: TrainArgs, reporter: Reporter | None = None) -> int:
    """Runs the main job.

    Args:
        args: The command line.
        reporter: Where progress and results are told.

    Returns:
        The exit status: 0, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the run folder cannot be written to.
    """
    reporter = reporter or Reporter()
    if args.resume is None:
        plan = args.plan()
        if args.config is not None:
            reporter.say(differences(plan))
        folder = RunFolder.create(args.out)
    else:
        plan, folder = resumed_plan(args)
    try:
        return _Run(plan, folder, reporter, goes_on=args.resume is not None).run()
    finally:
        folder.remove_if_empty()


class _Run:
    """One run, and what it has come to so far: pairs, agent and population are made with it, and fit each other."""

    def __init__(self, plan: Plan, folder: RunFolder, reporter: Reporter, *, goes_on: bool) -> None:
        self.plan, self.folder, self.reporter = plan, folder, reporter
        self.states = TrainingStates(folder, plan.args.save_every)
        self.goes_on = goes_on
        self.training: dict[str, Any] | None = None
        self.seconds: dict[str, float] = {}
        self.training_env = replace(plan.env, **find(plan.args.algo).settings)
        with self._timed("prepare"):
            self.agent, self.venv = self._prepare()
        self.checkpoints = Checkpoints(
            folder, self.training_env, plan.episodes, plan.checkpoints, plan.eval_seeds, plan.args.seed
        )
        self.updates = 0
        self.records: list[dict[str, Any]] = []
        self.frames: list[pd.DataFrame] = []
        self.tuned: dict[str, dict[str, Any]] = {}
        self.trained, self.layers = False, LayerLog(self.venv.layer_names)
        if goes_on:
            self._restore()

    def _prepare(self) -> tuple[Learner, Syn2RealVectorEnv]:
        plan, seed = self.plan, self.plan.args.seed
        check_workers(plan.env, plan.args.num_envs)
        names = tuple(dict.fromkeys((*plan.env.pairs, *plan.eval_pairs)))
        if plan.env.reward == "target_oracle":
            self.reporter.say("The reward target_oracle reads target labels: this policy will not be zero-shot.")
        prepare_pairs(names, self.reporter)
        venv = self._population()
        agent = make_learner(
            plan.args.algo,
            self.training_env,
            config=plan.settings,
            n_layers=len(venv.layer_names),
            seed=episode_seeds(seed, "policy", 1)[0],
        )
        check_runs({agent.name: agent}, plan.eval_pairs, plan.env)
        venv.reset(seed=episode_seeds(seed, "training", plan.args.num_envs))
        return agent, venv

    def _population(self) -> Syn2RealVectorEnv:
        plan, settings = self.plan, asdict(self.training_env)
        if plan.ranges is None:
            return Syn2RealVectorEnv(plan.args.num_envs, **settings)
        task_seed = episode_seeds(plan.args.seed, "tasks", 1)[0]
        return TaskVectorEnv(plan.args.num_envs, plan.ranges, task_seed=task_seed, **settings)

    def run(self) -> int:
        """All stages; what an interrupted one has come to is kept."""
        status = 0
        self.phases = phases_of(self.plan, trained=self.trained)
        self.reporter.plan(self.phases)
        self.reporter.say(outline(self.plan))
        try:
            if not self.goes_on:
                self.folder.write_json(CONFIG_FILE, self.plan.description())
            if not self.trained:
                self._train()
            self._evaluate()
        except Exception:
            if self.records:
                with suppress(OSError):  # such as the one that has ended the run
                    self._save_policy()
                self._tell_resume()
            elif not self.goes_on:  # it came to nothing, so that the same command can be given again
                self.folder.discard(CONFIG_FILE, EVENTS)
            raise
        except KeyboardInterrupt as interrupt:
            self.reporter.say("Interrupted: writing what there is. Ctrl-C again stops at once.")
            status = exit_status(interrupt)
        self._finish("finished" if status == 0 else "interrupted")
        if status:
            self._tell_resume()
        else:
            self.states.discard()
        return status

    def _train(self) -> None:
        plan, venv, reporter = self.plan, self.venv, self.reporter
        layers = self.layers
        before = min(self.records[-1]["episode"], plan.episodes) if self.records else 0
        with (
            self._timed("train"),
            self.folder.guard(EVENTS) as path,
            closing(TensorBoardLog(training_events(path))) as log,
            reporter.stage(f"Training {self.agent.name}", plan.episodes, "episodes", 10, before) as update,
            deferred_interrupt() as interrupted,  # the policy's update is completed first
        ):
            clock = UpdateClock(lambda seconds: reporter.say(estimate(self.phases, seconds)))
            told = ""

            def on_step(infos: dict[str, Any], moved: NDArray[np.bool_]) -> None:
                layers.layer_names = venv.layer_names
                layers(infos, moved)
                clock(venv.episodes.updates_made)
                if (
                    reporter.bars and plan.ranges is None
                ):  # episodes as they come; lines are about those that the policy has learned from
                    update(min(venv.episodes.updates_made // plan.env.budget, plan.episodes), told)

            def callback(record: dict[str, Any]) -> None:
                nonlocal told
                self.records.append(record)
                log({**record, **layers.take(), "time/data_wait": venv.episodes.data_wait})
                self.updates = venv.episodes.updates_made
                unit = "" if plan.env.reward in UNITS else " nats"
                told = f"return {decimal(record['return_mean'], 3)}{unit}"
                update(min(record["episode"], plan.episodes), told)
                self.checkpoints(self.agent)

            def on_boundary(get_state: Callable[[], dict[str, Any]]) -> None:
                if self.states.due or (interrupted() and self.records):
                    self._save_state(get_state(), log)
                if interrupted():
                    raise Interrupt(interrupted())

            venv.on_step = on_step
            self.agent.learn(
                venv,
                plan.episodes,
                pairs=plan.env.pairs if plan.ranges is None else (),
                callback=callback,
                resume=self.training,
                on_boundary=on_boundary,
            )
            self.updates = venv.episodes.updates_made
            self._save_policy()
            self.checkpoints(self.agent, last=True)
            self.trained = True
            self._save_state(None, log)

    def _save_state(self, training: dict[str, Any] | None, log: TensorBoardLog) -> None:
        """Saves what the run has come to; once it is trained, of the training nothing but the agent is needed."""
        self.states.save({
            "training": training,
            "agent": self.agent.get_state() if training is None else None,
            "records": self.records,
            "updates": self.updates,
            "seconds": self.seconds,
            "checkpoints": self.checkpoints.get_state(),
            "layers": self.layers.get_state(),
            "events": log.written(),
        })  # fmt: skip

    def _restore(self) -> None:
        """Takes up the newest state; without one the run starts anew."""
        state = self.states.newest(self.reporter.say)
        if state is None:
            self.folder.discard(EVENTS, CHECKPOINTS, BEST_POLICY)
            return
        try:
            self.training, self.trained = state["training"], state["training"] is None
            if self.trained:
                self.agent.set_state(state["agent"])
            self.records, self.updates = list(state["records"]), state["updates"]
            self.seconds = {**state["seconds"], **self.seconds}
            self.checkpoints.set_state(state["checkpoints"])
            self.layers.set_state(state["layers"])
            cut_events(self.folder.path / EVENTS, state["events"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ConfigError(
                f"The state in {self.folder.path} does not fit this run ({one_line(error)}); was it saved by another "
                "version?"
            ) from error
        done = self.records[-1]["episode"] if self.records else 0
        self.reporter.say(f"Going on with {self.folder.path} after {counted(done, 'episode')}.")

    def _tell_resume(self) -> None:
        self.reporter.say(f"`l2o train --resume {shlex.quote(str(self.folder.path))}` goes on with it.")

    def _save_policy(self) -> None:
        with self.folder.guard(POLICY) as path:
            self.agent.save(path)

    def _evaluate(self) -> None:
        names = {name: pair_registry.make(name).layout.group_names for name in self.plan.eval_pairs}
        with (
            self._timed("evaluate"),
            self.folder.guard(RECORDING) as path,
            recording(path, names) as recorder,
        ):
            for pair in self.plan.eval_pairs:
                self._evaluate_on(pair, recorder)

    def _evaluate_on(self, pair: str, recorder: StepRecorder) -> None:
        """Tunes the opponents on the very pair, then runs everyone on the same held-out seeds."""
        plan, seed = self.plan, self.plan.args.seed
        agents: dict[str, AgentLike] = {self.agent.name: self.agent}
        agents |= self._tuned_opponents(pair)
        others = default_opponents(plan.env, seed)
        agents |= {name: others[name] for name in plan.opponents or others}
        n = len(agents) * plan.eval_seeds
        with self.reporter.stage(f"Evaluating on {pair_registry.label(pair)}", n, "episodes") as update:
            progress = in_episodes(update, n)
            frame = evaluate(agents, [pair], plan.eval_seeds, plan.env, seed=seed, progress=progress, on_step=recorder)
        self.frames.append(frame)
        self._write_results("unfinished")

    def _tuned_opponents(self, pair: str) -> dict[str, AgentLike]:
        env, budget, seed = self.plan.env, self.plan.tuning_episodes, self.plan.args.seed
        found: dict[str, AgentLike] = {}
        self.tuned[pair] = {}
        if not self.plan.searches:
            return found
        n = len(self.plan.searches) * budget
        with self.reporter.stage(f"Tuning opponents on {pair_registry.label(pair)}", n, "episodes") as update:
            for k, name in enumerate(self.plan.searches):
                for agent in SEARCHES[name](env, pair, budget, seed, in_episodes(update, budget, k)):
                    found[agent.name] = agent
                    self.tuned[pair][agent.name] = agent.settings()
        return found

    def _finish(self, status: str) -> None:
        import pandas as pd

        self._save_policy()
        if self.records:
            with self.folder.guard(LEARNING_CURVE_PICTURE) as path:
                plot_learning_curve(self.records, path, reward=self.plan.env.reward)
        if self.frames:
            rows = read_recording(self.folder.path / RECORDING)
            rows = rows[rows["policy"] == self.agent.name]
            with self.folder.guard(ACTIONS_PICTURE) as path:
                plot_actions(rows, path)
            summary = summarise(pd.concat(self.frames, ignore_index=True))
            with self.folder.guard(EVENTS) as path:
                self._log_results(path, rows, summary)
        self._write_results(status)  # last: a run that says "finished" lacks nothing
        if self.frames:
            out = self.reporter.out
            out.print(results_table(summary, self._budget(), out.width))
        self.reporter.say(next_steps(self.folder.path, finished=status == "finished"))

    def _log_results(self, folder: Path, rows: pd.DataFrame, summary: pd.DataFrame) -> None:
        """Actions, pictures and results as TensorBoard events."""
        log_recording(folder / "evaluation", rows)
        with closing(TensorBoardLog(training_events(folder))) as log:
            for path in sorted(self.folder.path.glob("*.png")):
                log.picture(f"pictures/{path.stem}", path)
            means = summary[summary["policy"] == self.agent.name][[*SUMMARISED]].mean().dropna()
            log.results(hyper_parameters(self.plan), {str(key): float(value) for key, value in means.items()})

    def _budget(self) -> str:
        """How many updates the policy was trained with, in words."""
        episodes = episodes_of(self.agent.episodes, self.plan, self.updates)
        return f"{self.agent.name} was trained with {counted(self.updates, 'update')} ({episodes})"

    def _write_results(self, status: str) -> None:
        import pandas as pd

        summary = pd.DataFrame()
        if self.frames:
            frame = pd.concat(self.frames, ignore_index=True)
            summary = summarise(frame)
            with self.folder.writing(RESULTS_TABLE) as path:
                frame.to_csv(path, index=False)
        results = {
            "status": status,
            "seconds": self.seconds,
            "trained_episodes": self.agent.episodes,
            "updates": {"training": self.updates, "selection": self.checkpoints.updates},
            "selection": {"checkpoints": self.checkpoints.judged, "best": self.checkpoints.best},
            "tuned": self.tuned,
            "summary": summary.to_dict("records"),
        }
        self.folder.write_json(RESULTS_JSON, results)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - started, 1)
