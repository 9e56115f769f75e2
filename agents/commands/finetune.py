"""Fine-tunes a network on rendered images with learned rates and a proxy's guidance: ``l2o finetune``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from tyro.conf import arg

import l2o_env
from l2o_env import pairs as pair_registry
from l2o_env.action import ACTION_SETTINGS
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, require_integer
from l2o_env.evaluation.agent import BaseAgent, name_of
from l2o_env.pairs.from_files.folders import FoldersSettings, MaskFoldersSettings
from l2o_env.pairs.pair import is_streamed
from l2o_env.pairs.spec import spec
from l2o_env.results.decimals import decimal
from l2o_env.results.event_log import OVER_UPDATES, LayerLog, TensorBoardLog, training_events
from l2o_env.results.record import read_recording, recording
from l2o_env.results.run_folder import CHECKPOINT, CONFIG_FILE, EVENTS, RECORDING, RESULTS_JSON, RunFolder
from l2o_env.safe_json import read_object
from l2o_env.training.clock import WINDOWS
from l2o_env.training.fine_tuning import FineTuning
from l2o_env.training.player import settings_of
from l2o_env.training.policies import DEFAULT, find_policy
from l2o_env.training.scaled import OF_PRETRAINED, ScaledPolicy
from l2o_env.training.state_files import read_state, write_state

from ..opponents import default_opponents
from ..opponents.defaults import OPPONENTS
from ..options import EnvAssignments, environment_settings
from ..policy_folders import MEND
from .console import Reporter
from .finetune_page import write_page
from .interrupts import INTERRUPTED, deferred_interrupt

EMBEDDED = "glyphs-digits"
"""Pair that is fine-tuned on where none is given."""
_BEFORE = "actions-before.parquet"
"""What was recorded before a run was cut off."""
_FIELDS = tuple(field.name for field in (*fields(FoldersSettings), *fields(MaskFoldersSettings)))
"""Settings of the images."""


@dataclass(frozen=True)
class FinetuneArgs:
    """Fine-tunes a network on synthetic images for real ones, with learned rates and the guidance of a proxy.

    Writes the network that was best on held-out synthetic images, by cross-entropy and KL from the proxy (safetensors,
    for plain use, and ONNX with the extra onnx), rates and statistics of each layer (actions.parquet, TensorBoard) and
    a page (report.html). The same command goes on where it was cut off. Without --source it shows all of this on the
    embedded pair.
    """

    source: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: the embedded pair)")] = None
    """Synthetic images: one folder per class."""
    target: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None
    """Real images with the same classes. They are never read in training, and tell the real accuracy afterwards."""
    model: str = "resnet18"
    """Network that is fine-tuned: a name of torchvision, or of timm where it is installed, or FILE.py:NAME."""
    weights: str = "DEFAULT"
    """Its weights, which are its proxy's too: torchvision's, or a file."""
    size: int = 224
    """Side of the images in pixels."""
    n_validation: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 500)")] = None
    """Synthetic images that are held out."""
    pair: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: none)")] = None
    """Any other pair instead, such as visda17:root=data; see docs/pairs.md."""
    policy: Annotated[str, arg(metavar="NAME_OR_RUN")] = DEFAULT
    """Who sets the rates: a policy that comes along, the folder of a run or of a policy, or a hand-made opponent by its
    name, such as adamw-cosine."""
    rate_scale: Annotated[
        float | None,
        arg(
            metavar="X",
            help_behavior_hint="(default: 0.1 for default and 0.02 for relative on image files, else 1)",
        ),
    ] = None
    """What all rates are multiplied by: to a policy what the learning rate is to an optimizer. The policies that come
    along know small networks alone; pretrained ones, as of image files, want far smaller rates."""
    epochs: int = 10
    """Passes over the synthetic images."""
    seed: int = 0
    """Seed of the new head and of the order of images."""
    env: EnvAssignments = ()
    """Any other setting of the environment, such as batch_size=64 or guidance_weight=0.1; can be given many times."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: a new one under runs)")] = None
    """Folder of the run."""

    def pair_text(self) -> str:
        """The pair, as a text.

        Raises:
            ConfigError: If options do not go together.
        """
        if self.source is None:
            if self.target is not None or self.n_validation is not None:
                raise ConfigError("--target and --n-validation go with --source; give the folder of synthetic images.")
            return self.pair or EMBEDDED
        if self.pair is not None:
            raise ConfigError("--source and --pair are two ways to name the images; give one of them.")
        settings: dict[str, Any] = {"source": self.source, "backbone": self.model, "weights": self.weights}
        settings |= {"size": self.size} if self.size else {}
        settings |= {} if self.target is None else {"target": self.target}
        settings |= {} if self.n_validation is None else {"n_validation": self.n_validation}
        return spec("folders", **settings)

    def prepare(self) -> tuple[EnvConfig, BaseAgent]:
        """Settings of the run and who sets its rates; the pair is built.

        Raises:
            ConfigError: If something cannot work.
        """
        require_integer("--epochs", self.epochs)
        require_integer("--seed", self.seed, 0)
        text = self.pair_text()
        pair_registry.check(text)
        given = environment_settings(self.env, ("pairs", "device", "budget", "window", *ACTION_SETTINGS))
        agent = None if self.policy in OPPONENTS else find_policy(self.policy)
        base = EnvConfig() if agent is None else settings_of(agent, EnvConfig.optimizer)
        config = replace(base, pairs=(text,), device=str(resolve_device(self.device)), **given)
        pair = pair_registry.make(text)
        n_updates = max(len(pair.train) // config.batch_size, 1) * self.epochs
        try:
            config = replace(config, budget=n_updates, window=max(n_updates // WINDOWS, 1))
        except ConfigError as error:
            raise ConfigError(f"{error} More --epochs have a larger budget.") from error
        if agent is None:
            agent = default_opponents(config)[self.policy]
        scale = 1.0 if self.rate_scale is None else self.rate_scale
        if is_streamed(pair) and self.rate_scale is None:
            scale = OF_PRETRAINED.get(self.policy, 1.0)
        return config, agent if scale == 1 else ScaledPolicy(agent, scale)


def finetune(args: FinetuneArgs, reporter: Reporter | None = None) -> int:
    """Runs ``l2o finetune``; returns the exit status: 0, or 130 after Ctrl-C.

    Raises:
        ConfigError: If a setting cannot work, or the folder holds another run.
        WriteError: If the folder cannot be written to.
    """
    reporter = reporter or Reporter()
    with _told_where(args):
        config, agent = args.prepare()
        run = FineTuning(config, agent, args.seed)
    factor = agent.factor if isinstance(agent, ScaledPolicy) else 1.0
    settings = {
        "version": l2o_env.__version__,
        "policy": args.policy,
        "rate_scale": factor,
        "seed": args.seed,
        "environment": asdict(config),
    }
    folder = _folder(args.out, settings)
    if factor != 1:
        reporter.say(f"The rates are those of {args.policy}, times {factor:g} (--rate-scale).")
    if (folder.path / CHECKPOINT).is_file():
        run.set_state(read_state(folder.path / CHECKPOINT))
        reporter.say(f"Going on after {run.updates} of {config.budget} updates.")
    if not _train(run, folder, name_of(agent), reporter):
        option = f"--out {shlex.quote(str(folder.path))}"
        reporter.say(f"Interrupted after {run.updates} updates; the same command with {option} goes on.")
        return INTERRUPTED
    last = {key: float(run.info[key][0]) for key in ("val_accuracy", "val_ce", "val_kl")}
    lines, results = write_page(run, folder, {"last": last, "best": run.best()}, reporter)
    folder.write_json(RESULTS_JSON, results)
    for line in lines:
        reporter.out.print(line, markup=False, soft_wrap=True)
    return 0


@contextmanager
def _told_where(args: FinetuneArgs) -> Iterator[None]:
    """Says where settings of the images go that errors name and that have no options of their own."""
    try:
        yield
    except ConfigError as error:
        named = set(re.findall(r"\b([a-z_]+)=", str(error))) & ({*_FIELDS} - {*vars(args)})
        if args.source is None or not named:
            raise
        text = f"{args.pair_text()},{min(named)}=…"
        raise ConfigError(f"{error} Give it by --pair instead of --source: --pair {shlex.quote(text)}") from error


def _folder(out: Path | None, settings: dict[str, Any]) -> RunFolder:
    """A new folder, or that of the same run that was cut off.

    Raises:
        ConfigError: If it holds something else.
    """
    path = None if out is None else out.expanduser()
    if path is not None and (path / CONFIG_FILE).is_file():
        before, now = read_object(path / CONFIG_FILE, MEND), RunFolder.as_json(settings)
        different = sorted(key for key in now if before.get(key) != now[key])
        if different:
            raise ConfigError(
                f"{path} holds a run with other settings ({', '.join(different)}); give the same to go on, or another "
                "folder to begin anew."
            )
        return RunFolder(path)
    folder = RunFolder.create(path)
    folder.write_json(CONFIG_FILE, settings)
    return folder


def _train(run: FineTuning, folder: RunFolder, name: str, reporter: Reporter) -> bool:
    """Makes the windows that are left; whether it came to the end."""
    (pair,) = run.config.pairs
    layers = LayerLog(run.venv.layer_names)
    with (
        _going_on(run, folder) as path,
        recording(path, {pair: run.venv.layer_names}) as recorder,
        folder.guard(EVENTS) as events,
        closing(TensorBoardLog(training_events(events, "fine-tuning"), "updates")) as log,
        reporter.stage("Fine-tuning", run.config.budget, "updates", 10) as update,
        deferred_interrupt() as interrupted,
    ):
        while not run.ended:
            info = run.advance()
            recorder(name, pair, run.steps, run.observation, info)
            recorder.flush()
            with folder.writing(CHECKPOINT) as temporary:
                write_state(run.get_state(), temporary)
            layers(info, info["_seed"])
            measured = {f"window/{k}": float(info[k][0]) for k in ("train_ce", "train_kl", "val_ce", "val_kl", "value")}
            measured["window/val_accuracy"] = float(info["val_accuracy"][0])
            of_layers = {f"{OVER_UPDATES}/{tag}": value for tag, value in layers.take().items()}
            log({"episode": run.updates, **measured, **of_layers})
            update(run.updates, f"validation accuracy {decimal(info['val_accuracy'][0], 3)}")
            if interrupted():
                break
    if run.info["diverged"][0]:
        reporter.say("The last window diverged: weights or losses were not finite. The best weights before it stay.")
    return run.ended


@contextmanager
def _going_on(run: FineTuning, folder: RunFolder) -> Iterator[Path]:
    """Path of the recording, to which what was recorded before is added in the end."""
    path, before = folder.path / RECORDING, folder.path / _BEFORE
    if run.steps:
        earlier = [
            read_recording(file) for file in (before, path) if file.is_file() or file.with_suffix(".parts").is_dir()
        ]
        if earlier:  # a window that no checkpoint knows is made again
            rows = pd.concat(earlier).drop_duplicates(["step", "layer"], keep="last")
            with folder.writing(_BEFORE) as temporary:
                rows[rows["step"] <= run.steps].to_parquet(temporary, index=False)
    with folder.guard(RECORDING):
        try:
            yield path
        finally:
            if before.is_file() and path.is_file():
                rows = pd.concat([read_recording(before), read_recording(path)], ignore_index=True)
                with folder.writing(RECORDING) as temporary:
                    rows.to_parquet(temporary, index=False)
                before.unlink()
