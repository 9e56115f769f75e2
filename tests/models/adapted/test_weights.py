"""Weights of files and of torchvision; what a file holds is never executed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from l2o_env import ConfigError
from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.models.adapted.weights import named_as, read_weights
from tests.image_trees import MicroNet, save_weights


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_checkpoints_are_unwrapped(tmp_path: Path, key: str) -> None:
    state = MicroNet().state_dict()
    torch.save({"epoch": 3, key: {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert list(found) == list(state)
    assert torch.equal(found["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"w": torch.ones(1), "from": Path("x")}, r"it holds a pathlib\.\S*PosixPath beside tensors, and"),
        (b"hello", "it is damaged, or no file of tensors"),
        (b"", "it is damaged, or no file of tensors"),
        ([torch.ones(1)], "holds a list; expected the state_dict of a network"),
        ({"epoch": 3}, "holds no tensors; expected the state_dict of a network"),
    ],
)  # fmt: skip
def test_files_of_more_or_less_than_tensors_are_refused(tmp_path: Path, content: Any, told: str) -> None:
    file = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ConfigError, match=told) as caught:
        read_weights(file)
    assert "\x1b" not in str(caught.value) and "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("fc.weight", lambda w: w.fill_(float("nan")), r"numbers of 'fc\.weight' are NaN or infinite"),
        ("bn.running_var", lambda w: w.fill_(float("inf")), r"numbers of 'bn\.running_var' are NaN or infinite"),
        ("fc.weight", lambda w: w.to_sparse(), r"'fc\.weight' is sparse"),
        ("fc.weight", lambda w: torch.ones(1, 1).expand(10**5, 10**5), "more than the file has numbers"),
    ],
)
def test_weights_that_nothing_can_be_computed_with_are_named(tmp_path: Path, name: str, change: Any, told: str) -> None:
    state = {"fc.weight": torch.ones(4, 4), "bn.running_var": torch.ones(4)}
    torch.save({**state, name: change(state[name])}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=told) as caught:
        read_weights(tmp_path / "w.pth")
    assert len(str(caught.value)) < 500


def test_a_packed_archive_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert (tmp_path / "packed.pth").stat().st_size < 10**5
    with pytest.raises(ConfigError, match="it is packed, which PyTorch does not do"):
        read_weights(tmp_path / "packed.pth")


def test_a_list_of_tensors_that_takes_all_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2o_env.safe_tensors.MAX_PICKLE", 100)
    torch.save({"w" * 200: torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"'data\.pkl' in it has more than"):
        read_weights(tmp_path / "w.pth")


def test_without_network_the_error_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked: list[tuple[str, str, str]] = []

    def no_network(url: str, path: str, prefix: str, progress: bool) -> None:
        asked.append((url, path, prefix))
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    with pytest.raises(ConfigError) as told:
        prepare(NetworkConfig("resnet18"))
    assert f"Download {url} elsewhere and put it at {tmp_path}/checkpoints/resnet18-f37072fd.pth" in str(told.value)
    assert "or give weights=FILE" in str(told.value)
    assert asked == [(url, f"{tmp_path}/checkpoints/resnet18-f37072fd.pth", "f37072fd")]
    # Put there, it is taken, without a download.
    torch.save(builder("resnet18")(num_classes=1000).state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    assert prepare(NetworkConfig("resnet18")).n_proxy_classes == 1000


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {0: {"step": torch.ones(1)}}}},
        lambda state: {"net": state, "epoch": 3},
        lambda state: {"state_dict": state, "state_dict_ema": {k: v * 0 for k, v in state.items()}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"whatever": state},
        lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
        lambda state: {f"module.module.{k}": v for k, v in state.items()},
        lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
        lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()} | {"loss.weight": torch.ones(2)}},
        lambda state: {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in state.items()}},
        lambda state: {f"encoder.backbone.{k}": v for k, v in state.items()},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
        lambda state: {
            f"_fsdp_wrapped_module.{k.replace('.', '._fsdp_wrapped_module.', 1)}": v for k, v in state.items()
        },
        lambda state: {k.replace("body.", "body._checkpoint_wrapped_module."): v for k, v in state.items()},
        lambda state: {"module": state, "optimizer": {"state": {}}, "ds_version": "0.9"},  # DeepSpeed
        lambda state: {f"model.module.{k}": v for k, v in state.items()},  # Lightning around DDP
        lambda state: (
            {f"online_model.{k}": v for k, v in state.items()}
            | {f"ema_model.{k}": v * 0 for k, v in state.items()}
            | {"initted": torch.tensor(True), "step": torch.tensor(5)}
        ),
        lambda state: {"teacher": {f"module.{k}": v * 0 for k, v in state.items()}, "student": state},
        lambda state: {"state_dict": {f"encoder_q.{k}": v for k, v in state.items()} | {"queue": torch.ones(2, 3)}},
        lambda state: {"meta": {"epoch": 1}, "state_dict": {f"backbone.{k}": v for k, v in state.items()}},
        lambda state: {"hparams": {"lr": 0.1}, "callbacks": {}, "weights": state, "scaler": {"scale": 65536.0}},
        lambda state: {k: v.double() if v.is_floating_point() else v for k, v in state.items()},
    ],
)
@pytest.mark.parametrize("name", ["w.pt", "w.ckpt", "W.PTH"])
def test_checkpoints_of_the_usual_forms_are_taken(tmp_path: Path, wrap: Any, name: str) -> None:
    network = MicroNet()
    torch.save(wrap(network.state_dict()), tmp_path / name)
    proxy = prepare(NetworkConfig(MicroNet, tmp_path / name), 12).proxy
    for key, value in network.named_parameters():
        assert torch.equal(proxy.get_parameter(key), value)


@pytest.mark.parametrize(
    ("name", "older"),
    [
        ("densenet121", lambda key: re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key)),
        ("vit_b_16", lambda key: key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")),
    ],
)
def test_published_weights_have_older_names_than_the_class(
    tmp_path: Path, name: str, older: Callable[[str], str]
) -> None:
    with torch.device("meta"):
        network = builder(name)(num_classes=1000)
    state = {older(key): value for key, value in network.state_dict().items()}
    assert set(state) != set(network.state_dict())
    assert list(named_as(state, network)) == list(network.state_dict())
    in_front = {f"encoder_q.{key}": value for key, value in state.items()}
    assert list(named_as(in_front, network)) == list(network.state_dict())


def test_a_network_of_ones_own_may_have_such_names() -> None:
    network = nn.ModuleDict({"mlp": nn.ModuleDict({"linear_1": nn.Linear(1, 1)})})
    state = {f"x.{key}": value for key, value in network.state_dict().items()}
    assert list(named_as(state, network)) == list(network.state_dict())


def test_checkpoints_that_could_be_several_networks_are_told(tmp_path: Path) -> None:
    state = MicroNet().state_dict()
    torch.save({"generator": state, "critic": state}, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match="holds tensors under 'generator', 'critic'; save those of the network"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.SAFETENSORS", "w"])
def test_safetensors_are_told_by_their_content(tmp_path: Path, name: str) -> None:
    from safetensors.torch import save_file

    state = read_weights(save_weights(tmp_path / "plain.pt"))
    save_file(state, tmp_path / name)
    found = read_weights(tmp_path / name)
    assert all(torch.equal(found[key], value) for key, value in state.items())
