"""Torchvision's segmentation networks, their proxies and their batch statistics."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from l2o_env.guidance.base import feature_map
from l2o_env.models.adapted.backbone import batch_norms
from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.network_config import BatchNormMode, NetworkConfig
from l2o_env.models.adapted.prepare_dense import prepare_dense
from l2o_env.models.base import check_layer_groups, new_generator


@pytest.mark.parametrize(
    ("name", "below", "groups"),
    [
        ("lraspp_mobilenet_v3_large", "mobilenet_v3_large", 10),
        ("fcn_resnet50", "resnet50", 6),
        ("deeplabv3_resnet50", "resnet50", 6),
    ],
)
def test_torchvision_networks_carry_the_classifiers_head(tmp_path: Path, name: str, below: str, groups: int) -> None:
    network = builder(below)(num_classes=9).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    found = prepare_dense(NetworkConfig(name, tmp_path / "w.pt"))
    assert found.n_proxy_classes == 9
    state = torch.get_rng_state()
    model = found.make_model(4, new_generator(0))
    assert torch.equal(torch.get_rng_state(), state)
    check_layer_groups(model)
    assert len(model.layer_groups()) == groups + 1
    images = torch.randn(1, 3, 64, 48, generator=new_generator(1))
    with torch.no_grad():
        logits, proxy_logits = model(images)
        assert logits.shape == (1, 4, 64, 48)
        assert torch.equal(proxy_logits, found.proxy(images))
        assert torch.equal(feature_map(model, images), model.backbone(images)["out" if below == "resnet50" else "high"])
        if below == "resnet50":  # the mean over places of a linear head is the head of the mean
            features = model.backbone(images)["out"].mean((-2, -1))
            torch.testing.assert_close(proxy_logits.mean((-2, -1)), network.fc(features), atol=1e-4, rtol=1e-4)
            assert list(model.layer_groups())[:2] == ["conv1", "bn1"]
    random = found.make_random_model(4, new_generator(0))
    assert random.trains_batch_statistics and not model.trains_batch_statistics
    first = next(iter(model.backbone.parameters()))
    assert not torch.equal(first, next(iter(random.backbone.parameters())))


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_a_new_head_has_no_statistics_to_freeze(name: str) -> None:
    weights = builder(name.split("_", 1)[1])(num_classes=3).state_dict()
    frozen, trained = (
        prepare_dense(NetworkConfig(name, weights, batchnorm=mode)).make_model(4, new_generator(0))
        for mode in get_args(BatchNormMode)
    )
    assert not list(frozen.head.buffers())
    assert len(batch_norms(frozen.backbone)) == len(batch_norms(trained.backbone)) > 0
    assert frozen.layer_groups() == trained.layer_groups()
    for mine, theirs in zip(frozen.head.parameters(), trained.head.parameters(), strict=True):
        assert torch.equal(mine, theirs)  # the same draw, whatever normalises
    images = torch.randn(4, 3, 64, 64, generator=new_generator(1))
    with torch.no_grad():
        logits = frozen(images)[0]
        frozen.train_batch_statistics(True)
        torch.testing.assert_close(frozen(images[:1])[0], logits[:1], atol=1e-4, rtol=1e-4)  # alone or in a batch
        trained.train_batch_statistics(True)
        for part in batch_norms(trained.backbone):
            part.eval()
        assert 0.8 < logits.std() / trained(images)[0].std() < 1.25  # as large as with statistics of the batch


@pytest.mark.parametrize(("name", "smallest"), [("deeplabv3_mobilenet_v3_large", 2), ("lraspp_mobilenet_v3_large", 1)])
def test_batch_statistics_of_pooled_features_need_two_images(name: str, smallest: int) -> None:
    weights = builder(name.split("_", 1)[1])(num_classes=3).state_dict()
    for mode, expected in (("trained", smallest), ("frozen", 1)):
        config = NetworkConfig(name, weights, batchnorm=mode)  # type: ignore[arg-type]
        model = prepare_dense(config).make_model(4, new_generator(0))
        assert model.smallest_batch == expected
        model.train_batch_statistics(True)
        assert model(torch.zeros(expected, 3, 32, 32))[0].isfinite().all()
