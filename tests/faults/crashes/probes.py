"""How many calls at once tested a judge whose breaker was half-open, as the diary tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from .diary import Event
from .weather import COOLDOWN, FAILURES


@dataclass(slots=True)
class Breaker:
    """As one life shows it: `begun` are the calls under way and when they began, `tests_from` is set while the breaker is not closed.

    Calls that had their slot before the breaker opened may still begin within the cool-down; they test nothing.
    """

    failures: int = 0
    tests_from: float | None = None
    begun: dict[str, float] = field(default_factory=dict)

    def begins(self, event: Event) -> bool:
        """Note a call; says whether it is a second test beside a first."""
        second = self._is_test(event.at) and any(self._is_test(at) for at in self.begun.values())
        self.begun[event.id] = event.at
        return second

    def ends(self, event: Event) -> None:
        """Note what came of a call."""
        began_at = self.begun.pop(event.id, event.at)
        if event.what == "verdict":
            self.failures = 0
            if self._is_test(began_at):
                self.tests_from = None
        elif self.tests_from is None:
            self.failures += 1
            if self.failures == FAILURES:
                self.failures, self.tests_from = 0, event.at + COOLDOWN * 0.9

    def _is_test(self, began_at: float) -> bool:
        return self.tests_from is not None and began_at >= self.tests_from


def twofold_tests(diary: Sequence[Event]) -> Iterator[str]:
    """After the breaker has opened, one call at a time tests the judge until one brings a verdict."""
    for _, events in groupby(diary, key=lambda event: event.life):
        breaker = Breaker()
        for event in events:
            if event.what == "call" and breaker.begins(event):
                yield "calls: more than one call at once tested a judge whose breaker was half-open"
                return
            if event.what in {"failed", "verdict"}:
                breaker.ends(event)
