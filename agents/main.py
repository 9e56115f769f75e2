"""The command line: ``l2o`` and its commands; ``python train_policy.py`` is ``l2o train``."""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

DESCRIPTION = """Trains policies that set one learning rate per layer, evaluates them on pairs,
and shows what they do."""


class Command(NamedTuple):
    """What has to be known of a command before it is loaded, so that help is quick: PyTorch takes seconds.

    Attributes:
        module: Of the package ``commands`` beside this file.
        settings: Its dataclass there, or in a module of its own, which is the command line.
        run: What runs it.
        summary: A line of help.
        complete: What takes the settings and the names of those that were given, and fills in others from a file.
    """

    module: str
    settings: str
    run: str
    summary: str
    complete: str = ""


COMMANDS: dict[str, Command] = {
    "train": Command(
        "train", "train_options:TrainArgs", "train", "trains a policy, and evaluates it: the main job",
        "saved_settings:completed",
    ),
    "finetune": Command("finetune", "FinetuneArgs", "finetune", "fine-tunes a network with learned rates"),
    "evaluate": Command(
        "evaluate", "evaluate_options:EvaluateArgs", "evaluate_command", "evaluates policies beside opponents on pairs"
    ),
    "plot": Command("plot", "PlotArgs", "plot_command", "draws what policies do to each layer"),
    "report": Command("report", "ReportArgs", "report_command", "writes a run or an evaluation as one HTML page"),
    "opponents": Command("opponents", "OpponentsArgs", "opponents_command", "says what the names of opponents mean"),
    "reproduce": Command("reproduce", "ReproduceArgs", "reproduce", "prints reference figures beside ours"),
    "audit": Command("audit", "AuditArgs", "audit", "says how well V ranks real accuracy"),
    "import-asg": Command("import_asg", "ImportAsgArgs", "import_asg", "converts a checkpoint of the released ASG"),
    "table": Command("table", "paper_table:TableArgs", "table_command", "runs the rows of the paper's analysis"),
    "adapt": Command("adapt", "AdaptArgs", "adapt_command", "adapts a network to real images without labels"),
    "data": Command("data", "DataArgs", "data", "puts a data set together from packages of free images"),
    "attention": Command("attention", "AttentionArgs", "attention_command", "shows where networks look, by Grad-CAM"),
}  # fmt: skip
"""By name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``l2o``.

    Args:
        arguments: The command line without the program's name; None takes that of the process.

    Returns:
        The exit status: 0, 2 for settings that cannot work, a folder or a standard output that cannot be written, or
        memory that ran out, 130 after Ctrl-C, 143 and 129 after SIGTERM and SIGHUP.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, TextIOWrapper):  # names of files may hold what no terminal, or not this one, can show
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            return _run(arguments)
        finally:
            _flush()
    except BrokenPipeError:  # whoever read has seen enough; nothing more can be said, not even at the exit
        _forget_output()
        return 0
    except OSError as error:
        try:  # whether it is the output's error: then it comes again
            print(flush=True)
        except OSError:
            _forget_output()
            print(f"error: Standard output cannot be written: {error.strerror}.", file=sys.stderr)
            return 2
        raise


def _flush() -> None:
    if sys.stdout is not None:  # as it is where standard output is closed
        sys.stdout.flush()


def _forget_output() -> None:
    """Lets what waits for standard output, and what comes after it, go nowhere, which Python's exit could not bear."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("--help", "-h"):
        print(_usage())
        return 0
    if name == "--version":
        from l2o_env import __version__

        print(f"l2o-env {__version__}")
        return 0
    if name == "--print-completion":
        from .commands.completion import completion
        from .commands.option_names import as_option

        print(completion({name: [*map(as_option, _options(command))] for name, command in COMMANDS.items()}))
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        print(f"error: Unknown command {name!r}.{hint} Known: {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    return _run_command(name, rest)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: l2o COMMAND [OPTIONS]", "", DESCRIPTION, "", "commands:", *lines, "",
            "l2o COMMAND --help has the options of a command, l2o --version the version,",
            "l2o --print-completion what completes them in bash and zsh.",
        ]
    )  # fmt: skip


def _run_command(name: str, arguments: list[str]) -> int:
    from l2o_env.errors import ConfigError, WorkerError, one_line

    from .commands.option_names import given_options

    try:
        given = given_options(f"l2o {name}", arguments, _options(COMMANDS[name]))
    except ConfigError as error:  # told before the rest is loaded, which takes seconds
        print(f"error: {error}", file=sys.stderr)
        return 2

    import torch

    from l2o_env.results.run_folder import WriteError

    from .commands.command_line import read
    from .commands.interrupts import exit_status, raised_signals

    kind, run, complete = _loaded(COMMANDS[name])
    try:
        settings = read(kind, f"l2o {name}", arguments, getattr(kind, "groups", {}))
        settings = complete(settings, given)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(format="%(message)s")
    logging.getLogger("l2o_env").setLevel(logging.INFO)
    try:
        with raised_signals():
            return run(settings)
    except (ConfigError, WriteError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except torch.cuda.OutOfMemoryError as error:
        mend = _needs_less_memory(_options(COMMANDS[name]))
        print(f"error: The memory of the device ran out: {one_line(error)[:300]} {mend}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("Interrupted.", file=sys.stderr)
        return exit_status(interrupt)


def _needs_less_memory(options: Collection[str]) -> str:
    """What a command that has these options can do where memory ran out."""
    ways = {
        "num_envs": "fewer networks side by side (--num-envs; l2o_env.fitting_num_envs says how many fit)",
        "seeds": "fewer runs (--seeds)",
        "env": "smaller batches (--env batch_size=...)",
        "hp": "smaller batches (--hp batch_size=...)",
        "device": "the CPU (--device cpu)",
    }
    if "env" in options:  # then those of `--hp`, if there are any, are of something else
        del ways["hp"]
    found = [text for option, text in ways.items() if option in options]
    return f"Take {', or '.join(found)}." if found else ""


def _options(command: Command) -> dict[str, str]:
    """Names and types of the options, from the source."""
    from .commands.option_names import options_in

    module, _, kind = command.settings.rpartition(":")
    path = Path(__file__).parent / "commands" / f"{module or command.module}.py"
    return options_in(path.read_text(encoding="utf-8"), kind)


def _loaded(command: Command) -> tuple[Any, Callable[[Any], int], Callable[[Any, list[str]], Any]]:
    """The settings' dataclass, what runs them, and what fills them in."""

    def load(name: str) -> Any:
        module, _, thing = name.rpartition(":")
        return getattr(import_module(f".commands.{module or command.module}", __package__), thing)

    complete = load(command.complete) if command.complete else lambda settings, _: settings
    return load(command.settings), load(command.run), complete


def with_default_command(arguments: list[str]) -> list[str]:
    """``python train_policy.py [options]`` is ``l2o train [options]``."""
    known = arguments[:1] and (arguments[0] in COMMANDS or arguments[0] == "--version")
    return arguments if known else ["train", *arguments]
