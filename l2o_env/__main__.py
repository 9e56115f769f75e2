"""``python -m l2o_env`` is ``l2o``."""

import sys
from importlib import import_module

if __name__ == "__main__":
    # The command line stands above all rooms, so that it is named, and found when it is run.
    sys.exit(import_module("train_policy").main())
