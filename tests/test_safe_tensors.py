"""Tensors of files that may be anybody's."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from l2o_env.errors import ConfigError
from l2o_env.safe_tensors import MAX_PICKLE, read_pytorch, read_safetensors, require_finite, require_plain


def test_what_is_read_is_no_view_of_the_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors", {"key": "value"})
    tensors, metadata = read_safetensors(tmp_path / "a.safetensors")
    save_file({"a": torch.zeros(3)}, tmp_path / "b.safetensors")
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes())
    assert tensors["a"].tolist() == [1, 1, 1] and metadata == {"key": "value"}
    assert read_safetensors(tmp_path / "b.safetensors")[1] == {}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(SafetensorError):
        read_safetensors(tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError):
        read_safetensors(tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="no plain file"):
        read_safetensors(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="no plain file"):
            read_safetensors(tmp_path / "pipe")


_WORD = b"X" + (10**6).to_bytes(4, "little") + b"<" * 10**6  # a text of one word


@pytest.mark.parametrize(
    ("operations", "told"),
    [
        (b"ctorch\n" + b"<" * 10**6 + b"\n", r"'torch <<<.* is no type of tensors"),
        (_WORD + b")R", "it holds '<<<.* beside tensors"),
        (b"N" * MAX_PICKLE, "has more than 4 MiB|pickle exhausted"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_lists_that_are_none_of_tensors_are_refused_at_once(
    tmp_path: Path, operations: bytes, told: str, legacy: bool
) -> None:
    path, content = tmp_path / "w.pth", b"\x80\x02" + operations + b"."
    if legacy:
        path.write_bytes(b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {})) + content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", content)
    with pytest.raises(ValueError, match=told):
        read_pytorch(path)


def test_an_archive_with_a_large_member_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2 * MAX_PICKLE // 4)}, tmp_path / "w.pth")
    assert read_pytorch(tmp_path / "w.pth")["w"].shape == (2 * MAX_PICKLE // 4,)
    with zipfile.ZipFile(tmp_path / "w.pth", "a") as archive:
        archive.writestr("w/version_2", bytes(MAX_PICKLE + 1))
    with pytest.raises(ConfigError, match="'version_2' in it has more than 4 MiB"):
        read_pytorch(tmp_path / "w.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_texts_beside_tensors_are_read(tmp_path: Path, legacy: bool) -> None:
    content = {"w": torch.ones(2), "args": "rate: 0.1\n" * 10**5, "history": [0.5] * 1000}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    assert read_pytorch(tmp_path / "w.pth")["args"] == content["args"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), complex(0, float("nan"))])
def test_what_is_not_finite_is_named(value: complex) -> None:
    require_finite({"fine": torch.zeros(2), "counter": torch.tensor(3), "flags": torch.tensor([True])})
    with pytest.raises(ValueError, match=r"^1 of 3 numbers of 'layer\.weight' are NaN or infinite$"):
        require_finite({"fine": torch.zeros(2), "layer.weight": torch.tensor([0, value, 0])})


def test_a_negative_variance_is_named() -> None:
    require_finite({"bn.running_var": torch.zeros(2), "bn.running_mean": -torch.ones(2)})
    with pytest.raises(ValueError, match=r"the variance 'bn\.running_var' is negative"):
        require_finite({"bn.running_var": torch.tensor([1.0, -1e-9])})


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (torch.eye(3).to_sparse(), "'w' is sparse"),
        (torch.ones(3, device="meta"), "'w' is elsewhere"),
        (torch.ones(1).expand(10**9), r"'w' is \(1000000000,\), more than the file has numbers"),
        (torch.ones(300), r"'w' is \(300,\), more than the file has numbers"),
    ],
)
def test_what_is_no_plain_tensor_is_named(tensor: torch.Tensor, told: str) -> None:
    require_plain({"w": torch.ones(2, 3).T}, most=24)
    with pytest.raises(ValueError, match=told):
        require_plain({"w": tensor}, most=1000)
    with pytest.raises(ValueError, match="is the name of no parameter"):
        require_plain({"w" * 10**6: torch.ones(1)}, most=1000)


@pytest.mark.filterwarnings("ignore")  # PyTorch is about to take them out
def test_quantised_tensors_are_named() -> None:
    with pytest.raises(ValueError, match="'w' is quantised"):
        require_plain({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, most=1000)
