"""What an agent is: a few methods, so that learned policies and hand-made schedules are run by the same code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Agent(Protocol):
    """Maps observations to actions, for any number of optimizees at once.

    Attributes:
        name: As tables and pictures call it.
        output: ``"action"`` if :meth:`act` returns actions of the environment, ``"rates"`` if it returns physical
            learning rates (as hand-made schedules do, which thus need no particular action form).
    """

    name: str
    output: Literal["action", "rates"]

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """Chooses actions.

        Args:
            observations: ``(N, n_layers * n_features)``.
            state: What the last call of the episode returned; None at its start.
            deterministic: Whether to take the most likely action instead of a sample.

        Returns:
            Actions or rates ``(N, n_layers)``, and the state for the next call.
        """
        ...

    def save(self, folder: Path) -> None:
        """Writes the agent to a folder, without pickle."""
        ...
