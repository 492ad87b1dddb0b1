"""Juxta: essays ranked by comparative judgement, verdicts delivered by callback instead of polling."""
