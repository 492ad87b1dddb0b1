"""Ratios against floors, each measured side by side in one run, because machines differ and ratios hold."""
