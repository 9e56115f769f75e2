"""Agents that set the learning rates: learned policies (reinforce.py) and hand-made opponents (schedules.py)."""
