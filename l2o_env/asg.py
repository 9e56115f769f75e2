"""The released ASG (Chen et al., ICML 2020), exactly: what its policy observes and does, and when.

Nothing here is a mechanism of its own: ``l2o_env/ASG-v0`` is the environment with the settings ``ASG``, all of which
are fields of :class:`l2o_env.config.EnvConfig`. ``VISDA17`` and ``GTA5`` add the rest of the two published recipes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from l2o_env.env import Syn2RealEnv
from l2o_env.vector_env import Syn2RealVectorEnv

ASG: dict[str, Any] = {
    "observation": "asg",
    "action": "discrete",
    "windows": "asg",
    "window": 10,
    "optimizer": "rate_in_momentum",
    "clip_norm": None,
    "base_lr": 0.1,
}
"""What makes an environment ASG's; the base rate suits the embedded pairs."""
VISDA17: dict[str, Any] = {
    **ASG,
    "base_lr": 1e-4,
    "batch_size": 32,
    "epoch_updates": 4762,
    "budget": 30 * 4762,
    "guidance_weight": 0.1,
}
"""The recipe for VisDA-17 to COCO: 30 epochs of 4,762 updates (152,397 images, the last incomplete batch left out).
The number is given, because images that are held out for V would make the epochs shorter."""
GTA5: dict[str, Any] = {
    **ASG,
    "window": 20,
    "optimizer": "sgd",
    "lr_curve": "warmup_poly",
    "base_lr": 1e-3,
    "batch_size": 6,
    "epoch_updates": 2000,
    "budget": 50 * 2000,
    "guidance_weight": 75.0,
    "guidance_cap": 9.0,
}
"""The recipe for GTA5 to Cityscapes: 50 epochs of 2,000 updates, which is about half of the images each."""


class ASGEnv(Syn2RealEnv):
    """Fine-tuning of one network, observed and acted on as in the released ASG.

    ## Description
    As ``l2o_env/Syn2Real-v0``, with the settings ``l2o_env.asg.ASG``. Windows get longer as training goes on:
    max(`window`, updates of this epoch + updates of earlier epochs // 20), up to the end of the epoch; `window` is 10,
    an epoch `epoch_updates` or all training images.
    The update rule has the rate inside the momentum: v ← ρ v + lr g, θ ← θ − v. No clipping of gradients.

    ## Action Space
    `MultiDiscrete([11] * n_layers)`: factor 0, 0.1, ..., 1 of `base_lr` for each layer group. With
    `lr_curve="warmup_poly"` the rate also follows ASG's warm-up and polynomial decay (segmentation), else it does not
    decay (classification). The action forms of ``l2o_env/Syn2Real-v0`` work too.

    ## Observation Space
    `Box` of shape `(5 + n_layers,)`: 12 raw numbers for ASG's 7 layer groups.

    | # | name | symbol | transform | unit | bounds |
    |---|---|---|---|---|---|
    | 0 | `train_ce` | CE | mean of the window | nats | [0, 100] |
    | 1 | `train_kl` | KL | mean of the window | nats | [0, 100] |
    | 2 | `progress` | t/T | mean of the window, t from 0 | - | [0, 1] |
    | 3 | `head_mean` | mean(W) | last head matrix, mean of the window | - | [-10, 10] |
    | 4 | `head_std` | std(W), unbiased | last head matrix, mean of the window | - | [0, 10] |
    | 5... | `lr_ratio` | lr/base_lr | before `lr_curve` | - | [0, 1]; else [0, lr_max/base_lr] |

    The second bound of the rates is that of continuous actions. With `observation="layers"` the observation is that of
    ``l2o_env/Syn2Real-v0``.

    ## Rewards
    As ``l2o_env/Syn2Real-v0``. What ASG's own policy was rewarded for is not public.

    ## Starting State
    As ``l2o_env/Syn2Real-v0``, but the first window is run at `base_lr` by ``reset``, because observations are means
    over a window: the first decision comes after it.

    ## Episode End
    As ``l2o_env/Syn2Real-v0``.

    ## Arguments
    The fields of :class:`l2o_env.config.EnvConfig`, over the settings ``l2o_env.asg.ASG``; ``l2o_env.asg.VISDA17`` and
    ``l2o_env.asg.GTA5`` are the two published recipes.

    ## Version History
    - v0: first version.
    """

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        super().__init__(render_mode, **{**ASG, **config})


class ASGVectorEnv(Syn2RealVectorEnv, VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A population of :class:`ASGEnv` in one batched graph.

    ## Description
    As :class:`ASGEnv` for each optimizee. Windows depend on the number of training images, so optimizees on different
    pairs may have windows, and episodes, of different length.

    ## Action Space
    `MultiDiscrete`, with 11 factors, of shape `(num_envs, n_layers)`.

    ## Observation Space
    `Box` of shape `(num_envs, 5 + n_layers)`.

    ## Rewards
    `(num_envs,)`, as ``l2o_env/Syn2Real-v0``.

    ## Starting State
    As :class:`ASGEnv`, with the seeds and options of :class:`l2o_env.vector_env.Syn2RealVectorEnv`.

    ## Episode End
    As :class:`l2o_env.vector_env.Syn2RealVectorEnv`.

    ## Arguments
    Those of :class:`l2o_env.vector_env.Syn2RealVectorEnv`, over the settings ``l2o_env.asg.ASG``.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        num_envs: int = 16,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **config: Any,
    ) -> None:
        super().__init__(
            num_envs,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
            max_episode_steps=max_episode_steps,
            **{**ASG, **config},
        )
