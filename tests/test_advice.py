"""Advice in error messages: who does what it says has the error no more.

Each test provokes an error, reads the advice out of its message, follows it to the letter, and looks at what comes.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import agents
import l2o_env
from agents.algorithms.registry import configure
from agents.commands import adapt
from agents.commands.train_options import TrainArgs
from l2o_env import pairs
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.spec import parse
from l2o_env.tasks import TaskRanges
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.followed import TwoHeads, advice, class_settings, l2o, mask_settings
from tests.image_trees import (
    MicroNet,
    class_folders,
    mask_folders,
    picture,
    save,
    save_weights,
)
from tests.tiny import TINY


@pytest.fixture(autouse=True)
def _tinies(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


class SquareNet(nn.Module):
    """A segmentation network that takes nothing below 24 x 24 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 24)
        self.classifier = nn.Conv2d(8, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, 5, h, w)``."""
        return F.interpolate(self.classifier(self.stem(images)), images.shape[-2:])


def _small_target(tmp: Path) -> dict[str, Any]:
    return mask_settings(tmp, SquareNet, size=32, target=mask_folders(tmp / "target", seed=1))


def _no_crop(tmp: Path) -> dict[str, Any]:
    return mask_settings(tmp, random_crop=False)


def _trained(tmp: Path) -> dict[str, Any]:
    proxy = {"weights": "train", "proxy_data": class_folders(tmp / "real", classes="abcde", n=2), "proxy_epochs": 1}
    return class_settings(tmp) | proxy | {"proxy_learning_rate": 0}


def _too_many(tmp: Path) -> dict[str, Any]:
    return class_settings(tmp, n_validation=500)


def _two_heads(tmp: Path) -> dict[str, Any]:
    return class_settings(tmp, TwoHeads)


def _unreadable(tmp: Path) -> dict[str, Any]:
    settings = class_settings(tmp)
    (tmp / "images/cat/000.png").write_bytes(b"no image")
    return settings


@pytest.mark.parametrize(
    ("settings_of", "pattern", "filled_in", "sizes"),
    [
        (_small_target, r"give (sliding_window=32), which it is trained on, and (target_resize=32)", {}, (4, 2, 6)),
        (_no_crop, r"give a crop, or (scales=1)", {}, (4, 2, 0)),
        (_trained, r"^(proxy_learning_rate) is 0; expected a number > 0", {"proxy_learning_rate": 0.01}, (12, 4, 0)),
        (_too_many, r"such as (n_validation=2)\b", {}, (14, 2, 0)),
        (_two_heads, r"output is the proxy's logits: (head)=NAME", {"head": "fc"}, (12, 4, 0)),
        (_unreadable, r"Mend or remove them, or give (on_error=skip)", {}, (11, 4, 0)),
    ],
)
def test_settings_of_folders_that_are_advised_help(
    settings_of: Callable[[Path], dict[str, Any]],
    pattern: str,
    filled_in: dict[str, Any],
    sizes: tuple[int, int, int],
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path)
    named = advice(partial(pairs.make, "folders", **settings), pattern)
    given = filled_in or parse(f"folders:{','.join(named)}")[1]
    assert [name.partition("=")[0] for name in named] == [*given]
    pair = pairs.make("folders", **{**settings, **given})
    assert (len(pair.train), len(pair.validation), len(pair.target or ())) == sizes


def test_a_class_that_is_named_where_the_message_says_is_one(tmp_path: Path) -> None:
    settings = mask_settings(tmp_path)
    save(np.full((16, 20), 4, np.uint8), tmp_path / "masks/masks/0.png")
    make = partial(pairs.make, "folders", **settings)
    value, file, first = advice(make, r"label ids \[(\d+)\], which the list (\S+) does not.*first line is (\d)")
    lines = Path(file).read_text().split("\n")
    assert (value, first, lines) == ("4", "0", ["cat", "dog"])
    Path(file).write_text("\n".join([*lines, "cow", "hen", "pig"]))
    assert make().classes == ("cat", "dog", "cow", "hen", "pig")


def test_label_maps_are_given_to_the_side_that_needs_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(4):
        save(picture(0, rng), tmp_path / f"gta/images/{i}0.png")
        save(rng.integers(0, 19, (16, 20)).astype(np.uint8), tmp_path / f"gta/labels/{i}0.png")
    make = partial(pairs.make, "gta5-cityscapes", **{**mask_settings(tmp_path), "source": tmp_path / "gta"})
    (setting,) = advice(make, r"If they are train ids, give (\S+)\.$")
    assert setting == "source_labels=train_ids"
    pair = make(**parse(f"_:{setting}")[1])
    assert (pair.n_classes, len(pair.train)) == (19, 2)


def test_a_target_split_can_be_named(tmp_path: Path) -> None:
    settings = {
        **mask_settings(tmp_path),
        "source": tmp_path / "gta",
        "source_labels": "train_ids",
        "target": tmp_path / "bdd",
    }
    rng = np.random.default_rng(0)
    for image, mask in (("gta/images/1", "gta/labels/1"), ("gta/images/9", "gta/labels/9"), ("gta/images/30",
                        "gta/labels/30"), ("bdd/images/10k/train/a", "bdd/labels/sem_seg/masks/train/a")):  # fmt: skip
        save(picture(0, rng), tmp_path / f"{image}.{'jpg' if 'bdd' in image else 'png'}")
        save(rng.integers(0, 19, (16, 20)).astype(np.uint8), tmp_path / f"{mask}.png")
    make = partial(pairs.make, "gta5-bdd100k", **{**settings, "n_validation": 1})
    key, wrong = advice(make, r"or another (target_split) than '(val)'")
    assert wrong == "val"
    target = make(**{key: "train"}).target
    assert target is not None and len(target) == 1


def test_damaged_cut_outs_are_left_out_if_one_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, name in enumerate(("bird", "fish")):
        for i, style in enumerate(("fluent", "fluent", "noto")):
            pixels = np.concatenate([picture(label, rng, (12, 12)), np.full((12, 12, 1), 255)], 2)
            save(pixels.astype(np.uint8), tmp_path / "data/source" / name / f"{style}-{i:03d}.png")
    (tmp_path / "data/source/bird/fluent-000.png").write_bytes(b"no image")
    net = {"backbone": MicroNet, "weights": save_weights(tmp_path / "w.pt"), "size": 12}
    make = partial(pairs.make, "clipart-photos", root=tmp_path / "data", n_train=4, n_validation=2, **net)
    (setting,) = advice(make, r"give (on_error=skip)")
    pair = make(**parse(f"_:{setting}")[1])
    assert (len(pair.train), pair.classes) == (4, ("bird", "fish"))
    # It has no setting for photographs, which are the data set's.
    (command,) = advice(
        lambda: l2o("adapt", f"clipart-photos:root={tmp_path / 'none'}"), r"make it with `(l2o \S+ .*?)`"
    )
    assert shlex.split(command) == ["l2o", "data", "clipart-photos", "--out", str(tmp_path / "none")]
    # It has no setting of that name: photographs are the data set's.
    (command,) = advice(lambda: adapt.UnlabelledImages.of(pair, torch.device("cpu")), r"photographs: `(.*?)`")
    assert shlex.split(command)[:3] == ["l2o", "data", "clipart-photos"]


def test_visda_says_which_folder_is_its_root(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    wrong = partial(pairs.make, "visda17", root=tmp_path / "train")  # "the folder that holds the images"
    (inside,) = advice(wrong, r"root is the folder that (train) and validation are in")
    told = advice(partial(pairs.make, "visda17", root=tmp_path), r"There is no list (\S+);")  # the next, another one
    assert told == (str(tmp_path / inside / "image_list.txt"),)


class _Layers(nn.Module):
    def __init__(self, first: int = 3, between: int = 8, more: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(first, 8, 3), nn.Conv2d(between, 8, 3), nn.Linear(8, 5)
        self.more = more

    def forward(self, images: Tensor) -> Tensor:
        if self.more:
            images = self.missing(images)
        return self.fc(self.b(self.a(images)).mean((-2, -1)))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"first": 1}, "its first layer has to take three channels"),
        ({"between": 16}, "each of its layers has to take the channels that come out of the one before"),
        ({"more": True}, "mend its forward pass, which is given the images alone"),
    ],
)
def test_a_network_is_mended_where_the_message_says(wrong: dict[str, Any], told: str, tmp_path: Path) -> None:
    settings = class_settings(tmp_path)

    def make(**arguments: Any) -> Pair:
        kind = partial(_Layers, **arguments)
        return pairs.make(
            "folders", **{**settings, "backbone": kind, "weights": save_weights(tmp_path / "w.pt", kind())}
        )

    assert advice(partial(make, **wrong), f"({told})") == (told,)
    assert make().n_proxy_classes == 5


def test_a_network_gets_images_of_the_kind_that_it_is_for(tmp_path: Path) -> None:
    classes, masks = class_settings(tmp_path), mask_settings(tmp_path)
    networks = [{key: each[key] for key in ("backbone", "weights")} for each in (classes, masks)]
    make = partial(pairs.make, "folders")
    assert advice(lambda: make(**{**classes, **networks[1]}), "give (images with masks), or another network")
    assert make(**{**masks, **networks[1]}).metric == "miou"
    assert advice(lambda: make(**{**masks, **networks[0]}), "give (folders of classes), or another network")
    assert make(**{**classes, **networks[0]}).metric == "accuracy"


def test_weights_are_saved_as_the_message_says(tmp_path: Path) -> None:
    settings = class_settings(tmp_path)
    network, path = MicroNet(), Path(settings["weights"])
    torch.save(network, path)
    (code,) = advice(partial(pairs.make, "folders", **settings), r"Save the tensors alone, .* (torch\.save\(.*\))\.")
    assert code == "torch.save(network.state_dict(), path)"
    torch.save(network.state_dict(), path)
    pair = pairs.make("folders", **settings)
    assert any(torch.equal(tensor, network.fc.weight) for tensor in pair.proxy.state_dict().values())


@pytest.mark.parametrize(
    ("settings", "pattern", "follow"),
    [
        ({"window": 20}, r"choose a (window) of at most the budget", lambda name: {name: TINY["budget"]}),
        ({"windows": "asg", "window": 7}, r"give a larger (budget) or a smaller window", lambda name: {name: 8}),
        ({"device": "cuda:99"}, r"this machine has ([\w:]+)[,.]", lambda name: {"device": name}),
        ({"device": "cuda:99"}, r"Use one of them or '(auto)'", lambda name: {"device": name}),
        ({"precision": "bf16", "implementation": "stacked"}, r"use (implementation)='(looped)'", lambda k, v: {k: v}),
        ({"optimizer": "adam"}, r"Did you mean '(\w+)'", lambda name: {"optimizer": name}),
    ],
)
def test_environments_are_made_as_messages_say(
    settings: dict[str, Any], pattern: str, follow: Callable[..., dict[str, Any]]
) -> None:
    def step(**more: Any) -> float:
        env = gymnasium.make("l2o_env/Syn2Real-v0", **{**TINY, **settings, **more})
        env.reset(seed=0)
        return float(env.step(env.action_space.sample())[1])

    assert np.isfinite(step(**follow(*advice(step, pattern))))


def test_an_action_is_of_the_shape_that_the_message_tells() -> None:
    env = gymnasium.make("l2o_env/Syn2Real-v0", **TINY)
    env.reset(seed=0)
    (shape,) = advice(lambda: env.step(np.zeros(7, np.float32)), r"expected \((\d+),\), one value per layer group")
    assert np.isfinite(env.step(np.zeros(int(shape), np.float32))[1])


def test_an_optimizer_is_made_and_driven_as_messages_say() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    groups: Any = network.parameters()

    def rates(**more: Any) -> l2o_env.LearnedRates:
        return l2o_env.LearnedRates(torch.optim.SGD(groups, lr=0.1), network, total_updates=10, **more)

    (maker,) = advice(rates, r"Make the optimizer from (l2o_env\.\w+)\(model\)")
    groups = getattr(l2o_env, maker.partition(".")[2])(network)
    key, value = advice(rates, r"or (\w+)=(True) to see what happens")
    scheduler = rates(**{key: ast.literal_eval(value)})
    assert len(scheduler.rates) == 2
    (setting,) = advice(lambda: scheduler.guidance(torch.zeros(2, 4)), r"make the scheduler with (\w+)=NETWORK")
    proxy = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    scheduler = rates(**{key: True, setting: proxy})
    network(torch.ones(2, 4))
    assert scheduler.guidance(torch.ones(2, 4)).isfinite()


def test_groups_of_ones_own_are_given_to_the_optimizer_as_the_message_says() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    groups = {"weight": ["0.weight"], "bias": ["0.bias"], "head": ["2.weight", "2.bias"]}

    def rates(*given: Any) -> l2o_env.LearnedRates:
        optimizer = torch.optim.AdamW(l2o_env.param_groups(network, *given))
        return l2o_env.LearnedRates(optimizer, network, total_updates=10, groups=groups)

    assert advice(rates, r"if the scheduler is given (groups) or head, from param_groups\(model, groups\) with these")
    assert len(rates(groups).rates) == 3


def test_directions_are_shared_evenly_as_the_message_says() -> None:
    pytest.importorskip("sb3_contrib")

    def learn(n: int, **settings: int) -> int:
        venv = Syn2RealVectorEnv(n, **TINY)
        learner = agents.make_learner("ars", venv.config, config=configure("ars", settings), n_layers=3)
        venv.reset(seed=0)
        learner.learn(venv, 2 * n)
        return n

    assert advice(partial(learn, 3), "give an (even) number of optimizees and n_delta a multiple of its (half)")
    assert learn(4) == 4
    advice(partial(learn, 4, n_delta=3), "n_delta a multiple of its half")
    assert learn(4, n_delta=4) == 4


def test_ranges_of_tasks_are_given_as_the_message_says() -> None:
    make = partial(TaskRanges, ("glyphs-digits",))
    (least,) = advice(lambda: make(budget=(0.1, 0.9)), r"smallest and the largest value, both >= (\d+), in this order")
    advice(lambda: make(budget=(6, 4)), "in this order")
    task = make(budget=(int(least), 6)).draw(np.random.default_rng(0), any_optimizer=False)
    assert 1 <= task.settings["budget"] <= 6


def test_a_search_gets_the_episodes_that_it_needs() -> None:
    plan = partial(TrainArgs, pairs=("tiny",), eval_pairs=("tiny",), device="cpu", tuned=("per-layer",))
    least, none = advice(lambda: plan(tuning_episodes=1).plan(), r"give at least (\d+), (0) to leave out")
    assert plan(tuning_episodes=int(least)).plan().searches == ("per-layer",)
    assert plan(tuning_episodes=int(none)).plan().searches == ()
