"""The way of one comparison: what cj and the provider each wrote of it, as one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cj.batch import Road
from app.provider.queue.protocol import Entry, Reply

if TYPE_CHECKING:  # reading a trace needs no database code
    from app.cj.views import Comparison

_ACTORS = ("cj", "provider", "judge", "bus")


@dataclass(frozen=True)
class Step:
    """One arrow: when (POSIX seconds), from whom, to whom, in words."""

    at: float
    actor: str
    to: str
    words: str


def steps(comparison: Comparison | None, entry: Entry | None) -> list[Step]:
    """Put both halves in order; either may be missing."""
    found = _at_cj(comparison) if comparison else []
    if entry is not None:
        found += _at_the_provider(entry)
    return sorted(found, key=lambda step: step.at)


def _at_cj(comparison: Comparison) -> list[Step]:
    found = [
        Step(
            comparison.planned_at,
            "cj",
            "cj",
            f"plans comparison {comparison.sequence} in wave {comparison.wave}",
        )
    ]
    if comparison.submitted_at is not None:
        again = f" (posted {comparison.posts} times)" if comparison.posts > 1 else ""
        found.append(Step(comparison.submitted_at, "cj", "provider", f"POST /api/v1/comparison{again}"))
    if comparison.queued_at is not None:
        found.append(
            Step(comparison.queued_at, "provider", "cj", "202 Accepted: the answer will be published")
        )
    if comparison.ended_at is not None:
        callback = comparison.road is Road.CALLBACK
        found.append(
            Step(
                comparison.ended_at,
                "bus" if callback else "provider",
                "cj",
                _ending(comparison, callback=callback),
            )
        )
    return found


def _at_the_provider(entry: Entry) -> list[Step]:
    found = [Step(entry.accepted_at, "provider", "provider", f"accepts, durably, in lane {entry.lane}")]
    if entry.leased_at is not None:
        found.append(Step(entry.leased_at, "provider", "judge", f"asks the judge (try {entry.tries})"))
    if entry.answered_at is not None:
        found.append(Step(entry.answered_at, "judge", "provider", f"outcome {entry.outcome}, stored"))
        if entry.reply is Reply.CALLBACK:
            found.append(Step(entry.answered_at, "provider", "bus", "publishes the stored result"))
    if entry.published_at is not None and entry.reply is Reply.CALLBACK:
        found.append(Step(entry.published_at, "provider", "provider", "marks the result as published"))
    return found


def _ending(comparison: Comparison, *, callback: bool) -> str:
    road = "callback" if callback else "200 OK"
    if comparison.winner is None:
        return f"{road}: no verdict ({comparison.error_code})"
    better = {"essay_a": comparison.essay_a, "essay_b": comparison.essay_b}.get(comparison.winner, "neither")
    return f"{road}: {better} is better; recorded once"


def mermaid(found: Sequence[Step]) -> str:
    """The sequence as a Mermaid diagram; names of essays cannot break out of it."""
    lines = ["sequenceDiagram", *(f"    participant {actor}" for actor in _ACTORS)]
    for step in found:
        words = "".join(" " if c in ";#:\n" or not c.isprintable() else c for c in step.words)
        lines.append(
            f"    {step.actor}->>{step.to}: +{(step.at - found[0].at) * 1000:.0f} ms {' '.join(words.split())}"
        )
    return "\n".join(lines)
