"""Agents that set the learning rates: learned policies (reinforce.py) and hand-made opponents (schedules.py)."""

from agents.loading import Selection, load, trained_on

__all__ = ["Selection", "load", "trained_on"]
