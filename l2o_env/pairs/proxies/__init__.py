"""Proxies that this package pretrains."""
