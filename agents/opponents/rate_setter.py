"""What opponents have in common: they set physical rates, and are a few numbers in a JSON file."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

from l2o_env.atomic import atomic_path
from l2o_env.evaluation.agent import Output

from ..base import Agent

SCHEDULE_FILE = "schedule.json"
"""File of a saved opponent."""


class RateSetter(Agent):
    """An agent that sets physical rates, whatever the action form; deterministic actions are its only ones."""

    output: Output = "rates"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Keywords that make the agent again, as JSON values."""

    def save(self, folder: Path) -> None:
        """Writes ``schedule.json``, which ``agents.opponents.load`` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / SCHEDULE_FILE) as path:
            path.write_text(json.dumps({"agent": type(self).__name__, **self.settings()}, indent=2))
