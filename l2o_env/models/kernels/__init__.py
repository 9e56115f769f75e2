"""Compiled CPU kernels of the embedded network, behind ``l2o_env.models.base.BatchedKernels``."""
