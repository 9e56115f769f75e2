"""What a policy is compared with: ``l2o opponents``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..opponents import EXPLAINED, EXPLAINED_TUNED
from .console import Reporter

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class OpponentsArgs:
    """Says what the names of opponents stand for, which tables list beside a policy.

    `l2o evaluate --opponents` takes the hand-made ones by name; `--tuned` those that are tuned, without `tuned-`.
    docs/glossary.md has the other words.
    """


def opponents_command(args: OpponentsArgs, reporter: Reporter | None = None) -> int:
    """Runs ``l2o opponents``; returns the exit status."""
    reporter = reporter or Reporter()
    reporter.out.print(names_table("Hand-made, the same on every pair", EXPLAINED))
    reporter.out.print(names_table("Tuned by V on the very pair (--tuning-episodes)", EXPLAINED_TUNED))
    return 0


def names_table(title: str, explained: Mapping[str, str]) -> Table:
    """A table of names and what they stand for, which wraps at words."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("name", no_wrap=True)
    table.add_column("what it does")
    for name, text in explained.items():
        table.add_row(name, text)
    return table
