"""Decodes every image file once, before anything is trained, and remembers which of them cannot be used."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.pairs.announce import announced
from l2o_env.pairs.augmentation import VOID
from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.pairs.images.label_maps import LABEL_MAPS
from l2o_env.pairs.images.listing import Listing, OnError
from l2o_env.pairs.images.remembered import keep, place_of, read_kept

FORMAT = 2
"""Part of the key of what is kept. Raise it whenever files are accepted that were not before, or the other way round.
"""
MANY = 5000
"""So many images take a while, so that something is said."""
_SHOWN = 5
_log = logging.getLogger("l2o_env")


def verified(listing: Listing, on_error: OnError) -> Listing:
    """The images that can be used, all of which were decoded, now or by an earlier call.

    What an earlier call found is kept in the cache folder, for as long as names, sizes and times of the files and the
    label map are the same; images that could not be used then are looked at again.

    Args:
        listing: The images.
        on_error: What those that cannot be used do: ``"skip"`` leaves them out, counted and logged.

    Raises:
        UnreadableError: If an image cannot be used and ``on_error`` is ``"raise"``, or none can.
        ConfigError: If ``on_error`` is no such name.
    """
    if on_error not in get_args(OnError):
        raise unknown_name("on_error", on_error, get_args(OnError))
    problems, pixels = _look(listing)
    if listing.dense and len(problems) < len(listing):
        check_pixels(listing, pixels)
    if not problems:
        return listing
    shown = " ".join(str(error) for error in list(problems.values())[:_SHOWN])
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    counted = f"{len(problems)} of {len(listing)} {listing.name} cannot be used"
    if on_error == "raise" or len(problems) == len(listing):
        hint = " Mend or remove them, or give on_error=skip." if len(problems) < len(listing) else ""
        raise UnreadableError(f"{counted}. {shown}{more}{hint}")
    _log.warning("%s and are skipped. %s%s", counted, shown, more)
    return listing.take([i for i in range(len(listing)) if i not in problems])


def _look(listing: Listing) -> tuple[dict[int, ConfigError], NDArray[np.int64]]:
    """What is wrong with the images that cannot be used, by index; and pixels of each class, those of none last."""
    try:
        place = place_of("verified", f"{FORMAT}\n{listing.fingerprint()}")
    except OSError:  # a file that is gone, which decoding names
        return _decoded(listing, range(len(listing)))
    known = _checked(read_kept(place), len(listing))
    if known is not None:
        doubtful, pixels = known
        again, more = _decoded(listing, doubtful)
        return again, pixels + more
    problems, pixels = _decoded(listing, range(len(listing)))
    keep(place, {"unusable": sorted(problems), "pixels": pixels.tolist()})
    return problems, pixels


def check_pixels(listing: Listing, pixels: NDArray[np.int64]) -> None:
    """Looks whether the masks of a listing can be meant as they are read.

    Args:
        listing: The images with masks.
        pixels: Of each class, with those of none last.

    Raises:
        ConfigError: If at most one class has any, or the values are those of another label map.
    """
    of_classes, without = pixels[: len(listing.classes)], int(pixels[-1])
    absent = [name for name, n in zip(listing.classes, of_classes, strict=True) if n == 0]
    map_name = listing.label_map.name if listing.label_map is not None else ""
    # Train ids run to 18, where the ids of the classes from traffic lights on begin: vegetation, sky, cars and all.
    if map_name == LABEL_MAPS["ids"].name and not of_classes[6:].any():
        setting = f"{listing.name.split()[0]}_labels"
        raise ConfigError(
            f"By the {map_name} the {listing.name} show only {_listed(set(listing.classes) - set(absent))}: their "
            f"masks hold no value above 18, as train ids do. If they are train ids, give {setting}=train_ids."
        )
    if len(listing.classes) - len(absent) < 2:
        hint = " Masks of 0 and 255 have one class alone, because 255 stands for none: save them with 0 and 1."
        raise ConfigError(
            f"No pixel of the {listing.name} is of {_listed(absent)}: there is nothing to tell apart by the {map_name}."
            + (hint if without else " Look at the values of the masks.")
        )
    if absent:
        _log.warning(
            "No pixel of the %s is of %s; expected all %d classes.", listing.name, _listed(absent), len(of_classes)
        )
    if without > of_classes.sum():
        share = without / pixels.sum()
        _log.warning("%.0f %% of the pixels of the %s are of no class, by the %s.", 100 * share, listing.name, map_name)


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(map(repr, shown[:_SHOWN])) + (f" and {len(shown) - _SHOWN} others" if len(shown) > _SHOWN else "")


def _checked(kept: Any, n: int) -> tuple[list[int], NDArray[np.int64]] | None:
    """Indices of images and numbers of pixels; None if nothing is kept, or something else."""
    try:
        indices, pixels = kept["unusable"], kept["pixels"]
    except (KeyError, TypeError):
        return None
    for values, size in ((indices, None), (pixels, VOID + 1)):
        if not isinstance(values, list) or not all(type(i) is int and i >= 0 for i in values):
            return None
        if size is not None and len(values) != size:
            return None
    return (indices, np.array(pixels, np.int64)) if all(i < n for i in indices) else None


def _decoded(listing: Listing, indices: Sequence[int]) -> tuple[dict[int, ConfigError], NDArray[np.int64]]:
    """Decodes images in threads; what is wrong with those that fail, by index, and pixels of the others' classes."""
    text = f"Looking at {len(indices):,} {listing.name} once; the next start is quick"
    announcement = announced(text, len(indices)) if len(indices) > MANY else nullcontext(lambda: None)
    problems, pixels = {}, np.zeros(VOID + 1, np.int64)
    with announcement as advance, ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for i, found in zip(indices, pool.map(partial(_tried, listing), indices), strict=True):
            advance()
            if isinstance(found, ConfigError):
                problems[i] = found
            elif found is not None:
                pixels += found
    return problems, pixels


def _tried(listing: Listing, index: int) -> ConfigError | NDArray[np.int64] | None:
    """What is wrong with an image, or how many pixels of its mask, if it has one, are of each class."""
    try:
        _, label = listing[index]
    except ConfigError as error:
        return error
    return np.bincount(label.ravel(), minlength=VOID + 1) if listing.dense else None
