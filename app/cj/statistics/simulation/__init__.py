"""Rehearsals with a known truth: simulated judges, ways of choosing pairs, and how fast each finds the truth.

Everything random comes from the generator that is handed in, so that a seed repeats a rehearsal exactly.
"""
