"""A batch judged by a language model with latency, errors, a limit and an outage: the short form of `python -m tests.prove_llm`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from tests.prove_llm.batch import Found, Weather, checks, run, table

WEATHER = Weather(essays=24, per_essay=10, latency=0.5, per_minute=100, concurrency=16, outage=15.0)
CENT = 0.01


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run(WEATHER, tmp_path_factory.mktemp("weather"))


def broken(found: Found) -> list[str]:
    return [check.what for check in checks(found) if not check.holds]


def test_the_batch_ends_within_the_limit_and_every_cent_is_known(found: Found) -> None:
    assert not broken(found), table(found)


def batch(found: Found, **changes: object) -> Found:
    return replace(found, batch=found.batch | changes)


def server(found: Found, **changes: object) -> Found:
    return replace(found, server=found.server | changes)


def usage(found: Found, name: str, more: float) -> Found:
    first, *rest = found.usage
    return replace(found, usage=[first | {name: first[name] + more}, *rest])


LIES: Mapping[str, Callable[[Found], Found]] = {
    "the batch ends": lambda found: batch(found, state="paused"),
    "pairs with a verdict": lambda found: batch(found, decided=found.batch["decided"] - 1),
    "calls in the busiest sliding minute, by the server": lambda found: server(
        found, busiest_minute=WEATHER.per_minute + 1
    ),
    "calls that the server refused as too many": lambda found: server(found, refusals={"rate": 1}),
    "cost by Juxta = cost by the server, answers sent whole": lambda found: batch(
        found, cost_usd=found.batch["cost_usd"] + CENT
    ),
    "cost in `usage`": lambda found: usage(found, "cost_usd", CENT),
    "calls in `usage`": lambda found: usage(found, "calls", 1),
    "tokens that the server read from its cache": lambda found: server(
        found, models={name: model | {"cached": 0} for name, model in found.server["models"].items()}
    ),
    "results by response": lambda found: replace(found, roads=found.roads | {"response": 0}),
    "results by callback": lambda found: replace(found, roads=found.roads | {"callback": 0}),
    "calls that met a trouble": lambda found: server(found, misbehaviours={}),
    "the breaker, by the page, while the judge answers most": lambda found: replace(
        found, breaker=[("before", "open"), *found.breaker], words=["breaker open", *found.words]
    ),
}


OUTAGE = ("the page said that it opened", "the page said that it closed again")
"""Told by stories of their own, below."""


def test_there_is_a_lie_for_each_check(found: Found) -> None:
    assert [*LIES, *OUTAGE] == [check.what for check in checks(found)]


@pytest.mark.parametrize("what", LIES)
def test_the_proof_would_tell(found: Found, what: str) -> None:
    assert broken(LIES[what](found)) == [what]


def test_a_breaker_that_never_opens_or_never_closes_is_told(found: Found) -> None:
    opened, closed = OUTAGE
    assert broken(replace(found, breaker=[("before", "closed")], words=["breaker closed"])) == [
        opened,
        closed,
    ]
    stuck = replace(found, breaker=[("during", "open"), ("after", "half-open")], words=["", ""])
    assert broken(stuck) == [closed]
    well = replace(found, breaker=[("during", "open"), ("after", "closed")], words=["", ""])
    assert not broken(well)
