"""Splits the held-out synthetic images from those to train on, and draws some of many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError


def hold_out(
    strata: NDArray[np.int64], groups: Sequence[str] | None, n_held_out: int, seed: int, what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A seeded, stratified split that never divides what belongs together.

    Groups are drawn class by class until a class has its share, in proportion to its images. Every class keeps a group
    to train on, and has one that is held out where it has two; single images only as far as ``n_held_out`` goes.

    Args:
        strata: Class of each image ``(n,)``; all the same where it has none.
        groups: What belongs together, by a name for each image; None: every image stands alone.
        n_held_out: Images to hold out: exactly so many where every image stands alone, else about so many.
        seed: Determines the split.
        what: What messages call the images.

    Returns:
        Indices to train on and indices held out, both in ascending order.

    Raises:
        ConfigError: If there are too few images or groups.
    """
    n = len(strata)
    classes, counts = np.unique(strata, return_counts=True)
    most = n - len(classes)
    if not 0 < n_held_out <= most:
        hint = (
            f"give n_validation=1 to {most}, such as n_validation={max(most // 5, 1)}" if most else "give more images"
        )
        raise ConfigError(
            f"n_validation is {n_held_out} (the default, unless the pair was given another), but there are {n} {what}, "
            f"and one of each class is needed to train on; {hint}."
        )
    names = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    rng = np.random.default_rng([seed, n])
    held_out = np.zeros(n, np.bool_)
    # Groups cannot be cut to an exact number, so there each class has a share of its own.
    shares = _shares(counts, n_held_out) if groups is None else np.maximum(1, np.round(n_held_out * counts / n))
    for stratum, share in zip(classes, shares, strict=True):
        members = np.flatnonzero(strata == stratum)
        order = rng.permutation(np.unique(names[members]))
        taken = 0
        for group in order[:-1]:  # the last one is always left to train on
            if taken >= share:
                break
            mine = members[names[members] == group]
            held_out[mine] = True
            taken += len(mine)
    if not held_out.any():
        raise ConfigError(
            f"The {what} belong to one group each class, so none can be held out; give more than copies of an image, "
            "frames of one place or views of one object."
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _shares(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Images to hold out of each class: `n` in all, in proportion, one of each if `n` allows it, never all of one.

    Args:
        counts: Images of each class ``(n_classes,)``.
        n: At most ``(counts - 1).sum()``.
    """
    most = counts - 1
    least = np.minimum(most, 1) * (np.minimum(most, 1).sum() <= n)
    wanted = n * counts / counts.sum()
    shares = np.clip(np.floor(wanted).astype(np.int64), least, most)
    while shares.sum() < n:  # the largest remainders are rounded up
        shares[np.argmax(np.where(shares < most, wanted - shares, -np.inf))] += 1
    while shares.sum() > n:
        shares[np.argmin(np.where(shares > least, wanted - shares, np.inf))] -= 1
    return shares


def draw(strata: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """A seeded, stratified draw: of each class its share, give or take one image, and at least one if ``n`` allows it.

    Args:
        strata: Class of each image ``(n_images,)``.
        n: Images to draw; 0, or as many as there are: all.
        seed: Determines the draw.

    Returns:
        Indices in ascending order.
    """
    if not 0 < n < len(strata):
        return np.arange(len(strata))
    order = np.random.default_rng([seed, len(strata), 1]).permutation(len(strata))
    quantile = np.empty(len(strata))  # place of an image in the shuffled images of its class, from 0 to 1
    for stratum in np.unique(strata):
        members = order[strata[order] == stratum]
        quantile[members] = np.arange(len(members)) / len(members)
    return np.sort(order[np.argsort(quantile[order], kind="stable")[:n]])
