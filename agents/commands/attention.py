"""What fine-tuned networks look at on real images: ``l2o attention RUN`` (Grad-CAM; Selvaraju et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tyro.conf import Positional, arg

from agents.commands.console import Reporter
from agents.commands.contestants import find_policy
from agents.commands.paper_rows import BY_KEY, Row, agent_of, mean_and_half_width
from agents.commands.printed_tables import mean_and
from agents.commands.table import TableArgs, settings_and_policy
from agents.options import EnvAssignments
from l2o_env import pairs as pair_registry
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.evaluation.attention import Look, look, share_on_object
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, episode_seeds, run_episodes
from l2o_env.models.base import new_generator
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import images_of
from l2o_env.results.run_folder import RunFolder
from l2o_env.vector_env import Syn2RealVectorEnv

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class AttentionArgs:
    """Draws where networks look on real images: the baseline, the guided one, and that of a learned policy.

    Each network is fine-tuned anew on the same seeds. Grad-CAM of the predicted class, for images of the target; where
    the pair knows where the object is, also the share of attention that lies on it. Reads the target: this judges
    networks, it trains nothing.
    """

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """Run folder of the learned policy, or a folder that a policy was saved to."""
    pair: Annotated[str | None, arg(metavar="PAIR", help_behavior_hint="(default: the first one of its training)")] = (
        None
    )
    """The pair."""
    rows: Annotated[tuple[str, ...], arg(metavar="KEY ...")] = ("1", "2", "9")
    """Networks to compare, by the keys of `l2o table`: large rate, the same with guidance, guidance and policy."""
    images: int = 8
    """Images in the picture: one of each class, then again."""
    measured: int = 256
    """Images that the share of attention is measured on."""
    seeds: int = 4
    """Fine-tuning runs per network; the picture is of the first."""
    layer: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the deepest with 4 x 4 places)")] = (
        None
    )
    """Module whose output Grad-CAM reads."""
    lr: float = 0.1
    """The large learning rate of the hand-made rows, per update."""
    budget: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: that of the policy's training)")] = (
        None
    )
    """Optimizer updates of a run."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: attention.png in the run)")] = None
    """The picture, a PNG."""
    seed: int = 0
    """Seed of the fine-tuning runs."""
    env: EnvAssignments = ()
    """Any other setting of the environment, such as batch_size=6; can be given many times. The default is that of the
    policy's training."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""

    def check(self) -> None:
        """Raises ConfigError if a setting cannot work."""
        for key in self.rows:
            if key not in BY_KEY:
                raise unknown_name("row", key, BY_KEY)
        for option in ("images", "measured", "seeds"):
            if getattr(self, option) < 1:
                raise ConfigError(f"--{option} is {getattr(self, option)}; expected an integer >= 1.")
        if self.seeds > MAX_OPTIMIZEES:
            raise ConfigError(f"--seeds is {self.seeds}; expected at most {MAX_OPTIMIZEES}, which are held at once.")
        if not self.rows:
            raise ConfigError("--rows names none; give at least one, or leave it out.")
        if self.seed < 0:
            raise ConfigError(f"--seed is {self.seed}; expected an integer >= 0.")


def attention_command(args: AttentionArgs, reporter: Reporter | None = None) -> int:
    """Fine-tunes, looks, prints the table and writes the picture; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work, or the pair has no classified target images.
        WriteError: If the picture cannot be written.
    """
    args.check()
    reporter = reporter or Reporter()
    name = args.pair or next(iter(find_policy(str(args.run)).trained_on), "glyphs-digits")
    table_args = TableArgs(
        name,
        policy=args.run,
        lr=args.lr,
        seeds=args.seeds,
        env=args.env,
        budget=args.budget,
        seed=args.seed,
        device=args.device,
    )
    table_args.check()
    pair = pair_registry.make(name)
    indices, labels, masks = _chosen(pair, args.measured)
    images = images_of(pair.target, indices) if pair.target is not None else torch.empty(0)
    # Of a network that is not fine-tuned yet, so that a layer that cannot be read is told before.
    layer = look(pair.make_model(new_generator(0)).eval(), images[:1], args.layer).layer
    looks: dict[str, list[Look]] = {}
    with reporter.stage("Fine-tuning", len(args.rows), "networks") as update:
        for k, (row, networks) in enumerate(_networks(args, table_args)):
            looks[row.label] = [look(model, images, layer) for model in networks]
            update(k + 1, row.label)
    shown = _one_of_each(labels, args.images)
    out = args.out or args.run / "attention.png"
    with RunFolder(out.parent).writing(out.name) as path:
        parts = {name: _part(found[0], shown) for name, found in looks.items()}
        draw(path, images[shown], labels[shown], parts, pair.classes)
    for line in summary(looks, labels, masks):
        reporter.out.print(line, markup=False)
    reporter.say(f"The picture is {out}. Attention is that of the output of {layer}; --layer reads another.")
    return 0


def _chosen(pair: Pair, n: int) -> tuple[list[int], NDArray[np.int64], NDArray[np.bool_] | None]:
    """Target images, evenly spread over all of them: indices, labels, masks."""
    target = pair.target
    if target is None or target.labels is None or target.labels.dim() != 1:
        raise ConfigError(
            f"Attention needs target images with one class each, and the pair {pair.name!r} has none; give it a "
            "target, or choose another."
        )
    every = max(len(target) // n, 1)
    indices = list(range(0, len(target), every))[:n]
    masks = getattr(target, "masks", None)
    return indices, target.labels[indices].numpy(), None if masks is None else masks[indices].numpy()


def _networks(args: AttentionArgs, table_args: TableArgs) -> Any:
    """The rows, each with its fine-tuned networks, one per seed."""
    rows: list[Row] = [BY_KEY[key] for key in args.rows]
    config, policy, _ = settings_and_policy(table_args, rows, Reporter(bars=False))
    seeds = episode_seeds(args.seed, "evaluation", args.seeds)
    for row in rows:
        agent = agent_of(row, args.lr, table_args.weights, config.window / config.budget, policy)
        settings = replace(config, **getattr(agent, "config_overrides", {}))
        venv = Syn2RealVectorEnv(args.seeds, **asdict(settings))
        run_episodes(venv, agent, seeds=seeds)
        yield row, [venv.episodes.optimizee(i) for i in range(args.seeds)]


def summary(looks: dict[str, list[Look]], labels: NDArray[np.int64], masks: NDArray[np.bool_] | None) -> list[str]:
    """Lines of text: accuracy on the images, and the share of attention on the object beside that of chance."""
    lines = []
    for name, found in looks.items():
        accuracy = mean_and_half_width(np.array([(one.predicted == labels).mean() for one in found]))
        line = f"{name}: accuracy {_with(accuracy)}"
        if masks is not None:
            shares = mean_and_half_width(np.array([share_on_object(one.maps, masks) for one in found]))
            line += f", attention on the object {_with(shares)}"
        lines.append(line)
    if masks is None:
        return [*lines, "This pair does not know where its objects are, so there is no share of attention on them."]
    return [*lines, f"Objects cover {masks.mean():.3f} of the images; so much of it would lie on them by chance."]


def _with(found: tuple[float, float]) -> str:
    mean, half = found
    return mean_and(mean, half if np.isfinite(half) else np.nan)


def _one_of_each(labels: NDArray[np.int64], n: int) -> list[int]:
    """Indices of `n` images: the first of each class, then the second of each, and so on."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return [int(i) for i in np.lexsort((labels, rank))[:n]]


def _part(found: Look, indices: list[int]) -> Look:
    return Look(found.maps[indices], found.predicted[indices], found.layer)


def draw(
    path: Path, images: Tensor, labels: NDArray[np.int64], looks: dict[str, Look], classes: Sequence[str] = ()
) -> None:
    """Draws images, and the attention of each network on them.

    Args:
        path: The PNG.
        images: ``(n, channels, height, width)``.
        labels: Their classes ``(n,)``.
        looks: What each network does on them, by its name.
        classes: Names of the classes; empty: their numbers.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from l2o_env.results.plot_style import new_figure

    n, n_rows = len(images), 1 + len(looks)
    height = 1.55 * n_rows + 1.1
    figure = new_figure(1.35 * n + 2.6, height)
    axes = figure.subplots(n_rows, n, squeeze=False)
    figure.subplots_adjust(
        left=2.3 / (1.35 * n + 2.6), right=0.99, top=1 - 0.75 / height, bottom=0.12, wspace=0.08, hspace=0.32
    )
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    pictures = ((images - low) / (high - low).clamp(min=1e-6)).permute(0, 2, 3, 1).numpy()
    for k in range(n):
        _panel(axes[0, k], pictures[k], None, f"true: {class_name(labels[k], classes)}")
        for row, found in enumerate(looks.values(), start=1):
            said = found.predicted[k]
            mark = "✓" if said == labels[k] else "✗"
            _panel(axes[row, k], pictures[k], found.maps[k], f"{class_name(said, classes)} {mark}")
    for axis, name in zip(axes[:, 0], ("real image", *looks), strict=True):
        axis.set_ylabel(_wrapped(name), rotation=0, ha="right", va="center", fontsize=9, labelpad=8)
    layers = ", ".join(dict.fromkeys(found.layer for found in looks.values()))
    title = (
        f"Attention (Grad-CAM of the output of {layers})\nfor the class that each network predicts: right ✓ or wrong ✗"
    )
    figure.suptitle(title, fontsize=10, y=1 - 0.1 / height)
    place = figure.add_axes((0.62, 0.05, 0.37, 0.018))
    scale = ScalarMappable(Normalize(0, 1), "inferno")
    bar = figure.colorbar(scale, cax=place, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.ax.tick_params(labelsize=8)
    figure.text(0.61, 0.059, "attention, over the maximum of its map", ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=150)


def class_name(index: int, classes: Sequence[str]) -> str:
    """What pictures call a class."""
    return classes[index] if classes else str(index)


def _panel(axis: Axes, picture: NDArray[Any], heat: NDArray[np.float64] | None, title: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=8, pad=4)
    if heat is None:
        axis.imshow(picture, interpolation="nearest")
        return
    axis.imshow(picture.mean(-1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    top = heat.max()
    if top == 0:
        axis.text(0.5, 0.5, "no attention", transform=axis.transAxes, ha="center", va="center", fontsize=8,
                  bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 2})  # fmt: skip
        return
    heat = heat / top
    # More transparent where there is less, so that the image is seen.
    axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.15 + 0.6 * heat, interpolation="nearest")


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 22))
