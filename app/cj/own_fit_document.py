"""The scale of judgements that people bring, as JSON."""

from __future__ import annotations

import numpy as np

from app.cj.own_fit import OwnFit
from app.cj.statistics.sides import shared_position


def document(found: OwnFit) -> dict[str, object]:
    """The fit as JSON. Figures that are not defined are null."""
    return {
        "items": [
            {
                "id": item.id,
                "rank": item.rank,
                "score": item.score,
                "se": item.se,
                "low": item.low,
                "high": item.high,
                "comparisons": item.comparisons,
                "island": item.island,
            }
            for item in found.items
        ],
        "reliability": {
            "eb": found.reliability.eb,
            "eb_sigma": found.reliability.eb_sigma,
            "split_half": found.reliability.split_half,
            "ssr": found.reliability.ssr,
            "split_half_by": found.reliability.split_by,
            "ssr_observed": found.reliability.ssr_observed,
        },
        "position": _position(found),
        "sigma": found.sigma,
        "sigma_estimated": found.sigma_estimated,
        "islands": found.islands,
        "unbounded": found.unbounded,
        "warnings": found.warnings,
        "notes": found.notes,
        "judgements": found.judgements,
        "judges": [
            {
                "name": judge.name,
                "comparisons": judge.comparisons,
                "position": None
                if judge.position is None
                else {"estimate": judge.position, "se": judge.position_se},
                "slope": judge.slope,
                "confidence": {
                    "stated": judge.stated,
                    "used": judge.confidence_used,
                    "reason": judge.confidence_reason,
                },
            }
            for judge in found.judges
        ],
        "scale": {"unit": "logit", "interval": 0.95, "centred": "mean 0 in each island"},
    }


def _position(found: OwnFit) -> dict[str, float | None] | None:
    """One judge's position term; of several judges what it is if they share it."""
    terms = [
        (judge.position, judge.position_se)
        for judge in found.judges
        if judge.position is not None and judge.position_se
    ]
    if not terms:
        return None
    means, errors = (np.array(column) for column in zip(*terms, strict=True))
    estimate, se = shared_position(means, errors, prior=found.sigma is not None)
    return {"estimate": estimate, "se": se}
