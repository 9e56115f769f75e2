"""A hand-written loop, and policies for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from agents.reinforce import Reinforce
from l2o_env import LearnedRates, layer_groups, param_groups
from l2o_env.config import EnvConfig

N_IN, N_PROXY, N_CLASSES = 6, 4, 3


class Net(nn.Module):
    """Two layers and a head; the proxy is the same with another head."""

    def __init__(self, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        self.first = nn.Linear(N_IN, 8)
        self.second = nn.Linear(8, 8)
        self.head = nn.Linear(8, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, n_classes)``."""
        return self.head(self.second(self.first(x).tanh()).tanh())


def network() -> tuple[Net, Net]:
    """A network and its proxy, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        proxy, model = Net(N_PROXY), Net()
    model.load_state_dict({k: v for k, v in proxy.state_dict().items() if "head" not in k}, strict=False)
    return model, proxy.requires_grad_(False).eval()


def batches(n: int, size: int = 8, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Batches whose labels can be learned."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, size, N_IN, generator=generator)
    return [(x, x[:, :N_CLASSES].argmax(1)) for x in images]


def policy(optimizer: str = "adamw", **config: Any) -> Reinforce:
    """A policy that was not trained, but answers to what it sees."""
    agent = Reinforce(EnvConfig(optimizer=optimizer, **config), seed=3)
    with torch.no_grad():
        agent.policy.heads.normal_(std=0.5, generator=torch.Generator().manual_seed(4))
    return agent


def scheduled(
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    agent: Any = None,
    total: int = 12,
    window: int = 3,
    guided: bool = True,
    lr: Any = 1e-3,
    **settings: Any,
) -> tuple[nn.Module, torch.optim.Optimizer, LearnedRates]:
    """Network, optimizer and scheduler."""
    model, proxy = network()
    groups = layer_groups(model)
    inner = optimizer(param_groups(model, groups), lr=lr)
    agent = policy() if agent is None else agent
    proxy_of = deepcopy(proxy) if guided else None
    return (
        model,
        inner,
        LearnedRates(inner, model, agent, total_updates=total, window=window, proxy=proxy_of, **settings),
    )


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rates: LearnedRates,
    data: Iterable[tuple[Tensor, Tensor]],
    guided: bool = True,
) -> list[list[float]]:
    """One update on each batch; returns the rates that each was made with."""
    made = []
    for x, y in data:
        loss = rates.observe(F.cross_entropy(model(x), y))
        loss = loss + rates.guidance(x) if guided else loss
        loss.backward()
        optimizer.step()
        made.append([float(group["lr"]) for group in optimizer.param_groups])
        rates.step()
        optimizer.zero_grad()
    return made
