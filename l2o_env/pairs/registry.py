"""The registry of pairs: a name, with settings or without, to a pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from l2o_env.errors import ConfigError, shortened, unknown_name
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.spec import LABEL, label, parse

Factory = Callable[..., Pair]
SettingsCheck = Callable[[Mapping[str, Any]], object]
FamilySplit = Literal["train", "test"]


class _Entry(NamedTuple):
    factory: Factory
    split: FamilySplit | None
    settings: SettingsCheck | None


_registry: dict[str, _Entry] = {}
_taken: dict[str, Pair] = {}


def register(
    name: str, factory: Factory, *, split: FamilySplit | None = None, settings: SettingsCheck | None = None
) -> None:
    """Registers a pair under a name.

    Args:
        name: The name, as ``make`` and ``gym.make(..., pairs=name)`` take it.
        factory: Called with the keywords of :func:`make`; returns the pair.
        split: ``"train"`` if policies may be trained on it by default, ``"test"`` if it is held out for
            transfer, ``None`` if it belongs to neither list.
        settings: Called with the keywords wherever a pair is named, so that a wrong one is told before anything is
            built; raises ``ConfigError``. None: whatever is wrong is told when the pair is built.

    Raises:
        ValueError: If the name is taken.
    """
    if name in _registry:
        raise ValueError(f"A pair named {name!r} is registered already; choose another name, or unregister that one.")
    _registry[name] = _Entry(factory, split, settings)


def unregister(name: str) -> None:
    """Takes a name back, such as one that a notebook's cell registers each time that it is run.

    Raises:
        ConfigError: If no pair of that name is registered.
    """
    if name not in _registry:
        raise unknown_name("pair", name, _registry)
    del _registry[name]
    _make_default.cache_clear()  # which may hold a pair of that name


def take(text: str, pair: Pair) -> None:
    """From now on, a name stands for a pair that was built elsewhere, such as on another node.

    Args:
        text: The name, with settings or without; it need not be registered here.
        pair: The pair.
    """
    _taken[text] = pair


def names(split: FamilySplit | None = None) -> tuple[str, ...]:
    """Names of the registered pairs, in the order of registration; of one split only if given."""
    return tuple(name for name, entry in _registry.items() if split is None or entry.split == split)


def check(text: str) -> None:
    """Raises ``ConfigError`` unless ``text`` is the name of a registered pair, with settings that it has or without."""
    if text in _taken:
        return
    entry, settings = _entry(text)
    if entry.settings is not None:
        entry.settings(settings)


def check_all(texts: Iterable[str]) -> None:
    """Raises ``ConfigError`` unless all are pairs, and no two that differ are called the same in tables and logs."""
    called: dict[str, str] = {}
    for text in texts:
        check(text)
        other = called.setdefault(label(text), text)
        if other != text:
            raise ConfigError(
                f"Two pairs are called {shortened(label(text))} in tables and logs, {shortened(other)} and "
                f"{shortened(text)}; give one another name: label=NAME."
            )


def _entry(text: str) -> tuple[_Entry, dict[str, Any]]:
    """What is registered, and the settings of the text but for its label."""
    name, settings = parse(text)
    if name not in _registry:
        raise unknown_name("pair", name, _registry)
    return _registry[name], {key: value for key, value in settings.items() if key != LABEL}


def make(name: str, **kwargs: Any) -> Pair:
    """Builds a pair by name; without keywords the pair is built once per process and shared.

    Args:
        name: A registered name, or one with settings: ``"folders:source=renders,target=photos"`` (see ``spec``).
        **kwargs: Settings; they replace those of the name.

    Raises:
        ConfigError: If no pair of that name is registered; the message names the closest.
    """
    if not kwargs:
        return _taken[name] if name in _taken else _make_default(name)
    entry, settings = _entry(name)
    return entry.factory(**{**settings, **{key: value for key, value in kwargs.items() if key != LABEL}})


@lru_cache(maxsize=64)  # pairs that are drawn at random would fill the memory
def _make_default(text: str) -> Pair:
    entry, settings = _entry(text)
    return entry.factory(**settings)
