"""The paper's table on any pair: ``l2o table PAIR``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from l2o_env import pairs as pair_registry
from l2o_env.action import ACTION_SETTINGS
from l2o_env.config import EnvConfig, GuidanceName, resolve_device
from l2o_env.errors import ConfigError, require_integer, unknown_name
from l2o_env.evaluation.evaluate import check_runs, evaluate
from l2o_env.evaluation.intervals import summarise
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.evaluation.rollout import episode_seeds
from l2o_env.pairs.pair import is_streamed
from l2o_env.results.decimals import decimal
from l2o_env.results.kept_parts import KeptParts
from l2o_env.results.run_folder import PARTS, POLICY, RunFolder
from l2o_env.training.policies import DEFAULT
from l2o_env.training.scaled import OF_PRETRAINED
from l2o_env.vector_env import Syn2RealVectorEnv

from ..base import Agent
from ..factory import load, make_learner
from ..opponents import EXPLAINED, SEARCHES, check_searches
from ..options import EnvAssignments, RayAddress, device_of, tasks_of
from .cells import kept_arguments, on_cluster
from .console import Reporter, steps
from .contestants import agent_digest, common_settings, find_policy, given_settings
from .evaluate_options import named_opponents
from .paper_rows import BY_KEY, ROWS, Finding, Row, RowAgents, check_claims
from .printed_tables import claim_lines, paper_cells, paper_table
from .table_opponents import USUAL, beside_the_rows

if TYPE_CHECKING:
    import pandas as pd


EPISODES = 320
"""Episodes of a training on the spot, if nobody says how many."""
TRAINING_ENVS = 16
"""Fine-tuning runs that train side by side when a policy is trained on the spot."""


@dataclass(frozen=True)
class TableArgs:
    """Runs the rows of the paper's analysis on a pair, and checks the orderings that it claims one by one.

    What people use today is beside them: AdamW and its like, at their usual settings and tuned on the very pair.

    Prints mean and 95 % interval over seeds of real accuracy, proxy accuracy kept and V, beside the published figures
    where there are any.
    """

    pair: Positional[Annotated[str, arg(metavar="PAIR")]] = "glyphs-digits"
    """The pair, by name."""
    policy: Annotated[
        Path | None,
        arg(
            metavar="RUN", help_behavior_hint="(default: trained on the spot; the one that comes along on image files)"
        ),
    ] = None
    """Run folder of the learned policy, a folder that a policy was saved to, or the name of one that comes along."""
    episodes: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 320; none on image files)")] = None
    """Episodes that the policy is trained for on this very pair, if no run is given. A pair of image files takes
    minutes for each, so that there it is trained only if this is given."""
    seeds: int = 64
    """Fine-tuning runs per row; all rows get the same seeds. Some rows differ by two points of accuracy only, and of 16
    runs a difference is known to about four."""
    rows: Annotated[tuple[str, ...] | None, arg(metavar="KEY ...", help_behavior_hint="(default: all)")] = None
    """Rows by their keys: 1 to 9, csg, random, init."""
    opponents: Annotated[
        tuple[str, ...] | None,
        arg(metavar="NAME ...", help_behavior_hint=f"(default: {' '.join(USUAL)}; none with --rows)"),
    ] = None
    """What people use today, as further rows: hand-made opponents by name, or `none`; `l2o opponents` says what they
    are."""
    tuning_episodes: int = 0
    """Episodes for each opponent that is tuned by V on the very pair; 0: leave them out. They are kept in --out."""
    tuned: Annotated[
        tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint="(default: those of --opponents)")
    ] = None
    """What is tuned with these episodes each: recipes by name, `uniform` (best constant and schedule), `per-layer`."""
    adaptation: Annotated[bool, FlagCreatePairsOff] = False
    """Adapt to the target's images, without its labels, from each initialisation by each method, and print that."""
    methods: Annotated[tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint="(default: the slides')")] = (
        None
    )
    """Methods of adaptation."""
    starts: Annotated[tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint="(default: all)")] = None
    """Initialisations of adaptation: proxy, small, guided, asg."""
    learned: Annotated[bool, FlagCreatePairsOff] = False
    """Adapt from asg with learned rates too, by the very policy, where a method updates the whole network together."""
    hp: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")] = ()
    """A setting of the adaptation, such as portion=0.5; can be given many times."""
    lr: float = 0.1
    """The large learning rate, per update; the small one is 0.03 of it."""
    guidance_weight: float = EnvConfig.guidance_weight
    """Weight of the proxy guidance, per nat."""
    feature_weight: float = 0.3
    """Weight of feature distillation. That of its authors does not carry over to other networks; this one was chosen
    by V on glyphs-digits, without the target."""
    l2sp_weight: float = 0.1
    """Weight of the L2 distance; the default is its authors'."""
    si_weight: float = 1.0
    """Weight of synaptic intelligence; the default is the one with the best V on glyphs-digits of its authors' three
    (0.01, 0.1, 1)."""
    csg_weight: float = 0.1
    """Weight of CSG's contrastive loss, per nat; the default is its authors'."""
    budget: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: that of the policy's training)")] = (
        None
    )
    """Optimizer updates of a run."""
    window: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: that of the policy's training)")] = (
        None
    )
    """Optimizer updates between two actions."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: print only)")] = None
    """Folder for table.csv (one line per row and seed), table.md, table.json, and the policy if it was trained on the
    spot; it must not exist or be empty. What is finished is kept there: the same command goes on where it was cut
    off."""
    seed: int = 0
    """Seed of everything random."""
    env: EnvAssignments = ()
    """Any other setting of the environment, such as batch_size=6; can be given many times. The default is that of the
    policy's training."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    ray: RayAddress = None
    """Ray cluster whose tasks the rows are, or the initialisations of --adaptation: its address, or auto for the one
    that runs here or is started for this."""
    gpus_per_worker: float = 0.0
    """GPUs of each task: a share of one, or whole ones; 0 computes on CPUs."""

    def check(self) -> None:
        """Raises ConfigError if a setting cannot work."""
        pair_registry.check(self.pair)
        for key in self.rows or ():
            if key not in BY_KEY:
                raise unknown_name("row", key, BY_KEY)
        for name in self.opponent_names:
            if name not in EXPLAINED:
                raise unknown_name("opponent", name, EXPLAINED)
        for option, value, least in (
            ("--seeds", self.seeds, 1),
            ("--episodes", self.training_episodes, 1),
            ("--seed", self.seed, 0),
        ):
            require_integer(option, value, least)
        if not self.lr > 0:
            raise ConfigError(f"--lr is {self.lr}; expected a number > 0.")
        if self.tuning_episodes:
            if self.out is None:
                raise ConfigError("--tuning-episodes needs --out DIR, where tuned opponents are kept.")
            check_searches(self.searches, self.tuning_episodes)

    @property
    def opponent_names(self) -> tuple[str, ...]:
        """The hand-made opponents beside the rows."""
        return named_opponents(self.opponents, USUAL if self.rows is None else ())

    @property
    def searches(self) -> tuple[str, ...]:
        """What is tuned."""
        return tuple(name for name in self.opponent_names if name in SEARCHES) if self.tuned is None else self.tuned

    @property
    def training_episodes(self) -> int:
        """Episodes of a training on the spot."""
        return EPISODES if self.episodes is None else self.episodes

    @property
    def weights(self) -> dict[GuidanceName, float]:
        """Weight of each guidance term."""
        return {
            "kl": self.guidance_weight,
            "feature": self.feature_weight,
            "l2sp": self.l2sp_weight,
            "si": self.si_weight,
            "csg": self.csg_weight,
        }


@dataclass(frozen=True)
class Measured:
    """What the rows came to.

    Attributes:
        frame: One line per row and seed, as ``l2o_env.evaluate`` has it; of an adaptation, per method, start and seed.
        policy: The learned policy; None if no row needs one.
        origin: Where it comes from, in words.
    """

    frame: pd.DataFrame
    policy: Agent | None
    origin: str


def paper_table_command(args: TableArgs, reporter: Reporter) -> int:
    """Measures and prints the table; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the folder cannot be written to.
    """
    with KeptParts.opened(args.out, kept_arguments("table", args)) as kept:
        measured = measure(args, reporter, kept)
        summary, findings = summarise(measured.frame), check_claims(measured.frame)
        reporter.out.print(paper_table(args.pair, summary))
        for line in claim_lines(findings):
            reporter.out.print(line, markup=False)
        if summary["proxy_accuracy"].isna().all():
            reporter.say(
                "There is no proxy accuracy: the pair has no images with the proxy's labels; give it some: "
                "proxy_test=FOLDER."
            )
        reporter.say(measured.origin)
        if kept.folder is not None:
            _write(kept.folder, args, measured, summary, findings)
    return 0


def measure(args: TableArgs, reporter: Reporter, kept: KeptParts) -> Measured:
    """Runs the rows, all on the same seeds; those that are kept are not run again.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If a row cannot be kept.
    """
    import pandas as pd

    tasks = tasks_of(args.ray, args.gpus_per_worker)
    rows = [row for row in ROWS if args.rows is None or row.key in args.rows]
    config, agents, origin = prepare_rows(args, rows, reporter, kept)
    beside = beside_the_rows(
        args.opponent_names, args.searches, args.pair, config, args.tuning_episodes, args.seed, reporter, kept, tasks
    )
    of_policy = digest_of_learned(agents)
    cells = [
        ({"row": row.key, "policy": of_policy if row.profile == "policy" else ""}, row.label, agents.of(row))
        for row in rows
    ]
    cells += [({"row": each.policy, "policy": each.digest}, each.policy, each.load()) for each in beside]
    images, parts = pair_digest(pair_registry.make(args.pair)), []
    with reporter.stage(f"Rows on {pair_registry.label(args.pair)}", 1, "steps") as update:
        run = on_cluster(tasks, [args.pair], update)
        for k, (settings, label, agent) in enumerate(cells):
            make = partial(evaluate, {label: agent}, [args.pair], args.seeds, config, seed=args.seed)
            if run is None:
                make = partial(make, progress=steps(update, k, len(cells)))
            parts.append(({**settings, "images": images}, make))
        frames = kept.tables(parts, run)
    return Measured(pd.concat(frames, ignore_index=True), agents.policy, origin)


def digest_of_learned(agents: RowAgents) -> str:
    """What tells the learned policy from any other; nothing if there is none."""
    return "" if agents.policy is None else f"{agent_digest(agents.policy)} x {agents.factor}"


def prepare_rows(
    args: TableArgs, rows: Sequence[Row], reporter: Reporter, kept: KeptParts | None = None
) -> tuple[EnvConfig, RowAgents, str]:
    """The settings of all rows, what sets their rates, and where the learned policy comes from, in words.

    A policy that is trained on the spot is kept as soon as it is.

    Raises:
        ConfigError: Before a policy is trained, if a row cannot be run on the pair.
        WriteError: If the policy cannot be kept.
    """
    factor, times = 1.0, ""
    if args.policy is None and args.episodes is None and is_streamed(pair_registry.make(args.pair)):
        args = replace(args, policy=Path(DEFAULT))
        factor = OF_PRETRAINED[DEFAULT]
        times = f", its rates times {factor}"
    config, saved = _settings_and_saved_policy(args)
    agents = RowAgents(args.lr, args.weights, config.window / config.budget, saved, factor)
    known = [row for row in rows if row.profile != "policy" or saved is not None]
    check_runs({row.label: agents.of(row) for row in known}, [args.pair], config)
    if args.policy is not None:
        trained = ", ".join(find_policy(str(args.policy)).trained_on) or "pairs that its folder does not name"
        return config, agents, f"The policy is that of {args.policy}, trained on {trained}{times}."
    if known == list(rows):
        return config, agents, "No policy was needed."
    agents = replace(agents, policy=_kept_policy(args, config, reporter, kept or KeptParts()))
    return config, agents, f"The policy was trained on {args.pair} for {args.training_episodes} episodes."


def _settings_and_saved_policy(args: TableArgs) -> tuple[EnvConfig, Agent | None]:
    lengths, device = {"budget": args.budget, "window": args.window}, device_of(args.device, args.gpus_per_worker)
    overrides = given_settings(args.env, device, guidance="kl", guidance_weight=args.guidance_weight, **lengths)
    overrides["pairs"] = (args.pair,)
    if args.policy is None:
        return EnvConfig(**{"optimizer": "sgd", **overrides}), None  # the paper's
    trained = find_policy(str(args.policy))
    agent = load(trained.checkpoints["last"])
    config = common_settings([trained], overrides)
    if trained.config is not None:
        config = replace(config, **{key: getattr(trained.config, key) for key in ACTION_SETTINGS})
    else:
        config = replace(config, **agent.action_settings)
    return config, agent


def _kept_policy(args: TableArgs, config: EnvConfig, reporter: Reporter, kept: KeptParts) -> Agent:
    if kept.folder is None:
        return _train(args, config, reporter)
    # Of the same command, or the folder were another's; only the images may have changed.
    images = pair_digest(pair_registry.make(args.pair))
    of_images = kept.folder.path / PARTS / "policy.sha256"
    if of_images.is_file() and of_images.read_text(encoding="utf-8", errors="replace") == images:
        return load(kept.folder.path / POLICY)
    agent = _train(args, config, reporter)
    kept.begin()
    with kept.folder.guard(POLICY) as path:
        agent.save(path)
    kept.folder.write_text(f"{PARTS}/policy.sha256", images)
    return agent


def _train(args: TableArgs, config: EnvConfig, reporter: Reporter) -> Agent:
    # Here, whatever devices the tasks have.
    env = replace(config, common_random_numbers=True, device=str(resolve_device(args.device)))
    venv = Syn2RealVectorEnv(min(TRAINING_ENVS, args.training_episodes), **asdict(env))
    seed = episode_seeds(args.seed, "policy", 1)[0]
    agent = make_learner("reinforce", env, n_layers=len(venv.layer_names), seed=seed)
    venv.reset(seed=episode_seeds(args.seed, "training", venv.num_envs))
    with reporter.stage("Training the policy", args.training_episodes, "episodes") as update:

        def tell(record: dict[str, Any]) -> None:
            update(min(record["episode"], args.training_episodes), f"return {decimal(record['return_mean'], 3)}")

        agent.learn(venv, args.training_episodes, callback=tell)
    return agent


def _write(
    folder: RunFolder, args: TableArgs, measured: Measured, summary: pd.DataFrame, findings: list[Finding]
) -> None:
    with folder.writing("table.csv") as path:
        measured.frame.to_csv(path, index=False)
    headings, rows = paper_cells(args.pair, summary)
    lines = [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows)]
    claims = [f"- {line}" for line in claim_lines(findings)]
    folder.write_text("table.md", "\n".join([*lines, "", *claims, "", measured.origin, ""]))
    content = {
        "arguments": asdict(args),
        "policy": measured.origin,
        "summary": summary.to_dict("records"),
        "claims": [{**each.claim._asdict(), **each._asdict(), "claim": each.claim.text} for each in findings],
    }
    folder.write_json("table.json", content)
