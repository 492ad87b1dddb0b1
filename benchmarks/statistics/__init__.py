"""Measures what docs/statistics.md claims, each bar by one command, with fixed seeds."""
