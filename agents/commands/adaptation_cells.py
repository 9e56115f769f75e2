"""What is adapted together: all methods from one initialisation, on the same seeds, here or as a task of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l2o_env import pairs as pair_registry
from l2o_env.adaptation import (
    METHODS,
    Adaptation,
    AdaptConfig,
    LabelledImages,
    TargetOracle,
    UnlabelledImages,
    information_maximisation,
    predictions,
)
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.evaluation.agent import AgentLike
from l2o_env.models.base import new_generator
from l2o_env.pairs.pair import Pair

from .adapt_rates import drive
from .initialisations import fine_tuned

if TYPE_CHECKING:
    import pandas as pd


def variants(methods: Sequence[str], learned: bool) -> list[tuple[str, bool]]:
    """Methods, and whether learned rates drive them: each as it is, then, if asked for, those that can be driven."""
    plain = [(method, False) for method in methods]
    return plain + [(method, True) for method in methods if learned and METHODS[method].joint]


def images_of(pair: Pair, methods: Sequence[str], config: AdaptConfig) -> tuple[LabelledImages, UnlabelledImages]:
    """The images that methods adapt with, on their device.

    Raises:
        ConfigError: If they are not there, or a method cannot work on the pair's network.
    """
    device = resolve_device(config.device)
    source, target = LabelledImages(pair.train, device), UnlabelledImages.of(pair, device)
    model = pair.make_model(new_generator(0)).to(device)
    for method in methods:
        Adaptation(METHODS[method], deepcopy(model), source, target, pair.n_classes, config, 0)
    return source, target


@dataclass(frozen=True)
class Cell:
    """An initialisation and the methods from it.

    Attributes:
        pair: Name of the pair.
        start: Name of the initialisation.
        agent: Sets the rates of the fine-tuning that is the initialisation.
        env: Settings of the fine-tuning.
        variants: See :func:`variants`.
        policy: The learned policy, for those that it drives.
        config: Settings of the adaptation.
        seeds: Seeds of the runs.
    """

    pair: str
    start: str
    agent: AgentLike
    env: EnvConfig
    variants: tuple[tuple[str, bool], ...]
    policy: AgentLike | None
    config: AdaptConfig
    seeds: tuple[int, ...]

    def run(self, tell: Callable[[int, str], None] | None = None) -> pd.DataFrame:
        """Adapts by each method on each seed.

        Args:
            tell: Is told of each run that is finished: how many have, and what it was.

        Returns:
            One line per method and seed: ``method``, ``start``, ``seed``, ``before`` (accuracy of the initialisation),
            accuracies by how the round is chosen, and ``diverged``.
        """
        import pandas as pd

        pair = pair_registry.make(self.pair)
        source, target = images_of(pair, (), self.config)
        device = resolve_device(self.config.device)
        oracle = TargetOracle(pair, device)
        networks = fine_tuned(self.agent, self.pair, self.env, self.seeds)
        lines: list[dict[str, Any]] = []
        for seed, network in zip(self.seeds, networks, strict=True):
            before = oracle.accuracy(predictions(network.to(device), target))
            for method, driven in self.variants:
                model = deepcopy(network).to(device)
                run = Adaptation(METHODS[method], model, source, target, pair.n_classes, self.config, seed)
                if driven:
                    assert self.policy is not None
                    drive(run, self.policy)
                label = f"{method}, learned rates" if driven else method
                line = {"method": label, "start": self.start, "seed": seed, "before": before}
                lines.append({**line, **_run(run, oracle)})
                if tell is not None:
                    tell(len(lines), f"{label} from {self.start}")
        return pd.DataFrame(lines)


def _run(run: Adaptation, oracle: TargetOracle) -> dict[str, Any]:
    """Accuracies of a run by how its round is chosen."""
    accuracies, information = [], []
    for _ in range(run.config.rounds):
        found = run.run_round()
        accuracies.append(oracle.accuracy(found.probabilities))
        information.append(float(information_maximisation(found.probabilities)))
        if found.diverged:
            break
    chosen = max(range(len(information)), key=information.__getitem__)
    return {
        "last": accuracies[-1],
        "information_maximisation": accuracies[chosen],
        "target_oracle": max(accuracies),
        "diverged": run.diverged,
    }
