"""Seeded defects: what proves that the crash matrix can see. Each story is also told of a sound house."""

from __future__ import annotations

from tests.faults import story_processes
from tests.faults.crashes.defects import ALL, seen
from tests.faults.findings import Figure, Observed

SECONDS = 60
TELLERS = 2


def run(seed: int, *, full: bool) -> Observed:
    """Put each defect into the house until an invariant complains; the full form tells the sound stories too."""
    shares = [[f"--defect={defect.name}" for defect in ALL[n::TELLERS]] for n in range(TELLERS)]
    asked = [f"--seed={seed}", f"--seconds={SECONDS}"]
    told = [
        story for some in story_processes.stories(*([*asked, *share] for share in shares)) for story in some
    ]
    figures, complaints = [], []
    for defect in ALL:
        mine = [story for story in told if story["defect"] == defect.name]
        seconds = round(sum(story["seconds"] for story in mine), 1)
        said = [violation for story in mine for violation in story["violations"]]
        caught = seen(said)
        found = f"caught in {seconds} s: {', '.join(caught)}" if caught else f"not caught in {seconds} s"
        figures.append(
            Figure(defect.name, found, f"caught within {SECONDS} s", bool(caught) and seconds <= SECONDS)
        )
        complaints += [f"{defect.name}: {violation[:150]}" for violation in said]
    if full:
        shares = [["--sound", *share] for share in shares]
        told = [
            story
            for some in story_processes.stories(*([*asked, *share] for share in shares))
            for story in some
        ]
        wrong = [f"sound, and yet: {v}" for story in told for v in story["violations"]]
        figures.append(
            Figure.none(f"complaints about a sound house in the same {len(told)} stories", len(wrong))
        )
        complaints += wrong
    return Observed(figures, complaints)
