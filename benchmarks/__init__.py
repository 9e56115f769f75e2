"""Benchmarks of the inner loop: the modules ``speed``, ``scaling`` and ``backbone``; see docs/performance.md."""
