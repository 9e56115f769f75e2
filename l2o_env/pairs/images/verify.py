"""Decodes every image file once, before anything is trained, and remembers which of them cannot be used."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import get_args

from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.pairs.announce import announced
from l2o_env.pairs.cache import cache_folder
from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.pairs.images.listing import Listing, OnError
from l2o_env.safe_json import read_json

FORMAT = 1
"""Part of the key of what is kept. Raise it whenever files are accepted that were not before, or the other way round.
"""
MANY = 5000
"""So many images take a while, so that something is said."""
_SHOWN = 5
_MAX_VERDICT = 64 * 2**20
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
    problems = _problems(listing)
    if not problems:
        return listing
    shown = " ".join(str(error) for error in list(problems.values())[:_SHOWN])
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    counted = f"{len(problems)} of {len(listing)} {listing.name} cannot be used"
    if on_error == "raise" or len(problems) == len(listing):
        hint = " Mend or remove them, or give on_error=skip." if on_error == "raise" else ""
        raise UnreadableError(f"{counted}. {shown}{more}{hint}")
    _log.warning("%s and are skipped. %s%s", counted, shown, more)
    return listing.take([i for i in range(len(listing)) if i not in problems])


def _problems(listing: Listing) -> dict[int, ConfigError]:
    """What is wrong with the images that cannot be used, by index."""
    try:
        path = _verdict_path(listing)
    except OSError:  # a file that is gone, which decoding names
        return _decoded(listing, range(len(listing)))
    doubtful = _read_verdict(path)
    if doubtful is not None and all(0 <= i < len(listing) for i in doubtful):
        return _decoded(listing, doubtful)
    problems = _decoded(listing, range(len(listing)))
    with suppress(OSError):  # else everything is looked at again the next time
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(sorted(problems)), encoding="utf-8")
    return problems


def _verdict_path(listing: Listing) -> Path:
    """Where the indices of the images that cannot be used are kept."""
    key = hashlib.sha256(f"{FORMAT}\n{listing.fingerprint()}".encode()).hexdigest()
    return cache_folder() / f"verified-{key[:32]}.json"


def _read_verdict(path: Path) -> list[int] | None:
    """Indices of images; None if nothing is kept, or it is damaged."""
    try:
        indices = read_json(path, "it is made anew.", most=_MAX_VERDICT)
    except (OSError, ConfigError):
        return None
    return indices if isinstance(indices, list) and all(type(i) is int for i in indices) else None


def _decoded(listing: Listing, indices: Sequence[int]) -> dict[int, ConfigError]:
    """Decodes images in threads; returns what is wrong with those that fail, by index."""
    text = f"Looking at {len(indices):,} {listing.name} once; the next start is quick"
    announcement = announced(text, len(indices)) if len(indices) > MANY else nullcontext(lambda: None)
    problems = {}
    with announcement as advance, ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for i, error in zip(indices, pool.map(partial(_error_of, listing), indices), strict=True):
            advance()
            if error is not None:
                problems[i] = error
    return problems


def _error_of(listing: Listing, index: int) -> ConfigError | None:
    try:
        listing[index]
    except ConfigError as error:
        return error
    return None
