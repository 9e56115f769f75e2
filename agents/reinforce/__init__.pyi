from .agent import Reinforce as Reinforce
