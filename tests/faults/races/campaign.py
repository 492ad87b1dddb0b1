"""Races with gates: thirteen of them in every order (the short form draws some), and for each a mutant that it must catch."""

from __future__ import annotations

from typing import NamedTuple

from tests.faults.findings import Figure, Observed

from . import bus_races, cj_races, mutants, provider_races
from .stage import Cast, Race, enumerated, sampled


class Entry(NamedTuple):
    """A race, a mutant that it must catch, and how many interleavings it has at least: fewer, and a gate is gone."""

    race: Race
    mutant: Cast
    interleavings: int
    essays: int = 2


RACES = {
    "callback x 202": Entry(cj_races.callback_and_202, Cast(store=mutants.PostponesWhatHasEnded), 40),
    "re-POST x late callback": Entry(
        cj_races.repost_and_late_callback, Cast(store=mutants.CountsEveryArrival), 30
    ),
    "lease expiry x slow worker": Entry(
        provider_races.lease_expiry_and_slow_worker, Cast(ledger=mutants.TheLastOutcomeStays), 30
    ),
    "patience x answer": Entry(
        provider_races.patience_and_answer, Cast(orchestrator=mutants.SaysLaterAndPromisesNothing), 20
    ),
    "cancel x callback": Entry(cj_races.cancel_and_callback, Cast(store=mutants.CountsEveryArrival), 100),
    "finish x late callback": Entry(
        cj_races.finish_and_late_callback, Cast(store=mutants.PlansOnWhatIsThere), 100, essays=4
    ),
    "twin POSTs": Entry(provider_races.twin_posts, Cast(orchestrator=mutants.TellsTheTwinNothing), 20),
    "sweeper x submitter": Entry(cj_races.sweeper_and_submitter, Cast(store=mutants.TakesWhatOthersSend), 60),
    "half-open x N": Entry(provider_races.half_open_and_many, Cast(breaker=mutants.HalfOpenIsOpenToAll), 100),
    "two relays": Entry(provider_races.two_relays, Cast(queue_processor=mutants.NewIdPerAttempt), 10),
    "rebalance x commit": Entry(bus_races.rebalance_and_commit, Cast(log=mutants.HandsOverAtOnce), 100),
    "shutdown x accept": Entry(
        provider_races.shutdown_and_accept, Cast(orchestrator=mutants.PromisesFirst), 20
    ),
    "erase x callback": Entry(cj_races.erase_and_callback, Cast(store=mutants.BuriesWithoutATombstone), 50),
}


SHORT_TRIES, SHORT_LEAST = 30, 5
"""Of each race in the short form: interleavings drawn, and how many of them differ at least."""


def run(seed: int, *, full: bool) -> Observed:
    """Go through every interleaving of every race, or some drawn ones, and until the mutant of each is caught."""
    figures, complaints = [], []
    for name, entry in RACES.items():
        if full:
            found, least = enumerated(entry.race, essays=entry.essays), entry.interleavings
        else:
            found, least = (
                sampled(entry.race, essays=entry.essays, tries=SHORT_TRIES, seed=seed),
                SHORT_LEAST,
            )
        maimed = enumerated(entry.race, entry.mutant, essays=entry.essays, until_broken=True)
        caught = bool(maimed.broken)
        mutant = f"mutant caught at order {maimed.interleavings:,}" if caught else "mutant not caught"
        figures.append(
            Figure(
                name,
                f"{found.interleavings:,} interleavings, {len(found.broken)} broken; {mutant}",
                f"≥ {least}, 0; caught",
                met=found.interleavings >= least and not found.broken and caught,
            )
        )
        complaints += [f"{name}: {broken}" for broken in found.broken]
    return Observed(figures, complaints)
