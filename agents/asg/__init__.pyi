from .agent import AsgAgent as AsgAgent
from .policy import AsgPolicy as AsgPolicy
