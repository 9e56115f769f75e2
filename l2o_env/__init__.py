"""Learned per-layer learning rates for synthetic-to-real transfer, as Gymnasium environments.

What users need stands in ``__init__.pyi``, and is loaded when it is first asked for; deeper names may move from
version to version. Importing this registers the environments, lets forked processes compute with one thread, and does
not load PyTorch.
"""

import gymnasium
import lazy_loader

from l2o_env.threads import compute_alone_after_fork

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

compute_alone_after_fork()

gymnasium.register(
    id="l2o_env/Syn2Real-v0",
    entry_point="l2o_env.env:Syn2RealEnv",
    vector_entry_point="l2o_env.vector_env:Syn2RealVectorEnv",
    disable_env_checker=False,
)
gymnasium.register(
    id="l2o_env/ASG-v0",
    entry_point="l2o_env.asg:ASGEnv",
    vector_entry_point="l2o_env.asg:ASGVectorEnv",
    disable_env_checker=False,
)
