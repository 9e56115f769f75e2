"""One fine-tuning run as a Gymnasium environment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from l2o_env.action import Decision, action_space, decide
from l2o_env.config import EnvConfig
from l2o_env.episodes import Episodes, StepResult, check_options, check_render_mode, generator_state, restore_generator
from l2o_env.observation import feature_table


class Syn2RealEnv(gymnasium.Env[NDArray[Any], NDArray[Any]]):
    """Fine-tuning of one network on synthetic images, with learning rates that the agent sets.

    ## Description
    An episode is one fine-tuning run of an *optimizee* on a synthetic *source*. The network starts from a *proxy* that
    was pretrained on real images, and a guidance term keeps it close to it (Chen et al., "Automated
    Synthetic-to-Real Generalization", ICML 2020). A step is a window of optimizer updates; the agent sets the learning
    rate of every layer group for it. The real target images are never read, neither for observations nor for rewards
    (except by the reward ``"target_oracle"``, which says so).

    ## Action Space
    | `action` | space | meaning |
    |---|---|---|
    | `"log"` | `Box(-1, 1, (n_layers,))` | log-uniform from `lr_min` to `lr_max` |
    | `"relative"` | `Box(-1, 1, (n_layers,))` | current rate times `relative_scale ** action`, within those limits |
    | `"relative_update"` | `Box(-1, 1, (n_layers,))` | ‖Δθ‖/‖θ‖ that the window is to make, log-uniform from \
    `update_ratio_min` to `update_ratio_max` |
    | `"discrete"` | `MultiDiscrete([11] * n_layers)` | factor 0, 0.1, ..., 1 of `base_lr` |
    | `"log+guidance"` | `Box(-1, 1, (n_layers + 1,))` | as `"log"`, and the weight of the guidance term |

    Values outside the box are clipped to it; a NaN, a wrong shape or a factor that does not exist is an error. The
    last number of `"log+guidance"` stands for a weight from `guidance_weight_min` to `guidance_weight_max`,
    log-uniformly. The physical rates are in ``info["lr"]``, the weight in ``info["guidance_weight"]``.

    ## Observation Space
    With `observation="layers"`, the default, a `Box` of shape `(n_layers * n_features,)`, float32, layer after layer;
    ``l2o_env.split_layers`` gives the view `(n_layers, n_features)`. Features from `train_ce` on are the same on every
    layer. Values are clipped to the bounds. With `observation="asg"` it is that of :class:`l2o_env.asg.ASGEnv`.

    {features}

    ## Rewards
    Improvement of a value over the window, so that the undiscounted return is the value at the end minus that at the
    start. Its parts are in `info` (``"reward_ce"``, ``"reward_kl"``, ``"reward_accuracy"``, ``"reward_penalty"``).

    | `reward` | value |
    |---|---|
    | `"transfer"` | V = accuracy - w KL, on synthetic images unlike all others; w is `kl_weight` |
    | `"proxy_guided"` | V = -(CE_val + w KL_val) on held-out synthetic images; w is `kl_weight` |
    | `"val_loss"` | -CE_val |
    | `"val_accuracy"` | accuracy on the held-out synthetic images |
    | `"train_loss"` | -(CE + `guidance_weight` KL) of the window's training batches; the KL only if it guides |
    | `"target_oracle"` | accuracy on the real target: reads target labels, **not zero-shot** |

    Accuracy is the pair's metric: with a class per pixel, the mean intersection over union. A step that diverges
    (non-finite loss or weights) gets `-divergence_penalty` instead.

    ## Starting State
    The proxy's backbone (with `random_init` a newly drawn one) and frozen head, a newly drawn head, zero momentum,
    rates of `base_lr`. The first observation holds the statistics of the first batch before any update. If `windows` is
    `"asg"` or `"asg_intended"`, ``reset`` makes the first window, at `base_lr`, and the observation is of its end.

    ## Episode End
    Terminated when the update budget is used up (it is part of the task and visible as `progress`) or when the
    optimizee diverges; then ``info["diverged"]`` is True and the last finite weights are kept. Never truncated.
    Windows have `window` updates each, the last one what is left; how ASG's grow says :class:`l2o_env.asg.ASGEnv`.

    ## Arguments
    The fields of :class:`l2o_env.config.EnvConfig`, and `render_mode` (`"rgb_array"` or None). ``reset`` takes
    ``options={{"pair": name}}`` to pick the pair of this episode and the following ones (None: draw again).

    ## Version History
    - v0: first version.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        check_render_mode(render_mode)
        self.config = EnvConfig.from_kwargs(config)
        self.render_mode = render_mode
        self.episodes = Episodes(self.config, 1)
        n_layers = self.episodes.layout.n_layers
        self.observation_space = self.episodes.space
        self.action_space = action_space(self.config, n_layers)
        self._pair: str | None = None
        self._running = False
        self._history: list[dict[str, Any]] = []

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layer groups, from the input to the head."""
        return self.episodes.layout.group_names

    @property
    def pair_name(self) -> str:
        """Name of the episode's pair, ``config.pairs[info["pair"]]``; through wrappers: ``get_wrapper_attr``.

        Raises:
            ResetNeeded: If no episode was started yet.
        """
        return self.episodes.pair_names[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts a new episode.

        Args:
            seed: Seed of the stream that pair, initialisation and batch order are drawn from; None goes on with it.
            options: ``"pair"``: a name from ``config.pairs``, or None to draw again.

        Raises:
            ConfigError: If an option or the pair is unknown.
        """
        options = check_options(options, ("pair",), self.config.pairs)
        super().reset(seed=seed)
        if "pair" in options:
            self._pair = options["pair"]
        self.episodes.start([self.np_random], [0], self._pair)
        self._running, self._history = True, []
        observation, _, info = self._advance(Decision(self.episodes.rates, None), fresh=True)
        return observation, info

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Makes one window of updates with the learning rates that the action stands for.

        Args:
            action: See the class.

        Raises:
            ConfigError: If the action has a wrong shape or holds a NaN.
            ResetNeeded: If there is no running episode.
        """
        if not self._running:
            raise ResetNeeded("There is no running episode: none was started or it has ended; call reset().")
        rates, weight = decide(action, self.episodes.rates[0], self.config, self.episodes.update_ratio[0])
        decision = Decision(rates[None], None if weight is None else weight[None])
        observation, result, info = self._advance(decision, fresh=False)
        terminated = bool(result.terminated[0])
        self._running = not terminated
        return observation, float(result.rewards[0]), terminated, False, info

    def _advance(self, decision: Decision, *, fresh: bool) -> tuple[NDArray[np.float32], StepResult, dict[str, Any]]:
        rates, weights = decision
        result = self.episodes.advance(rates, np.array([fresh]), guidance_weights=weights)
        # Gymnasium's vector environments know Python's truth values and NumPy's numbers, but not np.bool_.
        info = {key: bool(value[0]) if value.dtype == bool else value[0] for key, value in result.infos.items()}
        if self.render_mode == "rgb_array":
            self._history.append({**info, "pair": self.pair_name})
        return result.observations[0], result, info

    def evaluate(self, split: str) -> float:
        """Accuracy of the optimizee as it is now on its pair's ``"target"``, ``"proxy_test"`` or ``"validation"`` set.

        It is the pair's metric, a share: with a class per pixel, the mean intersection over union. On ``"proxy_test"``
        it is that of the proxy's head. Evaluation only: a policy must never see that of the first two.

        Raises:
            ConfigError: If there is no such split, or the pair has no images of it.
            ResetNeeded: If no episode was started yet.
        """
        return float(self.episodes.accuracy(split)[0])

    def render(self) -> NDArray[np.uint8] | None:
        """A picture ``(height, width, 3)`` of learning rates, losses and drift so far; None without a render mode."""
        if self.render_mode is None:
            return None
        from l2o_env.results.episode_picture import draw_episode

        return draw_episode(self._history, self.layer_names)

    def get_state(self) -> dict[str, Any]:
        """Everything of the running episode: restoring it and going on equals never having stopped."""
        return {
            "episodes": self.episodes.get_state(),
            "rng": generator_state(self.np_random),
            "pair": self._pair,
            "running": self._running,
            "history": list(self._history),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up a state that ``get_state`` returned, here or in an environment of the same settings."""
        self.episodes.set_state(state["episodes"])
        self.np_random = restore_generator(state["rng"])
        self._pair = state["pair"]
        self._running = state["running"]
        self._history = list(state["history"])

    def __getstate__(self) -> dict[str, Any]:
        """Settings and state; the population is built anew where the pickle is loaded."""
        return {
            "arguments": {"render_mode": self.render_mode, **asdict(self.config)},
            "spec": self.spec,
            "state": self.get_state(),
        }

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Builds the environment again and takes up its state."""
        self.__init__(**pickled["arguments"])  # type: ignore[misc]
        self.spec = pickled["spec"]
        self.set_state(pickled["state"])


if Syn2RealEnv.__doc__:
    Syn2RealEnv.__doc__ = Syn2RealEnv.__doc__.format(features=feature_table().replace("\n", "\n    "))
