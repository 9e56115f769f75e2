"""``python train_policy.py`` is ``l2o train``, in a checkout; installed, it is ``l2o`` and ``python -m l2o_env``."""

import sys

from agents.main import COMMANDS, main, with_default_command

__all__ = ["COMMANDS", "main", "with_default_command"]

if __name__ == "__main__":
    sys.exit(main(with_default_command(sys.argv[1:])))
