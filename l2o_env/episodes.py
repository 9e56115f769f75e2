"""Episodes of a population: what the single and the vector environment have in common."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from l2o_env import observation, pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.feature_dropout import FeatureDropout
from l2o_env.guidance.weight import scheduled_weight
from l2o_env.inner.build import make_population
from l2o_env.inner.window import Measurements, Start, Window
from l2o_env.models.base import Optimizee
from l2o_env.reward import kl_weight, reward, reward_parts, value
from l2o_env.windows import decision_points, next_windows


def epoch_updates(config: EnvConfig, pair: pairs.Pair) -> int:
    """Updates that ASG's windows take for an epoch on a pair."""
    return config.epoch_updates or max(len(pair.train) // config.batch_size, 1)


def n_steps(config: EnvConfig, pair: pairs.Pair) -> int:
    """Steps of an episode on a pair, unless it diverges."""
    return len(decision_points(config.windows, config.window, config.budget, epoch_updates(config, pair)))


@dataclass(frozen=True)
class StepResult:
    """What one step of N optimizees gives back; arrays are ``(N, ...)``."""

    observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    infos: dict[str, NDArray]


class Episodes:
    """Runs the episodes of N optimizees.

    Args:
        config: Settings.
        n: Number of optimizees.
    """

    def __init__(self, config: EnvConfig, n: int) -> None:
        self.config, self.n = config, n
        self.population = make_population(config, n)
        self.layout = self.population.layout
        self._kl_weights = np.array([kl_weight(config, pair) for pair in self.population.pairs])
        self.rates = np.full((n, self.layout.n_layers), config.base_lr)
        self.update_ratio = np.zeros_like(self.rates)  # of the last window; 0 before the first of an episode
        self.guidance_weights = np.full(n, config.guidance_weight)
        self.space = observation.space_for(config, self.layout.n_layers)
        self.previous: Measurements | None = None
        self.observations: NDArray[np.float32] | None = None
        self.dropout = FeatureDropout(config.feature_dropout, n)
        self.updates_made = 0  # by all optimizees together, in all episodes

    def start(self, rngs: Sequence[np.random.Generator], indices: Sequence[int], pair: str | None) -> None:
        """Draws new episodes for some optimizees; they begin with the next :meth:`advance`.

        Args:
            rngs: One generator per optimizee; with common random numbers the first one serves for all `indices`.
            indices: The optimizees.
            pair: Name of the pair, one of the settings', or None to draw one.
        """
        common = self._draw(rngs[indices[0]], pair) if self.config.common_random_numbers else None
        self.population.start({i: common or self._draw(rngs[i], pair) for i in indices})
        self.rates[list(indices)] = self.config.base_lr
        self.dropout.start(rngs, indices, common=self.config.common_random_numbers)

    def _draw(self, rng: np.random.Generator, pair: str | None) -> Start:
        names = self.config.pairs
        drawn = int(rng.integers(len(names)))  # also for a given pair, so that it leaves the stream where it was
        if pair is not None:
            drawn = names.index(pair)
        init_seed, batch_seed = (int(x) for x in rng.integers(2**62, size=2))
        return Start(drawn, init_seed, batch_seed)

    @torch.inference_mode(False)
    @torch.enable_grad()  # whoever steps an environment may do so inside torch.no_grad()
    def advance(
        self,
        rates: NDArray[np.float64],
        fresh: NDArray[np.bool_],
        resting: NDArray[np.bool_] | None = None,
        guidance_weights: NDArray[np.float64] | None = None,
    ) -> StepResult:
        """Makes one window of every optimizee that is neither `fresh` nor `resting`.

        Args:
            rates: Physical learning rates ``(N, n_layers)``; read for the optimizees that make a window.
            fresh: ``(N,)``; optimizees that were just started: they are measured without an update.
            resting: ``(N,)``; optimizees that stay as they are: they keep observation and measurements, at reward 0.
            guidance_weights: Weight of the guidance term ``(N,)``; None takes that of the settings' schedule.
        """
        config, population = self.config, self.population
        # 1. Who moves: acts, makes a window and is rewarded for it. The others were just started, or rest.
        resting = np.zeros_like(fresh) if resting is None else resting
        moving = ~fresh & ~resting
        self.rates = np.where(moving[:, None], rates, self.rates)
        # 2. The window. ASG's observations are means over one, so that its first comes before the first action.
        running = moving if config.windows == "fixed" else ~resting
        lengths = np.where(running, next_windows(config, population.done, self._epochs()), 0)
        weights = scheduled_weight(config, population.done, lengths)
        if guidance_weights is not None:
            weights = np.where(moving, guidance_weights, weights)
        self.guidance_weights = np.where(resting, self.guidance_weights, weights)
        window = self._run(lengths, fresh)
        # 3. Before and after: a start is compared with itself, and what diverged or rests stays as it was.
        diverged = window.diverged & moving
        before = window.measurements if self.previous is None else _select(fresh, window.measurements, self.previous)
        after = _select(diverged | resting, before, window.measurements)
        self.previous = after
        self.update_ratio = np.where(resting[:, None], self.update_ratio, window.layers["update_ratio"])
        # 4. What is observed. Who rests would see the statistics of another batch: it keeps what it saw.
        seen = Window(window.layers, window.head, after, diverged)
        # The released ASG takes means over the window of everything, also of the share of the updates that were made.
        begun = np.where(lengths > 0, (lengths + 1) / 2, 0) if config.observation == "asg" else 0
        progress = (population.done - begun) / config.budget
        masked = self.dropout.masked()
        encoded = self._encode(observation.Inputs(seen, before, self.rates, progress, self.layout, masked))
        if self.observations is not None:
            encoded = np.where(resting[:, None], self.observations, encoded)
        self.observations = encoded
        # 5. What it was worth.
        w = self._kl_weights[self._pair_indices()]
        parts = reward_parts(before, after, diverged, config, w)
        return StepResult(
            observations=encoded.copy(),
            rewards=np.where(moving, reward(before, after, diverged, config, w), 0.0),
            terminated=moving & (diverged | (population.done >= config.budget)),
            infos={**self._infos(seen, w), **{key: np.where(moving, part, 0.0) for key, part in parts.items()}},
        )

    def _run(self, lengths: NDArray[np.int64], fresh: NDArray[np.bool_]) -> Window:
        """Makes a window of so many updates ``(N,)``."""
        window = self.population.run(self.rates, lengths, self.guidance_weights)
        self.updates_made += int(lengths.sum())
        lost = window.diverged & fresh  # in ASG's first window: no action is to blame, and the episode goes on
        if lost.any():
            again = self.population.run(self.rates, np.zeros_like(lengths), self.guidance_weights)
            window = _replaced(window, again, lost)
        return window

    def _encode(self, inputs: observation.Inputs) -> NDArray[np.float32]:
        if self.config.observation == "layers":
            return observation.encode(inputs)
        return observation.encode_asg(inputs, self.config.base_lr, self.space)

    def _epochs(self) -> NDArray[np.int64]:
        """Updates of an epoch ``(N,)``."""
        found = self.population.pairs
        return np.array([epoch_updates(self.config, found[index]) for index in self._pair_indices()])

    def _pair_indices(self) -> NDArray[np.int64]:
        """Index of each optimizee's pair ``(N,)``; 0 for one that was never started."""
        return np.array([0 if start is None else start.pair for start in self.population.starts], np.int64)

    @property
    def pair_names(self) -> tuple[str, ...]:
        """Name of the pair of each optimizee.

        Raises:
            ResetNeeded: If no episode was started yet.
        """
        starts = [start for start in self.population.starts if start is not None]
        if len(starts) < self.n:
            raise ResetNeeded("There is no episode yet, and so no pair; call reset() first.")
        return tuple(self.config.pairs[start.pair] for start in starts)

    def n_steps(self, pair: int = 0) -> int:
        """Steps of an episode on a pair of the settings, by its index, unless it diverges."""
        return n_steps(self.config, self.population.pairs[pair])

    def _infos(self, window: Window, w: NDArray[np.float64]) -> dict[str, NDArray]:
        m = window.measurements
        infos: dict[str, NDArray] = {
            "lr": self.rates.copy(),
            "guidance_weight": self.guidance_weights * (self.config.guidance != "none"),
            "value": value(m, self.config, w),
            # Copies, because the next reward is computed from the measurements.
            "train_ce": m.train_ce.copy(),
            "train_kl": m.train_kl.copy(),
            "val_ce": m.val_ce.copy(),
            "val_kl": m.val_kl.copy(),
            "val_accuracy": m.val_accuracy.copy(),
            "updates": self.population.done.copy(),
            "diverged": window.diverged,
            "pair": self._pair_indices(),
            **window.layers,
        }
        if self.config.reward == "target_oracle":
            infos["target_accuracy"] = m.target_accuracy.copy()
        if self.config.reward == "transfer":
            infos |= {"shifted_accuracy": m.shifted_accuracy.copy(), "shifted_kl": m.shifted_kl.copy()}
        return infos

    def accuracy(self, split: str) -> NDArray[np.float64]:
        """Accuracy ``(N,)`` of every optimizee as it is now; see ``Population.evaluate``.

        Raises:
            ResetNeeded: If no episode was started yet.
        """
        if self.observations is None:
            raise ResetNeeded("There is no optimizee to evaluate yet; call reset() first.")
        return self.population.evaluate(split).accuracy.double().cpu().numpy()

    def optimizee(self, i: int) -> Optimizee:
        """The i-th optimizee as a network of its own; see ``Optimizees.optimizee``.

        Raises:
            ConfigError: If the population is divided; make one of a single optimizee.
        """
        return self.population.optimizee(i)

    @property
    def data_wait(self) -> float:
        """Share of the time of all windows so far that was spent waiting for images to be decoded, 0 to 1.

        Of a population in parts, the mean over their times.
        """
        time = self.population.window_time()
        return time.waiting / time.total if time.total else 0.0

    def class_accuracy(self, split: str) -> NDArray[np.float64]:
        """Accuracy (or intersection over union) of each class ``(N, n_classes)``; NaN where there are no images.

        Raises:
            ResetNeeded: If no episode was started yet.
        """
        if self.observations is None:
            raise ResetNeeded("There is no optimizee to evaluate yet; call reset() first.")
        return self.population.class_accuracy(split).cpu().numpy()

    def close(self) -> None:
        """Ends the worker processes, if no other population has them."""
        self.population.close()

    def get_state(self) -> dict[str, Any]:
        """Everything of the running episodes."""
        return {
            "population": self.population.get_state(),
            "rates": self.rates.copy(),
            "update_ratio": self.update_ratio.copy(),
            "guidance_weights": self.guidance_weights.copy(),
            "previous": self.previous,
            "lacking": self.dropout.lacking.copy(),
            "observations": None if self.observations is None else self.observations.copy(),
            "updates_made": self.updates_made,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up a state that :meth:`get_state` returned."""
        self.population.set_state(state["population"])
        self.rates = state["rates"].copy()
        self.update_ratio = state["update_ratio"].copy()
        self.guidance_weights = state["guidance_weights"].copy()
        self.previous = state["previous"]
        self.dropout.lacking = state["lacking"].copy()
        self.observations = deepcopy(state["observations"])
        self.updates_made = state["updates_made"]


def _select(mask: NDArray[np.bool_], yes: Measurements, no: Measurements) -> Measurements:
    if not mask.any():  # nearly always
        return no
    return Measurements(*(np.where(mask, a, b) for a, b in zip(vars(yes).values(), vars(no).values(), strict=True)))


def _replaced(window: Window, other: Window, mask: NDArray[np.bool_]) -> Window:
    """A window with what was measured in the other one where the mask says so."""
    return replace(
        window,
        layers={key: np.where(mask[:, None], other.layers[key], value) for key, value in window.layers.items()},
        head={key: np.where(mask, other.head[key], value) for key, value in window.head.items()},
        measurements=_select(mask, other.measurements, window.measurements),
    )


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """The state of a generator, to be restored by ``restore_generator``."""
    return deepcopy(dict(rng.bit_generator.state))


def restore_generator(state: dict[str, Any]) -> np.random.Generator:
    """A generator that goes on where the state was taken.

    Raises:
        ConfigError: If the state is of another kind of generator than Gymnasium's PCG64.
    """
    if state.get("bit_generator") != "PCG64":
        raise ConfigError(f"The generator state is of kind {state.get('bit_generator')!r}; expected 'PCG64'.")
    rng = np.random.Generator(np.random.PCG64())
    rng.bit_generator.state = state
    return rng


def check_render_mode(render_mode: str | None) -> None:
    """Raises ConfigError unless the render mode is ``"rgb_array"`` or None."""
    if render_mode not in (None, "rgb_array"):
        raise unknown_name("render mode", render_mode, ("rgb_array",))


def check_options(options: dict[str, Any] | None, known: Sequence[str], pairs: Sequence[str]) -> dict[str, Any]:
    """The options of ``reset`` as a dictionary.

    Args:
        options: What came.
        known: Names of the options that exist.
        pairs: Names that the option ``"pair"`` may have beside None.

    Raises:
        ConfigError: If an option or the pair is unknown.
    """
    options = {} if options is None else options
    for key in options:
        if key not in known:
            raise unknown_name("reset option", key, known)
    if options.get("pair") is not None and options["pair"] not in pairs:
        raise unknown_name("pair of this environment", options["pair"], pairs)
    return options
