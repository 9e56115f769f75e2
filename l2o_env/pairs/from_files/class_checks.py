"""Checks of the classes of source and target."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.pairs.images.labelled import Labelled

_log = logging.getLogger("l2o_env")


def require_same_classes(source: Labelled, target: Labelled | None) -> None:
    """Raises ``ConfigError`` that lists the classes that only one of the two has."""
    if target is None or set(source.classes) == set(target.classes):
        return
    only_source = sorted(set(source.classes) - set(target.classes))
    only_target = sorted(set(target.classes) - set(source.classes))
    raise ConfigError(
        f"The classes of the {source.name} and of the {target.name} differ: only the first have "
        f"{only_source or 'none'}, only the second have {only_target or 'none'}. Classes are matched by name; rename "
        f"or remove some.{_alike(only_source, only_target)}"
    )


def _alike(a: Sequence[str], b: Sequence[str]) -> str:
    """Tells of two names that differ in what is easily overlooked: capitals, spaces and other signs."""
    first = {_letters(name): name for name in a}
    for name in b:
        if _letters(name) in first:
            return f" {first[_letters(name)]!r} and {name!r} have the same letters."
    return ""


def _letters(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isalnum())


def _empty_classes(listing: Labelled) -> list[str]:
    counts = np.bincount(np.asarray(listing.labels), minlength=len(listing.classes))
    return [name for name, count in zip(listing.classes, counts, strict=True) if count == 0]


def warn_of_empty_classes(listing: Labelled) -> None:
    """Logs a warning that lists the classes without an image, if there are any."""
    empty = _empty_classes(listing)
    if empty:
        _log.warning(
            "These classes of the %s have no images: %s. Accuracies on them are over the other %d classes.",
            listing.name, empty, len(listing.classes) - len(empty),
        )  # fmt: skip


def require_every_class(listing: Labelled) -> None:
    """Raises ``ConfigError`` that lists the classes without an image."""
    empty = _empty_classes(listing)
    if empty:
        raise ConfigError(
            f"These classes of the {listing.name} have no images: {empty}. Add some or remove the classes."
        )
