"""``l2o reproduce``: reference figures beside ours."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import train_policy
from agents.commands import reproduce
from agents.commands.reproduce import Reference, fits, ordering
from agents.opponents import Schedule
from l2o_env.config import EnvConfig


def test_fits_and_ordering() -> None:
    assert fits((0.50, 0.03), (0.59, 0.04))
    assert not fits((0.50, 0.03), (0.61, 0.04))
    rows = tuple(
        Reference(Schedule(name, 0.1), "kl", (accuracy, 0.0)) for name, accuracy in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    )
    frame = pd.DataFrame({"policy": list("aabbcc"), "real_accuracy": [0.1, 0.3, 0.3, 0.5, 0.9, 1.1], "v_end": 0.0})
    assert ordering(rows, frame) == 1.0
    assert ordering(rows, frame.assign(real_accuracy=-frame["real_accuracy"])) == -1.0


def test_reproduce_prints_reference_and_ours(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (
        Reference(Schedule("small", 1e-4), "kl", (0.3, 0.1), (-1.2, 0.1)),
        Reference(Schedule("large", 0.2), "none", (0.999, 0.0)),
    )
    monkeypatch.setitem(reproduce.REFERENCES, tiny, rows)
    made: list[EnvConfig] = []

    def config(**kwargs: Any) -> EnvConfig:
        made.append(EnvConfig(budget=4, window=2, **kwargs))
        return made[-1]

    monkeypatch.setattr(reproduce, "EnvConfig", config)
    assert train_policy.main(["reproduce", tiny, "--seeds", "8", "--device", "cpu"]) == 0
    assert [(each.reward, each.kl_weight) for each in made] == [("proxy_guided", 1.0)]
    printed = capsys.readouterr().out
    assert "0.999 ± 0.000" in printed
    assert "-1.200 ± 0.100" in printed
    assert train_policy.main(["reproduce", "tinny"]) == 2
    assert "Unknown pair with reference figures 'tinny'" in capsys.readouterr().err
    assert train_policy.main(["reproduce", "glyphs-digits", "--seeds", "2"]) == 2
    assert "expected an integer >= 8" in capsys.readouterr().err


def test_the_reference_table_is_complete() -> None:
    rows = reproduce.REFERENCES["glyphs-digits"]
    assert len(rows) == 10
    assert len({row.rates.name for row in rows}) == 10
