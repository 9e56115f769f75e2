from .reinforce_config import PRESETS as PRESETS
from .reinforce_config import ReinforceConfig as ReinforceConfig
from .sb3_config import SB3Config as SB3Config
from .table import ALGORITHMS as ALGORITHMS
from .table import Algorithm as Algorithm
from .table import AlgorithmConfig as AlgorithmConfig
from .table import configure as configure
from .table import find as find
