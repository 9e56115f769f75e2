"""How much the main job does: with ``--quick``, with no flag, and with ``--full``."""

from __future__ import annotations

from dataclasses import dataclass

from ..opponents import RECIPES, SEARCHES

TUNING_EPISODES = 64
"""Fewest episodes of each tuned opponent by default; it gets more where the policy has had more on each pair."""


@dataclass(frozen=True)
class Effort:
    """How much a run trains, tunes and evaluates."""

    episodes: int
    """Episodes that the policy is trained for."""
    n_training_pairs: int | None
    """Members of the family to train on, the first of them; None: all."""
    n_held_out: int | None
    """Held-out members to evaluate on, the first of them; None: all."""
    eval_seeds: int
    """Evaluation seeds of each policy on each pair."""
    checkpoints: int
    """Times that the policy is saved and judged in training."""
    tuning_episodes: int
    """Episodes for each tuned opponent on each evaluated pair, the very one that it is tested on; more if the policy is
    trained for more on each pair."""
    searches: tuple[str, ...]
    """What is tuned."""
    opponents: tuple[str, ...] | None = None
    """Hand-made opponents by name; None: all."""


_FEW = ("adamw-cosine", "asg-sgd", "frozen-backbone")
_SOME = (*RECIPES, "asg-sgd", "frozen-backbone", "random")
EFFORTS = {
    "quick": Effort(
        32, n_training_pairs=2, n_held_out=1, eval_seeds=3, checkpoints=2, tuning_episodes=16,
        searches=("adamw-cosine",), opponents=_FEW,
    ),
    "default": Effort(
        640, n_training_pairs=None, n_held_out=2, eval_seeds=16, checkpoints=5, tuning_episodes=TUNING_EPISODES,
        searches=tuple(RECIPES), opponents=_SOME,
    ),
    "full": Effort(
        640, n_training_pairs=None, n_held_out=None, eval_seeds=16, checkpoints=5, tuning_episodes=320,
        searches=tuple(SEARCHES),
    ),
}  # fmt: skip
"""How much ``--quick``, no flag, and ``--full`` do."""
