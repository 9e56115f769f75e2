from . import pairs as pairs
from .asg import ASG as ASG
from .asg import GTA5 as GTA5
from .asg import VISDA17 as VISDA17
from .asg import ASGEnv as ASGEnv
from .asg import ASGVectorEnv as ASGVectorEnv
from .config import EnvConfig as EnvConfig
from .env import Syn2RealEnv as Syn2RealEnv
from .errors import ConfigError as ConfigError
from .evaluation.agent import AgentLike as AgentLike
from .evaluation.agent import BaseAgent as BaseAgent
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.intervals import summarise as summarise
from .evaluation.resumable import evaluate_in_parts as evaluate_in_parts
from .evaluation.rollout import episode_seeds as episode_seeds
from .evaluation.rollout import run_episodes as run_episodes
from .inner.memory import fitting_num_envs as fitting_num_envs
from .inner.workers import WorkerError as WorkerError
from .models.base import Optimizee as Optimizee
from .observation import FEATURE_NAMES as FEATURE_NAMES
from .observation import split_layers as split_layers
from .pairs.pair import Pair as Pair
from .pairs.splits import Split as Split
from .results.record import read_recording as read_recording
from .results.run_folder import WriteError as WriteError
from .vector_env import Syn2RealVectorEnv as Syn2RealVectorEnv

__version__: str
