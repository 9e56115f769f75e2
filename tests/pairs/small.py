"""Settings of a member of the embedded family with which it is built in no time."""

from __future__ import annotations

from typing import Any

from l2o_env.pairs.proxies.pretraining import ProxyTraining

QUICK = ProxyTraining(epochs=1, batch_size=256)
SMALL: dict[str, Any] = {"n_train_per_class": 3, "n_validation_per_class": 2, "proxy": QUICK}
