"""Adapts a network to a pair's target images: ``l2o adapt PAIR``."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from tyro.conf import Positional, UseAppendAction, arg

from l2o_env import pairs as pair_registry
from l2o_env.adaptation import (
    METHODS,
    Adaptation,
    AdaptConfig,
    LabelledImages,
    Round,
    TargetOracle,
    UnlabelledImages,
    read_checkpoint,
    write_checkpoint,
)
from l2o_env.adaptation.weights import weights_of
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, reading, require_integer, shortened, unknown_name
from l2o_env.evaluation.rollout import episode_seeds
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.spec import runs_code
from l2o_env.results.decimals import decimal
from l2o_env.results.event_log import TensorBoardLog, training_events
from l2o_env.results.run_folder import CONFIG_FILE, EVENTS, RunFolder
from l2o_env.safe_json import read_object

from ..options import override, parse_assignments, typed
from .adapt_page import write_page
from .adapt_rates import check_joint, drive
from .adapt_record import class_names, missing_classes, record, selected
from .console import Reporter
from .initialisations import INITIALISATIONS, fine_tuned, read_network
from .paper_rows import BY_KEY
from .paper_table import TableArgs, prepare_rows

CHECKPOINT, ROUNDS = "checkpoint.safetensors", "rounds.csv"
ADAPTED = "adapted-{}.safetensors"
"""Weights by how their round was chosen; ``--init FILE`` reads them."""


@dataclass(frozen=True)
class AdaptArgs:
    """Adapts a network to a pair's real images, without their labels, from an initialisation.

    Labels of the target are read for what is marked as the oracle's alone. The run folder holds a checkpoint of the
    last round, adapted weights by how their round is chosen, rounds.csv, TensorBoard's events and report.html.
    """

    pair: Positional[Annotated[str, arg(metavar="PAIR")]] = "glyphs-digits"
    """The pair, by name."""
    method: str = "cbst"
    """The method; a wrong name lists all."""
    init: Annotated[str, arg(metavar="proxy|small|guided|asg|RUN|FILE")] = "proxy"
    """What it starts from: the proxy's network fine-tuned on the source with one large rate (the source model), with
    small rates for the backbone, with guidance too (guided), or with learned rates (asg: by a policy that is trained on
    this very pair; RUN: by that of a folder); or weights in a safetensors file."""
    policy: Annotated[str | None, arg(metavar="RUN", help_behavior_hint="(default: one rate for all layers)")] = None
    """Run whose policy sets the rate of each layer during the adaptation; it has to be trained with SGD (`l2o train
    --env optimizer=sgd`). Such an adaptation cannot go on where it was cut off."""
    rounds: int = AdaptConfig.rounds
    """Rounds; pseudo labels are made anew in each."""
    updates: int = AdaptConfig.updates
    """Optimizer updates of a round."""
    lr: float = AdaptConfig.lr
    """Learning rate of all layers."""
    hp: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")] = ()
    """Any other setting, such as portion=0.5; can be given many times. A wrong name lists all names."""
    source_lr: float = 0.1
    """Large learning rate of an initialisation by hand; the small one is 0.03 of it."""
    guidance_weight: float = EnvConfig.guidance_weight
    """Weight of the proxy guidance of an initialisation, per nat."""
    budget: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: that of the policy's training)")] = (
        None
    )
    """Optimizer updates of an initialisation."""
    episodes: int = 320
    """Episodes that the policy of the initialisation asg is trained for."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new folder in runs/)")] = None
    """The run folder; it must not exist or be empty."""
    resume: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new run)")] = None
    """Folder of a run that goes on after its last finished round, with its own settings."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""

    def config(self) -> AdaptConfig:
        """Settings of the adaptation.

        Raises:
            ConfigError: If a setting cannot work.
        """
        pair_registry.check(self.pair)
        require_integer("--seed", self.seed, 0)
        if self.method not in METHODS:
            raise unknown_name("method", self.method, METHODS)
        if self.policy is not None:
            check_joint(self.method)
            if self.resume is not None:
                raise ConfigError("A run whose rates a policy sets cannot go on where it was cut off; start anew.")
        given = {"rounds": self.rounds, "updates": self.updates, "lr": self.lr, "device": self.device}
        return override(AdaptConfig(**given), parse_assignments(self.hp, example="portion=0.5"))  # type: ignore[arg-type]


def adapt_command(args: AdaptArgs, reporter: Reporter | None = None) -> int:
    """Runs ``l2o adapt``; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the folder cannot be written to.
    """
    reporter = reporter or Reporter()
    if args.resume is not None:
        args = _saved(args)
        folder = RunFolder(args.resume or Path())
    else:
        args.config()
        folder = RunFolder.create(args.out)
    try:
        _Run(args, folder, reporter).complete()
    except KeyboardInterrupt:
        if (folder.path / CHECKPOINT).is_file() and args.policy is None:  # with one it cannot go on
            pair = f"{shlex.quote(args.pair)} " if runs_code(args.pair) else ""
            reporter.say(f"Go on with: l2o adapt {pair}--resume {shlex.quote(str(folder.path))}")
        raise
    finally:
        folder.remove_if_empty()
    return 0


def _saved(args: AdaptArgs) -> AdaptArgs:
    """The settings of the run that goes on."""
    assert args.resume is not None
    path = args.resume.expanduser() / CONFIG_FILE
    try:
        saved = read_object(path, "start anew.")
    except FileNotFoundError as error:
        raise ConfigError(f"{args.resume} is no run of l2o adapt: there is no {CONFIG_FILE}.") from error
    if "pair" not in saved:
        raise ConfigError(f"{args.resume} is no run of l2o adapt, but of another command; give the folder of one.")
    with reading(path, "start anew."):
        known = {field.name for field in fields(AdaptArgs)} - {"out", "resume"}
        options = typed(AdaptArgs, {key: value for key, value in saved.items() if key in known}, "option")
        found = AdaptArgs(**options, resume=args.resume.expanduser())
    if runs_code(found.pair) and found.pair != args.pair:  # the folder may be anybody's
        raise ConfigError(
            f"The run was started on the pair {shortened(found.pair, 200)}, which may run code. If you trust it, name "
            f"it again: l2o adapt PAIR --resume {shlex.quote(str(args.resume))}."
        )
    found.config()
    return found


def initial_network(args: AdaptArgs, pair: Pair, reporter: Reporter) -> tuple[Optimizee, str]:
    """The network that an adaptation starts from, and what it is in words.

    Raises:
        ConfigError: If there is no such initialisation, or it is of another network.
    """
    path = Path(args.init).expanduser()
    if args.init not in INITIALISATIONS and path.is_file():
        return read_network(path, pair), f"the weights of {path.name}"
    if args.init not in INITIALISATIONS and not path.is_dir():
        raise ConfigError(
            f"{args.init!r} is no initialisation ({', '.join(INITIALISATIONS)}), no run folder and no file of weights."
        )
    key, words = INITIALISATIONS.get(args.init, INITIALISATIONS["asg"])
    table = TableArgs(
        args.pair, policy=None if args.init in INITIALISATIONS else path, episodes=args.episodes, lr=args.source_lr,
        guidance_weight=args.guidance_weight, budget=args.budget, seed=args.seed, device=args.device,
    )  # fmt: skip
    env, agents, _ = prepare_rows(table, [BY_KEY[key]], reporter)
    seeds = episode_seeds(args.seed, "evaluation", 1)
    return next(iter(fine_tuned(agents.of(BY_KEY[key]), args.pair, env, seeds))), words


class _Run:
    """One adaptation with its folder."""

    def __init__(self, args: AdaptArgs, folder: RunFolder, reporter: Reporter) -> None:
        self.args, self.folder, self.reporter = args, folder, reporter
        config = args.config()
        device = resolve_device(config.device)
        self.pair = pair_registry.make(args.pair)
        source, target = LabelledImages(self.pair.train, device), UnlabelledImages.of(self.pair, device)
        self.oracle = TargetOracle(self.pair, device)
        self.names = class_names(self.pair)

        def adaptation(model: Optimizee) -> Adaptation:
            return Adaptation(
                METHODS[args.method], model.to(device), source, target, self.pair.n_classes, config, args.seed
            )

        # What cannot work on the network is told before it is trained.
        self.run = adaptation(self.pair.make_model(new_generator(0)))
        if args.policy is not None:
            drive(self.run, args.policy).close()
        self.history: list[dict[str, Any]] = []
        if args.resume is not None:
            self.history = read_checkpoint(folder.path / CHECKPOINT, self.run)
            return
        model, words = initial_network(args, self.pair, reporter)
        self.run = adaptation(model)
        if args.policy is not None:
            drive(self.run, args.policy)
        self.folder.write_json(CONFIG_FILE, {**asdict(args), "settings": asdict(config), "initialisation": words})

    def complete(self) -> None:
        """Makes the rounds that are left, and writes what came of them."""
        log = TensorBoardLog(training_events(self.folder.path / EVENTS, "adaptation"), "rounds")
        last: Round | None = None
        title = f"{self.args.method} on {pair_registry.label(self.args.pair)}"
        total = self.run.config.rounds
        try:
            with self.reporter.stage(title, total, "rounds", lines=total) as update:
                if not self.history:
                    self._note(Round(0, {}, None, self.run.probabilities(), False), log)
                while self.run.round < total and not self.run.diverged:
                    last = self.run.run_round()
                    self._note(last, log)
                    update(self.run.round, f"accuracy {decimal(self.history[-1]['real_accuracy'], 3)} (oracle)")
        finally:
            log.close()
        if self.run.diverged:
            other = "a smaller --lr" if self.args.policy is None else "one rate for all layers: without --policy"
            self.reporter.say(f"Weights became non-finite; those from before that round are kept. Try {other}.")
        self._finish(last)

    def _note(self, found: Round, log: TensorBoardLog) -> None:
        """Takes down what a round came to, and keeps what a run that goes on needs."""
        self.history.append(record(found, self.oracle, self.names))
        for name in missing_classes(found, self.names):
            self.reporter.say(f"Round {found.number}: no image is labelled as {name}; it goes on without.")
        log({"episode": found.number, **{k: v for k, v in self.history[-1].items() if "/" in k}})
        for selection, number in selected(self.history).items():
            if number == found.number:
                with self.folder.writing(ADAPTED.format(selection)) as path:
                    save_file(_on_host(self.run.model), path)
        with self.folder.writing(CHECKPOINT) as path:
            write_checkpoint(path, self.run, self.history)

    def _finish(self, last: Round | None) -> None:
        import pandas as pd

        frame = pd.DataFrame(self.history)
        with self.folder.writing(ROUNDS) as path:
            frame.to_csv(path, index=False)
        write_page(self.folder, self.args.method, frame, selected(self.history), last, self.pair, self.oracle)
        for selection, number in selected(self.history).items():
            accuracy = decimal(self.history[number]["real_accuracy"], 3)
            oracle = " (reads labels of the target)" if selection == "target-oracle" else ""
            self.reporter.out.print(f"{selection}{oracle}: round {number}, real accuracy {accuracy}", markup=False)
        self.reporter.say(
            f"Start: real accuracy {decimal(self.history[0]['real_accuracy'], 3)}. All is in {self.folder.path}"
        )


def _on_host(model: torch.nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone().contiguous() for key, value in weights_of(model).items()}
