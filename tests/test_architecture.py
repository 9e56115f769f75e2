"""The rooms of docs/architecture.md, and which may import which: arrows point down, also where an import is lazy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS: tuple[tuple[str, ...], ...] = (
    ("l2o_env.__main__",),
    ("train_policy",),
    ("agents.main",),
    ("agents.commands",),
    ("agents.factory",),
    ("agents.policy_folders",),
    ("agents.asg",),
    ("agents.reinforce", "agents.sb3", "agents.opponents"),
    ("agents.algorithms",),
    ("agents.base", "agents.policy_files", "agents.options"),
    ("l2o_env.training",),
    ("l2o_env.evaluation",),
    ("l2o_env.adaptation",),
    ("l2o_env.asg",),
    ("l2o_env.env",),
    ("l2o_env.task_vector_env",),
    ("l2o_env.vector_env",),
    ("l2o_env.sub_environments",),
    ("l2o_env.episodes",),
    ("l2o_env.feature_dropout",),
    ("l2o_env.observation", "l2o_env.action", "l2o_env.reward"),
    ("l2o_env.inner",),
    ("l2o_env.guidance", "l2o_env.results"),
    ("l2o_env.tasks", "l2o_env.cluster"),
    ("l2o_env.pairs",),
    ("l2o_env.models",),
    ("l2o_env.windows", "l2o_env.lr_curve"),
    ("l2o_env.config",),
    ("l2o_env.optimizers",),
    ("l2o_env.extras", "l2o_env.safe_json", "l2o_env.safe_tensors"),
    ("l2o_env.agents_name", "l2o_env.errors", "l2o_env.atomic", "l2o_env.threads"),
)
"""Rooms from the top down. A room may import itself and what stands below; rooms of one floor know nothing of each
other. A file belongs to the room of the longest name that its own begins with."""

INSIDE: dict[str, tuple[tuple[str, ...], ...]] = {
    "l2o_env.pairs": (
        ("l2o_env.pairs.named",),
        ("l2o_env.pairs.photos",),
        ("l2o_env.pairs.rendered", "l2o_env.pairs.from_files"),
        ("l2o_env.pairs.registry", "l2o_env.pairs.proxies"),
        ("l2o_env.pairs.pair",),
        ("l2o_env.pairs.splits",),
        ("l2o_env.pairs.images",),
        ("l2o_env.pairs.augmentation", "l2o_env.pairs.cache", "l2o_env.pairs.announce", "l2o_env.pairs.spec"),
    ),
    "l2o_env.models": (
        ("l2o_env.models.adapted", "l2o_env.models.small", "l2o_env.models.small_seg"),
        ("l2o_env.models.blocks", "l2o_env.models.kernels"),
        ("l2o_env.models.layout", "l2o_env.models.importance"),
        ("l2o_env.models.base", "l2o_env.models.losses"),
    ),
}
"""Floors within a room that has rooms of its own."""


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {
    _module(path): path
    for path in (ROOT / "train_policy.py", *(ROOT / "l2o_env").rglob("*.py"), *(ROOT / "agents").rglob("*.py"))
    if path.name != "__init__.py"  # a package's face hands on what its rooms have
}


def _imports(module: str) -> Iterator[str]:
    """Files of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            outer = module.split(".")[: -node.level] if node.level else []
            package = ".".join([*outer, *([node.module] if node.module else [])])
            names = [f"{package}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else package for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


GRAPH = {module: {name for name in _imports(module) if name in FILES and name != module} for module in FILES}


def _room(module: str, floors: tuple[tuple[str, ...], ...]) -> tuple[int, str] | None:
    """Floor and name of a file's room."""
    rooms = [(len(room), floor, room) for floor, names in enumerate(floors) for room in names]
    fitting = [(n, floor, room) for n, floor, room in rooms if module == room or module.startswith(f"{room}.")]
    return max(fitting)[1:] if fitting else None


def test_every_file_has_a_room() -> None:
    assert [module for module in FILES if _room(module, FLOORS) is None] == []
    for outer, floors in INSIDE.items():
        inside = [module for module in FILES if module.startswith(f"{outer}.")]
        assert inside
        assert [module for module in inside if _room(module, floors) is None] == []


@pytest.mark.parametrize("outer", [None, *INSIDE])
def test_arrows_point_down(outer: str | None) -> None:
    floors = FLOORS if outer is None else INSIDE[outer]
    wrong = []
    for module, imported in GRAPH.items():
        here = _room(module, floors)
        for name in imported:
            there = _room(name, floors)
            if here and there and here[1] != there[1] and there[0] <= here[0]:
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_the_test_sees_a_lazy_and_a_type_only_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.py"
    file.write_text("if TYPE_CHECKING:\n    from l2o_env.env import x\ndef f():\n    from l2o_env.inner import build\n")
    monkeypatch.setitem(FILES, "file", file)
    assert list(_imports("file")) == ["l2o_env.env", "l2o_env.inner.build"]
    file.write_text("from ..base import x\nfrom .console import y\nfrom . import train\n")
    monkeypatch.setitem(FILES, "agents.commands.file", file)
    assert list(_imports("agents.commands.file")) == ["agents.base", "agents.commands.console", "agents.commands.train"]
