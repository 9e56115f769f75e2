"""Which update of which window it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from l2o_env.errors import require_integer

WINDOWS = 20
"""Windows that a training is divided into, as policies are trained with."""


@dataclass
class WindowClock:
    """Counts updates and windows.

    Attributes:
        total: Updates of the whole training.
        window: Updates of a window; the last one is shorter if they do not go into it.
        updates: Those that were made.
        in_window: Those of the window that is going on.
        ended: Whether it has ended, and nobody has acted since.
    """

    total: int
    window: int
    updates: int = 0
    in_window: int = 0
    ended: bool = False

    @classmethod
    def of(cls, total_updates: int, window: int | None) -> WindowClock:
        """A clock at its start; None: a twentieth of all updates.

        Raises:
            ConfigError: If one is no integer from 1 on.
        """
        total = require_integer("total_updates", total_updates)
        return cls(total, max(total // WINDOWS, 1) if window is None else require_integer("window", window))

    @property
    def length(self) -> int:
        """Updates of the window that is going on; 0 or less if all were made."""
        return min(self.window, self.total - (self.updates - self.in_window))

    @property
    def last(self) -> bool:
        """Whether the coming update is the last of its window."""
        return self.in_window + 1 == self.length

    @property
    def over(self) -> bool:
        """Whether all updates of the training were made."""
        return self.updates >= self.total

    def tick(self) -> None:
        """An update was made."""
        self.updates += 1
        self.in_window += 1
        self.ended = self.in_window == self.length

    def take_back(self, n: int) -> None:
        """So many updates were none; the window goes on."""
        self.updates, self.in_window, self.ended = self.updates - n, self.in_window - n, False

    def next_window(self) -> None:
        """Begins the next window."""
        self.in_window, self.ended = 0, False

    def get_state(self) -> dict[str, int]:
        """Plain values; :class:`WindowClock` takes them."""
        return asdict(self)
