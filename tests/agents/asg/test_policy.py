"""ASG's policy: its network by hand, what it remembers, training, files, and foreign checkpoints."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import train_policy
from agents.algorithms.reinforce_config import PRESETS
from agents.asg.agent import AsgAgent
from agents.asg.policy import AsgPolicy
from agents.asg.released import convert, read_state_dict
from agents.base import Learner
from agents.commands.import_asg import described
from agents.factory import load, make_learner
from agents.reinforce.population_learner import Segment
from l2o_env.asg import ASG, GTA5, VISDA17, ASGVectorEnv
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.models.base import new_generator
from tests.tiny import TINY

SHORT = {**TINY, "budget": 10}
CONFIG = EnvConfig(**ASG)


def _observations(time: int, n: int, n_groups: int, seed: int = 0) -> Tensor:
    return torch.rand(time, n, 5 + n_groups, generator=new_generator(seed))


def _by_hand(policy: AsgPolicy, observation: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of one optimizee, gate by gate."""
    new_h, new_c = torch.zeros(5, 20), torch.zeros(5, 20)
    for k, lstm in enumerate(policy.lstms):
        p = dict(lstm.named_parameters())
        gates = p["weight_ih_l0"][:, 0] * observation[k] + p["bias_ih_l0"] + p["weight_hh_l0"] @ h[k] + p["bias_hh_l0"]
        i, f, g, o = gates.split(20)
        new_c[k] = f.sigmoid() * c[k] + i.sigmoid() * g.tanh()
        new_h[k] = o.sigmoid() * new_c[k].tanh()
    joined = new_h.flatten()
    logits = [
        head.weight @ torch.cat([joined, observation[5 + k][None]]) + head.bias for k, head in enumerate(policy.heads)
    ]
    return torch.stack(logits), new_h, new_c


@pytest.mark.parametrize("memoryless", [True, False])
def test_the_network_by_hand(memoryless: bool) -> None:
    policy = AsgPolicy(7, memoryless, new_generator(0))
    observations = _observations(3, 2, 7)
    with torch.no_grad():
        for head in policy.heads:
            head.bias.uniform_(-1, 1, generator=new_generator(1))
        found, state = policy(observations, policy.initial_state(2))
        assert found.shape == (3, 2, 7, 11)
        h = c = torch.zeros(5, 20)
        for t in range(3):
            expected, *new = _by_hand(policy, observations[t, 1], h, c)
            torch.testing.assert_close(found[t, 1], expected, rtol=1e-4, atol=1e-6)
            if not memoryless:
                h, c = new
    torch.testing.assert_close(state.h[:, 1], h, rtol=1e-4, atol=1e-6)
    assert bool(state.h.any()) == (not memoryless)


def test_the_heads_are_orthogonal_with_a_gain_of_a_hundredth() -> None:
    policy = AsgPolicy(3, True, new_generator(0))
    for head in policy.heads:
        torch.testing.assert_close(head.weight @ head.weight.T, 1e-4 * torch.eye(11), atol=1e-8, rtol=1e-4)
        assert not head.bias.any()
    bound = 20**-0.5  # uniform, as torch.nn.LSTM begins
    for p in policy.lstms.parameters():
        assert -bound <= p.min() < -0.9 * bound and 0.9 * bound < p.max() <= bound
    assert sum(p.numel() for p in policy.parameters()) == 5 * (80 * 21 + 160) + 3 * 11 * 102
    assert not torch.equal(policy.heads[0].weight, policy.heads[1].weight)


def test_actions_are_drawn_also_when_asked_for_the_likeliest(tiny: str) -> None:
    observations = np.zeros((2000, 8), np.float32)
    agent = AsgAgent(CONFIG, n_layers=3, seed=1)
    assert isinstance(agent, Learner)
    actions, _ = agent.act(observations, None, deterministic=True)
    assert actions.shape == (2000, 3)
    shares = np.bincount(actions.ravel(), minlength=11) / actions.size
    np.testing.assert_allclose(shares, 1 / 11, atol=0.02)
    told = agent.describe(observations[:2], None, actions[:2])
    np.testing.assert_allclose(told["log_prob"], -np.log(11), atol=0.01)
    np.testing.assert_allclose(told["entropy"], np.log(11), atol=0.01)


def test_rows_can_forget() -> None:
    agent = AsgAgent(CONFIG, n_layers=3, memoryless=False)
    observations = _observations(1, 2, 3)[0].numpy()
    _, state = agent.act(observations, None)
    kept = agent.forget(state, np.array([True, False]))
    for part, before in zip(kept, state, strict=True):
        assert before[:, 0].any() and not part[:, 0].any() and torch.equal(part[:, 1], before[:, 1])
    action, _ = agent.predict(observations[0])
    assert action.shape == (3,)


@pytest.mark.parametrize("max_grad_norm", [1e6, 0.01])
def test_the_gradient_is_that_of_reinforce(max_grad_norm: float) -> None:
    config = replace(PRESETS["asg"], max_grad_norm=max_grad_norm, ent_coef=0.3)
    agent = AsgAgent(CONFIG, config=config, n_layers=2, memoryless=False)
    observations = _observations(2, 3, 2).numpy()
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
    means = (agent._logits(observations[:1], None)[0].softmax(-1) * torch.arange(11)).sum(-1)[0]
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


def test_it_is_evaluated_in_its_own_environment_beside_others(tiny: str) -> None:
    from agents.opponents import Schedule

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


# --- released checkpoints --------------------------------------------------------------------------------------------

SCALARS = ("ce", "kl", "progress", "mean", "std")


def _foreign(lstm: str = "lstm_{}.", head: str = "actor.{}.", names: tuple[str, ...] = SCALARS) -> dict[str, Tensor]:
    """A state dict as other code may name it; every tensor is told from the others by its first number."""
    state: dict[str, Tensor] = {}
    for k, name in enumerate(names):
        prefix = lstm.format(name)
        shapes = {"weight_ih_l0": (80, 1), "weight_hh_l0": (80, 20), "bias_ih_l0": (80,), "bias_hh_l0": (80,)}
        state |= {prefix + part: torch.full(shape, float(k)) for part, shape in shapes.items()}
    for k in range(7):
        state |= {head.format(k) + "weight": torch.full((11, 101), k + 0.5), head.format(k) + "bias": torch.zeros(11)}
    return {**state, "critic.weight": torch.zeros(1, 100), "critic.bias": torch.zeros(1)}


def _order(state: dict[str, Tensor]) -> list[float]:
    tensors = convert(state).tensors
    return [tensors[f"lstms.{k}.weight_ih_l0"][0, 0].item() for k in range(5)]


def test_names_that_say_their_scalar_are_put_in_order() -> None:
    shuffled = dict(reversed(_foreign().items()))
    found = convert(shuffled)
    tensors = found.tensors
    assert _order(shuffled) == [0, 1, 2, 3, 4]
    assert sorted(found.left_out) == ["critic.bias", "critic.weight"]
    assert [tensors[f"heads.{k}.weight"][0, 0].item() for k in range(7)] == [k + 0.5 for k in range(7)]
    policy = AsgPolicy(7, True, new_generator(0))
    policy.load_state_dict(tensors)
    assert described(found) == [
        "LSTMs, by name: train_ce from lstm_ce, train_kl from lstm_kl, progress from lstm_progress, head_mean from "
        "lstm_mean, head_std from lstm_std.",
        f"Heads from the first layer group to the last, by number: {', '.join(f'actor.{k}' for k in range(7))}.",
        "Left out: critic.bias, critic.weight.",
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("task_loss", "proxy", "step", "avg", "variance"),
        ("cls", "distil", "iter", "mean", "std"),
        ("cross_entropy", "kl", "epoch", "w_mean", "w_std"),
    ],
)
@pytest.mark.parametrize("lstm", ["lstm_{}.", "mean_step_model.{}."])
def test_other_words_for_the_scalars(names: tuple[str, ...], lstm: str) -> None:
    """What all the LSTMs are in says nothing of any."""
    assert _order(dict(reversed(_foreign(lstm, names=names).items()))) == [0, 1, 2, 3, 4]


def test_a_value_head_is_known_by_its_one_output_and_heads_by_their_numbers() -> None:
    value = {"out.weight": torch.zeros(1, 100), "out.bias": torch.zeros(1)}
    found = convert({**dict(reversed(_foreign().items())), **value})
    tensors = found.tensors
    assert sorted(found.left_out) == ["critic.bias", "critic.weight", "out.bias", "out.weight"]
    assert [tensors[f"heads.{k}.weight"][0, 0].item() for k in range(7)] == [k + 0.5 for k in range(7)]


def test_numbers_and_else_the_order_of_the_file_decide() -> None:
    numbered = _foreign("rnns.{}.", names=("0", "1", "2", "10", "11"))
    assert _order(dict(reversed(numbered.items()))) == [0, 1, 2, 3, 4]
    unnamed = _foreign("{}.", names=("alpha", "omega", "gamma", "beta", "rho"))
    assert _order(unnamed) == [0, 1, 2, 3, 4]
    assert [convert(state).lstms_by for state in (numbered, unnamed)] == ["number", "order"]
    assert described(convert(unnamed))[-1].startswith(
        "Warning: nothing but the order of the file tells which of the LSTMs is which; check"
    )
    letters = {f"{'abcdefg'[int(key[0])]}{key[1:]}" if key[0].isdigit() else key: value
               for key, value in _foreign(head="{}.").items()}  # fmt: skip
    assert convert(letters).heads == [*"abcdefg"] and convert(letters).heads_by == "order"
    assert "of the heads is which" in described(convert(letters))[-1]
    cells = {key.replace("_l0", ""): value for key, value in _foreign("cells.{}.").items()}
    assert _order(cells) == [0, 1, 2, 3, 4]


def test_what_is_no_such_policy_is_listed() -> None:
    state = _foreign()
    del state["lstm_kl.bias_hh_l0"]
    with pytest.raises(ConfigError, match=r"found 4 of 5 LSTMs .* and 7 heads .*lstm_kl\.weight_ih"):
        convert(state)
    with pytest.raises(ConfigError, match=r"Not matched: conv\.weight \(8, 3, 3, 3\)"):
        convert({**_foreign(), "conv.weight": torch.zeros(8, 3, 3, 3)})
    with pytest.raises(ConfigError, match="found 0 of 5 LSTMs"):
        convert({"a": torch.zeros(3)})
    for other in ("target_actor", "old.actor", "aux_head", "reward_head0"):
        with pytest.raises(ConfigError, match=rf"and 7 heads .*Not matched: {other}\.weight \(11, 101\)"):
            convert({**_foreign(), f"{other}.weight": torch.zeros(11, 101), f"{other}.bias": torch.zeros(11)})


@pytest.mark.parametrize("kind", ["bare", "nested", "beside", "safetensors"])
def test_a_checkpoint_becomes_a_policy(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    state = {f"module.{key}": value for key, value in _foreign().items()}
    file = tmp_path / ("policy.safetensors" if kind == "safetensors" else "policy.pth")
    if kind == "safetensors":
        save_file(state, file)
    else:
        nested = {"nested": {"epoch": 3, "state_dict": state}, "beside": {"epoch": torch.tensor(3), "policy": state}}
        torch.save(nested.get(kind, state), file)
    out = tmp_path / "converted"
    assert train_policy.main(["import-asg", str(file), "--out", str(out), "--recipe", "gta5"]) == 0
    told = capsys.readouterr().err
    assert "train_ce from lstm_ce" in told and f"A policy for 7 layer groups is in {out}." in told
    assert train_policy.main(["import-asg", str(file), "--out", str(out)]) == 2  # it overwrites none
    assert f"error: {out} exists and is not empty; name another folder with --out." in capsys.readouterr().err
    agent = load(out)
    assert isinstance(agent, AsgAgent)
    assert agent.policy.memoryless and agent.policy.n_groups == 7
    assert agent.config_overrides["update_rule"] == "sgd"
    assert (agent.config_overrides["base_lr"], agent.config_overrides["window"]) == (1e-3, 20)
    assert "guidance_weight" not in agent.config_overrides
    assert agent.policy.state_dict()["lstms.4.bias_hh_l0"].unique().tolist() == [4.0]
    options = ["--base-lr", "0.5", "--no-memoryless"]
    out = tmp_path / "other"
    assert train_policy.main(["import-asg", str(file), "--out", str(out), *options]) == 0
    agent = load(out)
    assert isinstance(agent, AsgAgent)
    assert not agent.policy.memoryless and AsgAgent(CONFIG, n_layers=7).policy.memoryless
    found = {key: agent.config_overrides[key] for key in ("update_rule", "base_lr", "window")}
    assert found == {"update_rule": "rate_in_momentum", "base_lr": 0.5, "window": 10}


class _Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('executed')",))


def test_files_that_would_execute_something_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "evil.pth"
    torch.save({"state_dict": _foreign(), "extra": _Evil()}, file)
    with pytest.raises(ConfigError, match=r"cannot be read as weights: it holds a \S*exec beside tensors") as caught:
        read_state_dict(file)
    assert "\x1b" not in str(caught.value) and "weights_only" not in str(caught.value)
    file.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        read_state_dict(file)
    with pytest.raises(ConfigError, match="There is no file"):
        read_state_dict(tmp_path / "nothing.pth")
    torch.save({"epoch": 3}, file)
    with pytest.raises(ConfigError, match="holds no state dict"):
        read_state_dict(file)


def test_it_is_trained_by_either_recipe(tiny: str) -> None:
    for recipe in (VISDA17, GTA5):
        config = EnvConfig(**{**recipe, **TINY, "budget": 10})
        agent = make_learner("asg", config, n_layers=3)
        assert isinstance(agent, AsgAgent)
        agent.check_env(config)
        agent.check_env(replace(EnvConfig(), **agent.config_overrides))
        assert agent.config_overrides["update_rule"] == recipe["update_rule"]
    with pytest.raises(ConfigError, match="lr_curve is 'none' and not 'warmup_poly'"):
        agent.check_env(replace(config, lr_curve="none"))
