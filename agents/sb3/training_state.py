"""All that a training by Stable-Baselines3 depends on at the start of a rollout, taken out and put back.

There, and nowhere else, all of it is in the algorithm: in the middle of a rollout some is in local variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.vec_env import VecNormalize

from l2o_env.episodes import generator_state, restore_generator

_COUNTERS = (
    "num_timesteps",
    "_episode_num",
    "_n_updates",
    "_n_calls",
    "exploration_rate",
    "_current_progress_remaining",
)
"""Attributes that are plain values; an algorithm has some of them."""
_ARRAYS = ("_last_obs", "_last_original_obs", "_last_episode_starts", "weights")
_COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
"""Arrays of a replay buffer."""


def get_training_state(model: Any) -> dict[str, Any]:
    """The state of an algorithm.

    Args:
        model: At the start of a rollout, with a ``VecNormalize`` around its environment.

    Returns:
        Plain values, arrays and tensors; networks, optimizers, noise, the replay buffer and averages to be logged.
    """
    env = model.get_vec_normalize_env()
    assert isinstance(env, VecNormalize)
    return {
        "parameters": deepcopy(model.get_parameters()),
        "variables": {name: _attribute(model, name).detach().clone() for name in _variables(model)},
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "arrays": {name: deepcopy(getattr(model, name)) for name in _ARRAYS if hasattr(model, name)},
        "actions": generator_state(model.action_space.np_random),
        "exploration": [_exploration(part) for part in _noisy_parts(model)],
        "noise": [np.array(noise.noise_prev) for noise in _noises(model)],
        "memory": [tuple(t.clone() for t in pair) for pair in getattr(model, "_last_lstm_states", None) or ()],
        "replay": _replay(model),
        "returns": env.returns.copy(),
        "return_moments": [np.array(env.ret_rms.mean), np.array(env.ret_rms.var), float(env.ret_rms.count)],
        "logged": {key: float(value) for key, value in model.logger.name_to_value.items() if _is_number(value)},
        "log_counts": {key: int(value) for key, value in model.logger.name_to_count.items()},
    }


def set_training_state(model: Any, state: Mapping[str, Any]) -> None:
    """Takes up a state that :func:`get_training_state` returned of an algorithm of the same settings.

    Args:
        model: At the start of a rollout, with a ``VecNormalize`` around its environment.
        state: The state.
    """
    env = model.get_vec_normalize_env()
    assert isinstance(env, VecNormalize)
    model.set_parameters(state["parameters"], exact_match=True)
    for name, value in state["variables"].items():
        _attribute(model, name).data.copy_(value)
    for name in (*state["counters"], *state["arrays"]):
        if name not in _COUNTERS + _ARRAYS:
            raise ValueError(f"unknown attribute {name!r}")
        setattr(model, name, deepcopy(state["counters" if name in state["counters"] else "arrays"][name]))
    model.action_space._np_random = restore_generator(state["actions"])
    for part, (one, many) in zip(_noisy_parts(model), state["exploration"], strict=True):
        part.exploration_mat, part.exploration_matrices = one.clone(), many.clone()
    for noise, last in zip(_noises(model), state["noise"], strict=True):
        noise.noise_prev = last.copy()
    if state["memory"]:
        model._last_lstm_states = type(model._last_lstm_states)(*deepcopy(state["memory"]))
    _fill(getattr(model, "replay_buffer", None), state["replay"])
    env.returns = state["returns"].copy()
    env.ret_rms.mean, env.ret_rms.var, env.ret_rms.count = deepcopy(state["return_moments"])
    model.logger.name_to_value.clear()
    model.logger.name_to_value.update(state["logged"])
    model.logger.name_to_count.clear()
    model.logger.name_to_count.update(state["log_counts"])


def _variables(model: Any) -> list[str]:
    """Names of tensors that are trained and belong to no network, such as the entropy coefficient's."""
    return list(model._get_torch_save_params()[1])


def _attribute(model: Any, name: str) -> torch.Tensor:
    return getattr(model, name)


def _noisy_parts(model: Any) -> list[Any]:
    """The distributions with gSDE, whose noise lasts for a while."""
    parts = [model.policy, getattr(model.policy, "actor", None)]
    found = [getattr(part, "action_dist", None) for part in parts]
    return [each for each in found if hasattr(each, "exploration_mat")]


def _exploration(part: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return part.exploration_mat.detach().clone(), part.exploration_matrices.detach().clone()


def _noises(model: Any) -> list[Any]:
    """Noise on the actions of each optimizee, which remembers its last value."""
    noise = getattr(model, "action_noise", None)
    if isinstance(noise, VectorizedActionNoise):
        return list(noise.noises)
    return [] if noise is None else [noise]


def _replay(model: Any) -> dict[str, Any] | None:
    """What the replay buffer holds so far; None of an algorithm that has none."""
    buffer = getattr(model, "replay_buffer", None)
    if not isinstance(buffer, ReplayBuffer):
        return None
    size = buffer.size()
    columns = {name: getattr(buffer, name)[:size].copy() for name in _COLUMNS}
    return {"pos": buffer.pos, "full": buffer.full, "columns": columns}


def _fill(buffer: ReplayBuffer | None, kept: Mapping[str, Any] | None) -> None:
    if buffer is None or kept is None:
        return
    buffer.pos, buffer.full = kept["pos"], kept["full"]
    for name in _COLUMNS:
        column = kept["columns"][name]
        getattr(buffer, name)[: len(column)] = column


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
