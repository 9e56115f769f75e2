from .algorithms.table import ALGORITHMS as ALGORITHMS
from .algorithms.table import configure as configure
from .factory import Selection as Selection
from .factory import load as load
from .factory import make_learner as make_learner
from .factory import trained_on as trained_on
