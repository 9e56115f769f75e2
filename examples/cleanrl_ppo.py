"""PPO for continuous actions in the style of CleanRL: one file, one loop, the environment as it is.

CleanRL's own script needs no import, because Gymnasium takes a module before the id; under Gymnasium 1.x it needs
``env.observation_space`` as the last argument of its ``TransformObservation``, with any environment, and it logs no
returns there, because it looks for them where they were before::

    python cleanrl/ppo_continuous_action.py --env-id l2o_env:l2o_env/Syn2Real-v0 --num-envs 4 --num-steps 20

Here the environments are the batched population, which is several times as fast as as many single ones::

    python examples/cleanrl_ppo.py --updates 40
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.wrappers import vector as wrappers
from torch import Tensor, nn
from torch.distributions import Normal


@dataclass
class Args:
    """Settings; the command line is this dataclass."""

    pairs: str = "glyphs-digits"
    """Pair to train on."""
    budget: int = 300
    """Optimizer updates of an episode."""
    window: int = 15
    """Optimizer updates between two actions."""
    num_envs: int = 16
    """Fine-tuning runs side by side."""
    updates: int = 40
    """Updates of the policy, each from one episode of every run."""
    epochs: int = 10
    """Passes over what was collected."""
    learning_rate: float = 1e-3
    """Of the policy's optimizer."""
    gamma: float = 0.9
    """Discount."""
    gae_lambda: float = 0.95
    """Of generalised advantage estimation."""
    clip: float = 0.2
    """How far the ratio of probabilities counts."""
    seed: int = 1
    """Seed of everything."""


def main(args: Args) -> list[float]:
    """Trains, and returns the mean return of each batch of episodes."""
    torch.manual_seed(args.seed)
    env = gym.make_vec(
        "l2o_env:l2o_env/Syn2Real-v0",
        num_envs=args.num_envs,
        vectorization_mode="vector_entry_point",
        pairs=args.pairs,
        budget=args.budget,
        window=args.window,
    )
    n_steps = -(-args.budget // args.window)
    env = wrappers.ClipAction(wrappers.RecordEpisodeStatistics(env))
    env = wrappers.NormalizeReward(wrappers.NormalizeObservation(env), gamma=args.gamma)
    n_observed, n_actions = env.single_observation_space.shape[0], env.single_action_space.shape[0]
    actor = nn.Sequential(nn.Linear(n_observed, 64), nn.Tanh(), nn.Linear(64, n_actions))
    critic = nn.Sequential(nn.Linear(n_observed, 64), nn.Tanh(), nn.Linear(64, 1))
    log_std = nn.Parameter(torch.full((n_actions,), -1.6))
    parameters = [*actor.parameters(), *critic.parameters(), log_std]
    optimizer = torch.optim.Adam(parameters, lr=args.learning_rate, eps=1e-5)

    returns: list[float] = []
    for update in range(args.updates):
        rows: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []
        observation, _ = env.reset(seed=args.seed if update == 0 else None)
        alive = np.ones(args.num_envs, np.bool_)
        finished: list[float] = []
        for _ in range(n_steps):
            seen = torch.as_tensor(observation, dtype=torch.float32)
            with torch.no_grad():
                policy = Normal(actor(seen), log_std.exp())
                action = policy.sample()
            observation, reward, terminated, truncated, info = env.step(action.numpy())
            ended = terminated | truncated
            # A run that has diverged restarts in the next step, whose action does not count.
            rows.append(
                (seen, action, policy.log_prob(action).sum(-1), torch.as_tensor(reward), torch.as_tensor(alive))
            )
            if "episode" in info:
                finished += info["episode"]["r"][info["_episode"] & alive].tolist()
            alive = alive & ~ended
        returns.append(float(np.mean(finished)))
        print(f"update {update + 1}: return {returns[-1]:.3f}")
        _learn(args, actor, critic, log_std, optimizer, [torch.stack(column) for column in zip(*rows, strict=True)])
    env.close()
    return returns


def _learn(
    args: Args,
    actor: nn.Module,
    critic: nn.Module,
    log_std: Tensor,
    optimizer: torch.optim.Optimizer,
    batch: list[Tensor],
) -> None:
    """Some epochs on a batch of whole episodes, ``(time, num_envs, ...)``."""
    seen, action, old_log_prob, reward, alive = batch
    with torch.no_grad():
        value = torch.cat([critic(seen)[..., 0] * alive, torch.zeros(1, seen.shape[1])])  # nothing is left at the end
    advantage, following = torch.zeros_like(value[:-1]), torch.zeros(seen.shape[1])
    for t in reversed(range(len(seen))):
        error = reward[t].float() + args.gamma * value[t + 1] - value[t]
        following = alive[t] * (error + args.gamma * args.gae_lambda * following)
        advantage[t] = following
    target = (advantage + value[:-1])[alive]
    scaled = (advantage[alive] - advantage[alive].mean()) / (advantage[alive].std() + 1e-8)
    for _ in range(args.epochs):
        policy = Normal(actor(seen[alive]), log_std.exp())
        ratio = (policy.log_prob(action[alive]).sum(-1) - old_log_prob[alive]).exp()
        gain = torch.min(ratio * scaled, ratio.clamp(1 - args.clip, 1 + args.clip) * scaled).mean()
        loss = 0.5 * (critic(seen[alive])[:, 0] - target).square().mean() - gain
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 0.5)
        optimizer.step()


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
