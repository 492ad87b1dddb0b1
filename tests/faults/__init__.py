"""Fault campaigns: what DESIGN promises, held against kills, outages and seeded defects. See `python -m tests.faults`."""
