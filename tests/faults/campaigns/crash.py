"""The crash matrix: the embedded house killed at every step and at any moment, batch after batch."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from tests.faults import story_processes
from tests.faults.crashes.failpoints import failpoints
from tests.faults.findings import Figure, Observed

KILLS, COMPARISONS = 2_000, 8_000
SHORT_KILLS, SHORT_COMPARISONS = 60, 200
TELLERS, SHORT_TELLERS = 6, 2
MINUTES = 10


def run(seed: int, *, full: bool, minutes: float = MINUTES) -> Observed:
    """For at most `minutes`, tell stories until there were enough kills and comparisons; see `remains` for what must hold after each."""
    kills, comparisons = (KILLS, COMPARISONS) if full else (SHORT_KILLS, SHORT_COMPARISONS)
    several = TELLERS if full else SHORT_TELLERS
    asked = [
        f"--kills={-(-kills // several)}",
        f"--comparisons={-(-comparisons // several)}",
        f"--seconds={minutes * 60}",
    ]
    told = list(chain(*story_processes.stories(*([f"--seed={seed + n}", *asked] for n in range(several)))))
    violations = [violation for story in told for violation in story["violations"]]
    kinds = Counter(violation.split(":")[0] for violation in violations)
    killed = Counter(death for story in told for death in story["deaths"])
    calls, entitled = (sum(story[name] for story in told) for name in ("calls", "entitled"))
    figures = [
        Figure.at_least("kills", sum(killed.values()), kills),
        Figure.at_least("comparisons", sum(story["comparisons"] for story in told), comparisons),
        Figure.at_least("of these by callback", sum(story["by_callback"] for story in told), 1),
        Figure.none("lost: comparisons, answers, outcomes, callbacks", kinds.pop("lost", 0)),
        Figure.none("double: results, counts, copies that differ", kinds.pop("double", 0)),
        Figure.none("batches whose scores are not those of a recount", kinds.pop("recount", 0)),
        Figure.none("judge calls without need", kinds.pop("calls", 0)),
        Figure.none("anything else: errors, damage, what outlived an erasure", sum(kinds.values())),
    ]
    if full:
        # A kill may cut off several calls at once, and most cut off none: that evens out over thousands of kills only.
        # Each single call is looked at above.
        figures.append(Figure.at_most("judge calls, of pairs + retries + kills", calls, entitled))
        reached = failpoints() & killed.keys()
        figures.append(Figure.at_least("failpoints that killed", len(reached), len(failpoints())))
        violations += [f"nothing died {name}" for name in sorted(failpoints() - reached)]
    return Observed(figures, violations)
