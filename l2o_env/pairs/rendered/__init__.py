"""Pairs whose source is drawn by this package."""
