"""Learned rates in Lightning: a callback (extra ``lightning``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import AgentLike
from l2o_env.extras import require
from l2o_env.training.policies import DEFAULT
from l2o_env.training.scheduler import LearnedRates

_lightning: Any = require("lightning.pytorch", extra="lightning", what="l2o_env.training.lightning")


class LearnedRatesCallback(_lightning.Callback):
    """Sets the rates of a Lightning module's optimizer as a policy says; ``configure_optimizers`` returns that alone.

    It is made in the module, whose ``training_step`` then tells it the loss and takes the guidance from it, and is
    handed out by ``configure_callbacks``; or it is given to the trainer. It reads gradients before they are clipped,
    counts the trainer's updates, saves its state in the trainer's checkpoints, and logs rates and statistics of each
    layer to the trainer's loggers whenever the policy acts.

    Args:
        policy: See :class:`l2o_env.LearnedRates`.
        network: Name of the module's attribute that is the network; empty: the module itself.
        total_updates: Updates of the whole training; None: the trainer's estimate.
        val_ce: Name under which the module logs its validation's cross-entropy; empty: it is not told.
        val_kl: Name under which it logs the divergence.
        **settings: Others of :class:`l2o_env.LearnedRates`, such as ``proxy``.
    """

    def __init__(
        self,
        policy: str | Path | AgentLike = DEFAULT,
        *,
        network: str = "model",
        total_updates: int | None = None,
        val_ce: str = "",
        val_kl: str = "",
        **settings: Any,
    ) -> None:
        super().__init__()
        self._policy, self._network, self._total, self._settings = policy, network, total_updates, settings
        self._names = {"ce": val_ce, "kl": val_kl}
        self._state: dict[str, Any] | None = None
        self._rates: LearnedRates | None = None

    @property
    def rates(self) -> LearnedRates:
        """The scheduler.

        Raises:
            ConfigError: If no training was begun.
        """
        if self._rates is None:
            raise ConfigError("There is no scheduler yet: it is made when the training begins.")
        return self._rates

    def observe(self, loss: Tensor) -> Tensor:
        """See :meth:`l2o_env.LearnedRates.observe`."""
        return self.rates.observe(loss)

    def guidance(self, images: Tensor) -> Tensor:
        """See :meth:`l2o_env.LearnedRates.guidance`."""
        return self.rates.guidance(images)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Makes the scheduler: optimizer and network are on their devices, and a checkpoint's weights are loaded.

        Raises:
            ConfigError: If the module has several optimizers, or schedulers of its own.
        """
        if len(trainer.optimizers) != 1 or trainer.lr_scheduler_configs:
            raise ConfigError(
                f"configure_optimizers of {type(pl_module).__name__} returns {len(trainer.optimizers)} optimizers and "
                f"{len(trainer.lr_scheduler_configs)} schedulers; expected one optimizer and none."
            )
        if self._rates is not None:
            self._state = self._rates.state_dict()  # the module is fitted once more
            self._rates.close()
        network: nn.Module = pl_module.get_submodule(self._network)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        total = self._total or int(trainer.estimated_stepping_batches)
        self._rates = LearnedRates(
            trainer.optimizers[0], network, self._policy, total_updates=total, scaler=scaler, **self._settings
        )
        if self._state is not None:
            self._rates.load_state_dict(self._state)
        self._rates.on_action = lambda rates: _log(trainer, rates)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Reads the gradients before they are clipped; fused optimizers divide them for half precision only later."""
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not (scaled and getattr(optimizer, "_step_supports_amp_scaling", False)):
            self.rates.measure()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Tells what the validation said, if it is known under which names."""
        metrics = trainer.callback_metrics
        if self._rates is not None and not trainer.sanity_checking and self._names["ce"] in metrics:
            self._rates.validated(metrics[self._names["ce"]], metrics.get(self._names["kl"]))

    def on_train_batch_end(self, trainer: Any, *others: Any) -> None:
        """Lets the policy act; a validation within the epoch comes after that, and counts for the next window."""
        self.rates.step()

    def state_dict(self) -> dict[str, Any]:
        """That of the scheduler, for the trainer's checkpoint."""
        return {} if self._rates is None else self._rates.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps it for the scheduler, which is made later."""
        self._state = state_dict or None


def _log(trainer: Any, rates: LearnedRates) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(rates.scalars(), step=rates.updates)
