"""The benchmarks: the raw loop is the same training, ratios are computed rightly, the commands run."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import backbone, compiled, fuzz, fuzz_kinds, kills, python_use, scaling, scheduler, sensitivity, speed
from benchmarks.contenders import Setting, Spec
from benchmarks.measure import Timing, measure, peak_memory
from benchmarks.raw_loop import RawLoop, Recipe
from benchmarks.released_style import ReleasedStyle
from benchmarks.synthetic import backbone_pair, stack_name
from benchmarks.targets import targets
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import run_episodes
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.window import Start
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import register_tinies
from tests.training.loops import policy

RECIPE = Recipe(budget=7, window=3, batch_size=8)


def _setting() -> Setting:
    return Setting("tiny", RECIPE, "cpu", register_tinies)


def test_the_raw_loop_trains_and_validates_as_the_environment_does(tiny: str) -> None:
    pair = pairs.make(tiny)
    loop = RawLoop(pair, RECIPE, dtype=torch.float64)
    population = LoopedPopulation([pair], 1, EnvConfig(pairs=tiny, device="cpu", **RECIPE._asdict()), torch.float64)
    population.start({0: Start(0, 5, 6)})
    rates = [0.01, 0.03, 0.1]
    found = [loop.start(5), *(loop.window(rates) for _ in range(3))]
    for values, length in zip(found, [0, 3, 3, 1], strict=True):
        window = population.run(np.array([rates]), np.array([length]))
        m = window.measurements
        np.testing.assert_allclose(values, [m.val_ce[0], m.val_kl[0], m.val_accuracy[0]], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loop.weights(), population.weights[0], rtol=1e-10, atol=1e-12)
    assert (population.weights - population.reference).norm() > 0.05


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("raw", Spec("raw")),
        ("population-16x2@4", Spec("population", 16, None, 2, 4)),
        ("single/1@2", Spec("single", 1, 1, 1, 2)),
        ("dacbench-epoch", Spec("dacbench-epoch")),
    ],
)
def test_names_of_contenders(name: str, spec: Spec) -> None:
    assert Spec.parse(name) == spec
    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize("name", ["row", "population-0", "population--2", "single@x", ""])
def test_a_bad_name_of_a_contender(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no contender|number below 1"):
        Spec.parse(name)


def test_rates_are_of_whole_episodes() -> None:
    timing = Timing(Spec("population", 4), n_steps=10, updates_per_step=60.0)
    timing.resets["wall"], timing.steps["wall"] = [1.0, 2.0], [0.1, 0.2]
    np.testing.assert_allclose(timing.updates_per_second("wall"), [300.0, 150.0])
    assert timing.fits("cpu")
    assert not Timing(Spec("population", 4, threads=2), 1, 1.0).fits("cpu")


def test_measuring_counts_what_was_run(tiny: str) -> None:
    specs = [Spec.parse(name) for name in ("raw", "single", "population-3", "sync-2")]
    said: list[str] = []
    timings = measure(_setting(), specs, 2, 60.0, said.append)
    assert [t.n_steps for t in timings] == [3] * 4
    assert [t.updates_per_step for t in timings] == [3, 3, 9, 6]
    for timing in timings:
        for clock in ("wall", "cpu"):
            assert len(timing.resets[clock]) == len(timing.steps[clock]) == 2
            assert min(timing.updates_per_second(clock)) > 0
        # Of two rounds; the time of the inner loop is known where the population is.
        for shares in timing.outer_share.values():
            assert len(shares) == (2 if timing.spec.kind in ("single", "population") else 0)
            assert all(0 < share < 1 for share in shares)
    assert "round 2 of 2: sync-2@1" in said


def _found(rates: dict[str, float]) -> dict[str, Any]:
    rows = [{"contender": name, "n": 1, "updates_per_second": (rate, rate, rate)} for name, rate in rates.items()]
    return {"rows": rows, "import_ratio": 1.25, "memory_per_optimizee": 24_000.0, "setting": {"n_weights": 1000}}


def test_targets_are_read_off_the_rows() -> None:
    rates = {"raw@1": 100.0, "raw@2": 110.0, "single@1": 90.0, "population-16@1": 300.0, "population-16x2@2": 550.0}
    found = {row["what"]: (row["measured"], row["met"]) for row in targets(_found(rates), "cpu")}
    assert found["single environment ÷ raw loop"] == (0.9, False)
    assert found["population of 16 ÷ raw loop, one thread"] == (3.0, True)
    assert found["best configuration on several cores ÷ fastest raw loop"] == (5.0, True)
    assert found["import l2o_env ÷ import torch, gymnasium"] == (1.25, False)
    assert found["memory of a stacked optimizee ÷ its weights, gradients and momentum"] == (2.0, True)
    for name in ("single environment ÷ raw loop, GPU", "population of 16 ÷ DACBench, one thread"):
        assert found[name] == (None, None)


def test_the_command_writes_a_table_and_a_file(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "import_ratio", lambda rounds: (1.1, {}))
    monkeypatch.setattr(speed, "peak_memory", lambda setting, spec: 1000 + 100 * spec.n)
    names = ["raw", "single", "population-1", "population-3"]
    arguments = ["--contenders", *names, "--rounds", "2", "--seconds", "0.01", "--device", "cpu"]
    assert speed.main([*arguments, "--json", str(tmp_path / "speed.json")], _setting()) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "speed.json").read_text())
    rows = {row["contender"]: row for row in found["rows"]}
    assert list(rows) == [f"{name}@1" for name in names]
    rate = rows["single@1"]["updates_per_second"][0]
    assert rows["raw@1"]["ratio"] == [1.0, 1.0, 1.0]
    assert rows["single@1"]["steps_per_second"] == pytest.approx(rate / 3)
    assert f"| {rate:.0f} (" in out
    assert found["memory_per_optimizee"] == 100.0
    assert "import l2o_env ÷ import torch, gymnasium" in out
    assert speed.main(["--contenders", "rwa"]) == 2
    assert "'rwa' is no contender" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_a_process_of_its_own(tiny: str) -> None:
    # Weights, gradients and momentum of 400 optimizees of 235 weights: 1.1 MB. The kernel counts in pages of 4 KiB.
    assert 400 * 3 * 4 * 235 < peak_memory(_setting(), Spec("population", 400)) < 2**28


def test_without_dacbench_nothing_of_it_is_measured() -> None:
    names = speed.default_contenders("cpu", 2, quick=False, dacbench=False)
    assert not [name for name in names if name.startswith("dacbench")]
    assert {"raw@1", "single@1", "population-256@1", "population-16x2@2", "async-4@1"} <= set(names)
    assert "dacbench-batch@1" in speed.default_contenders("cpu", 1, quick=True, dacbench=True)


# --- scaling and backbones -------------------------------------------------------------------------------------------


def test_points_of_the_scaling_benchmark_vary_one_thing() -> None:
    args = scaling.ScalingArgs(device="cpu")
    deep, shallow = (scaling.points(args, "layer groups", x)["8 optimizees"] for x in (9, 3))
    assert len(pairs.make(deep[0].pair).make_model(torch.Generator()).layer_groups()) == 9
    assert len(pairs.make(shallow[0].pair).make_model(torch.Generator()).layer_groups()) == 3
    assert deep[1] == shallow[1] == Spec("population", 8)
    large = scaling.points(args, "side of the images in pixels", 32)["raw loop"]
    assert pairs.make(large[0].pair).train.images.shape[1:] == (3, 32, 32)  # type: ignore[union-attr]
    long = scaling.points(args, "updates of a window", 50)["16 optimizees"]
    assert (long[0].recipe.window, long[0].recipe.budget, long[1].n) == (50, 300, 16)
    assert scaling.points(args, "optimizees", 64)["embedded network"][1].n == 64
    assert stack_name(2, 16) == shallow[0].pair


def test_scaling_draws_what_it_measured(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "QUICK", {"optimizees": (1, 3), "layer groups": (2, 3)})
    picture, data = tmp_path / "scaling.png", tmp_path / "scaling.json"
    arguments = ["--quick", "--pair", tiny, "--device", "cpu", "--out", str(picture), "--json", str(data)]
    assert scaling.main(arguments) == 0
    rows = json.loads(data.read_text())["rows"]
    curves = ["1 optimizee", "8 optimizees", "raw loop"]
    expected = [("optimizees", 1, "embedded network"), ("optimizees", 3, "embedded network")]
    expected += [("layer groups", x, curve) for x in (2, 3) for curve in curves]
    assert [(row["axis"], row["x"], row["curve"]) for row in rows] == expected
    assert all(0 < low <= median <= high for median, low, high in (row["ms"] for row in rows))
    assert capsys.readouterr().out.count(" ms (") == len(rows)
    assert picture.read_bytes().startswith(b"\x89PNG")


def _quick_case(network: str, **changes: Any) -> backbone.Case:
    (case,) = backbone.cases(backbone.BackboneArgs(networks=(network,), quick=True, device="cpu"))
    return dataclasses.replace(case, config=dataclasses.replace(case.config, **changes))


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("resnet18", {"base_lr": 1e-3}),
        ("fcn8s", {"base_lr": 1e-3, "guidance_cap": None}),
        ("fcn8s", {"base_lr": 0.01, "guidance_cap": 1e-3}),
    ],
    ids=["classification", "segmentation", "beyond the cap"],
)
def test_the_released_style_trains_as_ours_does(network: str, changes: dict[str, Any]) -> None:
    case = _quick_case(network, **changes)
    config, pair = case.config, case.pair()
    loop = ReleasedStyle(pair, config, torch.float64)
    population = LoopedPopulation([pair], 1, config, torch.float64)
    population.start({0: Start(0, 0, 0)})
    n = config.batch_size
    population.order[0, :2] = torch.arange(2 * n).view(2, n)
    loop.window(2)
    window = population.run(np.full((1, population.n_layers), config.base_lr), np.array([2]))
    theirs = population.layout.flatten({name: p.detach() for name, p in loop.model.named_parameters()})
    moved = population.weights[0] - population.reference[0]
    assert moved.norm() > 1e-3
    assert (theirs - population.weights[0]).norm() < 1e-9 * moved.norm()
    ce, term = window.measurements.train_ce[0], config.guidance_weight * window.measurements.train_kl[0]
    assert term > 1e-6
    if config.guidance_cap is None:
        assert np.mean(loop.losses) == pytest.approx(ce + term, rel=1e-9)
    else:
        assert term > config.guidance_cap > np.mean(loop.losses) - ce


def test_networks_have_their_own_size_batch_and_recipe() -> None:
    args = backbone.BackboneArgs(networks=("resnet101", "fcn8s", "deeplabv3_resnet50"), device="cpu")
    found = [(c.size, c.width, c.config.batch_size, c.config.optimizer) for c in backbone.cases(args)]
    dense = (512, 1.0, 6, "sgd")
    assert found == [(224, 1.0, 32, "rate_in_momentum"), dense, dense]
    chosen = backbone.cases(dataclasses.replace(args, networks=(), size=96, batch=3))
    assert [case.network for case in chosen] == ["resnet18", "resnet50", "resnet101", "fcn8s"]
    assert {(case.size, case.config.batch_size) for case in chosen} == {(96, 3)}
    with pytest.raises(ConfigError, match="--batch is 0; expected an integer >= 1"):
        dataclasses.replace(args, batch=0)


def test_random_masks_have_classes_and_pixels_without() -> None:
    pair = backbone_pair("lraspp_mobilenet_v3_large", 32, 2, n_batches=2)
    assert (pair.n_classes, pair.n_proxy_classes, len(pair.train), len(pair.validation)) == (19, 1000, 4, 2)
    assert set(pair.train.labels.unique().tolist()) == {pairs.IGNORED, *range(19)}  # type: ignore[union-attr]
    assert 0.05 < (pair.train.labels == pairs.IGNORED).float().mean() < 0.15  # type: ignore[union-attr]
    model = pair.make_model(torch.Generator())
    assert torch.equal(pair.proxy(pair.train.images), model(pair.train.images)[1])  # type: ignore[union-attr]


def test_operations_of_a_backbone_are_counted() -> None:
    # ResNet-18 at 224 pixels makes 1.81 G multiplications and additions on an image; three times that with gradients,
    # but for the first layer, whose input needs none.
    pair = backbone_pair("resnet18", 224, 1, n_batches=1)
    assert backbone.flops_per_image(pair, 224) == pytest.approx(3 * 2 * 1.81e9, rel=0.06)


def test_the_backbone_benchmark_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone, "peak_bytes", lambda run, device, threads: 2**30)
    data = tmp_path / "backbone.json"
    assert backbone.main(["--quick", "--device", "cpu", "--peak", "1", "--json", str(data)]) == 0
    rows = json.loads(data.read_text())["rows"]
    loops = ["ours, float32", "ours, bf16", "released style"]
    assert [(row["network"], row["loop"]) for row in rows] == [
        (n, loop) for n in ("resnet18", "fcn8s") for loop in loops
    ]
    for row in rows:
        assert row["share_of_peak"] == pytest.approx(row["tflops"])
        assert row["tflops"] > 0
        assert row["peak_memory"] == 2**30
    assert rows[-1]["ratio"] == [1.0, 1.0, 1.0]
    assert capsys.readouterr().out.count("1.00 GiB") == 6
    assert backbone.main(["--networks", "fcn9s", "--device", "cpu", "--no-memory"]) == 2
    assert "'fcn9s'" in capsys.readouterr().err


def test_the_compiled_benchmark_runs(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l2o_env.inner.torch_compile.BACKEND", "aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model, dynamic: None)
    data = tmp_path / "compiled.json"
    command = ["--quick", "--cases", f"{tiny}*1", f"{tiny}*2", "--device", "cpu", "--json", str(data)]
    assert compiled.main(command) == 0
    rows = json.loads(data.read_text())["rows"]
    assert [(row["case"], row["loop"]) for row in rows] == [
        (f"{tiny}*{n}", loop) for n in (1, 2) for loop in compiled.LOOPS
    ]
    assert [row["ratio"] for row in rows if row["loop"] == "raw"] == [[1.0, 1.0, 1.0]] * 2
    assert all(row["start"] > 0 and row["ratio"][0] > 0 for row in rows)
    assert "pays after" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_loop_is_at_least_what_it_keeps() -> None:
    case = _quick_case("fcn8s")
    kept = 4 * sum(p.numel() for p in case.pair().proxy.parameters())
    # The proxy twice, weights, gradients and momentum.
    assert 5 * kept < case.peak_memory(backbone.RELEASED) < 2**30


def test_what_learned_rates_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"network": "shufflenet_v2_x0_5", "size": 32, "batch-size": 2, "window": 2, "rounds": 1, "device": "cpu"}
    small = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    assert scheduler.main([*small, "--json", str(tmp_path / "found.json")]) == 0
    figures = json.loads((tmp_path / "found.json").read_text())
    (plain,), (learned,) = figures["seconds"]["guided"], figures["seconds"]["learned rates, guided"]
    assert figures["overhead"]["learned rates, guided"] == [pytest.approx(100 * (learned / plain - 1))]
    assert "learned rates, guided:" in capsys.readouterr().out
    assert scheduler.main(["--window", "0"]) == 2


def test_the_loops_of_the_benchmark_are_one_training() -> None:
    args = scheduler.SchedulerArgs("shufflenet_v2_x0_5", size=32, batch_size=2, window=4, rounds=1, device="cpu")
    by_hand, ours = (scheduler.Loop(args, guided=True, learned=learned) for learned in (False, True))
    assert ours.rates is not None
    ours.rates._group_rates.set = lambda rates: None  # type: ignore[method-assign] # the rates stay as they are
    for loop in (by_hand, ours):
        loop.window(4)
    for one, other in zip(by_hand.model.parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_how_much_a_policy_depends_on(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy().save(tmp_path / "policy")
    found = str(tmp_path / "found.json")
    cases = ("as trained", "half as many updates told", "on SGD", "not validated")
    arguments = [str(tmp_path / "policy"), "--pair", "tiny", "--updates", "4", "--seeds", "2", "--json", found]
    assert sensitivity.main([*arguments, "--cases", *cases]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in cases]
    rows = json.loads(Path(found).read_text())["rows"]
    assert rows["as trained"] != rows["on SGD"] != rows["not validated"]
    assert sensitivity.main([*arguments, "--cases", "nothing"]) == 2


def test_the_loop_of_the_table_is_the_environments(tiny: str) -> None:
    agent, settings = policy(), {"pairs": "tiny", "budget": 20, "window": 1, "batch_size": 8, "device": "cpu"}
    venv = Syn2RealVectorEnv(1, implementation="looped", optimizer="adamw", **settings)
    outcome = run_episodes(venv, agent, seeds=[0])
    start = venv.episodes.population.starts[0]
    assert start is not None
    case = sensitivity.Case(updates=20, batch_size=8)
    found = sensitivity.train(agent, pairs.make(tiny), case, start.init_seed, start.batch_seed)
    np.testing.assert_allclose(found[:2], [outcome.v_end[0], outcome.validation_accuracy[0]], rtol=1e-3)


def test_ten_kills_change_nothing(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kills, "SHARES", {"reinforce": 1.0})
    monkeypatch.setattr(kills, "KILLS_OF_A_RUN", 10)
    settings = "--num-envs 4 --budget 4 --window 2 --episodes 16 --checkpoints 1 --eval-seeds 2"
    monkeypatch.setattr(kills, "SETTINGS", settings + " --tuning-episodes 0 --device cpu --save-every 0")
    status = kills.main(kills.Args(kills=10, pair=tiny))
    assert "0 files left behind\nshared memory left behind: 0" in capsys.readouterr().out
    assert status == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="counts memory as Linux does")
@pytest.mark.parametrize(
    "name", ["REINFORCE policy", "`config.json` of a run", "VisDA lists", "YAML of hyper-parameters"]
)
def test_mutants_of_files_are_refused_or_read(name: str, tmp_path: Path) -> None:
    counts = fuzz.run(fuzz_kinds.KINDS[name], 12, 3, tmp_path)
    assert counts.examples == {}
    assert counts.outcomes["clean error"] + counts.outcomes["accepted"] == 12


def test_mutants_that_go_wrong_are_counted(tmp_path: Path) -> None:
    def read(folder: Path) -> None:
        text = (folder / "a").read_text()
        if text == "run":
            (folder.parent / "canary").touch()
        if text == "long":
            raise ConfigError("x" * 501)
        if text == "raw":
            raise KeyError("x")

    def unmade(rng: object, content: bytes) -> bytes:
        raise MemoryError

    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "a").write_text("")
    assert (
        fuzz.outcome_of(fuzz_kinds.Kind(lambda folder: None, read, {"a": unmade}), 0, 0, tmp_path)[0] == fuzz.NOT_MADE
    )
    for number, (text, outcome) in enumerate(
        [("", "accepted"), ("run", "executed"), ("long", "message over 500"), ("raw", "traceback")]
    ):
        kind = fuzz_kinds.Kind(lambda folder: None, read, {"a": lambda rng, content, text=text: text.encode()})
        (tmp_path / "sample").mkdir(exist_ok=True)
        (tmp_path / "sample" / "a").write_text("")
        assert fuzz.outcome_of(kind, number, 0, tmp_path)[0] == outcome


def test_the_readmes_python_is_timed_as_it_is_but_for_its_length() -> None:
    code = python_use.script()
    compile(code, "README.md", "exec")
    assert code.count("started") == 2 and f"episodes={python_use.EPISODES}" in code and "episodes=32" not in code
    assert python_use.SETTINGS in " ".join((python_use.ROOT / "README.md").read_text(encoding="utf-8").split())
