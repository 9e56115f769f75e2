"""ASG's policy (Chen et al., ICML 2020): as an agent, and read from a released checkpoint."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
