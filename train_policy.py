"""The command line: ``python train_policy.py`` is ``l2o train``, and ``l2o`` has the other commands too."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

import tyro
from tyro.conf import subcommand

from agents.commands.adapt import AdaptArgs, adapt_command
from agents.commands.attention import AttentionArgs, attention_command
from agents.commands.audit import AuditArgs, audit
from agents.commands.evaluate import EvaluateArgs, evaluate_command
from agents.commands.finetune import FinetuneArgs, finetune
from agents.commands.import_asg import ImportAsgArgs, import_asg
from agents.commands.interrupts import exit_status, raised_signals
from agents.commands.paper_table import TableArgs
from agents.commands.plot import PlotArgs, plot_command
from agents.commands.report import ReportArgs, report_command
from agents.commands.reproduce import ReproduceArgs, reproduce
from agents.commands.table import table_command
from agents.commands.train import train
from agents.commands.train_options import TrainArgs
from l2o_env.errors import ConfigError
from l2o_env.inner.workers import WorkerError
from l2o_env.results.run_folder import WriteError

DESCRIPTION = "Trains policies that set one learning rate per layer, evaluates them on pairs, and shows what they do."
COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "train": (TrainArgs, train),
    "finetune": (FinetuneArgs, finetune),
    "evaluate": (EvaluateArgs, evaluate_command),
    "plot": (PlotArgs, plot_command),
    "report": (ReportArgs, report_command),
    "reproduce": (ReproduceArgs, reproduce),
    "audit": (AuditArgs, audit),
    "import-asg": (ImportAsgArgs, import_asg),
    "table": (TableArgs, table_command),
    "adapt": (AdaptArgs, adapt_command),
    "attention": (AttentionArgs, attention_command),
}
"""By name: the settings, which are the command line, and what runs them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``l2o``.

    Args:
        arguments: The command line without the program's name; None takes that of the process.

    Returns:
        The exit status: 0, 2 for settings that cannot work or a folder that cannot be written, 130 after Ctrl-C,
        143 and 129 after SIGTERM and SIGHUP.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Tyro resolves the command to one of the dataclasses; its parser exits by itself for --help and for bad syntax.
    kinds = tuple(Annotated[kind, subcommand(name)] for name, (kind, _) in COMMANDS.items())
    settings = tyro.cli(Union[kinds], prog="l2o", description=DESCRIPTION, args=arguments or ["--help"])  # type: ignore[call-overload] # noqa: UP007
    logging.basicConfig(format="%(message)s")
    logging.getLogger("l2o_env").setLevel(logging.INFO)
    try:
        with raised_signals():
            return dict(COMMANDS.values())[type(settings)](settings)
    except (ConfigError, WriteError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("Interrupted.", file=sys.stderr)
        return exit_status(interrupt)


def with_default_command(arguments: list[str]) -> list[str]:
    """``python train_policy.py [options]`` is ``l2o train [options]``."""
    return arguments if arguments[:1] and arguments[0] in COMMANDS else ["train", *arguments]


if __name__ == "__main__":
    sys.exit(main(with_default_command(sys.argv[1:])))
