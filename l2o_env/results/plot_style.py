"""How all pictures look: colours for colour-blind readers, figures without global state, files that are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from l2o_env.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text


CATEGORICAL = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
MANY = (
    "#332288", "#DDAA33", "#117733", "#AA4499", "#88CCEE", "#CC6677", "#999933", "#44AA99", "#882255", "#777777"
)  # fmt: skip
"""More colours, after Paul Tol's "muted" scheme, where each of up to ten things has one of its own."""
_MAX_TEXT = 300
"""Characters of one text in a picture."""
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))


def line_style(i: int) -> dict[str, Any]:
    """Colour and dashes of the `i`-th line of a picture: when all colours are used they come again, with dashes."""
    n = len(CATEGORICAL)
    return {"color": CATEGORICAL[i % n], "ls": _DASHES[i // n % len(_DASHES)]}


def layer_colours(n: int) -> list[tuple[float, float, float, float]]:
    """Colours from dark (stem) to light (head); their lightness alone tells the order."""
    from matplotlib import colormaps

    # The last tenth of viridis is too pale for a thin line on white.
    return [tuple(colormaps["viridis"](x)) for x in np.linspace(0.0, 0.9, n)]


def new_figure(width: float, height: float, **kwargs: Any) -> Figure:
    """A figure of the given size in inches, with a canvas of its own instead of pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, **kwargs)
    FigureCanvasAgg(figure)
    return figure


def count_episodes(axis: Axes) -> None:
    """Makes the x axis one of training episodes: from 0 on, in whole numbers, however few there are."""
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("training episodes")
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def new_panels(n: int, width: float, height: float, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `n` panels, three in a row at most."""
    n_columns = min(3, n)
    n_rows = -(-n // n_columns)
    figure = new_figure(max(1.6 + width * n_columns, 6.4), 1.2 + height * n_rows, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=False, **kwargs)
    for axis in list(axes.flat)[n:]:
        axis.remove()
    return figure, list(axes.flat)[:n]


def few_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, as plain numbers, on a logarithmic axis of at most three decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    if axis.get_scale() == "log" and high <= 1000 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_locator(NullLocator())


def in_legend(name: str) -> str:
    """A name as the label of what is drawn: matplotlib leaves out of its legends what begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG, all of it or nothing.

    Names in it are no formulas, and are cut where they have no end.
    """
    from matplotlib.text import Text

    numbers = {text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in _numbers_of(axis)}
    for text in set(figure.findobj(Text)) - numbers:
        text.set_parse_math(False)
        if len(text.get_text()) > _MAX_TEXT:
            text.set_text(f"{text.get_text()[: _MAX_TEXT - 1]}…")
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png")


def _numbers_of(axis: Axis) -> Iterator[Text]:
    """Labels of ticks that are numbers, which matplotlib itself writes as formulas: 10 to the power of 3."""
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    yield axis.get_offset_text()
    if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter):
        yield from axis.get_majorticklabels()
    if isinstance(axis.get_minor_formatter(), LogFormatter | ScalarFormatter):
        yield from axis.get_minorticklabels()
