from .algorithms.registry import ALGORITHMS as ALGORITHMS
from .algorithms.registry import configure as configure
from .base import Agent as Agent
from .base import Learner as Learner
from .factory import load as load
from .factory import make_learner as make_learner
from .policy_folders import Selection as Selection
from .policy_folders import trained_on as trained_on
