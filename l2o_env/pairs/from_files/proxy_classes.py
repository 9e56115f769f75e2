"""Names of a proxy's classes, where anything says them, and its test images in their order."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l2o_env.errors import ConfigError, shortened
from l2o_env.models.adapted.by_name import is_name
from l2o_env.models.adapted.weights import read_tensors
from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.folder_listings import class_names, is_dense, list_classes, read_class_names
from l2o_env.pairs.images.labelled import in_order
from l2o_env.pairs.images.listing import Listing, existing_folder

ORDER = "classes.txt"
"""File in a folder of class folders that says their order, a name a line."""
_WORDS = range(1, 20)
"""Words of a name there."""
_LISTS = ("classes", "class_names", "categories")
_WORDNET = re.compile(r"n\d{8}")
"""Names of ImageNet's folders, whose order is that of its classes."""
_OR_SAY = f", or name yours in the order of the proxy's in a file {ORDER} beside the folders, one a line."
_log = logging.getLogger("l2o_env")


def proxy_classes(settings: ImageSettings, n_classes: int) -> tuple[str, ...] | None:
    """Names of the proxy's `n_classes` in the order of its outputs.

    Those of `proxy_data`; else what a checkpoint says under ``class_to_idx``, ``classes``, ``class_names`` or
    ``categories``; else what torchvision says of its weights. None if nothing says so many.
    """
    if settings.proxy_data is not None:
        folder = existing_folder(settings.proxy_data, "proxy_data")  # its images were looked at when it was trained
        named = is_dense(folder) or has_order(folder)
        return tuple(read_class_names(folder / ORDER, _WORDS)) if named else class_names(folder)
    if str(settings.weights) == "DEFAULT":
        names = _of_torchvision(settings.backbone)
    else:
        state = read_tensors(Path(settings.weights).expanduser())
        names = _of_checkpoint(state) if isinstance(state, Mapping) else ()
    return names if len(names) == n_classes else None


def ordered_classes(folder: Path, name: str) -> Listing:
    """Images of class folders, in the order of their names, or that which a file ``classes.txt`` beside them says.

    Args:
        folder: Where they are.
        name: What messages call the images.

    Raises:
        ConfigError: If the folder has no such folders, or the file names others.
    """
    listing = list_classes(folder, name)
    if not has_order(folder):
        return listing
    named = tuple(read_class_names(folder / ORDER, _WORDS))
    if sorted(named) != sorted(listing.classes):
        raise ConfigError(
            f"{folder / ORDER} names other classes than there are folders.{_differences(named, listing.classes)}"
        )
    return in_order(listing, named)


def has_order(folder: str | Path) -> bool:
    """Whether a folder of class folders says in which order they are."""
    return (Path(folder).expanduser() / ORDER).is_file()


def in_proxy_order(listing: Listing, known: Sequence[str] | None, *, published: bool) -> Listing:
    """The proxy's test images with their classes numbered as the proxy's.

    Args:
        listing: The images, with as many classes as the proxy has.
        known: Names of the proxy's classes, if anything says them.
        published: Whether those are the names of published weights, whose folders are mostly called otherwise.

    Raises:
        ConfigError: If they have other classes.
    """
    names = listing.classes
    if known is not None and set(known) == set(names):
        return listing if listing.dense else in_order(listing, tuple(known))
    if known is not None and not published:
        raise ConfigError(
            "The classes of proxy_test are matched by name with the proxy's, and are called otherwise."
            f"{_differences(known, names)} Rename them{_OR_SAY if not listing.dense else '.'}"
        )
    numbers = sorted(names, key=int) if all(name.isdecimal() for name in names) else list(names)
    if numbers != list(names) or (known is not None and not all(map(_WORDNET.fullmatch, names))):
        expected = numbers if known is None else known
        _log.warning(
            "The folders of proxy_test are taken for the proxy's classes in the order %s, …. If its first outputs are "
            "those of %s, …, say so: name the folders in that order in a file %s beside them, one a line.",
            ", ".join(map(shortened, names[:4])), ", ".join(map(shortened, expected[:4])), ORDER,
        )  # fmt: skip
    return listing


def _of_torchvision(backbone: object) -> tuple[str, ...]:
    from torchvision.models import get_model_weights, list_models

    if not isinstance(backbone, str) or not is_name(backbone) or backbone not in list_models():
        return ()
    known = list(get_model_weights(backbone))
    names: Sequence[str] = get_model_weights(backbone).DEFAULT.meta.get("categories", ()) if known else ()
    return tuple(names)


def _of_checkpoint(state: Mapping[Any, Any]) -> tuple[str, ...]:
    indices = state.get("class_to_idx")
    if isinstance(indices, Mapping) and all(isinstance(value, int) for value in indices.values()):
        names = sorted(indices, key=lambda name: indices[name])
        if _are_names(names) and sorted(indices.values()) == list(range(len(indices))):
            return tuple(names)
    return next((tuple(state[key]) for key in _LISTS if _are_names(state.get(key))), ())


def _are_names(values: object) -> bool:
    """Whether it is a list of names that differ."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        return False
    return len(set(values)) == len(values)


def _differences(known: Sequence[str], names: Sequence[str]) -> str:
    """What only one of the two has."""
    only = [sorted(set(a) - set(b)) for a, b in ((known, names), (names, known))]
    first, second = (", ".join(map(shortened, part[:3])) + (", …" if len(part) > 3 else "") for part in only)
    return f" Only the first has {first or 'none'}; only the second {second or 'none'}."
