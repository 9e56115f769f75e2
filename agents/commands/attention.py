"""What fine-tuned networks look at on real images: ``l2o attention RUN`` (Grad-CAM; Selvaraju et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tyro.conf import Positional, arg

from l2o_env import pairs as pair_registry
from l2o_env.errors import ConfigError, require_integer, unknown_name
from l2o_env.evaluation.agent import settings_for
from l2o_env.evaluation.attention import Look, look, share_on_object
from l2o_env.evaluation.attention_picture import plot_attention
from l2o_env.evaluation.intervals import mean_and_half_width, plus_minus
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, episode_seeds, run_episodes
from l2o_env.extras import require
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import images_of
from l2o_env.results.run_folder import ATTENTION_PICTURE, RunFolder
from l2o_env.vector_env import Syn2RealVectorEnv

from ..options import EnvAssignments
from .console import Reporter
from .contestants import find_policy
from .paper_rows import BY_KEY, Row
from .paper_table import TableArgs, prepare_rows


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
        require("captum", extra="attention", what="l2o attention")
        for key in self.rows:
            if key not in BY_KEY:
                raise unknown_name("row", key, BY_KEY)
        for option in ("images", "measured", "seeds"):
            require_integer(f"--{option}", getattr(self, option))
        if self.seeds > MAX_OPTIMIZEES:
            raise ConfigError(f"--seeds is {self.seeds}; expected at most {MAX_OPTIMIZEES}, which are held at once.")
        if not self.rows:
            raise ConfigError("--rows names none; give at least one, or leave it out.")
        require_integer("--seed", self.seed, 0)

    def of_table(self, pair: str) -> TableArgs:
        """The settings of ``l2o table`` that the networks are fine-tuned with."""
        same = ("lr", "seeds", "env", "budget", "seed", "device")
        return TableArgs(pair, policy=self.run, **{name: getattr(self, name) for name in same})


def attention_command(args: AttentionArgs, reporter: Reporter | None = None) -> int:
    """Fine-tunes, looks, prints the table and writes the picture; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work, the pair has no classified target images, or it is not given and that of
            the training has settings.
        WriteError: If the picture cannot be written.
    """
    args.check()
    reporter = reporter or Reporter()
    name = args.pair or _first_pair(args.run)
    args.of_table(name).check()
    pair = pair_registry.make(name)
    targets = _targets(pair, args.measured)
    # Of a network that is not fine-tuned yet, so that a layer that cannot be read is told before.
    layer = look(pair.make_model(new_generator(0)).eval(), targets.images[:1], args.layer).layer
    looks: dict[str, list[Look]] = {}
    with reporter.stage("Fine-tuning", len(args.rows), "networks") as update:
        for k, (row, networks) in enumerate(_networks(args, name)):
            looks[row.label] = [look(model, targets.images, layer) for model in networks]
            update(k + 1, row.label)
    out = args.out or args.run / ATTENTION_PICTURE
    with RunFolder(out.parent).writing(out.name) as path:
        shown = one_of_each(targets.labels, args.images)
        first = {row: of_seeds[0].of(shown) for row, of_seeds in looks.items()}
        plot_attention(targets.images[shown], targets.labels[shown], first, path, pair.classes)
    for line in summary(looks, targets.labels, targets.masks):
        reporter.out.print(line, markup=False)
    reporter.say(f"The picture is {out}. Attention is that of the output of {layer}; --layer reads another.")
    return 0


def _first_pair(run: Path) -> str:
    """The first pair of a policy's training, unless it has settings: they can name code that is run."""
    name = next(iter(find_policy(str(run)).trained_on), "glyphs-digits")
    if ":" in name:
        shown = name if len(name) <= 200 else f"{name[:200]}…"
        raise ConfigError(
            f"The policy in {run} was trained on a pair with settings, which a file alone does not make this command "
            f"build; give it with --pair, if you trust it: {shown!r}"
        )
    return name


class _Targets(NamedTuple):
    """Target images ``(n, channels, height, width)``, their classes ``(n,)`` and, if known, masks of their objects."""

    images: Tensor
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_] | None


def _targets(pair: Pair, n: int) -> _Targets:
    """`n` target images, evenly spread over all of them."""
    target = pair.target
    if target is None:
        raise pair.no_images("target", "and networks look at them")
    if target.labels is None or target.labels.dim() != 1:
        raise ConfigError(
            f"Attention needs target images with one class each, and those of the pair {pair.name!r} have one for each "
            "pixel; name another with --pair."
        )
    every = max(len(target) // n, 1)
    indices = list(range(0, len(target), every))[:n]
    masks = getattr(target, "masks", None)
    labels = target.labels[indices].numpy()
    return _Targets(images_of(target, indices), labels, None if masks is None else masks[indices].numpy())


def _networks(args: AttentionArgs, pair: str) -> Iterator[tuple[Row, list[Optimizee]]]:
    """The rows, each with its fine-tuned networks, one per seed."""
    rows = [BY_KEY[key] for key in args.rows]
    config, agents, _ = prepare_rows(args.of_table(pair), rows, Reporter(bars=False))
    seeds = episode_seeds(args.seed, "evaluation", args.seeds)
    for row in rows:
        agent = agents.of(row)
        settings = settings_for(agent, config)
        venv = Syn2RealVectorEnv(args.seeds, **asdict(settings))
        run_episodes(venv, agent, seeds=seeds)
        yield row, [venv.episodes.optimizee(i) for i in range(args.seeds)]


def summary(looks: dict[str, list[Look]], labels: NDArray[np.int64], masks: NDArray[np.bool_] | None) -> list[str]:
    """Lines of text: accuracy on the images, and the share of attention on the object beside that of chance.

    Args:
        looks: What the networks of each row do on the images, one per seed.
        labels: Classes of the images ``(n,)``.
        masks: Where their objects are ``(n, height, width)``, if that is known.
    """
    lines = []
    for row, of_seeds in looks.items():
        accuracies = np.array([(one.predicted == labels).mean() for one in of_seeds])
        line = f"{row}: accuracy {plus_minus(*mean_and_half_width(accuracies))}"
        if masks is not None:
            shares = np.array([share_on_object(one.maps, masks) for one in of_seeds])
            line += f", attention on the object {plus_minus(*mean_and_half_width(shares))}"
        lines.append(line)
    if masks is None:
        return [*lines, "This pair does not know where its objects are, so there is no share of attention on them."]
    return [*lines, f"Objects cover {masks.mean():.3f} of the images; so much of it would lie on them by chance."]


def one_of_each(labels: NDArray[np.int64], n: int) -> list[int]:
    """Indices of `n` images: the first of each class, then the second of each, and so on."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return [int(i) for i in np.lexsort((labels, rank))[:n]]
