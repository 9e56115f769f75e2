"""Networks to fine-tune; each names its layer groups.

``base`` says what the inner loop asks of one. ``small`` and ``small_seg`` are those of the embedded pairs, built of
``blocks``, and ``kernels`` compiles the first; ``adapted`` makes one of any network. ``layout``, ``losses`` and
``importance`` are for all of them.
"""

from l2o_env.models.base import Optimizee, check_layer_groups, new_generator
from l2o_env.models.small import SmallNet, SmallProxy

__all__ = ["Optimizee", "SmallNet", "SmallProxy", "check_layer_groups", "new_generator"]
