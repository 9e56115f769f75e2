from .registry import ALGORITHMS as ALGORITHMS
from .registry import Algorithm as Algorithm
from .registry import AlgorithmConfig as AlgorithmConfig
from .registry import configure as configure
from .registry import find as find
from .reinforce_config import PRESETS as PRESETS
from .reinforce_config import ReinforceConfig as ReinforceConfig
from .sb3_config import SB3Config as SB3Config
