"""Reads a released ASG policy checkpoint: ``l2o import-asg FILE``.

The parameter names of the released checkpoints are documented nowhere that this package relies on, so the converter
goes by what is known of the network: shapes, the standard names of an LSTM's parameters, and the order.

- An LSTM is a set of ``weight_ih`` (80, 1), ``weight_hh`` (80, 20), ``bias_ih`` (80) and ``bias_hh`` (80), with or
  without ``_l0``, under one prefix. There must be five.
- A head is a ``weight`` (11, 101) and a ``bias`` (11) under one prefix. Their number is the number of layer groups.
- The LSTMs are told apart by what their prefixes say (cross-entropy, KL, progress, mean, standard deviation), if each
  says one thing; else by their numbers; else by their order in the file. So are the heads, by numbers or order. What
  was found is printed, with a warning where nothing but the order decided.
- A value head (one output, or ``value`` or ``critic`` in the name) is left out: the released policy does not use it.
- Anything else is an error that lists it, also what has a head's shape and the name of something else.

``module.`` in front is taken off, and a state dict may be inside another dict under ``state_dict``, ``model``,
``policy`` or ``actor_critic``. Files are safetensors, or PyTorch checkpoints that hold nothing but weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from l2o_env.action import N_FACTORS
from l2o_env.errors import ConfigError, shortened
from l2o_env.models.adapted.weights import plain_tensors, read_tensors

from .policy import HIDDEN, N_SCALARS

CONTAINERS = ("state_dict", "model", "policy", "actor_critic", "net")
"""Keys under which a file may hold the state dict."""

_NESTED, _SHOWN = 8, 6

_LSTM_PART = re.compile(r"^(?P<prefix>.*?)[._]?(?P<part>(?:weight|bias)_[ih]h)(?:_l0)?$")
_LINEAR_PART = re.compile(r"^(?P<prefix>.*?)[._]?(?P<part>weight|bias)$")
_VALUE = re.compile(r"value|critic|baseline", re.IGNORECASE)
_NO_HEAD = re.compile(
    r"(?:^|[._])(?:target|old|ema|teacher|aux\w*|reward\w*|embed\w*|encoder|decoder)\d*(?=[._]|$)", re.IGNORECASE
)
"""Names of what is no head of the acting policy, whatever its shape is."""
_HINTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!n)ce(?![a-z])|cls|task|entropy",  # but not the end of "variance"
        r"kl|proxy|distil",
        r"prog|step|iter|time|epoch",
        r"mean|avg",
        r"std|var",
    )
)
"""What a prefix may say of its scalar: cross-entropy, KL, progress, mean, standard deviation."""
_LSTM_SHAPES = {
    "weight_ih": (4 * HIDDEN, 1),
    "weight_hh": (4 * HIDDEN, HIDDEN),
    "bias_ih": (4 * HIDDEN,),
    "bias_hh": (4 * HIDDEN,),
}
_HEAD_SHAPES = {"weight": (N_FACTORS, N_SCALARS * HIDDEN + 1), "bias": (N_FACTORS,)}

Parts = dict[str, dict[str, Tensor]]
Evidence = Literal["name", "number", "order"]
"""What told parts of a kind from each other; ``"order"``: nothing but the order of the file."""


@dataclass(frozen=True)
class Converted:
    """A released policy in our names, and how it was read.

    Attributes:
        tensors: The state dict of :class:`agents.asg.policy.AsgPolicy`.
        left_out: Names of the parameters that were left out (the value head).
        lstms: Prefixes of the LSTMs, in the order of ``ASG_SCALARS``.
        lstms_by: What told them apart.
        heads: Prefixes of the heads, from the first layer group to the last.
        heads_by: Likewise.
    """

    tensors: dict[str, Tensor]
    left_out: list[str]
    lstms: list[str]
    lstms_by: Evidence
    heads: list[str]
    heads_by: Evidence


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; nothing in it is executed.

    Raises:
        ConfigError: If it cannot be read, or holds more than weights.
    """
    if not file.is_file():
        raise ConfigError(f"There is no file {file}; give the checkpoint of a released policy.")
    content = read_tensors(file)
    for _ in range(_NESTED):  # no more, because a file can hold itself
        inner = (
            [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
            if isinstance(content, Mapping)
            else []
        )
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(f"{file} holds no state dict, neither at its top nor under {', '.join(CONTAINERS)}.")
    return plain_tensors(content, file)


def convert(state: Mapping[str, Tensor]) -> Converted:
    """Brings a released policy's parameters into the names of :class:`agents.asg.policy.AsgPolicy`.

    Args:
        state: Parameters by name.

    Raises:
        ConfigError: If parameters are missing, or are none of such a policy; see the module.
    """
    lstms, heads, left_out, unmatched = _sort(state)
    whole_lstms = [name for name, parts in lstms.items() if set(parts) == set(_LSTM_SHAPES)]
    whole_heads = [name for name, parts in heads.items() if set(parts) == set(_HEAD_SHAPES)]
    unmatched += [f"{name}.{part}" for name, parts in lstms.items() if name not in whole_lstms for part in parts]
    unmatched += [f"{name}.{part}" for name, parts in heads.items() if name not in whole_heads for part in parts]
    if unmatched or len(whole_lstms) != N_SCALARS or not whole_heads:
        names = ", ".join(_described(state, name) for name in unmatched[:_SHOWN])
        names += ", …" if len(unmatched) > _SHOWN else ""
        raise ConfigError(
            f"This is not ASG's policy: found {len(whole_lstms)} of {N_SCALARS} LSTMs (input 1, {HIDDEN} units) and "
            f"{len(whole_heads)} heads (101 to {N_FACTORS}). Not matched: {names or 'nothing'}."
        )
    tensors: dict[str, Tensor] = {}
    ordered, lstms_by = _by_hint(whole_lstms)
    for k, name in enumerate(ordered):
        tensors |= {f"lstms.{k}.{part}_l0": lstms[name][part].float() for part in _LSTM_SHAPES}
    numbered, heads_by = _by_number(whole_heads)
    for k, name in enumerate(numbered):
        tensors |= {f"heads.{k}.{part}": heads[name][part].float() for part in _HEAD_SHAPES}
    return Converted(tensors, left_out, ordered, lstms_by, numbered, heads_by)


def _described(state: Mapping[str, Tensor], name: str) -> str:
    return f"{name[:60]} {shortened(tuple(state[name].shape), 30)}" if name in state else name[:60]


def _sort(state: Mapping[str, Tensor]) -> tuple[Parts, Parts, list[str], list[str]]:
    """LSTMs and heads by prefix, names of the value head, and names of what is neither."""
    lstms: Parts = {}
    heads: Parts = {}
    left_out, unmatched = [], []
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        lstm, linear = _LSTM_PART.match(name), _LINEAR_PART.match(name)
        if not tensor.is_floating_point():
            unmatched.append(name)
        elif lstm and shape == _LSTM_SHAPES[lstm["part"]]:
            lstms.setdefault(lstm["prefix"], {})[lstm["part"]] = tensor
        elif linear and shape == _HEAD_SHAPES[linear["part"]] and not (_VALUE.search(name) or _NO_HEAD.search(name)):
            heads.setdefault(linear["prefix"], {})[linear["part"]] = tensor
        elif _VALUE.search(name) or (linear and shape[:1] == (1,)):
            left_out.append(name)
        else:
            unmatched.append(name)
    return lstms, heads, left_out, unmatched


def _by_hint(prefixes: list[str]) -> tuple[list[str], Evidence]:
    """LSTMs in the order of the scalars, if each prefix names exactly one of them; else by number or as they are."""
    last = {prefix: re.split(r"[./]", prefix)[-1] for prefix in prefixes}
    hints = [[prefix for prefix in prefixes if hint.search(last[prefix])] for hint in _HINTS]
    named = [hinted[0] for hinted in hints if len(hinted) == 1]
    return (named, "name") if len(set(named)) == len(prefixes) else _by_number(prefixes)


def _by_number(prefixes: list[str]) -> tuple[list[str], Evidence]:
    """Prefixes in the order of the last number in each, if all have different ones; else as they are."""
    if len(prefixes) == 1:
        return prefixes, "name"
    numbers = [re.findall(r"\d+", prefix) for prefix in prefixes]
    keys = [int(in_name[-1]) for in_name in numbers if in_name]
    if len(set(keys)) < len(prefixes):
        return prefixes, "order"
    return sorted(prefixes, key=lambda prefix: int(re.findall(r"\d+", prefix)[-1])), "number"
