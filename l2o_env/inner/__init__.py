"""The inner loop: N optimizees, their updates, their statistics, their validation."""
