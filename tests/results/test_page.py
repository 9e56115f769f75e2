"""The page: everything is escaped, numbers are aligned."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from l2o_env.results.page import Figure, Section, render_page


def test_sections_are_escaped_and_numbers_are_aligned(tmp_path: Path) -> None:
    Image.new("RGB", (2, 1)).save(tmp_path / "a.png")
    table = [["a<b", "n"], ["x & y", "0.5 ± 0.1"], ["-", "-1.0"]]
    section = Section("T", ["1 < 2"], table, [Figure(tmp_path / "a.png", 'a "b"')], source="<x>", marked=[2])
    text = render_page("<title>", "s", [section])
    assert '<td>x &amp; y</td><td class="number">0.5 ± 0.1</td>' in text
    assert '<tr class="marked"><td>-</td><td class="number">-1.0</td></tr>' in text
    assert text.count('class="marked"') == 1
    assert "<h1>&lt;title&gt;</h1>" in text
    assert "1 &lt; 2" in text
    assert 'alt="a &quot;b&quot;"' in text
