"""What ``import l2o_env`` and ``import agents`` give, and that the documents use nothing deeper."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import agents
import l2o_env
from tests.documents import DOCUMENTS, ROOT

TEXTS = [*DOCUMENTS, *sorted((ROOT / "examples").glob("*.py"))]
FACES = (
    "l2o_agents", "l2o_agents.algorithms", "l2o_agents.asg", "l2o_agents.main", "l2o_agents.opponents",
    "l2o_agents.reinforce", "l2o_agents.sb3", "l2o_env", "l2o_env.cluster", "l2o_env.pairs",
    "l2o_env.training.lightning", "l2o_env.training.transformers",
)  # fmt: skip
"""Modules whose names users may rely on."""

PUBLIC = {
    "agents": ["ALGORITHMS", "Agent", "Learner", "Selection", "configure", "load", "make_learner", "trained_on"],
    "l2o_env": [
        "ASG", "ASGEnv", "ASGVectorEnv", "AgentLike", "BaseAgent", "ConfigError", "EnvConfig", "FEATURE_NAMES",
        "GTA5", "LearnedRates", "Optimizee", "Pair", "ScaledPolicy", "Split", "Syn2RealEnv", "Syn2RealVectorEnv",
        "TaskRanges", "TaskVectorEnv", "VISDA17", "WorkerError", "WriteError", "episode_seeds", "evaluate",
        "evaluate_in_parts", "fitting_num_envs", "layer_groups", "pairs", "param_groups", "read_recording",
        "run_episodes", "split_layers", "summarise",
    ],
}  # fmt: skip


@pytest.mark.parametrize("face", [agents, l2o_env], ids=lambda face: face.__name__)
def test_the_public_names_are_these_and_exist(face: object) -> None:
    name = face.__name__  # type: ignore[attr-defined]
    assert sorted(face.__all__) == PUBLIC[name]  # type: ignore[attr-defined]
    assert set(PUBLIC[name]) <= set(dir(face))
    for public in PUBLIC[name]:
        assert getattr(face, public) is not None
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        face.nothing_of_this_name  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("document", TEXTS, ids=lambda path: path.name)
def test_documents_use_nothing_deeper(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    imported = re.findall(r"^\s*from ((?:l2o_env|l2o_agents)[\w.]*) import (.+)$", text, re.MULTILINE)
    for module, names in imported:
        assert module in FACES, f"{document.name} imports from {module}"
        for name in re.findall(r"\w+", names.split("#")[0].split(" as ")[0]):
            assert hasattr(importlib.import_module(module), name)
    for dotted in re.findall(r"(?<![\w./-])(?:l2o_env|l2o_agents)(?:\.\w+)+(?!\.py|[\w/])", text):
        module, _, name = dotted.rpartition(".")
        assert dotted in FACES or module in FACES, f"{document.name} names {dotted}"
        assert dotted in FACES or hasattr(importlib.import_module(module), name), f"{document.name} names {dotted}"
