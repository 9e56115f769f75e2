"""Learned rates in Lightning are those of the plain loop, also where a training is resumed within a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader

from l2o_env import ConfigError, param_groups
from tests.training.loops import batches, network, policy, scheduled, train

lightning = pytest.importorskip("lightning.pytorch")
pytestmark = pytest.mark.filterwarnings("ignore")  # of what it and its dependencies say to each other


def _task(**settings: Any) -> Any:
    from l2o_env.training.lightning import LearnedRatesCallback

    model, proxy = network()
    data = batches(12)

    class Task(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.learned = LearnedRatesCallback(policy(), proxy=proxy, total_updates=12, window=3, **settings)

        def configure_callbacks(self) -> list[Any]:
            return [self.learned]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(param_groups(self.model), lr=1e-3)

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            x, y = data[self.trainer.global_step]  # a resumed loader would begin anew
            return self.learned.observe(F.cross_entropy(self.model(x), y)) + self.learned.guidance(x)

        def validation_step(self, batch: Any, index: int) -> None:
            x, y = batch
            self.log("val_ce", F.cross_entropy(self.model(x), y))

    return Task()


def _fit(task: Any, folder: Path, steps: int, ckpt_path: Path | None = None, **settings: Any) -> Any:
    keywords: dict[str, Any] = {
        "max_steps": steps, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "default_root_dir": folder, **settings,
    }  # fmt: skip
    trainer = lightning.Trainer(**keywords)
    data = DataLoader(batches(12), batch_size=None)
    trainer.fit(task, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


@pytest.mark.parametrize("clip", [None, 1e6])
def test_it_sets_the_rates_of_the_plain_loop(tmp_path: Path, clip: float | None) -> None:
    expected = train(*scheduled(), batches(12))
    task = _task()
    trainer = _fit(task, tmp_path, 12, gradient_clip_val=clip)
    rates = task.learned.rates
    assert rates.updates == 12
    np.testing.assert_allclose(rates.get_last_lr(), expected[-1], rtol=1e-5)
    assert trainer.global_step == 12


def test_a_resumed_training_goes_on_in_the_middle_of_a_window(tmp_path: Path) -> None:
    whole = _task()
    _fit(whole, tmp_path, 12)
    first = _task()
    _fit(first, tmp_path, 7).save_checkpoint(tmp_path / "at7.ckpt")
    second = _task()
    _fit(second, tmp_path, 12, tmp_path / "at7.ckpt")
    assert second.learned.rates.updates == 12
    assert second.learned.rates.get_last_lr() == whole.learned.rates.get_last_lr()
    for name, p in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], p, rtol=0, atol=0)


def test_rates_of_each_layer_are_in_the_loggers(tmp_path: Path) -> None:
    log = lightning.loggers.CSVLogger(tmp_path)
    _fit(_task(), tmp_path, 7, logger=log)
    rows = pd.read_csv(Path(log.log_dir) / "metrics.csv")
    assert rows["step"].tolist() == [0, 3, 6]
    assert (rows["lr/head"] > 0).all()
    assert (rows["grad/task/first"] > 0).all()


def test_a_validation_is_told(tmp_path: Path) -> None:
    task = _task(val_ce="val_ce")
    data = DataLoader(batches(3), batch_size=None)
    trainer = lightning.Trainer(
        max_steps=6, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(task, data, data)
    assert float(task.learned.rates._validation[0]) > 0


def test_another_scheduler_is_refused(tmp_path: Path) -> None:
    task = _task()
    with pytest.raises(ConfigError, match="no scheduler yet"):
        task.learned.observe(torch.zeros(()))
    optimizer = task.configure_optimizers()
    task.configure_optimizers = lambda: ([optimizer], [torch.optim.lr_scheduler.ConstantLR(optimizer)])
    with pytest.raises(ConfigError, match="expected one optimizer and none"):
        _fit(task, tmp_path, 1)
