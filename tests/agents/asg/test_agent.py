"""ASG's policy as an agent: what it remembers, training, files, and its own environment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import train_policy
from agents import load, make_learner
from agents.algorithms import PRESETS
from agents.asg import AsgAgent
from agents.base import Learner
from agents.opponents import Schedule
from agents.reinforce.population_learner import Segment
from l2o_env.asg import ASG, GTA5, VISDA17, ASGVectorEnv
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.models.base import new_generator
from tests.tiny import TINY

SHORT = {**TINY, "budget": 10, "optimizer": "rate_in_momentum"}
CONFIG = EnvConfig(**ASG)


def _observations(time: int, n: int, n_groups: int) -> np.ndarray:
    return torch.rand(time, n, 5 + n_groups, generator=new_generator(0)).numpy()


def test_actions_are_drawn_also_when_asked_for_the_likeliest(tiny: str) -> None:
    observations = np.zeros((2000, 8), np.float32)
    agent = AsgAgent(CONFIG, n_layers=3, seed=1)
    assert isinstance(agent, Learner)
    actions, _ = agent.act(observations, None, deterministic=True)
    assert actions.shape == (2000, 3)
    shares = np.bincount(actions.ravel(), minlength=11) / actions.size
    np.testing.assert_allclose(shares, 1 / 11, atol=0.02)
    described = agent.describe(observations[:2], None, actions[:2])
    np.testing.assert_allclose(described["log_prob"], -np.log(11), atol=0.01)
    np.testing.assert_allclose(described["entropy"], np.log(11), atol=0.01)


def test_rows_can_forget() -> None:
    agent = AsgAgent(CONFIG, n_layers=3, memoryless=False)
    observations = _observations(1, 2, 3)[0]
    _, state = agent.act(observations, None)
    kept = agent.forget(state, np.array([True, False]))
    for after, before in zip(kept, state, strict=True):
        assert before[:, 0].any() and not after[:, 0].any() and torch.equal(after[:, 1], before[:, 1])
    action, _ = agent.predict(observations[0])
    assert action.shape == (3,)


@pytest.mark.parametrize("max_grad_norm", [1e6, 0.01])
def test_the_gradient_is_that_of_reinforce(max_grad_norm: float) -> None:
    config = replace(PRESETS["asg"], max_grad_norm=max_grad_norm, ent_coef=0.3)
    agent = AsgAgent(CONFIG, config=config, n_layers=2, memoryless=False)
    observations = _observations(2, 3, 2)
    actions = np.array([[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 0]]])
    alive = np.array([[True, True, True], [True, False, True]])
    rewards = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]])
    before = [p.detach().clone() for p in agent.policy.parameters()]
    begin = agent.policy.initial_state(3)
    logits, _ = agent.policy(torch.from_numpy(observations), begin)
    log_probs = logits.log_softmax(-1)
    loss = torch.zeros(())
    for t in range(2):
        for i in range(3):
            if alive[t, i]:  # gamma is 0: the reward of the step itself
                loss = loss - rewards[t, i] * sum(log_probs[t, i, k, actions[t, i, k]] for k in range(2)) / 5
                loss = loss + 0.3 * (log_probs[t, i].exp() * log_probs[t, i]).sum() / 5  # the entropy's bonus
    expected = torch.autograd.grad(loss, list(agent.policy.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in expected]).norm().item()
    assert norm > 0.02
    step = 7e-4 * min(1.0, max_grad_norm / norm)
    agent.update(Segment(begin, [*observations], [*actions], [*alive], [*rewards]))
    for p, old, gradient in zip(agent.policy.parameters(), before, expected, strict=True):
        torch.testing.assert_close(p.detach() - old, -step * gradient, rtol=1e-3, atol=2e-8)


def test_it_learns_which_factors_pay() -> None:
    """Rewarded for small factors of the first layer group and large ones of the second, at each step by itself."""
    config = replace(PRESETS["asg"], learning_rate=0.02, baseline="leave_one_out")
    agent = AsgAgent(CONFIG, config=config, n_layers=2, seed=3)
    observations = np.ones((16, 7), np.float32)
    for group in agent.optimizer.param_groups:
        group["lr"] = 0.02
    alive = np.ones((1, 16), np.bool_)
    for _ in range(60):
        actions, _ = agent.act(observations, None)
        rewards = (actions[:, 1] - actions[:, 0]).astype(float)
        agent.update(Segment(None, [observations], [actions], [*alive], [rewards]))
    logits, _ = agent.policy(torch.from_numpy(observations[:1])[None], agent.policy.initial_state(1))
    means = (logits[0, 0].softmax(-1) * torch.arange(11)).sum(-1)
    assert means[0] < 2.5 and means[1] > 7.5  # 5 at the start


def test_records_of_training(tiny: str) -> None:
    venv = ASGVectorEnv(2, **SHORT)
    venv.reset(seed=0)
    records: list[dict[str, Any]] = []
    agent = AsgAgent(replace(CONFIG, window=3), n_layers=3).learn(venv, 6, callback=records.append)
    assert agent.episodes == 6 and [record["episode"] for record in records] == [2, 4, 6]
    assert records[0]["pair"] == "tiny" and records[0]["diverged"] == 0
    assert records[0]["entropy"] == pytest.approx(np.log(11), abs=0.01)


def test_training_is_reproducible_and_asks_for_its_own_environment(tiny: str) -> None:
    ends = []
    for _ in range(2):
        venv = ASGVectorEnv(4, **SHORT)
        venv.reset(seed=0)
        agent = make_learner("asg", venv.config, n_layers=3, seed=5)
        assert isinstance(agent, AsgAgent)
        ends.append(agent.learn(venv, 8, pairs=("tiny",)).policy.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    with pytest.raises(ConfigError, match="windows is 'fixed' and not 'asg'"):
        agent.learn(ASGVectorEnv(2, **{**SHORT, "windows": "fixed"}), 2)
    with pytest.raises(ConfigError, match="heads for 3 layer groups and got 7"):
        agent.act(np.zeros((1, 12), np.float32), None)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path, tiny: str) -> None:
    agent = AsgAgent(replace(CONFIG, base_lr=0.05), n_layers=3, seed=4, name="mine", memoryless=False)
    agent.episodes = 12
    agent.save(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, AsgAgent)
    assert (again.name, again.episodes, again.policy.memoryless) == ("mine", 12, False)
    assert again.config_overrides == {**ASG, "base_lr": 0.05, "lr_curve": "none"}
    assert again.config == agent.config
    for key, value in agent.policy.state_dict().items():
        assert torch.equal(value, again.policy.state_dict()[key])
    (tmp_path / "policy.json").write_text(json.dumps({"agent": "asg", "n_layers": 3}))
    with pytest.raises(ConfigError, match="is damaged"):
        load(tmp_path)


def test_a_file_with_fewer_settings_is_read_as_it_is(tmp_path: Path) -> None:
    AsgAgent(CONFIG, n_layers=3).save(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    del description["sha256"]
    del description["settings"]["lr_curve"]
    (tmp_path / "policy.json").write_text(json.dumps(description))
    agent = load(tmp_path)
    assert agent.config_overrides == ASG
    agent.check_env(replace(CONFIG, lr_curve="warmup_poly"))  # it says nothing of a curve


def test_a_file_cannot_choose_pairs(tmp_path: Path) -> None:
    AsgAgent(CONFIG, n_layers=3).save(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    del description["sha256"]
    description["settings"]["pairs"] = ["folders:backbone=os:abort"]
    (tmp_path / "policy.json").write_text(json.dumps(description))
    with pytest.raises(ConfigError, match="sets more of the environment than ASG's may"):
        load(tmp_path)


def test_it_is_evaluated_in_its_own_environment_beside_others(tiny: str) -> None:
    config = EnvConfig(**SHORT)
    frame = evaluate(
        {"asg": AsgAgent(replace(CONFIG, window=3), n_layers=3), "uniform": Schedule("uniform", 0.02)},
        ["tiny"],
        3,
        config,
    )
    assert frame["policy"].tolist() == ["asg"] * 3 + ["uniform"] * 3
    assert (frame["updates"] == 10).all()
    # Its first window has run before the first decision.
    assert not np.allclose(frame["v_start"][:3], frame["v_start"][3:])


def test_the_main_job_trains_it(tmp_path: Path, tinies: tuple[str, str]) -> None:
    out = tmp_path / "run"
    settings = "--quick --budget 12 --window 4 --episodes 4 --num-envs 2 --eval-seeds 2 --device cpu --action discrete"
    arguments = ["train", "--algo", "asg", "--out", str(out), *settings.split(), "--pairs", "tiny"]
    assert train_policy.main([*arguments, "--eval-pairs", "tiny"]) == 0
    agent = load(out)
    assert isinstance(agent, AsgAgent) and agent.episodes == 4
    assert "asg" in (out / "results.csv").read_text()
    again = ["evaluate", str(out), "--pairs", "tiny", "--seeds", "2", "--opponents", "uniform", "--device", "cpu"]
    assert train_policy.main([*again, "--out", str(tmp_path / "evaluation")]) == 0
    found = pd.read_csv(tmp_path / "evaluation" / "results.csv")
    assert set(found["policy"]) == {"run", "uniform"}


def test_it_is_trained_by_either_recipe(tiny: str) -> None:
    for recipe in (VISDA17, GTA5):
        config = EnvConfig(**{**recipe, **SHORT, "optimizer": recipe["optimizer"]})
        agent = make_learner("asg", config, n_layers=3)
        assert isinstance(agent, AsgAgent)
        agent.check_env(config)
        agent.check_env(replace(EnvConfig(), **agent.config_overrides))
        assert agent.config_overrides["optimizer"] == recipe["optimizer"]
    with pytest.raises(ConfigError, match="lr_curve is 'none' and not 'warmup_poly'"):
        agent.check_env(replace(config, lr_curve="none"))
