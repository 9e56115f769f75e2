"""Settings of the main job: the command line is this dataclass."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import torch
from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

import l2o_env
from l2o_env import pairs as pair_registry
from l2o_env.config import ActionForm, EnvConfig, GuidanceName, GuidanceSchedule, RewardName
from l2o_env.errors import ConfigError, require_integer
from l2o_env.extras import require
from l2o_env.tasks import TASKS, TaskRanges, task_ranges

from ..algorithms.registry import ALGORITHMS, AlgorithmConfig, configure, find
from ..opponents import check_searches
from ..options import EnvAssignments, RayAddress, device_of, environment_settings, parse_assignments, read_file, typed
from .efforts import EFFORTS, TUNING_EPISODES


def _differing(what: str, metavar: str, default: str, quick: str, full: str) -> Any:
    """Help of an option whose default depends on the effort."""
    hint = f"(default: {default}; --quick: {quick}; --full: {full})"
    return arg(help=what, metavar=metavar, help_behavior_hint=hint)


def _choices(form: Any) -> Any:
    """Help of an option that takes one of a few names; EnvConfig checks it, with an error that names the closest."""
    return arg(metavar="{" + ",".join(get_args(form)) + "}")


def _count(field: str) -> tuple[str, str, str]:
    default, quick, full = (str(getattr(EFFORTS[name], field)) for name in ("default", "quick", "full"))
    return default, quick, full


@dataclass(frozen=True)
class TrainArgs:
    """Trains a learning-rate policy on synthetic-to-real pairs, and evaluates it beside tuned and hand-made rates.

    Prints a table (mean and 95 % confidence interval over seeds) and writes a run folder: config.json, policy/,
    policy-best/, checkpoints/, events/ (TensorBoard), actions.parquet, results.csv, results.json, actions.png and
    learning_curve.png. Ctrl-C ends the run cleanly and leaves what there is.
    """

    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/<date-time>)")] = None
    """Run folder; it must not exist or be empty."""
    resume: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="(default: none)")] = None
    """Go on with the run in this folder that was cut off, as if nothing had happened. Its settings are those that it
    was started with."""
    save_every: float = 60.0
    """Seconds between two states that --resume goes on from. They are saved between batches of episodes."""
    seed: int = 0
    """Seed of everything random: the same seed gives the same table on one machine with one number of threads."""
    algo: Annotated[str, arg(metavar="{" + ",".join(ALGORITHMS) + "}")] = "reinforce"
    """Algorithm that trains the policy: REINFORCE, or one of Stable-Baselines3 or sb3-contrib. With the action form
    discrete, dqn picks one tenth of the base rate for all layer groups together, and maskable_ppo one for each that is
    not far from the last."""
    hp: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")] = ()
    """Hyper-parameter of the algorithm, such as gamma=0.95; can be given many times. A wrong name lists all names."""
    hp_file: Annotated[Path | None, arg(metavar="FILE.yaml", help_behavior_hint="(default: none)")] = None
    """YAML file of hyper-parameters, one `name: value` per line; --hp takes precedence over it."""
    pairs: Annotated[
        tuple[str, ...] | None,
        _differing("Pairs to train on, by name (with settings: NAME:KEY=VALUE,KEY=VALUE); the first one is evaluated "
                   "too.", "NAME ...", "all training members", f"the first {EFFORTS['quick'].n_training_pairs}", "all"),
    ] = None  # fmt: skip
    tasks: Annotated[str | None, arg(metavar="{" + ",".join(TASKS) + "}", help_behavior_hint="(default: none)")] = None
    """Train on tasks that are drawn anew for each batch of episodes: pair, network, budget, batch size, number of
    images, noise of the labels, weight of the guidance and, with the action form relative_update, the optimizer. Those
    settings here are then of the evaluation alone."""
    num_envs: int = 16
    """Fine-tuning runs that train side by side, in one batched graph."""
    budget: int = EnvConfig.budget
    """Optimizer updates of an episode (one fine-tuning run)."""
    window: int = EnvConfig.window
    """Optimizer updates between two actions."""
    action: Annotated[str, _choices(ActionForm)] = EnvConfig.action
    """Action form: absolute rates (log), relative to the current ones, tenths of a base rate (discrete), or absolute
    rates and the weight of the guidance term (log+guidance)."""
    reward: Annotated[str, _choices(RewardName)] = EnvConfig.reward
    """What is rewarded. target_oracle reads target labels: what comes out is not zero-shot."""
    guidance: Annotated[str, _choices(GuidanceName)] = EnvConfig.guidance
    """Term of the training loss that keeps the network close to the proxy."""
    guidance_weight: float = EnvConfig.guidance_weight
    """Weight lambda of the guidance term; per nat, if it is kl."""
    guidance_schedule: Annotated[str, _choices(GuidanceSchedule)] = EnvConfig.guidance_schedule
    """How that weight changes over an episode: not, down to 0 (linear, cosine), or up from 0 (warmup)."""
    guidance_cap: Annotated[float | None, arg(metavar="X", help_behavior_hint="(default: none)")] = None
    """The weighted term counts at most this much in the training loss; beyond it, it has no gradient."""
    env: EnvAssignments = ()
    """Any other setting of the environment, such as batch_size=6 or kl_weight=10; can be given many times. A wrong name
    lists all names."""
    episodes: Annotated[int | None, _differing("Episodes to train for.", "N", *_count("episodes"))] = None
    checkpoints: Annotated[
        int | None,
        _differing("Times that the policy is saved in training and judged by V on the training pairs; policy-best is "
                   "the best of them. 0 turns it off.", "N", *_count("checkpoints")),
    ] = None  # fmt: skip
    workers: int = EnvConfig.workers
    """Processes that share the fine-tuning runs, on a CPU; the cores of the machine are a good choice. With --ray,
    workers of the cluster."""
    ray: RayAddress = None
    """Ray cluster whose workers share the fine-tuning runs: its address, or auto for the one that runs here or is
    started for this run."""
    gpus_per_worker: float = EnvConfig.gpus_per_worker
    """GPUs of each of Ray's workers: a share of one, or whole ones; 0 computes on CPUs."""
    device: str = "auto"
    """Torch device, such as cpu or cuda; auto takes a GPU if there is one."""
    eval_pairs: Annotated[
        tuple[str, ...] | None,
        _differing("Pairs to evaluate on, by name.", "NAME ...",
                   f"first training pair and {EFFORTS['default'].n_held_out} held out",
                   f"that and {EFFORTS['quick'].n_held_out} held out", "that and all held out"),
    ] = None  # fmt: skip
    tuning_episodes: Annotated[
        int | None,
        _differing("Episodes for each opponent that is tuned on the very pair, of each evaluated pair. 0 leaves these "
                   "opponents out.", "N", f"{TUNING_EPISODES}, or more if training has more on each pair",
                   str(EFFORTS["quick"].tuning_episodes), str(EFFORTS["full"].tuning_episodes)),
    ] = None  # fmt: skip
    tuned: Annotated[
        tuple[str, ...] | None,
        _differing("What is tuned: recipes by name, `uniform` (best constant and schedule), `per-layer`.", "NAME ...",
                   "all recipes", " ".join(EFFORTS["quick"].searches), "all"),
    ] = None  # fmt: skip
    eval_seeds: Annotated[
        int | None, _differing("Evaluation runs per policy and pair.", "N", *_count("eval_seeds"))
    ] = None
    config: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Settings of an earlier run: its folder, or its config.json. Options that are given beside it win."""
    full: FlagCreatePairsOff[bool] = False
    """Make the whole table of docs/results.md (22 minutes on one core of a fast server, longer on others)."""
    quick: FlagCreatePairsOff[bool] = False
    """Show all of it, with less of everything, in a minute or two."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "effort": (
            "quick", "full", "episodes", "checkpoints", "eval_seeds", "tuning_episodes", "tuned",
        ),
        "pairs": ("pairs", "tasks", "eval_pairs"),
        "learning": ("algo", "hp", "hp_file", "seed"),
        "environment": (
            "budget", "window", "action", "reward", "guidance", "guidance_weight", "guidance_schedule", "guidance_cap",
            "env",
        ),
        "machine": ("num_envs", "workers", "ray", "gpus_per_worker", "device"),
        "folder": ("out", "config", "resume", "save_every"),
    }  # fmt: skip
    """Headings of help."""

    @classmethod
    def from_saved(cls, saved: dict[str, Any]) -> TrainArgs:
        """The command line that ``config.json`` keeps; names of other versions are left out.

        Raises:
            ConfigError: If a value has another type.
        """
        kinds = ("out", "hp_file", "config", "resume")
        paths: dict[str, Any] = {key: None if saved.get(key) is None else Path(saved[key]) for key in kinds}
        known = {f.name for f in fields(cls)} - set(paths)
        return cls(**typed(cls, {key: saved[key] for key in known & set(saved)}, "option"), **paths)

    def plan(self) -> Plan:
        """Fills in what was left open, and checks everything.

        Raises:
            ConfigError: If a setting cannot work.
        """
        if self.quick and self.full:
            raise ConfigError("--quick and --full exclude each other; give one of them.")
        algorithm = find(self.algo)
        if self.action in get_args(ActionForm):  # EnvConfig has an error for others
            find(self.algo, self.action)
        if algorithm.path:
            require("sb3_contrib", extra="sb3", what=f"--algo {self.algo}")
        file = {} if self.hp_file is None else read_file(self.hp_file)
        settings = configure(self.algo, {**file, **parse_assignments(self.hp)})
        ranges = None if self.tasks is None else task_ranges(self.tasks, "train")
        if ranges is not None and (not algorithm.any_network or getattr(settings, "per_layer_heads", False)):
            able = ", ".join(name for name, other in ALGORITHMS.items() if other.any_network)
            raise ConfigError(
                f"--tasks {self.tasks} has networks of several depths, and --algo {self.algo} learns on one; use "
                f"{able}, without per_layer_heads."
            )
        effort = EFFORTS["quick" if self.quick else "full" if self.full else "default"]
        training = self.pairs or pair_registry.names("train")[: effort.n_training_pairs]
        held_out = [name for name in pair_registry.names("test") if name not in training][: effort.n_held_out]
        if any(":" in name for name in training):  # one's own images: the embedded pairs are something else
            held_out = []
        evaluated = tuple(dict.fromkeys(self.eval_pairs or (training[0], *held_out)))
        for names in (training, evaluated):
            pair_registry.check_all(names)
        episodes = effort.episodes if self.episodes is None else self.episodes
        eval_seeds = effort.eval_seeds if self.eval_seeds is None else self.eval_seeds
        checkpoints = effort.checkpoints if self.checkpoints is None else self.checkpoints
        tuning_episodes = self.tuning_episodes
        if tuning_episodes is None:
            tuning_episodes = max(effort.tuning_episodes, episodes // len(training))
        searches = effort.searches if self.tuned is None else self.tuned
        if tuning_episodes > 0:
            check_searches(searches, tuning_episodes)
        for option, value, least in (
            ("--tuning-episodes", tuning_episodes, 0),
            ("--episodes", episodes, 1),
            ("--checkpoints", checkpoints, 0),
            ("--num-envs", self.num_envs, 1),
            ("--eval-seeds", eval_seeds, 1),
            ("--seed", self.seed, 0),
        ):
            require_integer(option, value, least)
        if not self.save_every >= 0:
            raise ConfigError(f"--save-every is {self.save_every}; expected seconds >= 0.")
        return Plan(
            args=self,
            env=self._environment(training, algorithm.common_random_numbers),
            settings=settings,
            episodes=episodes,
            checkpoints=checkpoints,
            tuning_episodes=tuning_episodes,
            searches=searches if tuning_episodes else (),
            eval_pairs=evaluated,
            eval_seeds=eval_seeds,
            opponents=effort.opponents,
            ranges=ranges,
        )

    def _environment(self, pairs: Sequence[str], common_random_numbers: bool) -> EnvConfig:
        own = {f.name for f in fields(self)} & {f.name for f in fields(EnvConfig)}
        settings = {name: getattr(self, name) for name in own}
        settings |= {"pairs": tuple(dict.fromkeys(pairs)), "device": device_of(self.device, self.gpus_per_worker)}
        settings |= {"common_random_numbers": common_random_numbers, **environment_settings(self.env, own)}
        return EnvConfig(**settings)


@dataclass(frozen=True)
class Plan:
    """What a run does, with nothing left open."""

    args: TrainArgs
    """Where it comes from."""
    env: EnvConfig
    """Settings of the environment to train in."""
    settings: AlgorithmConfig
    """Settings of the algorithm."""
    episodes: int
    """Episodes that the policy is trained for."""
    checkpoints: int
    """Times that the policy is saved and judged in training."""
    tuning_episodes: int
    """Episodes for each tuned opponent on each pair."""
    searches: tuple[str, ...]
    """What is tuned."""
    eval_pairs: tuple[str, ...]
    """Pairs to evaluate on."""
    eval_seeds: int
    """Evaluation seeds of each policy on each pair."""
    opponents: tuple[str, ...] | None
    """Hand-made opponents by name; None: all."""
    ranges: TaskRanges | None = None
    """What the tasks of the training are drawn from; None: it is on the pairs of the environment, as that is set."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the pairs, or the members of the tasks, that the policy is trained on."""
        return self.env.pairs if self.ranges is None else self.ranges.members

    @property
    def mean_budget(self) -> float:
        """Updates of an episode of the training, on the whole."""
        return self.env.budget if self.ranges is None else self.ranges.mean_budget

    def description(self) -> dict[str, Any]:
        """All that the run depends on, for ``config.json``."""
        return {
            "command": sys.argv,
            "arguments": asdict(self.args),
            "environment": asdict(self.env),
            "trained_on": self.trained_on,
            "algorithm": {"name": self.args.algo, **asdict(self.settings)},
            "episodes": self.episodes,
            "checkpoints": self.checkpoints,
            "updates_per_episode": self.env.budget,
            "tuning_episodes": self.tuning_episodes,
            "tuned": self.searches,
            "eval_pairs": self.eval_pairs,
            "eval_seeds": self.eval_seeds,
            "versions": {
                "l2o-env": l2o_env.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "threads": torch.get_num_threads(),
        }
