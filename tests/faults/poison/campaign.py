"""Every kind of bad event, at every position of a batch of three records, on a real bus into a real store of cj.

Bad ones are parked with their reason and their exact bytes, their neighbours are recorded, nothing is counted twice.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
from aiokafka import AIOKafkaProducer

from app.bus.kafka.records import partition_for, to_headers
from app.bus.protocol import Bus, DeliveryPolicy, Record, dead_letter_topic
from app.cj.batch import comparison_id
from app.cj.changes import Changes
from app.cj.event_processor import EventProcessor
from app.cj.planner import Planner
from app.cj.store import BatchStore
from app.contracts import COMPARISON_RESULT_TOPIC, JudgeKind, LLMComparisonResponse, Winner
from app.contracts.events import result_event
from app.database import SqliteDatabase
from tests.cj.conftest import batch_of
from tests.cj.places import MIGRATIONS
from tests.cj.test_event_processor import succeeded
from tests.contracts.bus_model import World
from tests.contracts.bus_worlds import WORLDS, KafkaWorld
from tests.faults.findings import Figure, Observed

from .kinds import KINDS, NEIGHBOUR, Kind

POSITIONS = ("first", "middle", "last")
PATIENCE = 30.0
FLOWS = 1.0
"""Seconds within which what lies beside a bad event is recorded."""


@dataclass
class Cases:
    """`wrong` names each case that broke a promise; `slowest` is the longest time from publishing to all settled."""

    cases: int = 0
    parked: int = 0
    passed: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Case:
    """One kind at one position: three records of one batch of essays, of which one is bad."""

    name: str
    kind: Kind
    batch_id: UUID
    bad: Record
    before: Sequence[Record]
    records: Sequence[Record]


async def poison(world: World, folder: Path) -> Cases:
    """Run all cases, one after another, on one bus."""
    found = Cases()
    letters: list[Record] = []

    async def bury(records: Sequence[Record]) -> None:
        letters.extend(records)

    async with world, SqliteDatabase(folder / "cj.db", migrations=MIGRATIONS, synchronous="OFF") as database:
        store, changes = BatchStore(database), Changes()
        planner = Planner(store, changes, callback_topic=COMPARISON_RESULT_TOPIC, planned=lambda: None)
        processor = EventProcessor(store, changes, complete=lambda _: None)
        cases = [case async for case in _cases(world, store, planner)]
        bus = world.bus(DeliveryPolicy())
        bus.subscribe(world.topic, world.group("cj"), processor.handle)
        bus.subscribe(dead_letter_topic(world.topic), world.group("tests"), bury)
        async with bus:
            for case in cases:
                letters.clear()
                took = await _run(bus, world, case, folder / "cj.db", letters)
                found.slowest = max(found.slowest, took)
                found.cases += 1
                found.parked += len(letters)
                found.passed += case.kind.reason is None and not letters
                found.wrong += [f"{case.name}: {what}" for what in _wrong(case, folder / "cj.db", letters)]
    return found


async def _run(bus: Bus, world: World, case: Case, file: Path, letters: Sequence[Record]) -> float:
    """Publish the three together; the seconds until the good ones are recorded and the bad one is parked."""
    for record in case.before:
        await bus.publish(record)
    with anyio.move_on_after(PATIENCE):
        while case.before and not _recorded(file, case.before):  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.005)
    began = anyio.current_time()
    async with anyio.create_task_group() as publishing:
        for record in case.records:
            if record is case.bad and case.kind.tombstone and isinstance(world, KafkaWorld):
                publishing.start_soon(_publish_tombstone, world, record)
            else:
                publishing.start_soon(bus.publish, record)
    good = [record for record in case.records if record is not case.bad or case.kind.reason is None]
    with anyio.move_on_after(PATIENCE):
        while not _recorded(file, good) or (case.kind.reason is not None and not letters):  # noqa: ASYNC110
            await anyio.sleep(0.005)
    return anyio.current_time() - began


async def _publish_tombstone(world: KafkaWorld, record: Record) -> None:
    """A record without a value, by a client that is not ours: a `Record` always has a body."""
    producer = AIOKafkaProducer(bootstrap_servers=world.connection.servers)
    await producer.start()
    try:
        key = record.key.encode()
        partition = partition_for(key, world.layout.partitions)
        await producer.send_and_wait(record.topic, None, key, partition=partition, headers=to_headers(record))
    finally:
        await producer.stop()


def _wrong(case: Case, file: Path, letters: Sequence[Record]) -> Iterator[str]:
    """Each promise that this case broke."""
    good = [record for record in case.records if record is not case.bad or case.kind.reason is None]
    ended = len({_comparison(record) for record in (*good, *case.before)})
    sql = "SELECT decided, failed FROM batches WHERE id = ?"
    if (counted := _rows(file, sql, str(case.batch_id))) != [(ended, 0)]:
        yield f"counted {counted}, not {ended}"
    if _rows(file, sql, str(NEIGHBOUR)) != [(0, 0)]:
        yield "another batch was touched"
    sql = "SELECT winner, cost_usd FROM comparisons WHERE batch_id = ? AND state = 'decided'"
    if set(_rows(file, sql, str(case.batch_id))) != {("essay_a", 0.01)}:
        yield "another verdict than the first one was recorded"
    if case.kind.reason is None:
        if letters:
            yield f"parked: {letters[0].headers['dead-reason']}"
        return
    if [(one.key, one.id, one.body) for one in letters] != [(case.bad.key, case.bad.id, case.bad.body)]:
        yield f"{len(letters)} letters, or other bytes"
    elif case.kind.reason not in letters[0].headers["dead-reason"]:
        yield f"the reason says {letters[0].headers['dead-reason']}"


def _recorded(file: Path, records: Sequence[Record]) -> bool:
    sql = "SELECT 1 FROM comparisons WHERE id = ? AND state = 'decided'"
    return all(_rows(file, sql, _comparison(record)) for record in records)


def _comparison(record: Record) -> str:
    return record.headers["comparison"]


def _rows(file: Path, sql: str, *values: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.execute(sql, values))


async def _cases(world: World, store: BatchStore, planner: Planner) -> Any:
    await store.create(NEIGHBOUR, batch_of(6), start=True)
    await planner.plan(NEIGHBOUR)
    for name, kind in KINDS.items():
        for position, where in enumerate(POSITIONS):
            batch_id = uuid4()
            await store.create(batch_id, batch_of(6), start=True)
            await planner.plan(batch_id)
            sound = [_sound(world.topic, batch_id, number) for number in (1, 2, 3)]
            victim = sound[position]
            bad = Record(victim.topic, victim.key, f"{victim.id}-bad", kind.body(victim.body), victim.headers)
            records = [bad if record is victim else record for record in sound]
            yield Case(f"{name}, {where}", kind, batch_id, bad, [victim] if kind.late else [], records)


def _sound(topic: str, batch_id: UUID, sequence: int) -> Record:
    """A verdict for one comparison that was planned."""
    correlation_id = comparison_id(batch_id, sequence)
    verdict = LLMComparisonResponse(
        winner=Winner.ESSAY_A,
        justification="clear",
        confidence=0.9,
        provider="rules",
        model="panel-v1/balanced",
        judge_kind=JudgeKind.RULES,
        cost_usd=0.01,
        correlation_id=correlation_id,
    )
    event = result_event(succeeded(verdict))
    headers = {"comparison": str(correlation_id)}
    return Record(topic, str(batch_id), str(event.event_id), event.model_dump_json().encode(), headers)


def run(seed: int, *, full: bool) -> Observed:
    """All cases on both buses."""
    figures, complaints = [], []
    for name, world in WORLDS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = anyio.run(partial(poison, world.world(), Path(folder)))
        wanted = len(KINDS) * len(POSITIONS)
        tolerated = sum(kind.reason is None for kind in KINDS.values()) * len(POSITIONS)
        figures += [
            Figure.at_least(f"{name}: kinds x positions", found.cases, wanted),
            Figure.at_least(f"{name}: parked with reason and bytes", found.parked, wanted - tolerated),
            Figure.at_least(f"{name}: passed, as they must", found.passed, tolerated),
            Figure.none(f"{name}: broken promises", len(found.wrong)),
            Figure.at_most(
                f"{name}: slowest, until the rest was recorded, s", round(found.slowest, 2), FLOWS
            ),
        ]
        complaints += [f"{name}: {wrong}" for wrong in found.wrong]
    return Observed(figures, complaints)
