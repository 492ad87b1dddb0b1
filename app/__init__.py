"""Juxta: essays ranked by comparative judgement, verdicts delivered by callback instead of polling."""

__version__ = "0.1.0"
