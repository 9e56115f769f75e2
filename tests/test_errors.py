"""Shared errors and checks: what came, what was expected, what to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from l2o_env.errors import ConfigError, one_line, require_integer, require_integers, unknown_name


@dataclass(frozen=True)
class _Counts:
    images: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require_integers(self, "images", expected="a number of images")
        require_integers(self, "seed", least=0)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_are_pythons_and_numpys(value: int) -> None:
    assert type(require_integer("n", value)) is int
    counts = _Counts(value, value)
    assert (counts.images, counts.seed) == (3, 3)
    assert type(counts.images) is int


@pytest.mark.parametrize(
    ("value", "least", "message"),
    [
        (0, 1, r"n is 0; expected an integer >= 1\."),
        (np.int64(1), 2, r"n is np\.int64\(1\); expected an integer >= 2\."),
        (True, 0, r"n is True; expected an integer >= 0\."),
        (np.True_, 0, r"n is np\.True_; expected"),
        (2.0, 1, r"n is 2\.0; expected"),
        ("2", 1, r"n is '2'; expected"),
        (None, 1, "n is None; expected"),
    ],
)
def test_what_is_no_integer_or_too_small(value: object, least: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_integer("n", value, least)


def test_fields_of_settings_say_what_they_count() -> None:
    with pytest.raises(ConfigError, match=r"^images is 0; expected a number of images\.$"):
        _Counts(images=0)
    with pytest.raises(ConfigError, match=r"^seed is -1; expected an integer >= 0\.$"):
        _Counts(seed=-1)


def test_an_unknown_name_lists_the_known_ones_and_the_closest() -> None:
    error = unknown_name("reward", "val_los", ("val_loss", "other"))
    assert str(error) == "Unknown reward 'val_los'. Did you mean 'val_loss'? Known: 'other', 'val_loss'."
    assert str(unknown_name("reward", 3, ("a",))) == "Unknown reward 3. Known: 'a'."


def test_one_line_of_an_error() -> None:
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert one_line(KeyError()) == "KeyError"
