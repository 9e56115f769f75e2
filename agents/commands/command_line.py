"""Reads a command line into the dataclass of a command's settings: its help, and errors of one line."""

from __future__ import annotations

import ast
import difflib
import inspect
import io
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import MISSING, Field, field, fields, make_dataclass
from typing import Annotated, Any, TextIO, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from l2o_env.errors import ConfigError

Settings = TypeVar("Settings")
_NUMBERS = {int: "an integer", float: "a number"}


def read(kind: type[Settings], prog: str, arguments: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Settings:
    """Settings from a command line; prints help and exits where that is asked for.

    Args:
        kind: The dataclass; the texts below its fields are their help.
        prog: How the command is called.
        arguments: The command line behind that.
        groups: Names of fields by the heading that help has them under, in the order of help; none: all together.

    Raises:
        ConfigError: If there is no such option, or a number is none.
        SystemExit: After help, and if the command line is wrong in other ways, which is told.
    """
    _check(kind, prog, arguments)
    form = _grouped(kind, groups) if groups else _form(kind.__name__, kind, [f.name for f in fields(kind)])  # type: ignore[arg-type]
    out, err = _like(sys.stdout), _like(sys.stderr)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            text = inspect.getdoc(kind) or ""
            given: Any = tyro.cli(form, prog=prog, description=text, args=list(arguments), config=(OmitArgPrefixes,))
    except SystemExit:
        # Written by us, because tyro neither wraps the description nor heeds NO_COLOR.
        wraps = bool({"-h", "--help"} & set(arguments))
        for stream, text in ((sys.stdout, _wrapped(_text(out)) if wraps else _text(out)), (sys.stderr, _text(err))):
            if stream is not None:
                stream.write(text)
        raise
    parts = [getattr(given, f.name) for f in fields(given)] if groups else [given]
    return kind(**{f.name: getattr(part, f.name) for part in parts for f in fields(part)})


def _like(stream: TextIO | None) -> io.TextIOWrapper:
    """A stream in memory that shows what another could show; that may be closed."""
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined]


def _wrapped(text: str) -> str:
    width = shutil.get_terminal_size().columns
    return "\n".join(textwrap.fill(line, width) if len(line) > width else line for line in text.split("\n"))


def _form(name: str, kind: type, names: Sequence[str], text: str = "") -> type:
    """A dataclass of some fields of another, with the help that stands below them."""
    hints, helps = get_type_hints(kind, include_extras=True), dict(_helps(kind))
    columns = []
    for f in (each for name in names for each in fields(kind) if each.name == name):
        hint = Annotated[hints[f.name], arg(help=helps[f.name])] if f.name in helps else hints[f.name]
        columns.append((f.name, hint, _default(f)))
    form = make_dataclass(name, columns, frozen=True, kw_only=True)
    form.__doc__ = text
    return form


def _default(f: Field[Any]) -> Any:
    given = {key: value for key in ("default", "default_factory") if (value := getattr(f, key)) is not MISSING}
    return field(**given)


def _grouped(kind: type, groups: Mapping[str, Sequence[str]]) -> type:
    """A dataclass of one dataclass for each group."""
    left = [f.name for f in fields(kind) if all(f.name not in names for names in groups.values())]
    groups = {**groups, **({"other": left} if left else {})}
    forms = {title: _form(title, kind, names) for title, names in groups.items()}
    return make_dataclass(kind.__name__, [(key, form, field(default_factory=form)) for key, form in forms.items()])


def _helps(kind: type) -> Iterator[tuple[str, str]]:
    """Name and text of each field that has one below it, on one line: who shows it wraps it."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield statement.target.id, " ".join(str(below.value.value).split())


def _check(kind: type, prog: str, arguments: Sequence[str]) -> None:
    """What tyro has long or no words for: names that are nearly right, and texts that are no numbers."""
    hints = get_type_hints(kind, include_extras=True)
    options = {f"--{f.name.replace('_', '-')}": hints[f.name] for f in fields(kind)}
    options = {name: hint for name, hint in options.items() if Positional not in getattr(hint, "__metadata__", ())}
    for place, argument in enumerate(arguments):
        name, equals, value = argument.replace("_", "-").partition("=") if argument.startswith("--") else ("", "", "")
        if not name or name in ("--help", "--") or name.startswith(("--tyro-", "--help-", "--no-")):
            continue
        if name not in options:
            close = difflib.get_close_matches(name, options, 1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"Unknown option {argument!r}.{meant} `{prog} --help` lists all.")
        given = value if equals else next(iter(arguments[place + 1 : place + 2]), "--")
        if not given.startswith("--"):
            _check_number(name, given, options[name])


def _check_number(option: str, text: str, hint: Any) -> None:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    kinds = set(get_args(hint) or (hint,)) - {type(None)}
    if len(kinds) > 1 or not kinds <= set(_NUMBERS) or text.lower() == "none":
        return
    (kind,) = kinds
    try:
        kind(text)
    except ValueError as error:
        raise ConfigError(f"{option} is {text!r}; expected {_NUMBERS[kind]}.") from error
