"""A data set of two classes and five packages, in the layouts of the true ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from l2o_env.pairs.photos.manifest import Entry
from tests.pairs.photos.packages import encoded, picture_font, resource_file, write

CLASSES = ("bird", "fish")
README = """Files of this folder

green.webp
other.webp
License: CC0-1.0

blue.webp
License: CC-BY-SA-4.0
"""


class Packages(NamedTuple):
    """Folder of the unpacked packages, and the list of the images in them."""

    folder: Path
    entries: tuple[Entry, ...]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    """Packages that are there as a whole, and nothing installed beside them."""
    made = make(tmp_path / "packages")
    for module in ("assemble", "manifest"):
        monkeypatch.setattr(f"l2o_env.pairs.photos.{module}.entries", lambda: made.entries)
    monkeypatch.setattr("l2o_env.pairs.photos.assemble.classes", lambda: CLASSES)
    monkeypatch.setattr("agents.commands.data.entries", lambda: made.entries)
    monkeypatch.setattr("l2o_env.pairs.photos.packages.SYSTEM", tmp_path / "system")
    return made


def make(folder: Path) -> Packages:
    """Writes the packages."""
    rng = np.random.default_rng(0)
    entries: list[Entry] = []
    fonts: dict[int, bytes] = {}
    resources = {"explore/resource/README": README.encode()}

    def add(style: str, label: str, original: str, content: bytes) -> bytes:
        part = "target" if style in ("tuxpaint", "gcompris") else "source"
        digest = hashlib.sha256(content).hexdigest()[:16]
        entries.append(Entry(part, label, style, original, digest))  # type: ignore[arg-type]
        return content

    for k, label in enumerate(CLASSES):
        for i in range(2):
            colour, code = rng.integers(0, 255, 3).tolist(), 0x1F400 + 2 * k + i
            webp = add("fluent", label, f"{code:x}", encoded((20, 16), colour, "webp"))
            write(folder / f"npm/package/assets/{code:x}.webp", webp)
            fonts[code] = add("noto", label, f"{code:x}", encoded((16, 20), colour))
            clip = add("openclip", label, f"animals/{label}_{i}.png", encoded((30, 12), colour))
            write(folder / f"deb/usr/share/openclipart/png/animals/{label}_{i}.png", clip)
            stamp = add("tuxpaint", label, f"animals/{label}{i}.png", encoded((24, 12), colour))
            write(folder / f"deb/usr/share/tuxpaint/stamps/animals/{label}{i}.png", stamp)
        name = f"explore/resource/{('green', 'blue')[k]}.webp"
        resources[name] = add("gcompris", label, name, encoded((20, 10), (10, 200, 30), "webp", margin=0))
    write(folder / "npm/package/assets/1f600.webp", encoded((8, 8), (0, 0, 0), "webp"))
    write(folder / "deb/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", picture_font(fonts))
    inside = {f"gcompris/src/activities/{name}": content for name, content in resources.items()}
    write(folder / "deb/usr/share/gcompris-qt/rcc/explore.rcc", resource_file(inside))
    return Packages(folder, tuple(sorted(entries)))
