"""Trained policies on pairs: episodes, tables, what can be resumed, what tables and pictures say of it."""
