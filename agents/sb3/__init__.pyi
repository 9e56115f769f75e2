from .agent import SB3Agent as SB3Agent
from .vec_env import PopulationVecEnv as PopulationVecEnv
