"""The scores of a batch fitted again, by the product's own fit, from the verdicts that its store holds; audits count in no score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.cj.scoring_ranking import as_verdicts, score
from app.cj.statistics import FloatArray

VERDICT = "first, second, winner, judge, confidence"
COUNTS = "state = 'decided' AND audit_of IS NULL"
"""Columns and condition of the query whose rows, by sequence, are fitted."""
_SHARE = {"essay_a": 1.0, "essay_b": 0.0, "tie": 0.5}


def refitted(verdicts: Sequence[Sequence[Any]], essays: int) -> FloatArray:
    """Scores from rows of `VERDICT`."""
    first, second, winners, judge, confidence = zip(*verdicts, strict=True)
    given = as_verdicts(first, second, [_SHARE[winner] for winner in winners], judge, confidence)
    return score(given, essays, start=None).fit.scores
