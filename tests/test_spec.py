"""Pairs with settings as one text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from l2o_env import ConfigError, pairs
from l2o_env.pairs.spec import label, parse, spec
from tests.tiny import tiny_pair


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("folders", {}),
        ("folders:source=a/b,target=c d", {"source": "a/b", "target": "c d"}),
        ("p:n=3,rate=1e-2,on=true,off=False,no=none", {"n": 3, "rate": 0.01, "on": True, "off": False, "no": None}),
        ("p:scales=(0.75, 1, 1.25),source='x,y',net=my.py:Net", {
            "scales": (0.75, 1, 1.25), "source": "x,y", "net": "my.py:Net"
        }),
        ("p:folder=C:\\data\\new", {"folder": "C:\\data\\new"}),
    ],
)  # fmt: skip
def test_settings_are_read(text: str, settings: dict[str, Any]) -> None:
    name, found = parse(text)
    assert name == text.partition(":")[0]
    assert found == settings
    assert parse(spec(name, **settings)) == (name, settings)


def test_paths_are_written_as_texts() -> None:
    assert spec("folders", source=Path("/a/b"), size=3) == "folders:source=/a/b,size=3"
    assert parse(spec("p", source=Path("/a, (b)/c"))) == ("p", {"source": "/a, (b)/c"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p:source", "'source' in the pair 'p:source' is no setting; expected p:key=value,key=value"),
        ("p:n=1,n=2", "names the setting 'n' twice"),
        ("p:source='a", "has a quotation mark without its other"),
    ],
)
def test_what_is_no_setting_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(text)


def test_what_no_text_can_say_is_told() -> None:
    with pytest.raises(ConfigError, match=r"backbone=.* cannot be written as a text; give it to pairs.make"):
        spec("folders", backbone=print)
    with pytest.raises(ConfigError, match="name='3' cannot be written"):
        spec("folders", name="3")


def test_a_text_stands_for_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pairs.base._registry, "sized", (lambda **kwargs: tiny_pair(**kwargs), None))
    pair = pairs.make("sized:n_train=12,label=mine")
    assert len(pair.train) == 12
    assert pairs.make("sized:n_train=12,label=mine") is pair
    assert len(pairs.make("sized:n_train=12", n_train=15).train) == 15
    assert (label("sized:n_train=12,label=mine"), label("sized:n_train=12"), label("tiny")) == ("mine", "sized", "tiny")
    with pytest.raises(ConfigError, match=r"Unknown pair 'sixed'\. Did you mean 'sized'"):
        pairs.check("sixed:n_train=3")
    pairs.base._make_default.cache_clear()
