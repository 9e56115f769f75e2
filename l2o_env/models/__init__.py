"""Networks to fine-tune; each names its layer groups."""

from l2o_env.models.base import Optimizee, check_layer_groups, new_generator
from l2o_env.models.small import SmallNet, SmallProxy

__all__ = ["Optimizee", "SmallNet", "SmallProxy", "check_layer_groups", "new_generator"]
