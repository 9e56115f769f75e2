"""An adaptation in one file, from which it goes on; nothing in it is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from l2o_env.adaptation.loop import Adaptation
from l2o_env.errors import ConfigError, reading
from l2o_env.safe_json import as_object, parse_json
from l2o_env.safe_tensors import read_safetensors

_PROGRESS = "adaptation"


def write_checkpoint(path: Path, run: Adaptation, history: list[dict[str, Any]]) -> None:
    """Writes networks, optimizers, the number of rounds, and what the rounds came to.

    Args:
        path: The file; whoever calls sees to it that nobody sees half of one.
        run: The adaptation, between two rounds.
        history: Numbers by name of each round.
    """
    # One entry: several would come in any order, and equal runs would not have equal files.
    progress = {"round": run.round, "diverged": run.diverged, "history": history}
    save_file(
        {key: value.detach().cpu().contiguous() for key, value in run.state().items()},
        path,
        {_PROGRESS: json.dumps(progress)},
    )


def read_checkpoint(path: Path, run: Adaptation) -> list[dict[str, Any]]:
    """Lets an adaptation go on from a file; returns the history.

    Args:
        path: The file.
        run: An adaptation by the same method, of a network of the same kind, with the same settings and seed.

    Raises:
        ConfigError: If there is none, it is damaged, or of another network or method.
    """
    try:
        with reading(path, "start anew."):
            state, metadata = read_safetensors(path)
            progress = as_object(parse_json(metadata[_PROGRESS], exact=True))
            number, diverged, history = int(progress["round"]), bool(progress["diverged"]), list(progress["history"])
    except FileNotFoundError as error:
        raise ConfigError(f"There is no checkpoint {path}: no round was finished. Start anew.") from error
    device = next(run.model.parameters()).device
    run.load_state({key: torch.as_tensor(value).to(device) for key, value in state.items()})
    run.round, run.diverged = number, diverged
    return history
