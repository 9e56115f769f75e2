"""Learned rates in Hugging Face's ``Trainer``: what a callback adds to them (extra ``transformers``)."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from l2o_env.errors import ConfigError
from l2o_env.extras import require
from l2o_env.training.scheduler import LearnedRates

_WHAT = "l2o_env.training.transformers" + ("" if sys.version_info >= (3, 11) else " (with Python 3.11 or later)")
_transformers: Any = require("transformers", extra="transformers", what=_WHAT)


class LearnedRatesCallback(_transformers.TrainerCallback):
    """What a ``Trainer`` does not do for the scheduler that it was given as ``optimizers=(optimizer, rates)``.

    It tells the scheduler the loss of each evaluation, writes rates and statistics of each layer to TensorBoard (and to
    Weights & Biases, if the trainer reports to it), and clips gradients after they were measured, if the trainer's own
    ``max_grad_norm`` is 0: the trainer would clip them before.

    Args:
        rates: The scheduler.
        clip_norm: Norm that gradients are scaled down to; None: as the trainer does.
        val_ce: Name of the evaluation's cross-entropy in the trainer's metrics.
        val_kl: Name of the divergence, if there is one.
    """

    def __init__(
        self, rates: LearnedRates, *, clip_norm: float | None = None, val_ce: str = "eval_loss", val_kl: str = "eval_kl"
    ) -> None:
        self._rates, self._clip_norm, self._names = rates, clip_norm, (val_ce, val_kl)
        self._writer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Checks that the trainer has the scheduler, and opens the log.

        Raises:
            ConfigError: If it has another, or would clip twice.
        """
        if others.get("lr_scheduler") is not self._rates:
            raise ConfigError("The Trainer has another scheduler; give it optimizers=(optimizer, rates).")
        if self._clip_norm is not None and args.max_grad_norm:
            raise ConfigError(
                f"The Trainer clips gradients to {args.max_grad_norm} before clip_norm={self._clip_norm} can; set "
                "max_grad_norm=0 in its arguments."
            )
        if state.is_world_process_zero:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(Path(args.output_dir) / "learned_rates"))
            wandb = "wandb" in (args.report_to or ())
            self._rates.on_action = lambda rates: self._log(rates, wandb)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Reads the gradients, and clips them then."""
        if self._clip_norm is not None:
            self._rates.measure()
            torch.nn.utils.clip_grad_norm_(others["model"].parameters(), self._clip_norm)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **others: Any) -> None:
        """Tells the scheduler what the evaluation said."""
        ce, kl = ((metrics or {}).get(name) for name in self._names)
        if ce is not None:
            self._rates.validated(ce, kl)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Closes the log."""
        if self._writer is not None:
            self._writer.close()

    def _log(self, rates: LearnedRates, wandb: bool) -> None:
        for name, value in rates.scalars().items():
            self._writer.add_scalar(name, value, rates.updates)
        if wandb:
            run = import_module("wandb").run  # without which the Trainer would not have begun
            if run is not None:
                run.log(rates.scalars())
