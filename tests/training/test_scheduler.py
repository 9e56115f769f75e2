"""A policy in a hand-written loop sets the rates that it sets in the environment, and survives what loops do."""

from __future__ import annotations

import copy
import io
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from l2o_env import ConfigError, LearnedRates, param_groups, split_layers
from l2o_env.env import Syn2RealEnv
from l2o_env.observation import FEATURE_NAMES, features_of
from l2o_env.optimizers import RULES
from l2o_env.training.window import WindowMeter
from tests.tiny import TINY
from tests.training.loops import Net, batches, network, policy, scheduled, train


class Asked:
    """A policy that keeps what it is asked, and answers with the same rate for all layers, a larger one each time."""

    output = "rates"

    def __init__(self) -> None:
        self.observations: list[np.ndarray] = []

    def act(self, observations: np.ndarray, state: Any, deterministic: bool) -> tuple[np.ndarray, int]:
        """Rates 0.001, 0.002, …"""
        assert deterministic
        self.observations.append(split_layers(observations)[0])
        number = (state or 0) + 1
        return np.full((1, self.observations[-1].shape[0]), number / 1000), number

    def feature(self, name: str) -> np.ndarray:
        """What it was told, ``(n_actions, n_layers)``."""
        return np.stack(self.observations)[..., FEATURE_NAMES.index(name)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("action", ["log", "relative", "relative_update"])
def test_it_sets_the_rates_that_the_environment_sets(tiny: str, optimizer: str, action: str) -> None:
    env = Syn2RealEnv(
        **{**TINY, "optimizer": optimizer, "action": action, "implementation": "looped", "clip_norm": None}
    )
    agent = policy(optimizer, action=action)
    observation, info = env.reset(seed=5)
    population = env.episodes.population
    model, pair, order = env.episodes.optimizee(0).train(), population.pairs[0], population.order[0].clone()
    validation = [(float(info["val_ce"]), float(info["val_kl"]))]
    expected, state, ended = [], None, False
    while not ended:
        chosen, state = agent.act(observation[None], state, True)
        observation, _, ended, _, info = env.step(chosen[0])
        validation.append((float(info["val_ce"]), float(info["val_kl"])))
        expected.append(info["lr"])

    rule = RULES[optimizer]
    keywords: dict[str, Any] = {"lr": rule.defaults.base_lr, "weight_decay": rule.defaults.weight_decay}
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.AdamW
    inner = kind(param_groups(model), **keywords, **({"momentum": 0.9} if optimizer == "sgd" else {}))
    rates = LearnedRates(
        inner, model, agent, total_updates=7, window=3, proxy=pair.proxy, proxy_head="net.proxy_head", head="head"
    )
    told = iter(validation)
    rates.validated(*next(told))
    made = []
    for index in order.long():
        x, y = pair.train.images[index], pair.train.labels[index]
        loss = rates.observe(F.cross_entropy(model(x)[0], y)) + rates.guidance(x)
        loss.backward()
        inner.step()
        made.append([group["lr"] for group in inner.param_groups])
        if rates.updates in (3, 6):
            rates.validated(*next(told))
        rates.step()
        inner.zero_grad()
    windows = [made[0], made[3], made[6]]
    assert made == [windows[i // 3] for i in range(7)]  # one action a window
    np.testing.assert_allclose(windows, expected, rtol=2e-5)
    assert len(np.unique(np.round(np.log(windows), 3))) > 6  # which differ


def test_it_is_a_scheduler_of_torch_and_counts_updates_not_calls() -> None:
    model, optimizer, rates = scheduled(agent=Asked(), total=6, window=2)
    assert isinstance(rates, torch.optim.lr_scheduler.LRScheduler)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3] * 3  # as they were
    for _ in range(5):
        rates.step()
    assert rates.updates == 0
    made = train(model, optimizer, rates, batches(6))
    assert [row[0] for row in made] == [0.001, 0.001, 0.002, 0.002, 0.003, 0.003]
    assert rates.get_last_lr() == [0.003] * 3 == rates.get_lr()
    assert rates.updates == 6


def test_it_says_what_it_is() -> None:
    _, _, rates = scheduled(agent=Asked(), total=6, window=2)
    assert repr(rates) == f"LearnedRates('Asked', layers={len(rates.layers)}, updates=0 of 6)"


def test_who_never_calls_step_gets_the_same_rates() -> None:
    model, optimizer, rates = scheduled()
    expected = train(model, optimizer, rates, batches(12))
    model, optimizer, rates = scheduled()
    made = []
    for x, y in batches(12):
        loss = rates.observe(F.cross_entropy(model(x), y)) + rates.guidance(x)
        loss.backward()
        optimizer.step()
        made.append([group["lr"] for group in optimizer.param_groups])
        optimizer.zero_grad()
    assert made == expected


def test_an_update_by_a_closure_is_measured_by_its_own_gradients() -> None:
    model, optimizer, rates = scheduled()
    expected = train(model, optimizer, rates, batches(12))
    model, optimizer, rates = scheduled()
    made = []
    for x, y in batches(12):

        def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            optimizer.zero_grad()
            loss = rates.observe(F.cross_entropy(model(x), y)) + rates.guidance(x)
            loss.backward()
            return loss

        optimizer.step(closure)
        made.append([group["lr"] for group in optimizer.param_groups])
        rates.step()
    assert made == expected


def test_what_a_loop_does_not_tell_is_masked() -> None:
    asked = Asked()
    model, optimizer, rates = scheduled(agent=asked, guided=False)
    for x, y in batches(7):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    seen = np.stack(asked.observations)
    masked = features_of("loss", "proxy", "validation")
    assert masked.sum() == 10
    of_zero = np.where([name == "guidance_rms" for name in FEATURE_NAMES], -6.0, 0.0)
    np.testing.assert_array_equal(seen[..., masked], np.broadcast_to(of_zero[masked], seen[..., masked].shape))
    assert (asked.feature("task_rms") > -6).all()
    np.testing.assert_allclose(asked.feature("progress")[:, 0], [0, 3 / 12, 6 / 12])


def test_a_validation_is_seen_at_the_next_action_and_changes_from_the_second_on() -> None:
    asked = Asked()
    model, optimizer, rates = scheduled(agent=asked, total=4, window=1, guided=False)
    told = {1: (2.0, None), 3: (torch.tensor(1.5), 0.5)}
    for k, (x, y) in enumerate(batches(4)):
        rates.observe(F.cross_entropy(model(x), y)).backward()
        optimizer.step()
        if k in told:
            rates.validated(*told[k])
        rates.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(asked.feature("val_ce")[:, 0], [0, 0, 2, 2])
    np.testing.assert_allclose(asked.feature("val_ce_change")[:, 0], 0)
    assert (asked.feature("train_ce_change")[2:, 0] != 0).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("cut", [0, 1, 3, 4, 6])
def test_a_resumed_training_is_the_uninterrupted_one(optimizer: str, cut: int) -> None:
    kind: Any = torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD
    keywords: dict[str, Any] = {"optimizer": kind, "agent": policy(optimizer)}
    model, inner, rates = scheduled(**keywords)
    expected = train(model, inner, rates, batches(12))
    after = {name: p.clone() for name, p in model.state_dict().items()}

    model, inner, rates = scheduled(**keywords)
    made = train(model, inner, rates, batches(12)[:cut])
    file = io.BytesIO()
    torch.save([model.state_dict(), inner.state_dict(), rates.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    model, inner, rates = scheduled(**keywords)
    rates.load_state_dict(states[2])
    model.load_state_dict(states[0])
    inner.load_state_dict(states[1])
    made += train(model, inner, rates, batches(12)[cut:])
    assert made == expected
    for name, p in model.state_dict().items():
        torch.testing.assert_close(p, after[name], rtol=0, atol=0)


def test_a_state_writes_its_rates_back_and_is_refused_by_another_scheduler() -> None:
    model, optimizer, rates = scheduled()
    made = train(model, optimizer, rates, batches(4))
    state, of_optimizer = rates.state_dict(), optimizer.state_dict()
    model, optimizer, _ = scheduled()
    optimizer.load_state_dict(of_optimizer)
    rates = LearnedRates(optimizer, model, policy(), total_updates=12, window=3)  # after its optimizer was loaded
    assert [group["lr"] for group in optimizer.param_groups] == made[-1]
    for group in optimizer.param_groups:
        group["lr"] = 7.0
    rates.load_state_dict(state)
    assert [group["lr"] for group in optimizer.param_groups] == made[-1] == rates.get_last_lr()
    _, _, other = scheduled(agent=policy(lr_max=0.5, lr_min=0.1))
    other.load_state_dict(state)  # the same actions, which mean other rates: those of the state are kept
    _, _, other = scheduled(agent=Asked())
    with pytest.raises(ConfigError, match="another policy"):
        other.load_state_dict(state)
    with pytest.raises(ConfigError, match="has layers"):
        rates.load_state_dict({**state, "layers": ["a"]})


def test_more_updates_than_planned_keep_the_last_rates_and_warn_once() -> None:
    model, optimizer, rates = scheduled(total=4, window=2)
    made = train(model, optimizer, rates, batches(4))
    with pytest.warns(UserWarning, match="more than total_updates=4") as warned:
        made += train(model, optimizer, rates, batches(4))
    assert len(warned) == 1
    assert made[4:] == [made[3]] * 4


def test_rates_that_somebody_else_changes_are_told_once() -> None:
    model, optimizer, rates = scheduled(agent=Asked())
    train(model, optimizer, rates, batches(2))
    with pytest.warns(UserWarning, match="Something else has changed the learning rates") as told:
        for x in batches(4):
            optimizer.param_groups[0]["lr"] = 0.5
            made = train(model, optimizer, rates, [x])
    assert len(told) == 1
    assert made[0][0] == 0.5
    rates.close()


def test_a_warm_up_multiplies_what_the_policy_sets() -> None:
    plain = train(*scheduled(agent=Asked()), batches(8))
    made = train(*scheduled(agent=Asked(), warmup=4), batches(8))
    factors = np.array([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(made, np.array(plain) * factors[:, None])
    model, optimizer, rates = scheduled(agent=Asked(), warmup=4)
    train(model, optimizer, rates, batches(8)[:2])
    states = [copy.deepcopy(each.state_dict()) for each in (model, optimizer, rates)]
    parts = scheduled(agent=Asked(), warmup=4)
    for part, state in zip((parts[0], parts[2], parts[1]), (states[0], states[2], states[1]), strict=True):
        part.load_state_dict(state)
    np.testing.assert_array_equal(train(*parts, batches(8)[2:]), made[2:])


def test_losses_that_are_not_finite_are_masked_and_the_rates_fall_back_once_told() -> None:
    asked = Asked()
    model, optimizer, rates = scheduled(agent=asked, total=8, window=2, guided=False)
    made = []
    with pytest.warns(UserWarning, match="not finite") as warned:
        for k, (x, y) in enumerate(batches(8)):
            loss = rates.observe(F.cross_entropy(model(x), y) * (torch.nan if k == 4 else 1))
            if k != 4:
                loss.backward()
            optimizer.step()
            made.append(optimizer.param_groups[0]["lr"])
            rates.step()
            optimizer.zero_grad()
    assert len(warned) == 1
    assert made == [0.001, 0.001, 0.002, 0.002, 0.003, 0.003, 0.002, 0.002]
    assert asked.feature("train_ce")[3, 0] == 0


def test_frozen_parameters_are_left_alone() -> None:
    model, _ = network()
    model.first.requires_grad_(False)
    groups = [*param_groups(model), {"params": list(model.first.parameters()), "lr": 5.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    asked = Asked()
    rates = LearnedRates(optimizer, model, asked, total_updates=4, window=1)
    assert rates.layers == ("second", "head")
    train(model, optimizer, rates, batches(2), guided=False)
    assert [group["lr"] for group in optimizer.param_groups] == [0.003, 0.003, 5.0]


def test_a_layer_without_gradients_is_masked() -> None:
    asked = Asked()
    model, optimizer, rates = scheduled(agent=asked, window=1, guided=False)
    for x, y in batches(2):
        F.cross_entropy(model.head(model.second(model.first(x).detach())), y).backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    assert (asked.feature("task_rms")[:, 0] == -6).all()
    assert (asked.feature("task_rms")[:, 1:] > -6).all()


def test_groups_of_one_layer_keep_their_own_scale() -> None:
    model, _ = network()
    groups = param_groups(model, no_decay=True)
    assert [(g["name"], g.get("weight_decay"), len(g["params"])) for g in groups[:2]] == [
        ("first", None, 1),
        ("first/no_decay", 0.0, 1),
    ]
    groups[1]["lr_scale"] = 0.5
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    rates = LearnedRates(optimizer, model, Asked(), total_updates=4, window=1)
    train(model, optimizer, rates, batches(1), guided=False)
    assert [group["lr"] for group in optimizer.param_groups] == [0.002, 0.001, *[0.002] * 4]


def test_the_policy_may_set_the_weight_of_the_guidance() -> None:
    model, optimizer, rates = scheduled(agent=policy(action="log+guidance"))
    train(model, optimizer, rates, batches(4))
    assert rates.guidance_weight != 0.3


def test_what_is_logged_are_rates_and_statistics_of_each_layer() -> None:
    model, optimizer, rates = scheduled()
    calls: list[int] = []
    rates.on_action = lambda mine: calls.append(mine.updates)
    train(model, optimizer, rates, batches(7))
    scalars = rates.scalars()
    assert {name.rpartition("/")[0] for name in scalars} >= {"lr", "grad/task", "grad/guidance", "drift"}
    assert scalars["lr/head"] == optimizer.param_groups[-1]["lr"]
    assert calls == [0, 3, 6]


class HostReads(TorchDispatchMode):
    """Counts numbers that are read from tensors, each of which would wait for a device."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation."""
        self.n += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_number_is_read_from_the_device_within_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer, rates = scheduled(partial(torch.optim.SGD, foreach=False), policy("sgd"))
    reads: list[int] = []
    read = WindowMeter.read
    monkeypatch.setattr(WindowMeter, "read", lambda *args: reads.append(rates.updates) or read(*args))
    with HostReads() as counted:
        for x, y in batches(12):
            loss = rates.observe(F.cross_entropy(model(x), y)) + rates.guidance(x)
            loss.backward()
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
    assert counted.n == 0
    assert reads == [0, 3, 6, 9, 12]  # once a window, and before the first


def test_it_lets_go() -> None:
    model, optimizer, rates = scheduled()
    rates.close()
    for x, y in batches(2):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert rates.updates == 0
    assert not model.head._forward_pre_hooks


class ScheduleFreeThing(torch.optim.SGD):
    """By its name one that averages."""


class Prodigy(torch.optim.SGD):
    """By its name one that has one rate."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": torch.optim.SGD}, "trained with the optimizer 'adamw'"),
        ({"optimizer": torch.optim.RMSprop}, "got RMSprop"),
        ({"optimizer": Prodigy}, "one rate for all"),
        ({"optimizer": ScheduleFreeThing}, "averages the weights"),
        ({"total": 0}, "total_updates is 0"),
        ({"warmup": -1}, "warmup is -1; expected an integer >= 0"),
        ({"window": 0}, "window is 0"),
        ({"head": "tail"}, "no module 'tail'"),
        ({"groups": {"all": ["first.weight"]}}, "in no group: first.bias"),
        ({"groups": {"a": ["first", "second", "head"]}}, "in no group"),
        ({"agent": "default"}, "comes without the policy 'default'"),
        ({"agent": "no/such/folder"}, "There is no folder"),
        ({"proxy_head": "first"}, "8 features go into"),
        ({"proxy_head": "second"}, "proxy has 4 classes"),
    ],
)
def test_what_cannot_work_is_told(change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2o_env.training.policies.POLICIES", Path("nowhere"))
    with pytest.raises(ConfigError, match=message):
        train(*scheduled(**change), batches(1))


class FullyShardedDataParallel(nn.Module):
    """By its name one that flattens."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class DeepSpeedEngine(nn.Sequential):
    """By its name one that keeps gradients elsewhere."""


def test_networks_without_layers_are_refused() -> None:
    model, optimizer, rates = scheduled()
    rates.close()
    for wrapped, message in ((FullyShardedDataParallel(model), "FSDP2"), (DeepSpeedEngine(model), "DeepSpeed keeps")):
        with pytest.raises(ConfigError, match=message):
            LearnedRates(optimizer, wrapped, policy(), total_updates=3)
    with pytest.raises(ConfigError, match="Got 2 optimizers; LearnedRates drives one"):
        LearnedRates([optimizer, optimizer], model, policy(), total_updates=3)  # type: ignore[arg-type]


def test_groups_of_the_optimizer_have_to_match() -> None:
    model, proxy = network()
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(ConfigError, match=r"several layer groups \(first, second, head\)"):
        LearnedRates(optimizer, model, policy(), total_updates=4)
    optimizer = torch.optim.AdamW(param_groups(model)[1:])
    with pytest.raises(ConfigError, match=r"does not have the trainable parameters first.weight, first.bias"):
        LearnedRates(optimizer, model, policy(), total_updates=4)
    optimizer = torch.optim.AdamW([*param_groups(model), {"params": [nn.Parameter(torch.zeros(1))]}])
    with pytest.raises(ConfigError, match="Group 3 of the optimizer holds a parameter that is in no layer group"):
        LearnedRates(optimizer, model, policy(), total_updates=4)
    optimizer = torch.optim.AdamW(param_groups(model))
    with pytest.raises(ConfigError, match="The proxy is the network"):
        LearnedRates(optimizer, model, policy(), total_updates=4, proxy=model)
    rates = LearnedRates(optimizer, model, policy(), total_updates=4, proxy=proxy)
    with pytest.raises(ConfigError, match="no pass forward"):
        rates.guidance(torch.zeros(1, 6))
    with pytest.raises(ConfigError, match="no proxy to be guided by"):
        scheduled(guided=False)[2].guidance(torch.zeros(1, 6))


def test_a_policy_of_other_features_is_refused(tmp_path: Path) -> None:
    policy().save(tmp_path)
    described = (tmp_path / "policy.json").read_text()
    described = re.sub(r',\s*"sha256": "\w+"', "", described)
    (tmp_path / "policy.json").write_text(described.replace('"observation_version": 1', '"observation_version": 0'))
    with pytest.raises(ConfigError, match="observes version 0"):
        scheduled(agent=tmp_path)


def test_a_policy_of_a_folder_is_that_policy(tmp_path: Path) -> None:
    model, optimizer, rates = scheduled()
    expected = train(model, optimizer, rates, batches(12))
    policy().save(tmp_path)
    assert train(*scheduled(agent=tmp_path), batches(12)) == expected
    assert train(*scheduled(agent=str(tmp_path)), batches(12)) == expected


def test_a_scheduler_after_the_step_was_replaced_is_told() -> None:
    model, _ = network()
    optimizer = torch.optim.AdamW(param_groups(model))
    optimizer.step = len  # type: ignore[method-assign, assignment]
    with pytest.raises(ConfigError, match="make the scheduler before"):
        LearnedRates(optimizer, model, policy(), total_updates=4)


def test_a_policy_that_means_movements_goes_with_any_optimizer() -> None:
    model, optimizer, rates = scheduled(optimizer=torch.optim.SGD, agent=policy(action="relative_update"))
    assert len({row[0] for row in train(model, optimizer, rates, batches(12))}) == 4


def test_any_optimizer_will_do_if_asked() -> None:
    model, optimizer, rates = scheduled(optimizer=torch.optim.RMSprop, any_optimizer=True)
    made = train(model, optimizer, rates, batches(4))
    assert made[0] != made[3]
    assert isinstance(model, Net)
