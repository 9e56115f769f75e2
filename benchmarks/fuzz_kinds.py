"""Kinds of files that people hand to each other: samples of each, what mutates them, and what reads them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from agents.algorithms.registry import configure
from agents.asg.agent import AsgAgent
from agents.asg.released import convert, read_state_dict
from agents.commands.contestants import common_settings, find_policy
from agents.commands.initialisations import read_network
from agents.commands.report import result_sections
from agents.commands.train_options import TrainArgs
from agents.commands.training_state import resumed_plan
from agents.factory import load, make_learner
from agents.opponents.schedules import PerLayer, Schedule
from agents.options import read_file
from agents.policy_folders import trained_on
from agents.reinforce.agent import Reinforce
from benchmarks import fuzz_mutants as mutants
from l2o_env import pairs
from l2o_env.asg import ASG
from l2o_env.config import EnvConfig
from l2o_env.evaluation.summary import TIDY_COLUMNS
from l2o_env.models.adapted.weights import load_weights, read_weights
from l2o_env.observation import N_FEATURES
from l2o_env.pairs import cache
from l2o_env.pairs.from_files import visda17
from l2o_env.pairs.images.folder_listings import list_masks
from l2o_env.pairs.images.label_maps import label_map
from l2o_env.pairs.spec import label, runs_code
from l2o_env.results.event_log import TensorBoardLog, read_scalars, training_records
from l2o_env.results.guidance_plots import plot_rate_against_guidance
from l2o_env.results.rate_plots import plot_actions, plot_heatmap
from l2o_env.results.record import COLUMNS, read_recording, select_rows
from l2o_env.results.state_file import read_state, write_state
from l2o_env.training.state_files import read_state as read_checkpoint
from l2o_env.training.state_files import write_state as write_checkpoint

N_LAYERS = 5
Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: Writes samples to a folder.
        read: Reads the folder as our code does, and uses what it read.
        mutators: What changes each of the files that may be changed, by a pattern of their names.
    """

    make: Callable[[Path], None]
    read: Read
    mutators: dict[str, mutants.Mutator]

    def mutate(self, rng: random.Random, folder: Path, canary: Path) -> None:
        """Changes one of the files in a folder."""
        files = [(file, m) for pattern, m in self.mutators.items() for file in sorted(folder.glob(pattern))]
        file, mutator = rng.choice(files)
        if mutator is mutants.of_checkpoint:
            mutator = partial(mutants.of_checkpoint, canary=str(canary))
        file.write_bytes(mutator(rng, file.read_bytes()))


def _observations(n_layers: int) -> np.ndarray:
    return np.zeros((2, n_layers * N_FEATURES), np.float32)


def _use(folder: Path) -> None:
    """Loads an agent and lets it act."""
    agent = load(folder)
    seen = np.zeros((2, 5 + N_LAYERS), np.float32) if isinstance(agent, AsgAgent) else _observations(N_LAYERS)
    agent.act(seen, None, True)


def _learner(algorithm: str, folder: Path) -> None:
    make_learner(algorithm, EnvConfig(optimizer="sgd"), n_layers=N_LAYERS).save(folder)


def _policy(make: Callable[[Path], object]) -> Kind:
    return Kind(
        lambda folder: (make(folder), None)[1],
        _use,
        {"policy.json": mutants.of_json, "policy.safetensors": mutants.of_safetensors},
    )


def _schedules(folder: Path) -> None:
    PerLayer("p", (0.1, 0.2, 0.1, 0.1, 0.2)).save(folder)
    Schedule("s", 0.1, config_overrides={"random_init": True}).save(folder)


def _run(folder: Path) -> None:
    described = TrainArgs(device="cpu", episodes=8).plan().description()
    Reinforce(EnvConfig(**described["environment"])).save(folder / "policy")
    (folder / "config.json").write_text(json.dumps(described, default=str))


def _read_run(folder: Path) -> None:
    policy = find_policy(str(folder))
    common_settings([policy], {})
    for name in policy.trained_on:
        runs_code(name)


def _resume(folder: Path) -> None:
    resumed_plan(replace(TrainArgs(), resume=folder))[1].release()


def _asg_file(folder: Path) -> None:
    policy = AsgAgent(EnvConfig(**ASG), n_layers=N_LAYERS).policy
    torch.save({"state_dict": policy.state_dict()}, folder / "asg.pt")


def _import_asg(folder: Path) -> None:
    converted = convert(read_state_dict(folder / "asg.pt"))
    agent = AsgAgent(EnvConfig(**ASG), n_layers=len(converted.heads))
    agent.policy.load_state_dict(converted.tensors)
    agent.act(np.zeros((1, 5 + len(converted.heads)), np.float32), None)


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 4))


def _weights(folder: Path) -> None:
    torch.save(_network().state_dict(), folder / "w.pth")
    save_file(_network().state_dict(), folder / "w.safetensors")


def _use_weights(folder: Path) -> None:
    for name in ("w.pth", "w.safetensors"):
        network = _network().eval()
        load_weights(network, read_weights(folder / name), "a file")
        network(torch.zeros(1, 3, 3, 3))


def _results(folder: Path) -> Any:
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = []
    for policy, run, pair, seed in ((p, r, q, s) for p in "ab" for r in "12" for q in "xy" for s in range(3)):
        row: dict[str, Any] = dict.fromkeys(TIDY_COLUMNS, 0.5)
        row |= {"policy": policy, "run": run, "pair": pair, "seed": seed, "trained_on": "x+z", "selection": "last"}
        row |= {"mode": "deterministic", "diverged": False, "updates": 300, "v_return": rng.random()}
        rows.append({**row, "real_accuracy": rng.random()})
    return pd.DataFrame(rows)


def _recording(folder: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = []
    for policy, seed, step, layer in ((p, s, k, j) for p in "ab" for s in range(2) for k in range(1, 5) for j in "xyz"):
        row: dict[str, Any] = {name: float(rng.random()) for name in COLUMNS}
        row |= {"policy": policy, "pair": "tiny", "seed": seed, "step": step, "layer": layer, "updates": 10 * step}
        rows.append({**row, "diverged": False, "sampled": False})
    pd.DataFrame(rows).to_parquet(folder / "actions.parquet", index=False)


def _plot(folder: Path) -> None:
    rows = select_rows(read_recording(folder / "actions.parquet"))
    which = len((folder / "actions.parquet").read_bytes()) % 12
    draw = {0: plot_actions, 1: plot_heatmap, 2: plot_rate_against_guidance}.get(which)
    if draw is not None:  # a picture takes as long as a hundred readings
        from agents.commands.plot import _draw
        from l2o_env.results.run_folder import RunFolder

        _draw(RunFolder(folder / "plots"), {"picture": lambda path: draw(rows, path)})


def _visda(folder: Path) -> None:
    lines = []
    for k, name in enumerate(visda17.CLASSES):
        (folder / name).mkdir()
        (folder / name / "src_1_a__0.png").write_bytes(b"")
        lines.append(f"{name}/src_1_a__0.png {k}")
    (folder / "image_list.txt").write_text("\n".join(lines))


def _masks(folder: Path) -> None:
    from PIL import Image

    for part in ("images", "masks"):
        (folder / part).mkdir()
    for k in range(2):
        Image.new("RGB", (8, 8)).save(folder / "images" / f"{k}.png")
        Image.fromarray(np.full((8, 8), k, np.uint8)).save(folder / "masks" / f"{k}.png")
    (folder / "classes.txt").write_text("road\nsky\ntraffic light\n")


def _read_masks(folder: Path) -> None:
    listing = list_masks(folder, "images")
    for k in range(len(listing)):
        listing[k]


def _yaml(folder: Path) -> None:
    text = "gamma: 0.95\nnet_arch: [64, 64]\nactivation: tanh\nn_steps: 20\nlayer_shared: true\ntarget_kl: null\n"
    (folder / "hp.yaml").write_text(text)


def _pair_texts(folder: Path) -> None:
    (folder / "net.py").write_text(f"open({str(folder.parent / 'canary')!r}, 'w')\nNet = None\n")
    text = 'folders:source=/data/a,target="/data/b, c",size=64,random_crop=true,scales=(0.75,1,1.25),label=a,backbone='
    (folder / "pair.txt").write_text(f"{text}{folder}/net.py:Net")


def _check_pair(folder: Path) -> None:
    text = (folder / "pair.txt").read_bytes().decode("utf-8", "replace")
    label(text)
    runs_code(text)
    pairs.check(text)


def _events(folder: Path) -> None:
    log = TensorBoardLog(folder)
    for k in range(5):
        log({"episode": k, "return_mean": float(k), "pair": "tiny"})
    log.close()


_STATE = {"a": [1, 2.5, None], "b": np.arange(4.0), "c": (torch.ones(2), "text", True), "d": {"e": {"f": 2**127}}}


def _cached(folder: Path) -> None:
    """A proxy's tensors from the cache, which are made again if the file is damaged, with a warning."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = folder / "proxy.safetensors"
        template = {"weight": torch.ones(3, 4), "running_var": torch.ones(3)}
        found = cache._read(path, {"a": 1}, template)
    if any(not torch.equal(found[name], value) for name, value in template.items()):
        raise AssertionError("other values than were written")


def _cache_file(folder: Path) -> None:
    cache._write(folder / "proxy.safetensors", {"a": 1}, {"weight": torch.ones(3, 4), "running_var": torch.ones(3)})


def _adapted(folder: Path) -> None:
    model = pairs.make("glyphs-digits").make_model(torch.Generator().manual_seed(0))
    save_file(dict(model.state_dict()), folder / "adapted.safetensors")


def _label_map(folder: Path) -> None:
    (folder / "map.json").write_text('{"7": 0, "8": 1, "9": null}')


def _files(names: Sequence[str], mutator: mutants.Mutator) -> dict[str, mutants.Mutator]:
    return dict.fromkeys(names, mutator)


KINDS: dict[str, Kind] = {
    "REINFORCE policy": _policy(lambda folder: Reinforce(EnvConfig(optimizer="sgd")).save(folder)),
    "PPO policy": _policy(partial(_learner, "ppo")),
    "SAC policy": _policy(partial(_learner, "sac")),
    "ASG policy": _policy(lambda folder: AsgAgent(EnvConfig(**ASG), n_layers=N_LAYERS).save(folder)),
    "schedule": Kind(_schedules, _use, _files(["schedule.json"], mutants.of_json)),
    "`config.json` of a run": Kind(_run, _read_run, _files(["config.json"], mutants.of_json)),
    "the same, “trained on”": Kind(_run, trained_on, _files(["config.json"], mutants.of_json)),
    "the same, `--resume`": Kind(_run, _resume, _files(["config.json"], mutants.of_json)),
    "`import-asg` file": Kind(_asg_file, _import_asg, _files(["asg.pt"], mutants.of_checkpoint)),
    "network weights": Kind(
        _weights, _use_weights, {"w.pth": mutants.of_checkpoint, "w.safetensors": mutants.of_safetensors}
    ),
    "adapted network": Kind(
        _adapted,
        lambda folder: read_network(folder / "adapted.safetensors", pairs.make("glyphs-digits")),
        _files(["adapted.safetensors"], mutants.of_safetensors),
    ),
    "`results.csv`": Kind(
        lambda folder: _results(folder).to_csv(folder / "results.csv", index=False),
        lambda folder: list(result_sections(folder)),
        _files(["results.csv"], mutants.of_csv),
    ),
    "`results.parquet`": Kind(
        lambda folder: _results(folder).to_parquet(folder / "results.parquet", index=False),
        lambda folder: list(result_sections(folder)),
        _files(["results.parquet"], mutants.of_parquet),
    ),
    "recordings, by `l2o plot`": Kind(_recording, _plot, _files(["actions.parquet"], mutants.of_parquet)),
    "VisDA lists": Kind(
        _visda, lambda f: visda17.read_split(f, "source images"), _files(["image_list.txt"], mutants.of_text)
    ),
    "masks and `classes.txt`": Kind(
        _masks,
        _read_masks,
        {"classes.txt": mutants.of_text, "masks/*.png": mutants.of_bytes, "images/0.png": mutants.of_bytes},
    ),
    "label maps": Kind(
        _label_map,
        lambda folder: label_map(folder / "map.json"),
        _files(["map.json"], mutants.of_json),
    ),
    "YAML of hyper-parameters": Kind(
        _yaml, lambda folder: configure("ppo", read_file(folder / "hp.yaml")), _files(["hp.yaml"], mutants.of_text)
    ),
    "pair texts": Kind(_pair_texts, _check_pair, _files(["pair.txt"], mutants.of_text)),
    "event logs": Kind(
        _events, lambda folder: training_records(read_scalars(folder)), _files(["events*"], mutants.of_bytes)
    ),
    "states of trainings": Kind(
        lambda folder: write_state(folder / "s.safetensors", _STATE),
        lambda folder: read_state(folder / "s.safetensors"),
        _files(["s.safetensors"], mutants.of_safetensors),
    ),
    "checkpoints of fine-tunings": Kind(
        lambda folder: write_checkpoint({**_STATE, "d": 3}, folder / "s.safetensors"),
        lambda folder: read_checkpoint(folder / "s.safetensors"),
        _files(["s.safetensors"], mutants.of_safetensors),
    ),
    "proxy cache": Kind(_cache_file, _cached, _files(["proxy.safetensors"], mutants.of_safetensors)),
}
"""By the name that the table has for it."""


def fresh(kind: Kind, folder: Path) -> None:
    """An empty folder with the samples of a kind."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kind.make(folder)
