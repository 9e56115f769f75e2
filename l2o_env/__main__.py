"""``python -m l2o_env`` is ``l2o``."""

import sys
from importlib import import_module

from l2o_env.agents_name import agents_name

if __name__ == "__main__":
    # The command line stands above all rooms, so that it is named, and found when it is run.
    sys.exit(import_module(f"{agents_name()}.main").main())
