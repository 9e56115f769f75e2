"""Pairs with settings as one text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import train_policy
from l2o_env import ConfigError, pairs
from l2o_env.pairs import check
from l2o_env.pairs.spec import from_keywords, label, parse, runs_code, spec
from tests.tiny import tiny_pair


@pytest.fixture
def sized() -> Iterator[str]:
    """A pair with settings, as long as the test runs."""
    pairs.register("sized", lambda **kwargs: tiny_pair(**kwargs))
    yield "sized"
    pairs.unregister("sized")


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


def test_what_only_looks_like_numbers_stays_a_text() -> None:
    for value in ("(" * 9000, "9" * 5000, r"C:\x41\data", "(1,(2,(3,(4"):
        assert parse(f"p:a={value}") == ("p", {"a": value})


def test_a_setting_of_a_wrong_kind_is_told() -> None:
    with pytest.raises(ConfigError, match=r"of the pair 'folders' cannot work: ValueError: could not convert"):
        check("folders:source=a,target=b,size=8,random_crop=true,scales=(0.75")


def test_paths_are_written_as_texts() -> None:
    assert spec("folders", source=Path("/a/b"), size=3) == "folders:source=/a/b,size=3"
    assert parse(spec("p", source=Path("/a, (b)/c"))) == ("p", {"source": "/a, (b)/c"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p:source", "'source' in the pair 'p:source' is no setting; expected p:key=value,key=value"),
        ("p:n=1,n=2", "names the setting 'n' twice"),
        ("p:n=" + "1" * 10**6, "has 1000004 characters; expected at most 10000"),
        ("p:" + "x" * 9000, r"is no setting; expected p:key=value,key=value\.$"),
        ("p:source='a", "has a quotation mark without its other"),
    ],
)
def test_what_is_no_setting_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(text)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("glyphs-digits", False),
        ("folders:source=renders,target=/data/photos,backbone=resnet18", False),
        ("folders:backbone=nets.py:Net", True),
        ("folders:backbone=os:abort", True),
        ("folders:backbone=nets.py:été", True),  # the file would be run before its name is looked for
        ("folders:backbone=a:/x", True),  # the module a, as well as a drive
        ("mine:networks=('os:abort',1)", True),
    ],
)
def test_texts_whose_pairs_run_code(text: str, runs: bool) -> None:
    assert runs_code(text) is runs


def test_what_no_text_can_say_is_told() -> None:
    with pytest.raises(ConfigError, match=r"backbone=.* cannot be written as a text; give it to pairs.make"):
        spec("folders", backbone=print)
    with pytest.raises(ConfigError, match="name='true' cannot be written"):
        spec("folders", name="true")


@pytest.mark.parametrize("text", ["2024_05_17", "10_000", "1e3", "0x1F", "007", "+5", "1.50", "2024"])
def test_texts_that_look_like_numbers_stay_as_they_are_written(text: str) -> None:
    @dataclass(frozen=True)
    class Form:
        source: str | Path = ""
        n: int = 0
        rate: float = 0.0

    _, settings = parse(f"sized:source={text},label={text}")
    assert from_keywords(Form, "sized", {"source": settings["source"]}).source == text
    assert label(f"sized:label={text}") == text
    assert parse(spec("sized", source=text))[1] == parse(f"sized:source={text}")[1]
    number = from_keywords(Form, "sized", parse("sized:n=10_000,rate=1e-3")[1])
    assert (number.n, number.rate) == (10_000, 0.001)
    assert (type(number.n), type(number.rate)) == (int, float)


def test_a_text_stands_for_a_pair(sized: str) -> None:
    pair = pairs.make("sized:n_train=12,label=mine")
    assert len(pair.train) == 12
    assert pairs.make("sized:n_train=12,label=mine") is pair
    assert len(pairs.make("sized:n_train=12", n_train=15).train) == 15
    assert (label("sized:n_train=12,label=mine"), label("sized:n_train=12"), label("tiny")) == ("mine", "sized", "tiny")
    with pytest.raises(ConfigError, match=r"Unknown pair 'sixed'\. Did you mean 'sized'"):
        pairs.check("sixed:n_train=3")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("folders:sorce=renders", "Unknown setting of the pair 'folders': 'sorce'. Did you mean 'source'?"),
        ("folders:target=x", "The pair 'folders' needs the folder of synthetic images: folders:source=…,target=…"),
        ("folders:source=renders,sise=64", "Unknown setting of the pair 'folders': 'sise'. Did you mean 'size'?"),
        ("folders:source=renders,size=0", "size is 0; expected an integer >= 1"),
        ("visda17:root=x,batchnorm=frosen", "Unknown batchnorm 'frosen'. Did you mean 'frozen'?"),
        ("visda17", "The pair 'visda17' needs the folder of the data set: visda17:root=…"),
        ("gta5-cityscapes:source=x,target_layout=bdd", "Unknown target_layout 'bdd'. Did you mean 'bdd100k'?"),
        ("glyphs-digits:min_contrast=2", "min_contrast is 2; it must be between 0 and 0.4."),
        ("glyphs-digits-seg:n_trian=2", "'n_trian'. Did you mean 'n_train'?"),
        ("signs-gtsrb:n_target=-1", "n_target is -1; expected a number of images, or 0 for all."),
        ("torchvision:source=mnits", "Did you mean 'mnist'?"),
        ("digits:source=mnist,renderer=font", "Unknown setting of the pair 'digits', where the source is 'mnist':"),
        ("glyphs-mnist:target=usps", "Unknown setting of the pair 'glyphs-mnist': 'target'."),
    ],
)
def test_wrong_settings_are_told_before_anything_is_built(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--pairs", "glyphs-digits", text, "--out", str(tmp_path / "run")]
    assert train_policy.main(["train", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "run").exists()
    pairs.check("glyphs-digits:min_contrast=0.2,label=mine")
