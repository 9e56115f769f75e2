"""Ray: a cluster that workers and tasks are placed on, one machine included. Nothing here is loaded without it."""

from __future__ import annotations

from l2o_env.cluster.tasks import Tasks

__all__ = ["Tasks"]
