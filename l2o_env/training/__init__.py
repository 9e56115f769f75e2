"""A policy in anybody's training loop: learning rates, the guidance of a proxy, and the ways into trainers."""
