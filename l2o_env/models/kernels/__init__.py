"""Compiled CPU kernels of the embedded network, behind ``l2o_env.models.base.BatchedKernels``.

From the bottom: ``simd`` (vectors of floats), ``tiles`` (how activations are stored), the kernels (``convolution``,
``normalisation``, ``layers``, ``losses``), ``program`` (the compiled function that runs them one after the other),
``small_net_programs`` (what it is told for the embedded network), ``small_net`` (that on many optimizees and threads).
"""
