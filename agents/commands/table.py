"""``l2o table``: the paper's table, or with ``--adaptation`` the one of what starts from it."""

from __future__ import annotations

from .adaptation_table import adaptation_table
from .console import Reporter
from .paper_table import TableArgs, paper_table_command


def table_command(args: TableArgs, reporter: Reporter | None = None) -> int:
    """Measures and prints the table; returns the exit status.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the folder cannot be written to.
    """
    args.check()
    reporter = reporter or Reporter()
    return adaptation_table(args, reporter) if args.adaptation else paper_table_command(args, reporter)
