"""The ratios that the inner loop has to show, and what was measured of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Found = dict[str, Any]


class Target(NamedTuple):
    """One row of the table of targets."""

    what: str
    device: str
    bound: float
    at_least: bool
    measure: Callable[[Found], float | None]


def _rates(found: Found) -> dict[str, float]:
    return {row["contender"]: row["updates_per_second"][0] for row in found["rows"] if "updates_per_second" in row}


def _over(name: str, other: str) -> Callable[[Found], float | None]:
    def ratio(found: Found) -> float | None:
        rates = _rates(found)
        return rates[name] / rates[other] if name in rates and other in rates else None

    return ratio


def _best(found: Found, kind: str, *, several_cores: bool = False) -> float | None:
    rates = [
        rate
        for name, rate in _rates(found).items()
        if name.startswith(kind) and (not several_cores or not name.endswith("@1")) and "/" not in name
    ]
    return max(rates, default=None)


def _best_over(other: str) -> Callable[[Found], float | None]:
    def ratio(found: Found) -> float | None:
        best, reference = _best(found, "population", several_cores=True), _best(found, other)
        return None if best is None or reference is None else best / reference

    return ratio


def _outer_share(found: Found) -> float | None:
    shares = {row["contender"]: row["outer_share"][0] for row in found["rows"] if "outer_share" in row}
    return shares.get("population-16@1")


def _outer_share_single(found: Found) -> float | None:
    shares = {row["contender"]: row["outer_share"][0] for row in found["rows"] if "outer_share" in row}
    return shares.get("single@1")


def _memory(found: Found) -> float | None:
    per_optimizee = found["memory_per_optimizee"]
    return None if per_optimizee is None else per_optimizee / (3 * 4 * found["setting"]["n_weights"])


TARGETS = (
    Target("single environment ÷ raw loop", "cpu", 0.93, True, _over("single@1", "raw@1")),
    Target("population of 16 ÷ raw loop, one thread", "cpu", 2.2, True, _over("population-16@1", "raw@1")),
    Target("best configuration on several cores ÷ fastest raw loop", "cpu", 4.0, True, _best_over("raw")),
    Target("single environment ÷ DACBench, a step an epoch", "cpu", 1.3, True, _over("single@1", "dacbench-epoch@1")),
    Target("population of 16 ÷ DACBench, one thread", "cpu", 2.8, True, _over("population-16@1", "dacbench-epoch@1")),
    Target("best configuration on several cores ÷ DACBench", "cpu", 5.0, True, _best_over("dacbench-epoch")),
    Target(
        "single environment ÷ DACBench, a step and a validation a batch",
        "cpu", 3.0, True, _over("single/1@1", "dacbench-batch@1"),
    ),
    Target("single environment ÷ raw loop, GPU", "cuda", 1.5, True, _over("single@1", "raw@1")),
    Target("population of 256 ÷ raw loop, GPU", "cuda", 60.0, True, _over("population-256@1", "raw@1")),
    Target("time outside the inner loop, population of 16", "any", 0.01, False, _outer_share),
    Target("time outside the inner loop, single environment", "any", 0.01, False, _outer_share_single),
    Target("memory of a stacked optimizee ÷ its weights, gradients and momentum", "any", 2.0, False, _memory),
    Target("import l2o_env ÷ import torch, gymnasium", "any", 1.2, False, lambda found: found["import_ratio"]),
)  # fmt: skip


def targets(found: Found, device: str) -> list[dict[str, Any]]:
    """Each target with what was measured of it; ``None`` where nothing was."""
    rows = []
    for target in TARGETS:
        here = target.device in ("any", device.split(":")[0])
        measured = target.measure(found) if here else None
        met = None if measured is None else (measured >= target.bound if target.at_least else measured <= target.bound)
        sign = "≥" if target.at_least else "≤"
        rows.append({"what": target.what, "target": f"{sign} {target.bound:g}", "measured": measured, "met": met})
    return rows
