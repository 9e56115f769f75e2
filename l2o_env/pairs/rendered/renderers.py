"""Synthetic digits: fonts, seven segments and pen strokes, all through the UCI digits' own preprocessing.

A renderer draws a digit on a canvas; :func:`render` turns and shears it, makes it black and white, crops it to
the glyph, scales it into 32x32 and counts the ink of every 4x4 block, as was done to the scanned UCI digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from l2o_env.errors import unknown_name

FONT_SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "text": (
        ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Bold", "STIXGeneral", "cmr10", "DejaVuSans-BoldOblique"),
        ("DejaVuSans-Bold", "DejaVuSerif-Italic", "STIXGeneralBol", "cmss10"),
    ),
    "sans": (
        ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique"),
        ("DejaVuSans-BoldOblique", "cmss10"),
    ),
    "serif": (
        ("DejaVuSerif", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol", "cmr10", "cmti10"),
        ("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneralItalic", "cmb10"),
    ),
    "mono": (
        ("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
        ("DejaVuSansMono-BoldOblique", "cmtt10"),
    ),
}
"""Named sets of fonts that matplotlib ships: those to train on, and others to validate on."""

_FONTS = Path(__file__).parent / "fonts"  # cmti10, as matplotlib ships it from 3.11 on

RENDERERS = ("font", "seven_segment", "stroke")
ROTATION_SIGMA = 8.0  # degrees
SHEAR_SIGMA = 0.15
_CANVAS = 96  # pixels; room for a glyph of 56 pixels, turned and sheared
_FONT_SIZE = 56
_SIDE, _BLOCK = 32, 4

# Segments a to g as (from, to) on the corners of a 1 x 2 box, y downwards.
_SEGMENTS = {
    "a": ((0, 0), (1, 0)),
    "b": ((1, 0), (1, 1)),
    "c": ((1, 1), (1, 2)),
    "d": ((0, 2), (1, 2)),
    "e": ((0, 1), (0, 2)),
    "f": ((0, 0), (0, 1)),
    "g": ((0, 1), (1, 1)),
}
LIT = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
"""Segments that are lit for each digit."""

# Pen strokes: control points (x, y) in a box 1 wide and 1.5 high, y downwards; the pen rounds the corners.
_STROKES: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0.5, 0.0), (0.1, 0.2), (0.0, 0.75), (0.1, 1.3), (0.5, 1.5), (0.9, 1.3), (1.0, 0.75), (0.9, 0.2), (0.5, 0.0)),),
    (((0.2, 0.35), (0.55, 0.0), (0.55, 0.75), (0.55, 1.5)),),
    (((0.05, 0.35), (0.2, 0.0), (0.8, 0.0), (0.95, 0.45), (0.5, 0.95), (0.0, 1.5), (0.5, 1.45), (1.0, 1.5)),),
    (
        (
            (0.1, 0.1),
            (0.6, -0.05),
            (0.95, 0.3),
            (0.75, 0.65),
            (0.35, 0.7),
            (0.85, 0.75),
            (1.0, 1.15),
            (0.7, 1.5),
            (0.05, 1.4),
        ),
    ),
    (((0.65, 0.0), (0.35, 0.5), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0)), ((0.75, 0.55), (0.75, 1.0), (0.75, 1.5))),
    (((0.9, 0.0), (0.2, 0.0), (0.15, 0.65), (0.6, 0.55), (1.0, 0.95), (0.75, 1.45), (0.05, 1.4)),),
    (
        (
            (0.8, 0.0),
            (0.25, 0.4),
            (0.0, 1.0),
            (0.2, 1.45),
            (0.75, 1.45),
            (0.95, 1.1),
            (0.65, 0.8),
            (0.2, 0.9),
            (0.05, 1.1),
        ),
    ),
    (((0.0, 0.05), (0.5, 0.0), (1.0, 0.0), (0.7, 0.6), (0.4, 1.5)),),
    (
        (
            (0.85, 0.2),
            (0.5, 0.0),
            (0.1, 0.25),
            (0.45, 0.65),
            (0.95, 1.1),
            (0.5, 1.5),
            (0.05, 1.15),
            (0.5, 0.7),
            (0.9, 0.35),
            (0.85, 0.2),
        ),
    ),
    (((0.9, 0.4), (0.5, 0.0), (0.1, 0.3), (0.3, 0.7), (0.75, 0.65), (0.95, 0.25), (0.95, 0.8), (0.7, 1.5)),),
)


def render(
    renderer: str, digits: NDArray[np.int64], rng: np.random.Generator, fonts: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """Draws synthetic digits.

    Args:
        renderer: ``"font"``, ``"seven_segment"`` or ``"stroke"``.
        digits: ``(n,)``, 0 to 9.
        rng: Draws the font of each digit and all jitter.
        fonts: Names of font files of matplotlib, without ``.ttf``; only ``"font"`` reads them.

    Returns:
        Ink counts ``(n, 8, 8)`` from 0 to 16, as in ``sklearn.datasets.load_digits``.

    Raises:
        ConfigError: If the renderer is not known.
    """
    if renderer not in RENDERERS:
        raise unknown_name("renderer", renderer, RENDERERS)
    choice = rng.integers(len(fonts), size=len(digits)) if renderer == "font" else None
    bitmaps = np.empty((len(digits), _SIDE, _SIDE), dtype=bool)
    for i, digit in enumerate(digits.tolist()):
        if choice is not None:
            canvas = _draw_glyph(fonts[choice[i]], digit)
        elif renderer == "seven_segment":
            canvas = _draw_seven_segment(digit, rng)
        else:
            canvas = _draw_stroke(digit, rng)
        bitmaps[i] = _normalise(_distort(canvas, rng))
    blocks = bitmaps.reshape(-1, _SIDE // _BLOCK, _BLOCK, _SIDE // _BLOCK, _BLOCK)
    return blocks.sum((2, 4)).astype(np.uint8)


def _distort(canvas: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turns and shears the canvas about its centre."""
    angle = math.radians(rng.normal(0.0, ROTATION_SIGMA))
    shear = rng.normal(0.0, SHEAR_SIGMA)
    cos, sin = math.cos(angle), math.sin(angle)
    # Output to input coordinates: rotation after shear along x.
    a, b, d, e = cos, sin + shear * cos, -sin, cos - shear * sin
    c = _CANVAS / 2
    coefficients = (a, b, c - a * c - b * c, d, e, c - d * c - e * c)
    return canvas.transform(canvas.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def _normalise(canvas: Image.Image) -> NDArray[np.bool_]:
    """Black and white, cropped to the glyph, scaled into 32x32 with its aspect kept: ``(32, 32)``."""
    ink = np.asarray(canvas) > 127
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    glyph = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255)
    scale = _SIDE / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    bitmap = np.zeros((_SIDE, _SIDE), dtype=bool)
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    scaled = np.asarray(glyph.resize((width, height), Image.Resampling.BOX)) > 127
    bitmap[top : top + height, left : left + width] = scaled
    return bitmap


@lru_cache(maxsize=256)
def _draw_glyph(font: str, digit: int) -> Image.Image:
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    # Asked for without the fancy layout engine: its result depends on what is installed.
    face = ImageFont.truetype(str(font_path(font)), _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(canvas).text((_CANVAS / 2, _CANVAS / 2), str(digit), fill=255, font=face, anchor="mm")
    return canvas


def font_path(font: str) -> Path:
    """Path of a font of matplotlib or of ours, named without ``.ttf``.

    Raises:
        ConfigError: If there is no such font.
    """
    import matplotlib

    folders = (Path(matplotlib.get_data_path()) / "fonts" / "ttf", _FONTS)
    known = {path.stem: path for folder in folders for path in folder.glob("*.ttf")}
    if font not in known:
        raise unknown_name("font", font, known)
    return known[font]


def _draw_seven_segment(digit: int, rng: np.random.Generator) -> Image.Image:
    """Hexagonal segments on a slanted 1 x 2 box with jittered corners, thickness and gaps."""
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    draw = ImageDraw.Draw(canvas)
    width, height = rng.uniform(20.0, 30.0), rng.uniform(44.0, 56.0)
    slant, thickness, gap = rng.uniform(-0.05, 0.2), rng.uniform(4.0, 10.0), rng.uniform(-1.0, 3.0)
    jitter = rng.normal(0.0, 1.2, (2, 3, 2))
    scale = rng.uniform(0.8, 1.2, 7)
    for k, (name, ends) in enumerate(_SEGMENTS.items()):
        if name not in LIT[digit]:
            continue
        p, q = (
            np.array([(x - 0.5) * width - (y - 1) * slant * height / 2, (y - 1) * height / 2]) + jitter[x, y]
            for x, y in ends
        )
        along = (q - p) / np.linalg.norm(q - p)
        across = np.array([-along[1], along[0]]) * thickness * scale[k] / 2
        p, q, taper = p + gap * along, q - gap * along, along * thickness * scale[k] / 2
        corners = (p, p + taper + across, q - taper + across, q, q - taper - across, p + taper - across)
        draw.polygon([tuple((corner + _CANVAS / 2).tolist()) for corner in corners], fill=255)
    return canvas


def _draw_stroke(digit: int, rng: np.random.Generator) -> Image.Image:
    """A round pen along jittered control points."""
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    draw = ImageDraw.Draw(canvas)
    width, height = rng.uniform(24.0, 38.0), rng.uniform(42.0, 54.0)
    pen = rng.uniform(4.0, 9.0)
    for stroke in _STROKES[digit]:
        points = np.array(stroke) + rng.normal(0.0, 0.07, (len(stroke), 2))
        path = _rounded((points - (0.5, 0.75)) * (width, height / 1.5)) + _CANVAS / 2
        draw.line([tuple(point) for point in path.tolist()], fill=255, width=round(pen), joint="curve")
        for x, y in (path[0], path[-1]):
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return canvas


def _rounded(points: NDArray[np.float64], rounds: int = 3) -> NDArray[np.float64]:
    """Chaikin's corner cutting; the end points stay. ``(n, 2)`` to ``(m, 2)``."""
    for _ in range(rounds):
        first, second = points[:-1], points[1:]
        cut = np.stack([0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second], 1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points
