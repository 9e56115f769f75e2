"""One self-contained HTML page: text, tables and pictures, and nothing that needs a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 1400px; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ccc; }
nav a { margin-right: 1rem; } a { color: #00558a; }
figure { margin: 1rem 0 1.6rem; } figure img { max-width: 100%; height: auto; border: 1px solid #ddd; }
figcaption { color: #444; max-width: 62rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #e2e2e2; white-space: nowrap; }
th { background: #f4f4f4; position: sticky; top: 0; } td.number { text-align: right; }
tr.marked td { font-weight: 700; background: #e8f2fa; }
pre { background: #f6f6f6; padding: .7rem; overflow-x: auto; font-size: 13px; }
details > summary { cursor: pointer; color: #00558a; }
@media print { table { font-size: 8px; } th, td { white-space: normal; padding: .15rem .3rem; } th { position: static; } }
"""  # noqa: E501


@dataclass(frozen=True)
class Figure:
    """A picture with what it shows.

    Attributes:
        path: The PNG.
        caption: What it shows, in words; also for readers who cannot see it.
    """

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is left out.

    Attributes:
        title: Its heading.
        text: Paragraphs.
        table: Lines of cells, the heading first.
        figures: Pictures.
        source: Preformatted text, folded away.
        marked: Which lines of the table stand out, by their place in it.
    """

    title: str
    text: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()
    figures: Sequence[Figure] = field(default=())
    source: str = ""
    marked: Collection[int] = ()


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page as HTML; pictures are part of it.

    Args:
        title: Heading and title.
        subtitle: A line below it.
        sections: What it consists of.

    Raises:
        OSError: If a picture cannot be read.
    """
    links = " ".join(f'<a href="#s{k}">{html.escape(s.title)}</a>' for k, s in enumerate(sections))
    body = "\n".join(_section(k, section) for k, section in enumerate(sections))
    # No scripts, and a policy that forbids the page to load anything.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(subtitle)}</p>
<nav>{links}</nav>
{body}
</body>
</html>
"""


def _section(number: int, section: Section) -> str:
    parts = [f'<section id="s{number}">', f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
    if section.table:
        parts.append(_table(section.table, section.marked))
    parts += [_figure(figure) for figure in section.figures]
    if section.source:
        parts.append(f"<details><summary>Show</summary><pre>{html.escape(section.source)}</pre></details>")
    return "\n".join([*parts, "</section>"])


def _table(lines: Sequence[Sequence[str]], marked: Collection[int]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in lines[0])
    body = "\n".join(
        ('<tr class="marked">' if k in marked else "<tr>") + "".join(map(_cell, line)) + "</tr>"
        for k, line in enumerate(lines[1:], start=1)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _cell(text: str) -> str:
    number = text[:1].isdigit() or (text[:1] in "-–" and text[1:2].isdigit())
    return f'<td class="number">{html.escape(text)}</td>' if number else f"<td>{html.escape(text)}</td>"


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.path.read_bytes()).decode("ascii")
    caption = html.escape(figure.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )
