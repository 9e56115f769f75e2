"""Networks that an adaptation starts from: fine-tuned on the source in some way, or read from a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from l2o_env.adaptation.weights import load_weights
from l2o_env.config import IN_PROCESS, EnvConfig
from l2o_env.errors import ConfigError, brief, reading
from l2o_env.evaluation.agent import AgentLike, settings_for
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, run_episodes
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.pairs.pair import Pair
from l2o_env.safe_tensors import read_safetensors, require_finite
from l2o_env.vector_env import Syn2RealVectorEnv

INITIALISATIONS = {
    "proxy": ("1", "source model: one large rate, no guidance"),
    "small": ("3", "small rates for the backbone, no guidance"),
    "guided": ("4", "small rates for the backbone, guidance"),
    "asg": ("9", "ASG: guidance and learned rates"),
}
"""By name: the row of the paper's table that fine-tunes the proxy's network so, and what it is in words."""


def fine_tuned(agent: AgentLike, pair: str, config: EnvConfig, seeds: Sequence[int]) -> Iterator[Optimizee]:
    """Networks that an agent fine-tuned on the source, with the last finite weights of each episode.

    Args:
        agent: Sets the learning rates.
        pair: Name of the pair.
        config: Settings of the environment.
        seeds: Seeds of the episodes; those of an evaluation give the networks that it evaluated.
    """
    own = settings_for(agent, config)
    settings = asdict(replace(own, pairs=(pair,), common_random_numbers=False, **IN_PROCESS))
    for k in range(0, len(seeds), MAX_OPTIMIZEES):
        part = list(seeds[k : k + MAX_OPTIMIZEES])
        venv = Syn2RealVectorEnv(len(part), **settings)
        outcome = run_episodes(venv, agent, seeds=part)
        for i, seed in enumerate(part):
            if not outcome.diverged[i]:
                yield venv.episodes.optimizee(i)
                continue
            alone = Syn2RealVectorEnv(1, **settings)  # among others it was started anew while they went on
            run_episodes(alone, agent, seeds=[seed])
            yield alone.episodes.optimizee(0)


def read_network(path: Path, pair: Pair) -> Optimizee:
    """A network of the pair whose weights are in a file, such as one that ``l2o adapt`` wrote.

    Args:
        path: A safetensors file of all its parameters, and buffers if it has any.
        pair: The pair.

    Raises:
        ConfigError: If it cannot be read, or is of another network.
    """
    model = pair.make_model(new_generator(0))
    expected = "give a safetensors file of a network's weights."
    try:
        with reading(path, expected):
            weights, _ = read_safetensors(path)
            require_finite(weights)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {path}; {expected}") from error
    try:
        load_weights(model, weights)
    except ValueError as error:
        raise ConfigError(
            f"{path} holds the weights of another network than that of {pair.name!r}: {brief(str(error))}."
        ) from error
    return model.eval()
