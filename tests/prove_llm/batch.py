"""Run one batch in bad weather, and look at the server, at the API and at the page while it runs."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from tests.fake_llm import FakeLLMProcess
from tests.flow.process import Process, until

from .stage import assigned, create, fake_on, house_on, judge_options

BREAKER = re.compile(r"breaker (open|half-open|closed)[^<\"]*")
LOOK_EVERY = 0.25
Phase = Literal["before", "during", "after"]
EXACT = Decimal("0.000001")
"""US dollars: far below a cent, and above what floating point adds wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """The batch and its judge; durations in seconds. `outage`: for so long the server fails, from the middle on."""

    essays: int
    per_essay: int
    latency: float
    per_minute: int
    concurrency: int
    errors: float = 0.05
    outage: float = 0.0
    patience: float = 120.0

    @property
    def comparisons(self) -> int:
        """At most so many are decided."""
        return self.essays * self.per_essay // 2


@dataclass(slots=True)
class Found:
    """What was seen.

    `breaker` holds the states that the page named before, during and after the outage, in the order in which they
    changed, and `words` the whole of what it said then.
    """

    weather: Weather
    batch: dict[str, Any]
    server: dict[str, Any]
    usage: list[dict[str, Any]]
    roads: dict[str, int]
    seconds: float
    breaker: list[tuple[Phase, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def cost(self) -> Decimal:
        """What Juxta says the batch cost."""
        return Decimal(str(self.batch["cost_usd"]))

    @property
    def charged(self) -> Decimal:
        """What the server counted for the answers that it sent whole."""
        return Decimal(self.server["cost_usd"])


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    expected: str
    found: str
    holds: bool


def run(weather: Weather, folder: Path) -> Found:
    """Start server and house, judge the batch to its end, and leave nothing running.

    :raises AssertionError: the batch did not end within its patience.
    """
    options = (
        "--latency",
        str(weather.latency),
        "--errors",
        str(weather.errors),
        "--per-minute",
        str(weather.per_minute),
    )
    with fake_on(folder, weather.essays, *options, "--seed", "5") as server:
        settings = assigned(
            f"judges.openai.requests_per_minute={weather.per_minute}",
            f"judges.openai.concurrency={weather.concurrency}",
            f"judges.openai.direct_concurrency={weather.concurrency // 2}",
        )
        with house_on(folder, *judge_options(folder, server), *settings) as house:
            return _watch(weather, server, house)


def _watch(weather: Weather, server: FakeLLMProcess, house: Process) -> Found:
    began = time.monotonic()
    batch_id = create(house, weather.essays, comparisons_per_essay=weather.per_essay)
    found = Found(weather, {}, {}, [], {}, 0.0)
    over_at = math.inf

    def ended() -> bool:
        nonlocal over_at
        found.batch = house.batch(batch_id)
        now = time.monotonic()
        phase: Phase = "before" if over_at == math.inf else "during" if now < over_at else "after"
        _look(found, phase, house.client.get(f"/batches/{batch_id}/live").text)
        if weather.outage and phase == "before" and found.batch["decided"] >= weather.comparisons / 2:
            server.misbehave("unavailable", seconds=weather.outage)
            over_at = now + weather.outage
        return bool(found.batch["state"] != "running")

    until(ended, patience=weather.patience, every=LOOK_EVERY)
    found.seconds = time.monotonic() - began
    until(lambda: not server.stats()["running"])
    found.server = server.stats()
    found.batch = house.batch(batch_id)
    found.usage = house.client.get("/api/v1/usage").json()["rows"]
    found.roads = house.client.get("/readyz").json()["recorded"]
    return found


def _look(found: Found, phase: Phase, page: str) -> None:
    said = BREAKER.search(page)
    if said is not None and found.breaker[-1:] != [(phase, said[1])]:
        found.breaker.append((phase, said[1]))
        found.words.append(said[0].strip())


def checks(found: Found) -> Iterator[Check]:
    """Everything that must be true, with what was found."""
    weather, batch, server = found.weather, found.batch, found.server
    yield Check("the batch ends", "finished", batch["state"], batch["state"] == "finished")
    decided = batch["decided"]
    yield Check(
        "pairs with a verdict", str(weather.comparisons), str(decided), decided == weather.comparisons
    )
    busiest = server["busiest_minute"]
    yield Check(
        "calls in the busiest sliding minute, by the server", f"<= {weather.per_minute}", str(busiest),
        busiest <= weather.per_minute,
    )  # fmt: skip
    refused = server["refusals"].get("rate", 0)
    yield Check("calls that the server refused as too many", "0", str(refused), refused == 0)
    yield Check(
        "cost by Juxta = cost by the server, answers sent whole", f"{found.charged:.6f} USD", f"{found.cost:.6f} USD",
        abs(found.cost - found.charged) < EXACT and found.charged > 0,
    )  # fmt: skip
    spent = sum((Decimal(str(row["cost_usd"])) for row in found.usage), Decimal(0))
    yield Check(
        "cost in `usage`", f"{found.charged:.6f} USD", f"{spent:.6f} USD", abs(spent - found.charged) < EXACT
    )
    called = sum(row["calls"] for row in found.usage)
    yield Check("calls in `usage`", str(server["starts"]), str(called), called == server["starts"])
    cached = sum(model["cached"] for model in server["models"].values())
    yield Check("tokens that the server read from its cache", "> 0", str(cached), cached > 0)
    for road in ("response", "callback"):
        count = found.roads.get(road, 0)
        yield Check(f"results by {road}", "> 0", str(count), count > 0)
    errors = sum(server["misbehaviours"].values())
    yield Check("calls that met a trouble", "> 0", str(errors), errors > 0)
    open_before = ("before", "open") in found.breaker
    yield Check(
        "the breaker, by the page, while the judge answers most",
        "not open",
        "open" if open_before else "not open",
        not open_before,
    )
    if weather.outage:
        opened = ("during", "open") in found.breaker
        yield Check("the page said that it opened", "open", _words(found, "during", "open"), opened)
        closed = found.breaker[-1] == ("after", "closed")
        yield Check("the page said that it closed again", "closed", _words(found, "after", "closed"), closed)


def _words(found: Found, phase: Phase, state: str) -> str:
    """The first that the page said of it."""
    said = zip(found.breaker, found.words, strict=True)
    return next((words for named, words in said if named == (phase, state)), "never")


def table(found: Found) -> str:
    """What was found, for people."""
    server = found.server
    facts = {
        "weather": f"{found.weather.essays} essays, {found.weather.latency:g} s latency, {found.weather.errors:.0%} errors, "
        f"{found.weather.per_minute} requests a minute, failing for {found.weather.outage:g} s in the middle",
        "seconds to the end": f"{found.seconds:.1f}",
        "calls started": str(server["starts"]),
        "most at once": str(server["most_running"]),
        "statuses": str(server["statuses"]),
        "troubles": str(server["misbehaviours"]),
        "comparisons without a verdict, asked anew": str(found.batch["failed"]),
        "billed for answers that never arrived whole": f"{Decimal(server['unseen_cost_usd']):.6f} USD (not known to Juxta)",
        "breaker, as the page said it": " -> ".join(f"{state} ({phase})" for phase, state in found.breaker)
        or "never",
    }
    width = max(map(len, [*facts, *(check.what for check in checks(found))]))
    lines = [f"{name:{width}}  {value}" for name, value in facts.items()]
    lines += [
        f"{check.what:{width}}  {'holds ' if check.holds else 'BROKEN'}  {check.found}  (expected {check.expected})"
        for check in checks(found)
    ]
    return "\n".join(lines)
