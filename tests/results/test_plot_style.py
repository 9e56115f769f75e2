"""How pictures look, and that their files are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from l2o_env.results.plot_style import (
    CATEGORICAL,
    in_legend,
    layer_colours,
    line_style,
    new_figure,
    new_panels,
    save_figure,
)


def test_colours_grow_lighter_from_stem_to_head() -> None:
    lightness = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b, _ in layer_colours(6)]
    assert lightness == sorted(lightness)
    assert lightness[-1] < 0.85  # still seen on white


def test_lines_are_told_apart_also_when_the_colours_are_used_up() -> None:
    styles = [line_style(i) for i in range(4 * len(CATEGORICAL))]
    assert len({(style["color"], style["ls"]) for style in styles}) == len(styles)
    assert [styles[0], styles[7]["color"]] == [{"color": CATEGORICAL[0], "ls": "-"}, CATEGORICAL[0]]


def test_names_are_no_formulas_and_have_an_end(tmp_path: Path) -> None:
    figure, (axis,) = new_panels(1, 3.0, 2.0)
    axis.set_title("$a_{")
    axis.set_xlabel("name" * 50_000)
    axis.set_yticks([0.0, 1.0], ["$b^{", "c"])
    axis.set_xscale("log")
    save_figure(figure, tmp_path / "a.png")
    assert axis.get_title() == "$a_{"
    assert [text.get_parse_math() for text in axis.get_yticklabels()] == [False, False]
    assert axis.get_xticklabels()[0].get_parse_math()  # 10 to some power
    assert axis.get_xlabel().endswith("nam…") and len(axis.get_xlabel()) == 300


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (3, 3), (4, 3)])
def test_panels_stand_three_in_a_row(n: int, columns: int) -> None:
    figure, axes = new_panels(n, 3.0, 2.0)
    assert len(axes) == len(figure.axes) == n
    figure.draw_without_rendering()
    assert len({round(axis.get_position().x0, 3) for axis in axes}) == columns


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = new_figure(2.0, 1.0)
    save_figure(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (200, 100))

    def full(figure: Figure, path: Path, **options: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        save_figure(figure, tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["_old", "__", "_", "a_b", "", "$a", " x"])
def test_names_are_in_the_legend_whatever_they_begin_with(name: str) -> None:
    axis = new_figure(2, 2).subplots()
    axis.plot([0], label=in_legend(name))
    axis.plot([1], label="other")
    shown = [text.get_text().strip() for text in axis.legend().get_texts()]
    assert shown == ([name.strip(), "other"] if name else ["other"])
