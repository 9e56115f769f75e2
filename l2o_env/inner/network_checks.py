"""Which networks a population fine-tunes, and whether it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.guidance import TERMS
from l2o_env.inner.stream_data import no_images
from l2o_env.models.base import Optimizee
from l2o_env.models.layout import Layout
from l2o_env.pairs.pair import Pair


def model_maker(pair: Pair, config: EnvConfig) -> Callable[[torch.Generator], Optimizee]:
    """What makes a pair's optimizees with these settings."""
    return pair.make_random_model if config.random_init else pair.make_model


def check_pair(pair: Pair, model: Optimizee, config: EnvConfig) -> None:
    """Raises ``ConfigError`` unless a pair has what the settings' reward, guidance and batches need.

    Args:
        pair: The pair.
        model: One of its optimizees.
        config: The settings.
    """
    if config.reward == "target_oracle" and pair.target is None:
        raise no_images(pair, "target")
    if config.batch_size < model.smallest_batch:
        raise ConfigError(
            f"batch_size is {config.batch_size}, but with batchnorm='trained' the network of {pair.name!r} normalises "
            f"one value of each image over the batch; expected batches of at least {model.smallest_batch}."
        )
    TERMS[config.guidance].check(model, pair.name)


def shared_layout(pairs: Sequence[Pair], models: Sequence[Optimizee]) -> Layout:
    """The layout that the networks of all pairs have.

    Args:
        pairs: The pairs.
        models: An optimizee of each.

    Raises:
        ConfigError: If they differ.
    """
    layout = Layout.of(models[0])
    for pair, model in zip(pairs, models, strict=True):
        other = Layout.of(model)
        if other != layout:
            raise ConfigError(
                f"Pairs of one environment need the same network up to the proxy's head; {pairs[0].name!r} and "
                f"{pair.name!r} differ in their layer groups ({', '.join(layout.group_names)} and "
                f"{', '.join(other.group_names)}) or in the shapes of their weights. Make one environment for each "
                "network."
            )
    return layout
