"""``l2o plot`` and ``l2o report``: pictures and a page of a run, in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train_policy
from agents.commands.plot import CAPTIONS, training_entropy, training_records
from agents.opponents.schedules import Schedule
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.results.event_log import TensorBoardLog
from l2o_env.results.page import Figure, Section, render_page
from l2o_env.results.record import parts_folder, recording

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CONFIG = EnvConfig(pairs=("tiny",), budget=6, window=2, batch_size=8, device="cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tinies: tuple[str, str]) -> Path:
    """A run folder with a recording, results, events and settings."""
    folder = tmp_path_factory.mktemp("runs") / "a <run> & more"
    folder.mkdir()
    agents = {"reinforce": Reinforce(CONFIG), "uniform": Schedule("uniform", 0.02)}
    with recording(folder / "actions.parquet", dict.fromkeys(tinies, ("stem", "layer1", "head"))) as recorder:
        frame = evaluate(agents, tinies, 2, CONFIG, on_step=recorder)  # type: ignore[arg-type]
    frame.to_csv(folder / "results.csv", index=False)
    (folder / "config.json").write_text(json.dumps({"environment": asdict(CONFIG), "note": "</pre><script>"}))
    log = TensorBoardLog(folder / "events")
    for episode in (16, 32, 48):
        log({"episode": episode, "return_mean": episode / 10, "entropy": 1 / episode, "pair": "tiny"})
    log.close()
    return folder


def test_plot_draws_every_picture(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_policy.main(["plot", str(run), "--out", str(tmp_path / "p")]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.split("\n") if line]
    assert [path.stem for path in printed] == list(CAPTIONS)
    for path in printed:
        with Image.open(path) as picture:
            assert picture.width >= 500
            assert np.asarray(picture.convert("L")).std() > 5
    assert (
        train_policy.main(["plot", str(run), "--policy", "uniform", "--pairs", "tiny-4", "--out", str(tmp_path)]) == 0
    )
    assert "No picture" not in capsys.readouterr().err


def test_plot_reads_what_a_killed_run_left(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = parts_folder(tmp_path / "actions.parquet")
    parts.mkdir()
    shutil.copy(run / "actions.parquet", parts / "000000.parquet")
    assert train_policy.main(["plot", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert str(tmp_path / "plots" / "actions.png") in told.out
    assert "No picture learning_curve: there are no TensorBoard events" in told.err


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
def page(run: Path) -> Path:
    assert train_policy.main(["report", str(run)]) == 0
    return run / "report.html"


def test_the_page_is_self_contained(page: Path, run: Path) -> None:
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.references
    assert all(re.match(r"data:image/png;base64,|#s\d+$", reference) for reference in reader.references)
    assert "script" not in reader.tags  # what a folder or a setting is called is text
    assert reader.tags.count("img") == len(CAPTIONS)
    for wanted in ("a <run> & more", "Results", "tiny-4", "uniform", *CAPTIONS.values(), "</pre><script>"):
        assert wanted in reader.text, wanted
    results = (run / "results.csv").read_text().splitlines()
    assert len(results) == 1 + 8
    assert reader.tags.count("tr") == 1 + 4  # policies x pairs


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
    assert (headings, fits) == ("4", "true")


def test_sections_are_escaped_and_numbers_are_aligned(tmp_path: Path) -> None:
    Image.new("RGB", (2, 1)).save(tmp_path / "a.png")
    table = [["a<b", "n"], ["x & y", "0.5 ± 0.1"], ["-", "-1.0"]]
    section = Section("T", ["1 < 2"], table, [Figure(tmp_path / "a.png", 'a "b"')], source="<x>")
    text = render_page("<title>", "s", [section])
    assert '<td>x &amp; y</td><td class="number">0.5 ± 0.1</td>' in text
    assert '<td>-</td><td class="number">-1.0</td>' in text
    assert "<h1>&lt;title&gt;</h1>" in text
    assert "1 &lt; 2" in text
    assert 'alt="a &quot;b&quot;"' in text


def test_training_as_the_events_have_it() -> None:
    scalars = {"rollout/ep_rew_mean": [(16, 1.0), (32, 2.0)], "pair/a": [(16, 1.0)], "train/entropy_loss": [(16, -6.0)]}
    assert training_records(scalars) == [
        {"episode": 16, "return_mean": 1.0, "pair": "a"}, {"episode": 32, "return_mean": 2.0}
    ]  # fmt: skip
    assert training_entropy(scalars, "ppo", 3) == {"ppo": ([16.0], [2.0])}
    assert training_entropy({"train/entropy": [(1, 0.5)]}, "p", 3) == {"p": ([1.0], [0.5])}
    assert training_entropy({}, "p", 3) == {}
    with pytest.raises(ConfigError, match="no TensorBoard events"):
        training_records({})


@pytest.mark.parametrize("command", ["plot", "report"])
def test_bad_input_is_told_in_one_line(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    cases = [
        ([str(tmp_path / "nowhere")], "There is no folder"),
        ([str(tmp_path)], "has no recording (actions.parquet)"),
        ([str(run), "--policy", "reinforced"], "Did you mean 'reinforce'"),
        ([str(run), "--out", str(tmp_path / "file" / "x")], "could not be written: "),
    ]
    for arguments, told in cases:
        assert train_policy.main([command, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert told in error
