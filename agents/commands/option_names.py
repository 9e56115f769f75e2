"""Options of a command line, as the source has them: what is mistyped is told before PyTorch is loaded."""

from __future__ import annotations

import ast
import difflib
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from l2o_env.errors import ConfigError

_NUMBER = re.compile(r"(?:Annotated\[)?(int|float)(?: \| None)?(?:,|$)")
_KINDS = {"int": (int, "an integer"), "float": (float, "a number")}


def fields_in(source: str, kind: str) -> Iterator[tuple[str, str, str]]:
    """The fields of a dataclass.

    Args:
        source: Of the dataclass, or of a module that has it.
        kind: Its name.

    Yields:
        Name, type as it is written, and the text below it on one line (who shows it wraps it), or "".
    """
    definitions = [node for node in ast.parse(textwrap.dedent(source)).body if isinstance(node, ast.ClassDef)]
    (body,) = [definition.body for definition in definitions if definition.name == kind]
    for statement, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            hint = ast.unparse(statement.annotation)
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            if not hint.startswith("ClassVar"):
                yield statement.target.id, hint, " ".join(str(text).split())


def options_in(source: str, kind: str) -> dict[str, str]:
    """Names and types of the fields that are options, no positional arguments; arguments as of :func:`fields_in`."""
    return {name: hint for name, hint, _ in fields_in(source, kind) if not hint.startswith("Positional")}


def as_option(name: str) -> str:
    """A field's name as the command line has it."""
    return f"--{name.replace('_', '-')}"


def given_options(prog: str, arguments: Sequence[str], options: Mapping[str, str]) -> list[str]:
    """Names of the fields that a command line gives as options.

    Args:
        prog: How the command is called.
        arguments: The command line behind that.
        options: Names and types of the fields that are options.

    Raises:
        ConfigError: If there is no such option, or its value is no number and should be: tyro has long words for both.
    """
    known = {as_option(name): name for name in options}
    found = []
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        name = name.replace("_", "-")
        if not name.startswith("--") or name in ("--help", "--") or name.startswith(("--tyro-", "--help-", "--no-")):
            continue
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"Unknown option {argument!r}.{meant} `{prog} --help` lists all.")
        found.append(known[name])
        given = value if equals else next(iter(arguments[place + 1 : place + 2]), "--")
        if not given.startswith("--"):
            _check_number(name, given, options[known[name]])
    return found


def _check_number(option: str, text: str, hint: str) -> None:
    number = _NUMBER.match(hint)
    if number is None or text.lower() == "none":
        return
    kind, words = _KINDS[number[1]]
    try:
        kind(text)
    except ValueError as error:
        raise ConfigError(f"{option} is {text!r}; expected {words}.") from error
