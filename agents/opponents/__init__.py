"""Hand-made learning rates, and those that are tuned on the very pair."""
