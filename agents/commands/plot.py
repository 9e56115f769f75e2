"""Pictures of what policies do, ``l2o plot RUN``, and all of it on one page, ``l2o report RUN``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, brief, one_line
from l2o_env.results.entropy_plots import plot_entropy
from l2o_env.results.event_log import TENSORBOARD_NAMES, Scalars, read_scalars, training_records
from l2o_env.results.guidance_plots import plot_rate_against_guidance
from l2o_env.results.rate_plots import plot_actions, plot_heatmap, plot_policies
from l2o_env.results.record import parts_folder, read_recording, select_rows
from l2o_env.results.run_folder import CONFIG_FILE, EVENTS, PLOTS, RECORDING, RunFolder
from l2o_env.results.training_plots import Curve, plot_learning_curve
from l2o_env.safe_json import read_object

from .console import Reporter

if TYPE_CHECKING:
    import pandas as pd


CAPTIONS = {
    "actions": "Learning rate of each layer group over an episode: geometric mean and 10-90 % band over episodes, one "
    "panel per pair. Where the weight λ of the guidance changes over an episode, it is drawn below.",
    "heatmap": "The same as a heatmap, layer by time, on a common colour scale; hatched where the rate is 0.",
    "guidance": "Does the policy lower the rate where the guidance (the KL) acts? The rate that was chosen against the "
    "guidance gradient that was seen before, and their rank correlation with its 95 % interval: left of 0, it does. "
    "That of all layers together is also about differences between layers. The head, which the guidance does not "
    "reach, has no such gradient.",
    "policies": "Policies side by side, on one pair and common axes; those with nearly the same rates share a panel. "
    "Rates of different optimizers do not compare: 0.001 is much for AdamW and little for SGD.",
    "entropy": "Entropy of the policy's actions, which is how much it still tries out: over training, and of each "
    "layer's action, given the past, over an episode.",
    "learning_curve": "What training gained: V at the end of the training episodes, one point per update of the "
    "policy in the colour of its pair, minus what sets the pairs apart, so that 0 is the start of training. For other "
    "rewards than V it is the return.",
}
"""What each picture of :func:`plot_run` shows."""


@dataclass(frozen=True)
class PlotArgs:
    """Draws what a policy does to each layer, from the recording of a run or an evaluation; writes PNGs."""

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """Folder of a run or of an evaluation, also of one that is going on or was killed."""
    policy: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first one recorded)")] = None
    """Policy whose actions are drawn."""
    pairs: Annotated[tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint="(default: all)")] = None
    """Pairs to show; panels show the first six."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: RUN/plots)")] = None
    """Folder that the pictures go to."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of a run, by name of ``CAPTIONS``, and what kept others from being drawn.

    Attributes:
        paths: The PNGs.
        missing: Reasons by name.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def plot_command(args: PlotArgs, reporter: Reporter | None = None) -> int:
    """Runs ``l2o plot``; returns the exit status.

    Raises:
        ConfigError: If there is no recording, or a policy or a pair was not recorded.
        WriteError: If a picture cannot be written.
    """
    reporter = reporter or Reporter()
    folder = args.out or args.run.expanduser() / PLOTS
    pictures = plot_run(args.run, folder, policy=args.policy, pairs=args.pairs)
    for name, reason in pictures.missing.items():
        reporter.say(f"No picture {name}: {reason}")
    for path in pictures.paths.values():
        reporter.out.print(str(path), markup=False, soft_wrap=True)
    return 0


def plot_run(run: Path, folder: Path, *, policy: str | None = None, pairs: tuple[str, ...] | None = None) -> Pictures:
    """Draws every picture of a run's or an evaluation's actions.

    Args:
        run: The folder of the run or evaluation.
        folder: Where the PNGs go; made if it is not there.
        policy: Whose actions; None takes the first one recorded.
        pairs: Which pairs; None takes all.

    Raises:
        ConfigError: If there is no recording and no learning curve, or the policy or a pair was not recorded.
        WriteError: If a picture cannot be written.
    """
    run = run.expanduser()
    scalars = read_scalars(run / EVENTS)
    if not _has_recording(run):
        if policy is not None or pairs is not None or not training_records(scalars):
            raise _no_recording(run)
        return _draw_training(run, RunFolder(folder.expanduser()), scalars)
    rows = read_recording(run / RECORDING)
    mine = select_rows(rows, policy, pairs)
    name, first_pair, n_layers = str(mine["policy"].iloc[0]), str(mine["pair"].iloc[0]), mine["layer"].nunique()
    drawings: dict[str, Callable[[Path], None]] = {
        "actions": lambda path: plot_actions(mine, path),
        "heatmap": lambda path: plot_heatmap(mine, path),
        "guidance": lambda path: plot_rate_against_guidance(mine, path),
        "policies": lambda path: plot_policies(_with_first(rows, name), path, pair=first_pair),
        "entropy": lambda path: plot_entropy(training_entropy(scalars, name, n_layers), path, mine),
        "learning_curve": lambda path: _draw_learning_curve(scalars, _reward(run), path),
    }
    return _draw(RunFolder(folder.expanduser()), drawings)


def _has_recording(run: Path) -> bool:
    return (run / RECORDING).is_file() or parts_folder(run / RECORDING).is_dir()


def _no_recording(run: Path) -> ConfigError:
    if not run.is_dir():
        return ConfigError(f"There is no folder {run}; give the folder of a run or of an evaluation.")
    return ConfigError(
        f"{run} has no recording ({RECORDING}); give the folder of a run or of an evaluation. A run has one as soon as "
        "it evaluates its policy."
    )


def _draw_training(run: Path, folder: RunFolder, scalars: Scalars) -> Pictures:
    """What there is to see of a run that has not evaluated its policy yet: the learning curve."""
    pictures = _draw(folder, {"learning_curve": lambda path: _draw_learning_curve(scalars, _reward(run), path)})
    pictures.missing["actions"] = "the run has not evaluated its policy yet, so there are no pictures of actions."
    return pictures


def _draw(folder: RunFolder, drawings: dict[str, Callable[[Path], None]]) -> Pictures:
    pictures = Pictures()
    with folder.guard(PLOTS):
        folder.path.mkdir(parents=True, exist_ok=True)
    for name, draw in drawings.items():
        try:
            with folder.guard(f"{name}.png") as path:
                draw(path)
            pictures.paths[name] = path
        except ConfigError as error:  # what a picture needs was not recorded; the others are drawn
            pictures.missing[name] = brief(str(error))
        except OSError:
            raise
        except Exception as error:  # a recording may be anybody's, and hold what nothing can be drawn of
            pictures.missing[name] = f"it cannot be drawn ({brief(one_line(error), 200)})."
    return pictures


def _draw_learning_curve(scalars: Scalars, reward: str, path: Path) -> None:
    records = training_records(scalars)
    if not records:
        raise ConfigError("there are no TensorBoard events of a training.")
    plot_learning_curve(records, path, reward=reward)


def _reward(run: Path) -> str:
    """What a run was rewarded for; the default where its settings do not tell."""
    try:
        return str(read_object(run / CONFIG_FILE, "copy it again.")["environment"]["reward"])
    except (OSError, ConfigError, LookupError, TypeError):
        return EnvConfig.reward


def _with_first(rows: pd.DataFrame, policy: str) -> pd.DataFrame:
    """The rows with those of one policy first."""
    import pandas as pd

    first = rows["policy"] == policy
    return pd.concat([rows[first], rows[~first]], ignore_index=True)


def training_entropy(scalars: Scalars, policy: str, n_layers: int) -> dict[str, Curve]:
    """Entropy per layer over training episodes, from the events; empty for algorithms that report none.

    ``train/entropy`` is per layer; Stable-Baselines3's ``train/entropy_loss`` is that of all layers, negated.
    """
    for tag, factor in ((TENSORBOARD_NAMES["entropy"], 1.0), ("train/entropy_loss", -1.0 / n_layers)):
        if scalars.get(tag):
            episodes, values = zip(*scalars[tag], strict=True)
            return {policy: ([float(step) for step in episodes], [factor * value for value in values])}
    return {}
