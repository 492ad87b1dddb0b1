"""What must be true of a house after its batch has ended, read from its files without any code of the house but for the fit.

Each violation is a sentence. The scores are fitted again, by the product's own fit, from the verdicts that are there.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.faults.recount import COUNTS, VERDICT, refitted
from tests.flow.house import rows

from .diary import Event, read
from .life import ESSAYS, PAIRS, words_of_essays_in
from .probes import twofold_tests
from .weather import Weather

CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Of a batch: (first, second, winner) in comparison order, and scores by position."""

    pairs: Sequence[tuple[Any, ...]]
    scores: Mapping[int, float]


class Remains:
    """A folder, and the diary in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cj(self, sql: str) -> list[tuple[Any, ...]]:
        return rows(self.folder / "cj.db", sql)

    def provider(self, sql: str) -> list[tuple[Any, ...]]:
        return rows(self.folder / "provider.db", sql)

    @cached_property
    def diary(self) -> Sequence[Event]:
        return read(self.folder)

    @property
    def comparisons(self) -> int:
        return int(self.cj("SELECT count(*) FROM comparisons WHERE state = 'decided'")[0][0])

    @property
    def by_callback(self) -> int:
        return int(self.cj("SELECT count(*) FROM comparisons WHERE road = 'callback'")[0][0])

    @property
    def requests(self) -> int:
        return int(self.provider("SELECT count(*) FROM requests")[0][0])

    @property
    def calls(self) -> int:
        return sum(event.what == "call" for event in self.diary)

    @property
    def retries(self) -> int:
        """Calls that failed, so that another one was in order."""
        return sum(event.what == "failed" for event in self.diary)

    def verdicts(self) -> Verdicts:
        pairs = self.cj("SELECT first, second, winner FROM comparisons ORDER BY sequence")
        return Verdicts(pairs, dict(self.cj("SELECT position, score FROM essays")))

    def violations(self, weather: Weather, undisturbed: Verdicts) -> list[str]:
        """Every promise that does not hold, as a sentence."""
        return [
            *self._lost(weather),
            *self._doubled(),
            *self._miscounted(weather, undisturbed),
            *self._ledger(),
            *self.violations_so_far(),
            *self._files(),
        ]

    def violations_so_far(self) -> list[str]:
        """Of what holds at every moment, also of a batch that never ended."""
        return [*self._events(), *self._callbacks(), *self._calls(), *twofold_tests(self.diary)]

    def left_after_erasure(self) -> Iterator[str]:
        """Nothing of the batch but a tombstone, and no word of an essay in any file of cj."""
        for table in ("batches", "comparisons", "waves", "fits", "essays", "texts"):
            if left := self.cj(f"SELECT count(*) FROM {table}")[0][0]:
                yield f"erasure: {left} rows of {table} outlived the erasure"
        if self.cj("SELECT count(*) FROM tombstones")[0][0] != 1:
            yield "erasure: the batch has no tombstone"
        if words_of_essays_in(self.folder):
            yield "erasure: the text of an essay outlived the erasure on the disk"

    def _lost(self, weather: Weather) -> Iterator[str]:
        if (ended := self.cj("SELECT state, problem FROM batches")) != [("finished", None)]:
            yield f"lost: the batch ended as {ended}"
        if left := self.cj("SELECT id, state FROM comparisons WHERE state NOT IN ('decided', 'failed')"):
            yield f"lost: comparisons are still open: {left}"
        pairs = {frozenset(pair) for pair in self.cj("SELECT first, second FROM comparisons")}
        if len(pairs) != PAIRS:
            yield f"lost: {PAIRS - len(pairs)} pairs were never compared"
        held = {name for (name,) in self._correlated()}
        if weather.fair and (gone := {e.id for e in self.diary if e.what == "answered"} - held):
            yield f"lost: answered 200 or 202, and the ledger does not know them: {gone}"

    def _correlated(self) -> list[tuple[str]]:
        return self.provider(
            "SELECT lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-'"
            " || substr(h, 17, 4) || '-' || substr(h, 21)) FROM (SELECT hex(correlation_id) AS h FROM requests)"
        )

    def _doubled(self) -> Iterator[str]:
        ((planned, decided, failed, rows_decided, rows_failed),) = self.cj(
            "SELECT planned, decided, failed, (SELECT count(*) FROM comparisons WHERE state = 'decided'),"
            " (SELECT count(*) FROM comparisons WHERE state = 'failed') FROM batches"
        )
        if (decided, failed) != (rows_decided, rows_failed) or planned != decided + failed:
            yield (
                f"double: counted {decided} decided and {failed} failed of {planned} planned;"
                f" the rows say {rows_decided} and {rows_failed}"
            )
        order = [n for (n,) in self.cj("SELECT ended_order FROM comparisons ORDER BY ended_order")]
        if order != list(range(1, len(order) + 1)):
            yield f"double: the order of endings has gaps or doubles: {order}"
        if wrong := self.cj("SELECT number, open FROM waves WHERE open <> 0"):
            yield f"double: waves count open comparisons that have ended: {wrong}"
        twice = self.cj(
            f"SELECT first, second FROM comparisons WHERE {COUNTS} GROUP BY min(first, second),"
            " max(first, second) HAVING count(*) > 1"
        )
        if twice:
            yield f"double: pairs that were decided twice: {twice}"

    def _miscounted(self, weather: Weather, undisturbed: Verdicts) -> Iterator[str]:
        decided = self.cj(f"SELECT {VERDICT} FROM comparisons WHERE {COUNTS} ORDER BY sequence")
        shown = dict(self.cj("SELECT position, verdicts FROM essays"))
        if shown != (recount := Counter(n for first, second, *_ in decided for n in (first, second))):
            yield f"recount: the essays show {shown} verdicts, a recount gives {dict(recount)}"
        if not decided:
            return
        fitted = refitted(decided, ESSAYS)
        mine = self.verdicts()
        if any(mine.scores[n] is None or abs(mine.scores[n] - fitted[n]) > CLOSE for n in range(ESSAYS)):
            yield f"recount: the scores {mine.scores} are not those of a recount: {fitted.tolist()}"
        if weather.fair and mine.pairs != undisturbed.pairs:
            yield "recount: the verdicts are not those of an undisturbed batch"

    def _ledger(self) -> Iterator[str]:
        if unfinished := self.provider(
            "SELECT state, outcome, count(*) FROM requests WHERE state <> 'published' OR outcome IS NULL"
            " GROUP BY state, outcome"
        ):
            yield f"lost: requests without an outcome, or owed: {unfinished}"
        if (counters := self.provider("SELECT queued, leased, answered FROM lanes")) != [(0, 0, 0)]:
            yield f"lost: the lanes count {counters} open requests, and there is none"
        known = {name for (name,) in self.cj("SELECT id FROM comparisons")}
        if strangers := {name for (name,) in self._correlated()} - known:
            yield f"lost: the provider judged what cj never stored: {strangers}"

    def _events(self) -> Iterator[str]:
        """An outcome and its event are stored in one transaction: whoever died in between left neither."""
        ((torn,),) = self.provider(
            "SELECT count(*) FROM requests r JOIN payloads p ON p.place = r.place"
            " WHERE r.outcome IS NOT NULL AND p.event IS NULL"
        )
        if torn:
            yield f"lost: {torn} outcomes are stored without their event"

    def _callbacks(self) -> Iterator[str]:
        if dead := [e.id for e in self.diary if e.what == "buried"]:
            yield f"lost: events that found no comparison: {dead}"
        copies = defaultdict(set)
        for event in self.diary:
            if event.what == "published":
                copies[event.more].add(event.id)
        promised = self.provider(
            "SELECT p.event FROM requests r JOIN payloads p ON p.place = r.place"
            " WHERE r.reply = 'callback' AND r.state = 'published'"
        )
        missing = [event for (event,) in promised if hashlib.sha256(event).hexdigest() not in copies]
        if missing:
            yield f"lost: {len(missing)} callbacks were marked as published, and never were"
        if differing := [names for names in copies.values() if len(names) > 1]:
            yield f"double: copies of one callback have different ids: {differing}"

    def _calls(self) -> Iterator[str]:
        """Asked again only after a failure, or when the process died before the outcome was stored."""
        answered: set[str] = set()
        open_calls: Counter[tuple[int, str]] = Counter()
        for event in self.diary:
            key = (event.life, event.id)
            if event.what == "call":
                if event.id in answered:
                    yield f"calls: the judge was asked for {event.id}, which it had answered"
                if open_calls[key]:
                    yield f"calls: the judge was asked again for {event.id} without need"
                open_calls[key] += 1
            elif event.what == "failed":
                open_calls[key] -= 1
            elif event.what == "stored":
                answered.add(event.id)
        if {e.id for e in self.diary if e.what == "call"} - {
            n for (n,) in self.cj("SELECT id FROM comparisons")
        }:
            yield "calls: the judge was asked for what cj never stored"

    def _files(self) -> Iterator[str]:
        for name in ("cj.db", "provider.db"):
            if (said := rows(self.folder / name, "PRAGMA integrity_check")) != [("ok",)]:
                yield f"damage: {name}: {said}"
