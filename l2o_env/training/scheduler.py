"""A policy as a learning-rate scheduler.

Longer than other files, because it is the contract that users read: a third of it are docstrings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from l2o_env.action import ANY_OPTIMIZER
from l2o_env.errors import ConfigError, require_integer
from l2o_env.evaluation.agent import AgentLike, name_of
from l2o_env.models.adapted.heads import find_head
from l2o_env.results.event_log import LAYER_TAGS
from l2o_env.training.clock import WindowClock
from l2o_env.training.group_rates import GroupRates
from l2o_env.training.groups import layer_groups, layout_of, plain
from l2o_env.training.guidance import GuidanceGradient, ProxyGuidance
from l2o_env.training.optimizer_kinds import check_kind, check_sharding, innermost, rule_of
from l2o_env.training.parameters import Parameters
from l2o_env.training.player import PolicyPlayer, settings_of
from l2o_env.training.policies import DEFAULT, find_policy
from l2o_env.training.processes import Processes
from l2o_env.training.window import Seen, WindowMeter

STATE_VERSION = 1
_LARGEST_SHARE = 1e3
"""A guidance that counts more than so many times in the loss was multiplied for half precision."""


class LearnedRates(LRScheduler):
    """Sets the learning rate of each layer as a policy says that was trained in this package's environment.

    It sees what the policy saw there: statistics of gradients and weights of each layer, by the same functions, at the
    end of each window of updates; then the policy acts, and ``group["lr"]`` of the optimizer's groups is set, in place.
    It counts the updates that the optimizer makes, not its own calls: :meth:`step` between two updates, or skipped
    ones, do nothing; if it is never called, the policy acts when the next window begins.

        groups = l2o_env.layer_groups(model)
        optimizer = torch.optim.AdamW(l2o_env.param_groups(model, groups), lr=1e-3)
        rates = l2o_env.LearnedRates(optimizer, model, total_updates=10_000, proxy=proxy)
        for images, labels in loader:
            loss = rates.observe(criterion(model(images), labels)) + rates.guidance(images)
            loss.backward()
            optimizer.step()
            rates.step()
            optimizer.zero_grad()

    What a loop does not have (:meth:`observe`, a proxy, :meth:`validated`) is masked for the policy. The first action
    is taken just before the first update. Past ``total_updates`` the last rates stay. See docs/scheduler.md.

    Args:
        optimizer: SGD, Adam(W) or Lion, as the policy was trained with; each of its groups within one layer group. A
            group's ``lr_scale``, if it has one, multiplies its rate.
        model: The network, also one that is compiled or wrapped.
        policy: A name (``"default"``), a run folder, a folder of a saved policy, or an agent.
        total_updates: Updates of the whole training; the policy sees which part of them is over.
        window: Updates between two actions; None: a twentieth of all, as policies are trained with.
        groups: Layer groups; None: :func:`l2o_env.layer_groups`.
        head: Name of the module that is the network's head; empty: the last linear layer.
        proxy: The frozen network that the model began as, with its own head, for :meth:`guidance`.
        proxy_head: Name of that; empty: the last linear layer.
        guidance_weight: What the proxy's divergence counts in the loss, unless the policy sets it.
        warmup: Updates over which what the policy sets is multiplied by a factor that rises to 1; 0: none, as policies
            are trained.
        scaler: The ``GradScaler`` in use, which :meth:`guidance` needs to know of.
        any_optimizer: Whether to take an optimizer that the policy was not trained with.
        process_group: Processes that train the network together; None: all, if ``torch.distributed`` is initialised.

    Raises:
        ConfigError: If optimizer, network and policy do not go together.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        policy: str | Path | AgentLike = DEFAULT,
        *,
        total_updates: int,
        window: int | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        head: str = "",
        proxy: nn.Module | None = None,
        proxy_head: str = "",
        guidance_weight: float = 0.3,
        warmup: int = 0,
        scaler: torch.amp.GradScaler | None = None,
        any_optimizer: bool = False,
        process_group: Any = None,
    ) -> None:
        check_sharding(model)
        optimizer, network = innermost(optimizer), plain(model)
        rule = rule_of(optimizer)
        self._clock = WindowClock.of(total_updates, window)
        self._warmup = require_integer("warmup", warmup, 0)
        self.guidance_weight, self._scaler = guidance_weight, scaler
        groups = layer_groups(network, head=head) if groups is None else groups
        layout = layout_of(network, groups)
        self._parameters = Parameters(network, layout, Processes(process_group))
        self._group_rates = GroupRates(optimizer, self._parameters)
        agent = find_policy(policy)
        settings = settings_of(agent, "adamw" if rule is None else rule.name)
        if agent.output == "action" and settings.action != ANY_OPTIMIZER:
            check_kind(optimizer, settings.optimizer, any_optimizer=any_optimizer)
        self._player = PolicyPlayer(agent, settings, layout)
        self._proxy = None
        if proxy is not None:
            self._proxy = ProxyGuidance(network, head or find_head(network), proxy, proxy_head)
        self._guidance_gradient = GuidanceGradient(self._parameters)
        momentum = None if rule is None else rule.momentum_buffer
        self._meter = WindowMeter(self._parameters, momentum, self._guidance_gradient)
        self._measured = False
        self._validation: list[float | Tensor] = [np.nan, np.nan]
        self._validated, self._warned = [False, False], set[str]()
        self.statistics: dict[str, NDArray[np.float64]] = {}
        """Statistics of each layer group at the end of the last window by name, ``(n_layers,)``."""
        self.on_action: Callable[[LearnedRates], None] | None = None
        """Called with this scheduler whenever the policy has acted."""
        self.rates = self._sound = self._group_rates.of_layers()
        """The learning rate of each layer group, ``(n_layers,)``."""
        try:
            super().__init__(optimizer)
        except AttributeError as error:  # its step is no method any more
            raise ConfigError(
                "The optimizer's step was replaced, perhaps by torch.compile; make the scheduler before that."
            ) from error
        # A compiled step leaves its graph for them: what they count is no part of it.
        self._hooks = [
            optimizer.register_step_pre_hook(torch.compiler.disable(self._before_update)),
            optimizer.register_step_post_hook(torch.compiler.disable(self._after_update)),
        ]

    # --- what a training loop calls ----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """Who sets the rates, of how many layer groups, and how far the training is."""
        name = name_of(self._player.agent)
        return f"LearnedRates({name!r}, layers={len(self.layers)}, updates={self.updates} of {self.total_updates})"

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layer groups, from the input to the head."""
        return self._parameters.layout.group_names

    @property
    def updates(self) -> int:
        """Updates that the optimizer has made."""
        return self._clock.updates

    @property
    def total_updates(self) -> int:
        """Updates of the whole training."""
        return self._clock.total

    @property
    def started(self) -> bool:
        """Whether the policy has acted."""
        return bool(self._player.observations)

    @property
    def due(self) -> bool:
        """Whether the policy acts next: the moment for a validation that it is to see."""
        return self._clock.ended or not self.started

    def observe(self, loss: Tensor) -> Tensor:
        """Tells the task's loss of a batch, mean over its images, in nats; returns it.

        With gathered batches it is that of each, before it is divided by their number.
        """
        self._act_if_ended()
        if torch.is_grad_enabled():
            self._meter.ce.add(loss)
        return loss

    def guidance(self, images: Tensor) -> Tensor:
        """The weighted divergence from the proxy, to be added to the loss of the batch that the network has just seen.

        Args:
            images: That batch, as the proxy takes it.

        Raises:
            ConfigError: If there is no proxy, or the network has made no pass.
        """
        self._act_if_ended()
        divergence = self.divergence(images)
        self._meter.kl.add(divergence)
        if not self._measures():
            return self.guidance_weight * divergence
        return self._guidance_gradient.noted(divergence, self.guidance_weight)

    def divergence(self, images: Tensor) -> Tensor:
        """KL(proxy || network) on the batch that the network has just seen, in nats, a scalar; for a validation.

        Raises:
            ConfigError: As :meth:`guidance` does.
        """
        if self._proxy is None:
            raise ConfigError("There is no proxy to be guided by; make the scheduler with proxy=NETWORK.")
        return self._proxy.divergence(images)

    def validated(self, ce: float | Tensor, kl: float | Tensor | None = None) -> None:
        """Tells what a validation on held-out synthetic images said.

        While the policy is :attr:`due`, between the update that ends a window and :meth:`step`, it is what the policy
        sees of that window.

        Args:
            ce: Cross-entropy, in nats.
            kl: Divergence from the proxy, in nats; None if it was not taken.
        """
        self._validation, self._validated = [ce, np.nan if kl is None else kl], [True, kl is not None]

    def measure(self) -> None:
        """Reads the gradients as they are now, for loops that clip them before the update; otherwise it does so itself.

        Policies are trained on gradients before clipping. With a ``GradScaler`` that comes after its ``unscale_``.
        """
        if self._measures():
            scale = 1.0 if self._scaler is None or not self._scaler.is_enabled() else self._scaler.get_scale()
            self._meter.measure(self.optimizer, self.guidance_weight, scale)
            self._measured = True

    def step(self, epoch: int | None = None) -> None:
        """Lets the policy act if a window has ended since it acted last; otherwise nothing happens.

        Args:
            epoch: Not read; some trainers count it.
        """
        self._step_count += 1
        self._act_if_ended()
        self._last_lr = self.get_lr()

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each of the optimizer's groups, as it is."""
        return self._group_rates.copies()

    def scalars(self) -> dict[str, float]:
        """Rates and statistics of each layer for a log, such as ``lr/head`` and ``grad/task/head``."""
        named = {"lr": self.rates, **self.statistics}
        return {
            f"{tag}/{layer}": float(value)
            for key, tag in LAYER_TAGS.items()
            for layer, value in zip(self.layers, named.get(key, ()), strict=False)
        }

    def close(self) -> None:
        """Leaves the optimizer and the network alone from now on; the rates stay as they are."""
        for hook in self._hooks:
            hook.remove()
        self._guidance_gradient.close()
        if self._proxy is not None:
            self._proxy.close()

    # --- what the optimizer calls ------------------------------------------------------------------------------------

    def _before_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        self._act_if_ended()
        if self.started and self._warmup and self.updates <= self._warmup:
            self._set_rates()
        elif self.started and self._group_rates.changed():
            self._warn(
                "Something else has changed the learning rates, such as another scheduler. They hold until the policy "
                "acts next, which does not know of them; leave them to LearnedRates."
            )
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._ready()
            return None

        def then_ready() -> Any:  # gradients are there when the closure has made them
            loss = closure()
            self._ready()
            return loss

        return args[:1], {**kwargs, "closure": then_ready}

    def _ready(self) -> None:
        """The gradients are there, and the update follows."""
        if not self._measured:
            self.measure()
        if not self.started:
            self._act()
            if not self._clock.last:  # else they are those of the window's last update too
                self._meter.forget_gradients()

    def _after_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._measured = False
        if not self.started:  # it was skipped before the first action
            return
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None:
            self._meter.skip(found_inf)
        self._clock.tick()
        if self.updates > self.total_updates:
            self._warn(
                f"The optimizer has made more than total_updates={self.total_updates} updates; the last rates stay."
            )

    def _measures(self) -> bool:
        """Whether the gradients of the coming update are to be measured."""
        return not self.started or self._clock.last

    # --- what the policy does ----------------------------------------------------------------------------------------

    def _act_if_ended(self) -> None:
        """Also before the next window begins, for loops that never call :meth:`step`."""
        if self._clock.ended:
            self._act()

    def _act(self) -> None:
        """Reads what the window has come to, and sets the rates that the policy chooses."""
        first = not self.started
        found_inf = getattr(self.optimizer, "found_inf", None)
        if first and found_inf is not None:
            self._meter.skip(found_inf)
        seen = self._meter.read(*self._validation)
        if seen.share > _LARGEST_SHARE:
            raise ConfigError(
                f"The guidance counts {seen.share:.3g} times in the loss: a GradScaler multiplies it. Make the "
                "scheduler with scaler=, so that its gradient can be told from the task's."
            )
        if seen.skipped:  # the window goes on for as many updates as were not made
            self._meter.skipped = None
            self._meter.forget_gradients()
            self._clock.take_back(0 if first else seen.skipped)
            return
        if not self._clock.over:
            self._choose(seen)
        if not first:
            self._clock.next_window()
            self._meter.begin()

    def _choose(self, seen: Seen) -> None:
        self.statistics = {name: values[0] for name, values in seen.layers.items()}
        told = np.array([self._meter.ce.count, self._meter.kl.count, *self._validated], np.bool_)
        trained = np.array(self._meter.counts) > 0
        sound = (
            np.isfinite(seen.losses[told]).all() and np.isfinite([v[0, trained] for v in seen.layers.values()]).all()
        )
        decision = self._player.act(seen, self.rates, self.updates / self.total_updates)
        if sound:
            self._sound, self.rates = self.rates, decision.rates
            if decision.guidance_weight is not None:
                self.guidance_weight = float(decision.guidance_weight)
        else:
            self.rates = self._sound
            self._warn("Losses or gradients are not finite; the rates are those of the last window that was.")
        self._set_rates()
        if self.on_action is not None:
            self.on_action(self)

    def _set_rates(self) -> None:
        self._group_rates.set(self.rates * min((self.updates + 1) / self._warmup, 1.0) if self._warmup else self.rates)
        self._last_lr = self.get_lr()

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, UserWarning, stacklevel=3)

    # --- what a checkpoint holds -------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the coming rates depend on beside network and optimizer: plain values and tensors.

        Of sharded networks it is the state of this process, to be saved by each.
        """
        return {
            "version": STATE_VERSION,
            "layers": list(self.layers),
            "clock": self._clock.get_state(),
            "measured": self._measured,
            "rates": self.rates.tolist(),
            "sound": self._sound.tolist(),
            "guidance_weight": self.guidance_weight,
            "validation": [float(value) for value in self._validation],
            "validated": list(self._validated),
            "meter": self._meter.get_state(),
            "player": self._player.get_state(),
            "step_count": self._step_count,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up a state, and sets the rates of the optimizer's groups to its own.

        Scheduler and optimizer are made first, from the network as it was when they were made before; then both states
        are loaded, in any order.

        Raises:
            ConfigError: If it is of another scheduler, network or policy.
        """
        state = dict(state_dict)
        for key, mine in (("version", STATE_VERSION), ("layers", list(self.layers))):
            if state.get(key) != mine:
                raise ConfigError(f"The scheduler's state has {key} {state.get(key)!r}; this scheduler has {mine!r}.")
        self._player.set_state(state["player"])
        self._meter.set_state(state["meter"])
        self._clock, self._measured = WindowClock(**state["clock"]), state["measured"]
        self.rates, self._sound = np.array(state["rates"]), np.array(state["sound"])
        self.guidance_weight = state["guidance_weight"]
        self._validation, self._validated = list(state["validation"]), list(state["validated"])
        self._step_count = state["step_count"]
        self._set_rates()
