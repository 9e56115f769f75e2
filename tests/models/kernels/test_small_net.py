"""The compiled kernels against autograd in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from l2o_env.models import SmallNet, new_generator
from l2o_env.models.kernels.program import run
from l2o_env.models.kernels.small_net import SmallNetKernels
from l2o_env.models.small import NetworkName

N, IMAGES, CLASSES, PROXY_CLASSES, GUIDANCE = 3, 50, 10, 5, 0.3


def _kernels(n_classes: int, n_proxy_classes: int) -> SmallNetKernels:
    return SmallNetKernels(SmallNet(n_classes, n_proxy_classes, torch.Generator()))


class Problem(NamedTuple):
    nets: list[SmallNet]
    weights: NDArray[np.float32]
    proxy_weight: NDArray[np.float32]
    proxy_bias: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]

    @property
    def bank(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        return self.images, self.labels, self.probs

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        return self.weights, self.proxy_weight, self.proxy_bias


def _names(net: SmallNet) -> list[str]:
    return [name for names in net.layer_groups().values() for name in names]


def _problem(n_classes: int = CLASSES, n_proxy_classes: int = PROXY_CLASSES, network: NetworkName = "small") -> Problem:
    nets = [SmallNet(n_classes, n_proxy_classes, new_generator(seed), network) for seed in range(N)]
    rng = np.random.default_rng(0)
    with torch.no_grad():  # not the identity of a new network's norms and biases
        for net in nets:
            for p in net.parameters():
                p += 0.1 * torch.from_numpy(rng.standard_normal(p.shape).astype(np.float32))
    weights = np.stack([np.concatenate([n.get_parameter(k).detach().numpy().ravel() for k in _names(n)]) for n in nets])
    probs = rng.dirichlet(np.ones(n_proxy_classes), IMAGES)
    probs[0] = np.eye(n_proxy_classes)[0]  # 0 log 0
    return Problem(
        nets,
        weights,
        np.stack([net.proxy_head.weight.detach().numpy() for net in nets]),
        np.stack([net.proxy_head.bias.detach().numpy() for net in nets]),
        rng.standard_normal((IMAGES, 3, 16, 16)).astype(np.float32),
        rng.integers(0, n_classes, IMAGES),
        probs.astype(np.float32),
    )


def _index(batch: int) -> NDArray[np.int64]:
    index = np.random.default_rng(batch).integers(0, IMAGES, (N, batch))
    index[:, 0] = 0
    return index


def _reference(problem: Problem, i: int, index: NDArray[np.int64]) -> tuple[list[Tensor], list[Tensor], float, float]:
    """Gradients by layer group, of the total and of the divergence, and both losses."""
    net = problem.nets[i]
    frozen = {name: p.detach().double() for name, p in net.named_parameters() if not p.requires_grad}
    params = {name: net.get_parameter(name).detach().double().requires_grad_() for name in _names(net)}
    images = torch.from_numpy(problem.images[index[i]]).double()
    logits, proxy_logits = functional_call(net, {**params, **frozen}, (images,))
    ce = F.cross_entropy(logits, torch.from_numpy(problem.labels[index[i]]))
    probs = torch.from_numpy(problem.probs[index[i]]).double()
    kl = F.kl_div(proxy_logits.log_softmax(-1), probs, reduction="batchmean")

    def grouped(loss: Tensor) -> list[Tensor]:
        found = torch.autograd.grad(loss, list(params.values()), retain_graph=True, materialize_grads=True)
        of = dict(zip(params, found, strict=True))
        return [torch.cat([of[name].flatten() for name in names]) for names in net.layer_groups().values()]

    return grouped(ce + GUIDANCE * kl), grouped(kl), ce.item(), kl.item()


def _assert_close(found: NDArray[np.float32], expected: list[Tensor]) -> None:
    assert np.isfinite(found).all()
    for ours, theirs in zip(torch.from_numpy(found).double().split([len(g) for g in expected]), expected, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch", [32, 20, 7])
@pytest.mark.parametrize("classes", [(CLASSES, PROXY_CLASSES), (4, 8), (3, 1)], ids=str)
def test_gradients_and_losses_are_those_of_autograd(batch: int, classes: tuple[int, int]) -> None:
    problem, index = _problem(*classes), _index(batch)
    kernels = _kernels(*classes)
    assert problem.weights.shape == (N, kernels.n_weights)
    total, ce, kl, none = kernels.gradients(*problem.heads, *problem.bank, index, GUIDANCE)
    again, _, _, guidance = kernels.gradients(*problem.heads, *problem.bank, index, GUIDANCE, separate=True)
    assert none is None
    assert guidance is not None
    np.testing.assert_array_equal(total, again)
    for i in range(N):
        expected, of_kl, of_ce, divergence = _reference(problem, i, index)
        _assert_close(total[i], expected)
        _assert_close(guidance[i], of_kl)
        np.testing.assert_allclose([ce[i], kl[i]], [of_ce, divergence], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", ["deep", "deeper", "narrow", "wide"])
def test_networks_of_other_sizes_have_kernels_too(network: NetworkName) -> None:
    problem, index = _problem(network=network), _index(20)
    kernels = problem.nets[0].batched_kernels(PROXY_CLASSES)
    assert isinstance(kernels, SmallNetKernels)
    total, _, _, guidance = kernels.gradients(*problem.heads, *problem.bank, index, GUIDANCE, separate=True)
    logits, _ = kernels.logits(*problem.heads, problem.images)
    for i, net in enumerate(problem.nets):
        expected, of_kl, *_ = _reference(problem, i, index)
        _assert_close(total[i], expected)
        _assert_close(guidance[i], of_kl)
        of_net = net.double()(torch.from_numpy(problem.images).double())[0]
        np.testing.assert_allclose(logits[i], of_net.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_images", [IMAGES, 16, 1])
def test_logits_are_those_of_the_network(n_images: int) -> None:
    problem = _problem()
    found = _kernels(CLASSES, PROXY_CLASSES).logits(*problem.heads, problem.images[:n_images])
    for i, net in enumerate(problem.nets):
        expected = net.double()(torch.from_numpy(problem.images[:n_images]).double())
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours[i], theirs.detach(), rtol=1e-5, atol=1e-5)


def test_padded_proxy_classes_change_nothing() -> None:
    problem, index, extra = _problem(), _index(20), 3
    padded = problem._replace(
        proxy_weight=np.pad(problem.proxy_weight, ((0, 0), (0, extra), (0, 0))),
        proxy_bias=np.pad(problem.proxy_bias, ((0, 0), (0, extra)), constant_values=-1e4),
        probs=np.pad(problem.probs, ((0, 0), (0, extra))),
    )
    total, ce, kl, guidance = _kernels(CLASSES, PROXY_CLASSES + extra).gradients(
        *padded.heads, *padded.bank, index, GUIDANCE, separate=True
    )
    assert guidance is not None
    for i in range(N):
        expected, of_kl, of_ce, divergence = _reference(problem, i, index)
        _assert_close(total[i], expected)
        _assert_close(guidance[i], of_kl)
        np.testing.assert_allclose([ce[i], kl[i]], [of_ce, divergence], rtol=1e-5)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("n", [1, N])
def test_results_do_not_depend_on_threads_or_on_the_other_optimizees(n: int) -> None:
    problem, index = _problem(), _index(40)
    found = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        kernels = _kernels(CLASSES, PROXY_CLASSES)
        heads = [a[:n] for a in problem.heads]
        gradients = kernels.gradients(*heads, *problem.bank, index[:n], GUIDANCE, separate=True)
        found.append([*gradients, *kernels.logits(*heads, np.concatenate([problem.images] * 4))])
    torch.set_num_threads(1)
    kernels = _kernels(CLASSES, PROXY_CLASSES)
    alone = kernels.gradients(*[a[:1] for a in problem.heads], *problem.bank, index[:1], GUIDANCE, separate=True)
    for one, two, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    for one, single in zip(found[0][:4], alone, strict=True):
        np.testing.assert_array_equal(one[:1], single)


def test_buffers_keep_nothing_of_earlier_calls() -> None:
    problem, kernels = _problem(), _kernels(CLASSES, PROXY_CLASSES)
    fresh = kernels.gradients(*problem.heads, *problem.bank, _index(7), GUIDANCE)
    broken = np.full_like(problem.weights, np.nan)
    total, ce, kl, _ = kernels.gradients(broken, *problem.heads[1:], *problem.bank, _index(32), GUIDANCE)
    assert np.isnan(ce).all()
    assert np.isnan(kl).all()
    assert np.isnan(total).any(1).all()
    assert np.isnan(kernels.logits(broken, *problem.heads[1:], problem.images)[0]).all()
    for before, after in zip(
        fresh[:3], kernels.gradients(*problem.heads, *problem.bank, _index(7), GUIDANCE)[:3], strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_an_infinite_weight_does_not_stay_unnoticed() -> None:
    problem = _problem()
    problem.weights[0, 100], problem.weights[1, -1] = np.inf, np.inf
    total, ce, _, _ = _kernels(CLASSES, PROXY_CLASSES).gradients(*problem.heads, *problem.bank, _index(20), GUIDANCE)
    assert not np.isfinite(ce[:2]).any()
    assert not np.isfinite(total[:2]).all(1).any()
    assert np.isfinite(total[2]).all()


def test_out_is_written_to() -> None:
    problem, kernels = _problem(), _kernels(CLASSES, PROXY_CLASSES)
    out = np.full_like(problem.weights, 7.0)
    total, *_ = kernels.gradients(*problem.heads, *problem.bank, _index(20), GUIDANCE, out=out)
    assert total is out
    np.testing.assert_array_equal(out, kernels.gradients(*problem.heads, *problem.bank, _index(20), GUIDANCE)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.zeros((N, 5), np.float32)}, "weights must have the shape"),
        ({"images": np.zeros((IMAGES, 3, 8, 8), np.float32)}, "images must have the shape"),
        ({"labels": np.full(IMAGES, CLASSES)}, "labels must be from 0 to 9, got 10 to 10"),
        ({"probs": np.zeros((IMAGES, 2), np.float32)}, "proxy_probs must have the shape"),
    ],
)
def test_what_does_not_fit_is_an_error(change: dict[str, NDArray[np.float32]], message: str) -> None:
    problem = _problem()._replace(**change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        _kernels(CLASSES, PROXY_CLASSES).gradients(*problem.heads, *problem.bank, _index(7), GUIDANCE)


def test_an_index_beyond_the_images_is_an_error() -> None:
    problem = _problem()
    with pytest.raises(ValueError, match="index must be from 0 to 49"):
        _kernels(CLASSES, PROXY_CLASSES).gradients(*problem.heads, *problem.bank, _index(7) + 50, GUIDANCE)


def test_one_compilation_serves_all_kinds_of_arrays() -> None:
    problem, kernels = _problem(), _kernels(CLASSES, PROXY_CLASSES)
    expected = kernels.gradients(*problem.heads, *problem.bank, _index(7), 1.0)[0]
    compiled = len(run.signatures)
    problem.images.flags.writeable = False
    by_column = np.asfortranarray(problem.weights)
    found = kernels.gradients(by_column, *problem.heads[1:], *problem.bank, _index(7), 1)[0]
    np.testing.assert_array_equal(found, expected)
    assert len(run.signatures) == compiled
