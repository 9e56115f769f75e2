"""Small packages in the layouts of the true ones: emoji, a font of pictures, clip art, stamps, Qt's resource files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def resource_file(files: Mapping[str, bytes], version: int = 3, packed: bool = False, flags: int = 0) -> bytes:
    """A Qt resource file.

    Args:
        files: Contents by path.
        version: Of the format, 1 to 3.
        packed: Whether contents are packed by zlib.
        flags: What each file is flagged with beside.
    """
    nodes: list[dict[str, Any]] = [{"name": "", "children": [], "content": None}]
    for path, content in files.items():
        node = nodes[0]
        *folders, last = path.split("/")
        for name in folders:
            inner = next((child for child in node["children"] if child["name"] == name), None)
            if inner is None:
                inner = {"name": name, "children": [], "content": None}
                node["children"].append(inner)
            node = inner
        node["children"].append({"name": last, "children": [], "content": content})
    ordered = [nodes[0]]  # children of one folder are neighbours
    for node in ordered:
        node["first"] = len(ordered)
        ordered += node["children"]
    names, data, tree = b"", b"", b""
    for k, node in enumerate(ordered):
        at = len(names)
        if k:
            text = node["name"].encode("utf-16-be")
            names += struct.pack(">HI", len(text) // 2, 0) + text
        if node["content"] is None:
            tree += struct.pack(">IHII", at, 2, len(node["children"]), node["first"])
        else:
            content = node["content"]
            stored = struct.pack(">I", len(content)) + zlib.compress(content) if packed else content
            tree += struct.pack(">IHHHI", at, packed | flags, 0, 0, len(data))
            data += struct.pack(">I", len(stored)) + stored
        tree += bytes(8) if version > 1 else b""
    head = struct.calcsize(">4s4I") + (4 if version > 2 else 0)
    offsets = (head, head + len(tree), head + len(tree) + len(data))
    header = struct.pack(">4s4I", b"qres", version, *offsets) + (bytes(4) if version > 2 else b"")
    return header + tree + data + names


def encoded(size: tuple[int, int], colour: Sequence[int], kind: str = "png", margin: int = 2) -> bytes:
    """An image of one colour in a transparent margin, as a file."""
    width, height = size
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[margin : height - margin, margin : width - margin] = (*colour, 255)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"lossless": True} if kind == "webp" else {}))
    return file.getvalue()


def picture_font(pictures: Mapping[int, bytes]) -> bytes:
    """A font with a picture for each code point (tables CBDT and CBLC)."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.ttLib import newTable
    from fontTools.ttLib.tables.BitmapGlyphMetrics import SmallGlyphMetrics
    from fontTools.ttLib.tables.C_B_D_T_ import cbdt_bitmap_format_17
    from fontTools.ttLib.tables.E_B_L_C_ import BitmapSizeTable, SbitLineMetrics, Strike, eblc_index_sub_table_1

    names = [".notdef", *(f"u{code:X}" for code in pictures)]
    builder = FontBuilder(1024, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({code: f"u{code:X}" for code in pictures})
    builder.setupGlyf({name: _empty_glyph() for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1024, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Pictures", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    glyphs = {}
    for code, content in pictures.items():
        glyph = cbdt_bitmap_format_17(b"", builder.font)
        glyph.metrics, glyph.imageData = SmallGlyphMetrics(), content
        for key in ("height", "width", "BearingX", "BearingY", "Advance"):
            setattr(glyph.metrics, key, 0)
        glyphs[f"u{code:X}"] = glyph
    data, places = newTable("CBDT"), newTable("CBLC")
    data.version, data.strikeData = 3.0, [glyphs]
    strike, sizes = Strike(), BitmapSizeTable()
    lines = SbitLineMetrics()
    for key in (
        "ascender", "descender", "widthMax", "caretSlopeNumerator", "caretSlopeDenominator", "caretOffset",
        "minOriginSB", "minAdvanceSB", "maxBeforeBL", "minAfterBL", "pad1", "pad2",
    ):  # fmt: skip
        setattr(lines, key, 0)
    sizes.hori = sizes.vert = lines
    sizes.colorRef = sizes.flags = 0
    sizes.startGlyphIndex, sizes.endGlyphIndex = 1, len(pictures)
    sizes.ppemX = sizes.ppemY = 109
    sizes.bitDepth = 32
    index = eblc_index_sub_table_1(b"", builder.font)
    index.names, index.indexFormat, index.imageFormat = list(glyphs), 1, 17
    index.firstGlyphIndex, index.lastGlyphIndex, index.imageDataOffset = 1, len(pictures), 4
    strike.bitmapSizeTable, strike.indexSubTables = sizes, [index]
    places.version, places.strikes = 3.0, [strike]
    builder.font["CBDT"], builder.font["CBLC"] = data, places
    file = io.BytesIO()
    builder.save(file)
    return file.getvalue()


def _empty_glyph() -> Any:
    from fontTools.ttLib.tables._g_l_y_f import Glyph

    return Glyph()


def write(path: Path, content: bytes) -> Path:
    """Writes a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
