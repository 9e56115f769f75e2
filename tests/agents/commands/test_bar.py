"""What a stage looks like on a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from agents.commands.bar import bar, drawn
from agents.commands.phases import Phase, Phases, Stage


def test_two_lines_fit_a_terminal() -> None:
    phases = Phases([Phase("training", 1)])
    stage = Stage("Tuning opponents on " + 9 * "a-long-name-", 38_400, "episodes", phases=phases)
    stage.move(19_200, 9 * "detail ")
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    console.print(drawn(stage))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2 and max(map(len, lines)) <= 80
    assert lines[0].startswith("1/1 Tuning opponents on a-long")
    assert lines[0].rstrip().endswith("19,200/38,400 episodes")
    assert "left in all · detail" in lines[1]


def test_a_line_stays() -> None:
    console = Console(file=io.StringIO(), width=80)
    stage = Stage("Training", 2, "episodes")
    with bar(console, stage):
        stage.move(2)
    assert console.file.getvalue() == "Training: 2/2 episodes in 0 s\n"  # type: ignore[attr-defined]
