"""Settings from the command line or a YAML file, into frozen dataclasses."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tyro.conf import UseAppendAction, arg

from l2o_env.cluster.tasks import Tasks
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, brief, shortened, unknown_name
from l2o_env.safe_json import read_text

Config = TypeVar("Config")
EnvAssignments = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")]
"""The command-line option ``--env``."""
RayAddress = Annotated[str | None, arg(metavar="{auto,ADDRESS}", help_behavior_hint="(default: none)")]
"""The command-line option ``--ray``."""
_MAX_YAML, _MAX_YAML_DEPTH = 2**16, 10
_WORDS = {"true": True, "false": False}
_NONE = ("none", "null", "~")


def parse_assignments(
    assignments: Sequence[str], kind: str = "hyper-parameter", example: str = "gamma=0.95"
) -> dict[str, str]:
    """Takes ``name=value`` apart; of a name given twice the last one counts.

    Args:
        assignments: The texts.
        kind: What a name is called in errors.
        example: What errors show.

    Raises:
        ConfigError: If there is no ``=`` or no name.
    """
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"Got the {kind} {shortened(assignment)}; expected name=value, such as {example}.")
        values[name.strip()] = value.strip()
    return values


def read_file(path: str | Path) -> dict[str, Any]:
    """Reads hyper-parameters from a YAML file of ``name: value`` lines; nothing in it is executed.

    Raises:
        ConfigError: If the file cannot be read or holds anything else.
    """
    path = Path(path).expanduser()
    try:
        values = _parse_yaml(read_text(path, _MAX_YAML))
    except OSError as error:
        raise ConfigError(
            f"The file of hyper-parameters {path} cannot be read: {error.strerror}. Name a YAML file."
        ) from error
    except Exception as error:  # dates that are none, and what else a reader makes of anything
        raise ConfigError(
            f"{path} is no YAML file: {brief(str(error), 200)}. Expected lines such as gamma: 0.95."
        ) from error
    values = {} if values is None else values
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path} holds {shortened(values)}; expected lines of hyper-parameters such as gamma: 0.95.")
    return values


def _parse_yaml(text: str) -> Any:
    """What a YAML text stands for.

    Raises:
        ValueError: If it nests deeply, names a key twice, or refers to its own parts, by which few bytes can stand for
            more than any memory holds.
        yaml.YAMLError: If it is no YAML.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):  # step by step, so that nothing of it is built yet
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it refers to its own parts")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_YAML_DEPTH:
            raise ValueError(f"it nests deeper than {_MAX_YAML_DEPTH}")
    node = yaml.compose(text, yaml.SafeLoader)
    names = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    twice = [name for k, name in enumerate(names) if name in names[:k]]
    if twice:
        raise ValueError(f"it has {shortened(twice[0], 40)} twice")
    return yaml.safe_load(text)


def override(config: Config, changes: Mapping[str, Any], kind: str = "hyper-parameter") -> Config:
    """Changes fields of a frozen dataclass.

    Args:
        config: The settings to start from.
        changes: New values by name. Text is read as a value of the field's type; a whole number will do for a float.
        kind: What a field is called in errors.

    Raises:
        ConfigError: If a name is unknown (it names the closest), or a value has the wrong type or cannot work.
    """
    return replace(config, **typed(type(config), changes, kind))  # type: ignore[type-var]


def typed(form: type, changes: Mapping[str, Any], kind: str = "hyper-parameter") -> dict[str, Any]:
    """Values of a dataclass's fields or of a class's arguments; arguments and errors as of :func:`override`."""
    hints = get_type_hints(form if is_dataclass(form) else form.__init__)  # type: ignore[misc]
    known = [field.name for field in fields(form)] if is_dataclass(form) else [key for key in hints if key != "return"]
    for name in changes:
        if name not in known:
            raise unknown_name(kind, name, known)
    return {name: _typed(name, value, hints[name]) for name, value in changes.items()}


def environment_settings(assignments: Sequence[str], options: Iterable[str]) -> dict[str, Any]:
    """What ``--env NAME=VALUE`` sets of the environment.

    Args:
        assignments: The texts.
        options: Fields of ``EnvConfig`` that the command sets otherwise, and that are no names here.

    Raises:
        ConfigError: If a name is unknown or one of `options`, or a value has the wrong type.
    """
    changes = parse_assignments(assignments, "setting", "batch_size=16")
    taken = sorted(set(options) & set(changes))
    if taken:
        raise ConfigError(
            f"--env sets {', '.join(taken)}, which this command has options of its own for, or takes from the policy, "
            "the images or what it compares."
        )
    return typed(EnvConfig, changes, "setting of the environment")


def device_of(device: str, gpus_per_worker: float) -> str:
    """What a command's options say of the device: with GPUs of a cluster's workers this machine needs none.

    Raises:
        ConfigError: If the device is not there.
    """
    return "cuda" if gpus_per_worker else str(resolve_device(device))


def tasks_of(ray: str | None, gpus_per_worker: float) -> Tasks | None:
    """The cluster that the cells of a command are tasks of, connected to; None without one.

    Raises:
        ConfigError: If it cannot be reached or has no room for a task, or GPUs are asked for without one.
    """
    EnvConfig(ray=ray, gpus_per_worker=gpus_per_worker)  # which knows what can be
    if ray is None:
        return None
    tasks = Tasks(ray, gpus_per_worker)
    tasks.connect()
    return tasks


def describe(hint: Any) -> str:
    """A type in words, as errors have it."""
    if hint is type(None):
        return "none"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list such as 64,64"
    return {int: "an integer", float: "a number", bool: "true or false", str: "text"}.get(hint, str(hint))


def _typed(name: str, value: Any, hint: Any) -> Any:
    for read in (_as_given, _from_text):
        for option in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
            try:
                return read(value, option)
            except (TypeError, ValueError):
                continue
    raise ConfigError(f"{name} is {shortened(value)}; expected {describe(hint)}.")


def _as_given(value: Any, hint: Any) -> Any:
    """The value, if it has the type already.

    Raises:
        TypeError: If not.
    """
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        kind = get_args(hint)[0]
        return tuple(item if kind is str and isinstance(item, str) else _as_given(item, kind) for item in value)
    if get_origin(hint) is dict and isinstance(value, dict):
        return value
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(float(value))
    if hint in (int, bool, type(None)) and type(value) is hint:
        return value
    raise TypeError(value)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(value)
    return value


def _from_text(value: Any, hint: Any) -> Any:
    """What text stands for, of a type.

    Raises:
        TypeError: If the value is no text.
        ValueError: If it stands for nothing of that type.
    """
    if not isinstance(value, str):
        raise TypeError(value)
    if hint is type(None) and value.lower() in _NONE:
        return None
    if hint is bool and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if hint is int or hint is float:
        return _finite(hint(value))
    if hint is str:
        return value
    if get_origin(hint) is tuple:
        items = [item for item in value.strip("()[] ").replace(",", " ").split() if item]
        return tuple(_from_text(item, get_args(hint)[0]) for item in items)
    raise ValueError(value)
