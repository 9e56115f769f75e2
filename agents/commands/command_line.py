"""Reads a command line into the dataclass of a command's settings: its help, and errors of one line."""

from __future__ import annotations

import inspect
import io
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import MISSING, Field, field, fields, make_dataclass
from typing import Annotated, Any, TextIO, TypeVar, get_type_hints

import tyro
from tyro.conf import OmitArgPrefixes, arg

from .option_names import fields_in, given_options, options_in

Settings = TypeVar("Settings")


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
    given_options(prog, arguments, options_in(inspect.getsource(kind), kind.__name__))
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
    hints = get_type_hints(kind, include_extras=True)
    helps = {name: text for name, _, text in fields_in(inspect.getsource(kind), kind.__name__) if text}
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
