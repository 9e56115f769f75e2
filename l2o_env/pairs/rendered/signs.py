"""Renders the 43 traffic signs of GTSRB from shapes, strokes and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from l2o_env.pairs.rendered.renderers import font_path

SIDE = 32
_SCALE = 4  # drawn larger, then shrunk
Shape = Literal["ban", "end", "warn", "must", "priority", "yield", "stop", "no_entry"]
Point = tuple[float, float]
Stroke = tuple[Point, ...]
Colour = tuple[int, int, int]

_FIGURE: tuple[Stroke, ...] = (
    ((0, -0.5), (0, 0.1)), ((0, 0.1), (-0.25, 0.55)), ((0, 0.1), (0.25, 0.55)),
    ((-0.25, -0.1), (0, -0.35), (0.25, -0.1)),
)  # fmt: skip
_CAR: tuple[Stroke, ...] = (
    ((-0.2, 0.15), (-0.2, -0.15), (0.2, -0.15), (0.2, 0.15), (-0.2, 0.15)),
    ((-0.2, 0), (0.2, 0)),
)
_TRUCK: tuple[Stroke, ...] = (
    ((-0.3, 0.2), (-0.3, -0.25), (0.1, -0.25), (0.1, 0.2), (-0.3, 0.2)),
    ((0.1, -0.05), (0.3, -0.05), (0.3, 0.2), (0.1, 0.2)),
)


def _moved(strokes: Sequence[Stroke], x: float, y: float, scale: float = 1.0) -> tuple[Stroke, ...]:
    return tuple(tuple((x + scale * px, y + scale * py) for px, py in stroke) for stroke in strokes)


def _circle(x: float, y: float, r: float) -> Stroke:
    return tuple((x + r * math.cos(a), y + r * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 13))


def _arrow(*points: Point) -> tuple[Stroke, ...]:
    """A line with a head at its end."""
    (x0, y0), (x, y) = points[-2:]
    angle = math.atan2(y - y0, x - x0)
    barbs = [(x - 0.3 * math.cos(angle + turn), y - 0.3 * math.sin(angle + turn)) for turn in (0.6, -0.6)]
    return (points, (barbs[0], (x, y), barbs[1]))


def _mirrored(strokes: Sequence[Stroke]) -> tuple[Stroke, ...]:
    return tuple(tuple((-x, y) for x, y in stroke) for stroke in strokes)


_SYMBOLS: dict[str, tuple[Stroke, ...]] = {
    "": (),
    "two_cars": (*_moved(_CAR, -0.28, 0), *_moved(_CAR, 0.28, 0)),
    "truck_and_car": (*_moved(_TRUCK, -0.28, 0), *_moved(_CAR, 0.35, 0)),
    "truck": _TRUCK,
    "crossing": (*_arrow((0, 0.6), (0, -0.5)), ((-0.35, 0.1), (0.35, 0.1))),
    "curve_left": _arrow((0.15, 0.6), (0.15, 0.1), (-0.25, -0.35)),
    "double_curve": _arrow((-0.15, 0.6), (-0.15, 0.3), (0.2, 0.1), (-0.15, -0.15), (0.1, -0.5)),
    "bumps": (((-0.6, 0.4), (-0.4, 0.1), (-0.1, 0.35), (0.1, 0.35), (0.35, 0.1), (0.6, 0.4), (-0.6, 0.4)),),
    "slippery": (
        *_moved(_CAR, 0, -0.15), ((-0.2, 0.1), (-0.05, 0.3), (-0.25, 0.5)), ((0.15, 0.1), (0.3, 0.3), (0.1, 0.5)),
    ),
    "narrows": (((-0.2, 0.55), (-0.2, -0.5)), ((0.35, 0.55), (0.35, 0.2), (0.1, -0.1), (0.1, -0.5))),
    "works": (*_moved(_FIGURE, -0.15, 0, 0.9), ((0.1, 0.55), (0.35, 0.2), (0.55, 0.55), (0.1, 0.55))),
    "lights": (_circle(0, -0.3, 0.12), _circle(0, 0.05, 0.12), _circle(0, 0.4, 0.12)),
    "pedestrian": (*_FIGURE, _circle(0, -0.62, 0.08), ((-0.6, 0.62), (0.6, 0.62))),
    "children": (*_moved(_FIGURE, -0.25, 0.05, 0.9), *_moved(_FIGURE, 0.25, 0.2, 0.7)),
    "bicycle": (
        _circle(-0.3, 0.25, 0.22), _circle(0.3, 0.25, 0.22), ((-0.3, 0.25), (-0.1, -0.15), (0.2, -0.15), (0.3, 0.25)),
    ),
    "snow": tuple(((0.5 * math.cos(a), 0.5 * math.sin(a)), (-0.5 * math.cos(a), -0.5 * math.sin(a)))
                  for a in (math.pi / 2, math.pi / 6, -math.pi / 6)),
    "deer": (
        ((-0.45, 0.05), (0.2, -0.05), (0.4, -0.4), (0.3, -0.6)), ((-0.35, 0.05), (-0.45, 0.5)),
        ((0.15, 0), (0.3, 0.45)), ((0.4, -0.4), (0.55, -0.55)),
    ),
    "right": _arrow((-0.45, 0.4), (-0.45, 0), (0.55, 0)),
    "ahead": _arrow((0, 0.6), (0, -0.55)),
    "straight_or_right": (*_arrow((-0.2, 0.6), (-0.2, -0.55)), *_arrow((-0.2, 0.1), (0.5, 0.1))),
    "keep_right": _arrow((-0.4, -0.4), (0.4, 0.4)),
    "roundabout": tuple(
        stroke for a in (0.3, 2.4, 4.5)
        for stroke in _arrow(*((0.45 * math.cos(a + t), 0.45 * math.sin(a + t)) for t in (0.0, 0.6, 1.2)))
    ),
}  # fmt: skip
for _name in ("curve_left", "right", "straight_or_right", "keep_right"):
    _SYMBOLS[f"{_name}_mirrored"] = _mirrored(_SYMBOLS[_name])

SIGNS: tuple[tuple[Shape, str], ...] = (
    ("ban", "20"), ("ban", "30"), ("ban", "50"), ("ban", "60"), ("ban", "70"), ("ban", "80"), ("end", "80"),
    ("ban", "100"), ("ban", "120"), ("ban", "two_cars"), ("ban", "truck_and_car"), ("warn", "crossing"),
    ("priority", ""), ("yield", ""), ("stop", "STOP"), ("ban", ""), ("ban", "truck"), ("no_entry", ""), ("warn", "!"),
    ("warn", "curve_left"), ("warn", "curve_left_mirrored"), ("warn", "double_curve"), ("warn", "bumps"),
    ("warn", "slippery"), ("warn", "narrows"), ("warn", "works"), ("warn", "lights"), ("warn", "pedestrian"),
    ("warn", "children"), ("warn", "bicycle"), ("warn", "snow"), ("warn", "deer"), ("end", ""), ("must", "right"),
    ("must", "right_mirrored"), ("must", "ahead"), ("must", "straight_or_right"),
    ("must", "straight_or_right_mirrored"), ("must", "keep_right"), ("must", "keep_right_mirrored"),
    ("must", "roundabout"), ("end", "two_cars"),
    ("end", "truck_and_car"),
)  # fmt: skip
"""Shape and symbol (a number, a word, or the name of strokes) of each class of GTSRB, in its order."""

KINDS: tuple[int, ...] = tuple(
    {"ban": 0, "no_entry": 0, "warn": 1, "yield": 1, "must": 2}.get(shape, 3) for shape, _ in SIGNS
)
"""What kind of sign each class is: prohibition, warning, command, other. The proxy knows these."""

_RED, _BLUE, _WHITE, _BLACK, _GREY, _YELLOW = (
    (190, 20, 30), (20, 70, 170), (245, 245, 245), (20, 20, 20), (120, 120, 120), (245, 190, 30)
)  # fmt: skip


def render_signs(
    labels: NDArray[np.int64], backgrounds: NDArray[np.float32], rng: np.random.Generator, font: str, stroke: float
) -> NDArray[np.float32]:
    """Draws signs over backgrounds, turned, shifted, blurred and in varying light.

    Args:
        labels: Classes ``(n,)``.
        backgrounds: ``(n, 32, 32, 3)`` in [0, 1].
        rng: Draws everything.
        font: Font of the numbers, one of matplotlib's.
        stroke: Width of strokes, as a share of the sign.

    Returns:
        ``(n, 32, 32, 3)`` in [0, 1].
    """
    images = np.empty((len(labels), SIDE, SIDE, 3), np.float32)
    for i, (label, behind) in enumerate(zip(labels, backgrounds, strict=True)):
        sign, opacity = draw_sign(int(label), font, stroke)
        angle, size = rng.normal(0, 5), round(SIDE * _SCALE * rng.uniform(0.72, 0.95))
        shift = rng.integers(SIDE * _SCALE - size + 1, size=2)
        canvas = Image.new("RGBA", (SIDE * _SCALE, SIDE * _SCALE))
        sign.putalpha(opacity)
        canvas.paste(sign.rotate(angle, Image.Resampling.BILINEAR).resize((size, size)), tuple(shift.tolist()))
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.7) * _SCALE)).resize((SIDE, SIDE))
        pixels = np.asarray(canvas, np.float32) / 255
        light = rng.uniform(0.25, 1.0) * pixels[..., :3] + rng.uniform(0, 0.15)
        images[i] = behind + pixels[..., 3:] * (light - behind)
    return np.clip(images + rng.normal(0, 0.02, images.shape), 0, 1).astype(np.float32)


class _Canvas:
    """A sign that is drawn: its colours, and what of it is opaque. Coordinates go from -1 to 1, y downwards."""

    def __init__(self) -> None:
        self.side = SIDE * _SCALE
        self.image = Image.new("RGB", (self.side, self.side), _WHITE)
        self.opacity = Image.new("L", (self.side, self.side))
        self.draw, self._cover = ImageDraw.Draw(self.image), ImageDraw.Draw(self.opacity)

    def at(self, *points: Point) -> list[Point]:
        """Points in pixels."""
        return [((x + 1) * self.side / 2, (y + 1) * self.side / 2) for x, y in points]

    def disc(self, outer: Colour, inner: Colour, rim: float) -> None:
        """A disc that fills the canvas, with a rim that is this share of it."""
        self._cover.ellipse((0, 0, self.side, self.side), fill=255)
        self.draw.ellipse((0, 0, self.side, self.side), fill=outer)
        rim, end = self.side * rim, self.side - self.side * rim
        self.draw.ellipse((rim, rim, end, end), fill=inner)

    def polygon(self, points: Sequence[Point], outer: Colour, inner: Colour | None = None) -> None:
        """A polygon, and a smaller one inside if that has a colour."""
        self._cover.polygon(self.at(*points), fill=255)
        self.draw.polygon(self.at(*points), fill=outer)
        if inner is not None:
            cx, cy = (sum(p[k] for p in points) / len(points) for k in (0, 1))
            smaller = [(cx + 0.66 * (x - cx), cy + 0.66 * (y - cy)) for x, y in points]
            self.draw.polygon(self.at(*smaller), fill=inner)


def draw_sign(label: int, font: str, stroke: float) -> tuple[Image.Image, Image.Image]:
    """One sign of 128x128 pixels.

    Args:
        label: Its class.
        font: Font of its number, one of matplotlib's.
        stroke: Width of strokes, as a share of the sign.

    Returns:
        Its colours, and what of it is opaque.
    """
    shape, symbol = SIGNS[label]
    canvas = _Canvas()
    _draw_shape(canvas, shape)
    ink = {"must": _WHITE, "stop": _WHITE, "end": _GREY}.get(shape, _BLACK)
    scale, centre = (0.55, (0.0, 0.3)) if shape == "warn" else (0.75, (0.0, 0.0))
    if symbol in _SYMBOLS:
        for line in _SYMBOLS[symbol]:
            points = canvas.at(*((centre[0] + scale * x, centre[1] + scale * y) for x, y in line))
            canvas.draw.line(points, fill=ink, width=max(1, round(stroke * canvas.side)), joint="curve")
    else:
        size = {1: 0.7, 2: 0.55, 3: 0.42}.get(len(symbol), 0.32)
        # As in ``renderers``: the result of the fancy layout engine depends on what is installed.
        face = ImageFont.truetype(str(font_path(font)), round(size * canvas.side), layout_engine=ImageFont.Layout.BASIC)
        canvas.draw.text(canvas.at(centre)[0], symbol, fill=ink, font=face, anchor="mm")
    if shape == "end":
        canvas.draw.line(canvas.at((-0.6, 0.6), (0.6, -0.6)), fill=_GREY, width=round(0.12 * canvas.side))
    return canvas.image, canvas.opacity


def _draw_shape(canvas: _Canvas, shape: Shape) -> None:
    """What is behind the symbol."""
    if shape == "ban":
        canvas.disc(_RED, _WHITE, 0.12)
    elif shape == "end":
        canvas.disc(_GREY, _WHITE, 0.04)
    elif shape == "must":
        canvas.disc(_WHITE, _BLUE, 0.04)
    elif shape == "no_entry":
        canvas.disc(_WHITE, _RED, 0.04)
        canvas.draw.rectangle((*canvas.at((-0.7, -0.18))[0], *canvas.at((0.7, 0.18))[0]), fill=_WHITE)
    elif shape == "warn":
        canvas.polygon(((0, -0.95), (1, 0.8), (-1, 0.8)), _RED, _WHITE)
    elif shape == "yield":
        canvas.polygon(((0, 0.95), (1, -0.8), (-1, -0.8)), _RED, _WHITE)
    elif shape == "priority":
        canvas.polygon(((0, -1), (1, 0), (0, 1), (-1, 0)), _WHITE, _YELLOW)
    else:
        canvas.polygon([(math.cos(a), math.sin(a)) for a in np.arange(8) * math.pi / 4 + math.pi / 8], _RED)
