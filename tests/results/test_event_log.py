"""TensorBoard: records under SB3's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from l2o_env.errors import ConfigError
from l2o_env.results.event_log import (
    LAYER_TAGS,
    LayerLog,
    TensorBoardLog,
    cut_events,
    log_recording,
    read_scalars,
    training_events,
    training_records,
)
from l2o_env.vector_env import Syn2RealVectorEnv


def test_tensorboard_has_the_records_under_known_names(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log({"episode": 16, "return_mean": 1.5, "entropy": 0.25, "pair": "tiny", "lr/stem": 0.01, "extra": np.float32(3)})
    log({"episode": 32, "return_mean": 2.5, "entropy": 0.125, "pair": "tiny", "lr/stem": 0.02, "extra": 4})
    log.close()
    found = read_scalars(tmp_path)
    assert found["rollout/ep_rew_mean"] == found["pair/tiny"] == [(16, 1.5), (32, 2.5)]
    assert found["train/entropy"] == [(16, 0.25), (32, 0.125)]
    assert found["train/extra"] == [(16, 3.0), (32, 4.0)]
    assert [step for step, _ in found["lr/stem"]] == [16, 32]
    assert found["time/episodes"] == [(16, 16.0), (32, 32.0)]


def _events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0})
    events.Reload()
    return events


def test_arrays_are_histograms_and_pictures_are_shown(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "a.png")
    log = TensorBoardLog(tmp_path / "events")
    log({"episode": 16, "log10_lr/stem": np.array([-3.0, -2.0, -2.0])})
    log.picture("pictures/a", tmp_path / "a.png")
    log.close()
    events = _events(tmp_path / "events")
    value = events.Histograms("log10_lr/stem")[0]
    assert (value.step, value.histogram_value.num, value.histogram_value.sum) == (16, 3, -7)
    image = events.Images("pictures/a")[0]
    assert (image.width, image.height) == (6, 4)


def test_settings_stand_beside_results_in_the_tab_of_hyper_parameters(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.results({"lr": 0.03, "env": {"pairs": ("a", "b"), "crn": True}, "kl": None}, {"v_end": -0.5})
    log.close()
    events = _events(tmp_path)
    found = HParamsPluginData()
    session = events.SummaryMetadata("_hparams_/session_start_info")
    found.ParseFromString(session.plugin_data.content)
    hyper = {key: value.WhichOneof("kind") for key, value in found.session_start_info.hparams.items()}
    assert hyper == {"lr": "number_value", "env.pairs": "string_value", "env.crn": "number_value", "kl": "string_value"}
    assert found.session_start_info.hparams["lr"].number_value == 0.03
    assert events.Scalars("hparam/v_end")[0].value == -0.5


def test_means_of_layers_since_the_last_record() -> None:
    log = LayerLog(("stem", "head"))
    info = {key: np.array([[1.0, 2.0], [3.0, 4.0]]) for key in LAYER_TAGS}
    info["lr"] = np.array([[1e-3, 0.0], [1e-1, 0.0]])
    log(info, np.array([True, True]))
    log({**info, "drift": info["drift"] + 4}, np.array([False, True]))
    found = log.take()
    assert found["drift/stem"] == (1 + 3 + 7) / 3
    assert found["grad/guidance/head"] == (2 + 4 + 4) / 3
    assert found["lr/stem"] == pytest.approx(10 ** (-5 / 3))
    assert found["lr/head"] == 0.0
    np.testing.assert_allclose(found["log10_lr/stem"], [-3, -1, -1])
    assert "log10_lr/head" not in found
    assert log.take() == {}


def test_a_population_tells_its_log_of_every_window(make_vec: Callable[..., Syn2RealVectorEnv]) -> None:
    venv = make_vec(2)
    venv.on_step = log = LayerLog(venv.layer_names)
    venv.reset(seed=0)
    rates = [1e-3, 2e-3, 3e-3, 5.0, 4e-3]  # in the fourth step the next episode starts, without an update
    for rate in rates:
        venv.step_rates(np.full((2, 3), rate))
    found = log.take()
    np.testing.assert_allclose(found["log10_lr/stem"], np.log10(np.repeat([1e-3, 2e-3, 3e-3, 4e-3], 2)))


def test_a_recording_over_the_updates_of_an_episode(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        [
            {"pair": pair, "seed": seed, "updates": updates, "layer": layer, "lr": 10.0**-seed, "log_prob": np.nan,
             "entropy": 0.25 * seed, **dict.fromkeys([key for key in LAYER_TAGS if key != "lr"], float(seed))}
            for pair in ("a", "b/2") for seed in (1, 3) for updates in (15, 30) for layer in ("stem", "head")
        ]
    )  # fmt: skip
    log_recording(tmp_path, rows)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b_2"}
    found = read_scalars(tmp_path / "b_2")
    assert [step for step, _ in found["over_updates/lr/head"]] == [15, 30]
    np.testing.assert_allclose([value for _, value in found["over_updates/lr/head"]], 1e-2)
    assert found["over_updates/entropy/stem"] == [(15, 0.5), (30, 0.5)]
    assert found["over_updates/grad/task/head"] == [(15, 2.0), (30, 2.0)]
    assert "over_updates/log_prob/stem" not in found
    assert found["time/updates"] == [(15, 15.0), (30, 30.0)]
    assert all(tag.startswith("over_updates/") for tag in found if tag != "time/updates")
    assert _events(tmp_path / "a").Histograms("over_updates/log10_lr/stem")[1].histogram_value.num == 2


def test_a_training_has_a_folder_of_its_own_but_where_it_had_none(tmp_path: Path) -> None:
    assert training_events(tmp_path / "nowhere") == tmp_path / "nowhere" / "training"
    for name, folder in (("new", tmp_path / "new" / "training"), ("old", tmp_path / "old")):
        log = TensorBoardLog(folder)
        log({"episode": 16, "return_mean": 1.0})
        sizes = log.written()
        log({"episode": 32, "return_mean": 2.0})
        log.close()
        TensorBoardLog(tmp_path / name / "evaluation" / "a").close()
        assert training_events(tmp_path / name) == folder
        assert read_scalars(tmp_path / name)["rollout/ep_rew_mean"] == [(16, 1.0), (32, 2.0)]
        cut_events(tmp_path / name, sizes)
        assert read_scalars(tmp_path / name)["rollout/ep_rew_mean"] == [(16, 1.0)]
        assert not (tmp_path / name / "evaluation").exists()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"TensorBoard folder .*file/events cannot be written to: .*Name a folder"):
        TensorBoardLog(tmp_path / "file" / "events")
    assert read_scalars(tmp_path / "nowhere") == {}


def test_training_as_the_events_have_it() -> None:
    scalars = {
        "rollout/ep_rew_mean": [(16, 1.0), (32, 2.0)], "rollout/ep_value_mean": [(16, -1.5)], "pair/a": [(16, 1.0)]
    }  # fmt: skip
    assert training_records(scalars) == [
        {"episode": 16, "return_mean": 1.0, "value_mean": -1.5, "pair": "a"}, {"episode": 32, "return_mean": 2.0}
    ]  # fmt: skip
    assert training_records({}) == []
