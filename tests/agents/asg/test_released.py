"""Released checkpoints: which tensor becomes what, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import train_policy
from agents import load
from agents.asg import AsgAgent, AsgPolicy
from agents.asg.released import convert, read_state_dict
from agents.commands.import_asg import described
from l2o_env.asg import ASG
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.models.base import new_generator

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
    assert agent.config_overrides["optimizer"] == "sgd"
    assert (agent.config_overrides["base_lr"], agent.config_overrides["window"]) == (1e-3, 20)
    assert "guidance_weight" not in agent.config_overrides
    assert agent.policy.state_dict()["lstms.4.bias_hh_l0"].unique().tolist() == [4.0]
    options = ["--base-lr", "0.5", "--no-memoryless"]
    out = tmp_path / "other"
    assert train_policy.main(["import-asg", str(file), "--out", str(out), *options]) == 0
    agent = load(out)
    assert isinstance(agent, AsgAgent)
    assert not agent.policy.memoryless and AsgAgent(EnvConfig(**ASG), n_layers=7).policy.memoryless
    found = {key: agent.config_overrides[key] for key in ("optimizer", "base_lr", "window")}
    assert found == {"optimizer": "rate_in_momentum", "base_lr": 0.5, "window": 10}


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


def test_a_file_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"weight": torch.ones(2)}
    content["model"] = content
    torch.save(content, tmp_path / "w.pt")
    assert list(read_state_dict(tmp_path / "w.pt")) == ["weight"]


def test_long_lists_of_what_does_not_match_are_cut() -> None:
    with pytest.raises(ConfigError, match=r"This is not ASG's policy.*, …\.$") as error:
        convert({f"{'x' * 500}.{k}": torch.ones(1, 2, 3) for k in range(1000)})
    assert len(str(error.value)) < 700
