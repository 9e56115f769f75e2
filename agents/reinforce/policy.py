"""Policies: networks from the observation to a distribution over learning rates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from l2o_env.observation import FEATURE_NAMES, FEATURES, N_FEATURES

JOINT_SHARE = 0.3
"""Weight of what the table says of a depth at a time, beside what it says of the depth and of the time alone: single
cells are seen the least, and full-sized steps there would leave the table ragged."""
_PLACE = [FEATURE_NAMES.index(name) for name in ("depth", "progress")]


class Normaliser(nn.Module):
    """Running mean and variance of each feature, shared by all layers; frozen unless :meth:`update` is called.

    It starts from the declared bounds of the features, so that the very first actions see sane inputs too.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, clip: float) -> None:
        super().__init__()
        low, high = (torch.tensor([getattr(f, side) for f in FEATURES]) for side in ("low", "high"))
        self.clip = clip
        self.register_buffer("mean", (low + high) / 2)
        self.register_buffer("var", ((high - low) / 4) ** 2)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Normalises ``(..., n_features)`` and clips to ``[-clip, clip]``."""
        return ((features - self.mean) / (self.var + 1e-4).sqrt()).clamp(-self.clip, self.clip)

    def update(self, features: Tensor) -> None:
        """Takes in ``(..., n_features)`` by Chan's parallel formula; the initial bounds drop out at the first call."""
        rows = features.reshape(-1, N_FEATURES).double()
        n, mean, var = len(rows), rows.mean(0), rows.var(0, correction=0)
        total = self.count.double() + n
        delta = mean - self.mean
        moments = self.var * self.count + var * n + delta**2 * self.count * n / total
        self.mean.copy_(self.mean + delta * n / total)
        self.var.copy_(moments / total)
        self.count.copy_(total)


class LayerPolicy(nn.Module):
    """A recurrent policy that every layer group shares: one row of the observation in, one action out.

    A layer is told from the others by its features (depth, size, statistics), so the same weights run on a network
    with any number of layer groups. Each layer also sees the mean over the layers of what the first linear map makes
    of them.

    To that it adds a table over depth, over progress and over both, interpolated between `n_knots` knots each: what is
    best on the whole at some depth and time is learned there in a few updates; what the statistics tell comes on top.

    Args:
        n_outputs: Numbers per layer: 1 (mean of a Gaussian) or the number of categories.
        hidden_size: Width of the recurrent state.
        n_heads: Number of layer groups with an output map each (the form of ASG's policy), or None to share one.
        n_knots: Knots of the table along depth and along progress; 0 leaves the table out.
        clip: Normalised features are clipped to ``[-clip, clip]``.
        sets_guidance: Whether there is one output more, the last, for the weight of the guidance term; it is made of
            the mean over the layers, and has a table of its own over progress.
        generator: Where the initial weights come from.
    """

    def __init__(
        self,
        n_outputs: int,
        hidden_size: int,
        n_heads: int | None,
        n_knots: int,
        clip: float,
        generator: torch.Generator,
        sets_guidance: bool = False,
    ) -> None:
        super().__init__()
        self.n_heads, self.n_knots = n_heads, n_knots
        self.normaliser = Normaliser(clip)
        self.table = nn.Parameter(torch.zeros(2 * n_knots + n_knots**2, n_outputs))
        # Made empty, because the constructors' own initialisation would draw from the global generator.
        self.encoder = nn.Linear(N_FEATURES, hidden_size, device="meta").to_empty(device="cpu")
        self.context = nn.Linear(N_FEATURES, hidden_size, device="meta").to_empty(device="cpu")
        self.cell = nn.GRU(hidden_size, hidden_size, device="meta").to_empty(device="cpu")
        self.heads = nn.Parameter(torch.empty(n_heads or 1, 2 * hidden_size, n_outputs))
        self.bias = nn.Parameter(torch.zeros(n_heads or 1, 1, n_outputs))
        self.guidance_head, self.guidance_table = None, None
        if sets_guidance:
            self.guidance_head = nn.Parameter(torch.zeros(2 * hidden_size, n_outputs))
            self.guidance_table = nn.Parameter(torch.zeros(n_knots + 1, n_outputs))
        with torch.no_grad():
            for module, fan_in in ((self.encoder, N_FEATURES), (self.context, N_FEATURES), (self.cell, hidden_size)):
                for p in module.parameters():
                    p.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
            # Small, so that training starts from the middle of the action range on every layer.
            self.heads.normal_(std=0.01, generator=generator)

    def initial_state(self, n: int, n_layers: int) -> Tensor:
        """The recurrent state at the start of an episode, ``(n, n_layers, hidden_size)``."""
        return torch.zeros(n, n_layers, self.cell.hidden_size)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Runs over a stretch of an episode.

        Args:
            features: ``(time, n, n_layers, n_features)``.
            state: ``(n, n_layers, hidden_size)``.

        Returns:
            Outputs ``(time, n, n_layers, n_outputs)``, or one layer more, and the state after the stretch.
        """
        time, n, n_layers, _ = features.shape
        place = features[..., _PLACE]
        features = self.normaliser(features)
        encoded = torch.tanh(self.encoder(features) + self.context(features.mean(-2, keepdim=True)))
        hidden, last = self.cell(encoded.reshape(time, n * n_layers, -1), state.reshape(1, n * n_layers, -1))
        # The encoding itself goes to the output too: it tells layers apart from the first update on.
        joined = torch.cat([encoded, hidden.reshape(encoded.shape)], dim=-1)
        outputs = (joined.unsqueeze(-2) @ self.heads).squeeze(-2) + self.bias.squeeze(-2)
        if self.n_knots:
            depth, progress = hats(place, self.n_knots).unbind(-2)
            both = (depth[..., :, None] * progress[..., None, :]).flatten(-2)
            outputs = outputs + torch.cat([depth, progress, JOINT_SHARE * both], dim=-1) @ self.table
        if self.guidance_head is not None and self.guidance_table is not None:
            weight = joined.mean(-2, keepdim=True) @ self.guidance_head + self.guidance_table[-1]
            if self.n_knots:  # progress is the same on all layers
                weight = weight + hats(place[..., :1, 1], self.n_knots) @ self.guidance_table[:-1]
            outputs = torch.cat([outputs, weight], dim=-2)
        return outputs, last.reshape(n, n_layers, -1)


def hats(x: Tensor, n_knots: int) -> Tensor:
    """Weights of linear interpolation between `n_knots` knots spread evenly over [0, 1], ``(..., n_knots)``."""
    knots = torch.linspace(0, 1, n_knots)
    return (1 - (n_knots - 1) * (x[..., None] - knots).abs()).clamp(min=0)
