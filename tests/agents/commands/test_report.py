"""``l2o report``: the page of a run, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import train_policy
from agents.commands.plot import CAPTIONS
from agents.commands.report import best_of_each_pair, best_overall, held_out
from l2o_env.evaluation.report import each_pair, overall
from l2o_env.evaluation.results_view import ResultsView
from tests.evaluation.hand_made import results_table

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class _Reader(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(recorded_run: Path) -> Path:
    assert train_policy.main(["report", str(recorded_run)]) == 0
    return recorded_run / "report.html"


def test_the_page_is_self_contained(page: Path, recorded_run: Path) -> None:
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.references
    assert all(re.match(r"data:image/png;base64,|#s\d+$", reference) for reference in reader.references)
    assert "script" not in reader.tags  # what a folder or a setting is called is text
    assert reader.tags.count("img") == len(CAPTIONS)
    for wanted in ("a <run> & more", "Results", "tiny-4", "uniform", *CAPTIONS.values(), "</pre><script>"):
        assert wanted in reader.text, wanted
    assert "V = accuracy − w · KL, with w = 1 / (4 ln(classes of the proxy)); higher" in reader.text
    assert "The policy: trained on tiny. Held out, never seen in training: tiny-4." in reader.text
    assert page.read_text(encoding="utf-8").count('class="marked"') == 2  # the best on each pair
    results = (recorded_run / "results.csv").read_text().splitlines()
    assert len(results) == 1 + 8
    assert reader.tags.count("tr") == 1 + 4  # policies x pairs


def test_the_best_lines_and_what_was_held_out() -> None:
    results = ResultsView(results_table().assign(updates=300, wall_time=1.0))
    lines = overall(results)
    assert [lines[k][:4] for k in best_overall(results)] == [["ours", "a", "source", "deterministic"]]
    assert [each_pair(results)[k][:2] for k in best_of_each_pair(results)] == [
        ["a", "ours"], ["b", "ours"], ["no-target", "ours"]
    ]  # fmt: skip
    assert held_out(results) == [
        "ours: trained on a. Held out, never seen in training: b, no-target.",
        "theirs: trained on a, b. Held out, never seen in training: no-target.",
    ]


def test_a_page_that_goes_elsewhere_leaves_the_run_as_it_is(recorded_run: Path, page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(recorded_run, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert train_policy.main(["report", str(copy), "--out", str(tmp_path / "page.html")]) == 0
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before
    reader = _Reader()
    reader.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert reader.tags.count("img") == len(CAPTIONS)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_real_browser_shows_every_picture(page: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    probe = tmp_path / "probe.html"
    script = (
        "<script>onload=()=>{document.title=[...document.images].map(i=>i.naturalWidth+'x'+i.naturalHeight).join(' ')"
        "+'|'+document.querySelectorAll('h2').length+'|'+(document.body.scrollWidth<=innerWidth)}</script>"
    )
    text = page.read_text(encoding="utf-8")
    # The page forbids scripts; the copy allows the one that looks.
    text = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    probe.write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1250,900",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
    ]  # fmt: skip
    shown = subprocess.run(
        [BROWSER, *options, probe.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    found = re.search(r"<title>(.*?)</title>", shown)
    assert found is not None
    sizes, headings, fits = found[1].split("|")
    expected = []
    for name in ("actions", "heatmap", "guidance", "policies", "learning_curve", "entropy"):
        with Image.open(page.parent / "plots" / f"{name}.png") as picture:
            expected.append(f"{picture.width}x{picture.height}")
    assert sizes.split() == expected
    assert (headings, fits) == ("5", "true")


def test_bad_input_is_told_in_one_line(recorded_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    cases = [
        ([str(tmp_path / "nowhere")], "There is no folder"),
        ([str(tmp_path)], "has no recording (actions.parquet)"),
        ([str(recorded_run), "--policy", "reinforced"], "Did you mean 'reinforce'"),
        ([str(recorded_run), "--out", str(tmp_path / "file" / "x")], "could not be written: "),
    ]
    for arguments, told in cases:
        assert train_policy.main(["report", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert told in error
