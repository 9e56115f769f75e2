"""The policy network of the released ASG (Chen et al., ICML 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from l2o_env.action import N_FACTORS
from l2o_env.observation import ASG_SCALARS

N_SCALARS = len(ASG_SCALARS)
HIDDEN = 20
"""Width of each LSTM."""
HEAD_GAIN = 0.01
"""Gain of the orthogonal initialisation of the heads: training starts from nearly uniform actions."""


class Memory(NamedTuple):
    """State of the LSTMs: ``h`` and ``c``, each ``(5, n, 20)``."""

    h: Tensor
    c: Tensor


class AsgPolicy(nn.Module):
    """Five one-layer LSTMs, one per scalar of the observation, and a linear map per layer group.

    Each LSTM has an input of 1 and 20 units. The map of a layer group sees the 100 outputs and the group's own rate
    over the base rate, and gives 11 logits, one for each factor of the base rate.

    Args:
        n_groups: Number of layer groups.
        memoryless: Whether each step begins with the LSTMs' state of the first, as the released forward pass has it: it
            returns the state that it was given.
        generator: Where the initial weights come from.
    """

    def __init__(self, n_groups: int, memoryless: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.n_groups, self.memoryless = n_groups, memoryless
        # Made empty, because the constructors' own initialisation would draw from the global generator.
        self.lstms = nn.ModuleList(_empty(nn.LSTM(1, HIDDEN, device="meta")) for _ in range(N_SCALARS))
        width = N_SCALARS * HIDDEN + 1
        self.heads = nn.ModuleList(_empty(nn.Linear(width, N_FACTORS, device="meta")) for _ in range(n_groups))
        with torch.no_grad():
            for p in self.lstms.parameters():
                p.uniform_(-(HIDDEN**-0.5), HIDDEN**-0.5, generator=generator)
            for name, p in self.heads.named_parameters():
                if name.endswith("weight"):
                    nn.init.orthogonal_(p, HEAD_GAIN, generator=generator)
                else:
                    p.zero_()

    def initial_state(self, n: int) -> Memory:
        """The LSTMs' state at the start of an episode: zeros."""
        return Memory(torch.zeros(N_SCALARS, n, HIDDEN), torch.zeros(N_SCALARS, n, HIDDEN))

    def forward(self, observations: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        """Runs over a stretch of an episode.

        Args:
            observations: ``(time, n, 5 + n_groups)``.
            state: What the last stretch ended with.

        Returns:
            Logits ``(time, n, n_groups, 11)``, and the state after the stretch.
        """
        time, n, _ = observations.shape
        if self.memoryless:  # every step for itself, as one long batch
            flat = observations.reshape(1, time * n, -1)
            begin = Memory(*(memory.repeat(1, time, 1) for memory in state))
            return self._run(flat, begin)[0].view(time, n, self.n_groups, N_FACTORS), state
        return self._run(observations, state)

    def _run(self, observations: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        outputs, h, c = [], [], []
        for k, lstm in enumerate(self.lstms):
            output, (last_h, last_c) = lstm(observations[..., k : k + 1], (state.h[k][None], state.c[k][None]))
            outputs.append(output)
            h.append(last_h[0])
            c.append(last_c[0])
        joined = torch.cat(outputs, dim=-1)
        ratios = observations[..., N_SCALARS:]
        logits = [head(torch.cat([joined, ratios[..., k : k + 1]], dim=-1)) for k, head in enumerate(self.heads)]
        return torch.stack(logits, dim=-2), Memory(torch.stack(h), torch.stack(c))


def _empty(module: nn.Module) -> nn.Module:
    return module.to_empty(device="cpu")
