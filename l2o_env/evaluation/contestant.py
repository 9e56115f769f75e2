"""What is evaluated, and what tables say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from l2o_env.config import EnvConfig
from l2o_env.evaluation.agent import AgentLike

Mode = Literal["deterministic", "sampled"]
"""Whether a policy takes its most likely action or draws one."""
SelectionRule = Literal["last", "source", "checkpoint", "target-oracle", "fixed", "tuned"]
"""How a policy was chosen, in tables the column ``selection``.

- ``last``: the last of its training;
- ``source``: the checkpoint that was best by V on the held-out *synthetic* images of the training pairs;
- ``checkpoint``: any other checkpoint, for the oracle to choose among;
- ``target-oracle``: the checkpoint that is best by real accuracy on the very pair and seeds. This is an upper bound
  that reads the target: not zero-shot;
- ``fixed``: made by hand;
- ``tuned``: tuned by V on the very pair.
"""


@dataclass(frozen=True)
class Contestant:
    """An agent to evaluate, and what the table says of it.

    Attributes:
        policy: Its name; those of one name and different `run` are one policy, trained several times.
        load: Makes the agent, in the same state each time, so that a part's result does not hang on those before it.
        digest: Tells its content from any other's; see :func:`folder_digest`.
        config: Settings to run it with; ``pairs`` and ``common_random_numbers`` are not read.
        selection: How it was chosen.
        run: Which training run of the policy it is.
        checkpoint: Which of its checkpoints, if `selection` is ``"checkpoint"``.
        trained_on: Names of the pairs it was trained on.
        modes: How it acts; hand-made rates know but one way.
        pairs: The pairs it is meant for, such as the one it was tuned on; None: all.
    """

    policy: str
    load: Callable[[], AgentLike]
    digest: str
    config: EnvConfig
    selection: SelectionRule
    run: str = ""
    checkpoint: str = ""
    trained_on: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = ("deterministic",)
    pairs: tuple[str, ...] | None = None


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
