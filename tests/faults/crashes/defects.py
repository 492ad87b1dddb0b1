"""Twelve faults of real systems, put into the real house: each is a promise of DESIGN broken in one place.

Nothing here says how it is to be noticed: the invariants of `remains` do, which know of no defect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import punq
from sqlalchemy import Connection, text

from app.bus.delivery import Delivery
from app.bus.protocol import Bus, Record
from app.cj.batch import Task, comparison_id
from app.cj.provider_client import ProviderClient
from app.cj.store import BatchStore, Plan, results
from app.contracts import LLMComparisonRequest, Outcome
from app.provider import outcomes
from app.provider.circuit_breaker import BreakerState, CircuitBreaker
from app.provider.judges.simulated import PROVIDER
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import Lease, RequestQueue, StoredOutcome
from app.provider.queue.turn import Turn
from app.provider.queue_processor import QueueProcessor
from tests.flow.house import QUESTION

from .failpoints import Arm
from .weather import DOWN, FAIR, HANGING, LOCKED, Weather


@dataclass(frozen=True, slots=True)
class Defect:
    """A fault, and the smallest story that shows it: weather, how often to die and where, and
    after how many seconds of silence it is stuck.

    A house that merely crashes shows nothing: `error:` does not count.
    """

    name: str
    install: Arm
    weather: Weather = FAIR
    deaths: tuple[str, ...] = ()
    kills: int = 3
    patience: float = 10.0


def mark_before_publish(container: punq.Container) -> None:
    """The row is closed first, and its event published then."""
    processor: Any = container.resolve(QueueProcessor)

    async def deliver(lease: Lease, stored: StoredOutcome) -> None:
        await processor._queue.mark_published(lease)
        await processor._publish(lease, stored)

    processor._deliver = deliver


def no_compare_and_set(_: punq.Container) -> None:
    """Every result is applied, whatever the state of its row."""
    part: Any = results
    record = part.record

    def blind(connection: Connection, groups: Any, known: Mapping[str, Any], now: float) -> object:
        rows = {
            name: SimpleNamespace(id=row.id, batch_id=row.batch_id, wave=row.wave, state="submitted")
            for name, row in known.items()
        }
        return record(connection, groups, rows, now)

    part.record = blind


def inbox_apart_from_effect(_: punq.Container) -> None:
    """That a result was taken is committed before what it does to its wave."""
    part: Any = results
    over = part.over

    def torn(connection: Connection, sql: str, *rest: Any, **values: Any) -> object:
        if sql == results._CLOSE:
            commit_so_far(connection)
        return over(connection, sql, *rest, **values)

    part.over = torn


def no_lease_expiry(container: punq.Container) -> None:
    """Rows of a worker that died stay with it."""
    queue: Any = container.resolve(RequestQueue)
    ledger = queue._ledger
    open_, file_due = ledger.open, ledger._file_due

    def open_as_it_stands(connection: Connection, *, exclusive: bool) -> None:
        open_(connection, exclusive=False)

    def file_what_is_free(turn: Turn) -> None:
        never = "UPDATE requests SET due_at = due_at + 1e9 WHERE held AND due_at <= :now"
        turn.connection.execute(text(never), {"now": turn.now})
        file_due(turn)

    ledger.open, ledger._file_due = open_as_it_stands, file_what_is_free


def outcome_and_event_apart(container: punq.Container) -> None:
    """The outcome is committed before its event."""
    queue: Any = container.resolve(RequestQueue)
    ledger = queue._ledger
    keep_events = ledger._keep_events

    def keep_later(turn: Turn, events: Sequence[tuple[int, bytes]]) -> None:
        if events:
            commit_so_far(turn.connection)
        keep_events(turn, events)

    ledger._keep_events = keep_later


def no_row_before_the_post(container: punq.Container) -> None:
    """Pairs are sent while their plan is not stored yet."""
    store: Any = container.resolve(BatchStore)
    client = container.resolve(ProviderClient)
    commit_plan = store.commit_plan

    async def send_first(plan: Plan) -> bool:
        texts = await store.texts(plan.batch_id)
        for pair, body in plan.pairs:
            name = comparison_id(plan.batch_id, pair.sequence)
            essays = texts[pair.first], texts[pair.second]
            task = Task(name, plan.batch_id, False, False, False, body, QUESTION, *essays)
            await client.generate_comparison(task.request())
        return bool(await commit_plan(plan))

    store.commit_plan = send_first


def counter_outside_the_transaction(_: punq.Container) -> None:
    """The counters of a batch are committed before the rows they count."""
    part: Any = results
    over = part.over

    def torn(connection: Connection, sql: str, *rest: Any, **values: Any) -> object:
        found = over(connection, sql, *rest, **values)
        if sql == results._COUNT:
            commit_so_far(connection)
        return found

    part.over = torn


def new_event_id_on_retry(container: punq.Container) -> None:
    """Every publish of an outcome draws an identity."""
    processor: Any = container.resolve(QueueProcessor)
    bus = container.resolve(Bus)

    async def publish(lease: Lease, stored: StoredOutcome) -> None:
        record = outcomes.to_record(lease.request, stored)
        await bus.publish(Record(record.topic, record.key, str(uuid4()), record.body, record.headers))

    processor._publish = publish


def duplicate_post_calls_the_judge(container: punq.Container) -> None:
    """A known id is judged like a new one."""
    orchestrator: Any = container.resolve(LLMOrchestrator)
    queue = container.resolve(RequestQueue)
    compare = orchestrator.compare

    async def compare_again(request: LLMComparisonRequest, **more: Any) -> object:
        if await queue.find(request.queue_id("local")) is not None:
            await container.resolve("judges")[PROVIDER].compare(request)
        return await compare(request, **more)

    orchestrator.compare = compare_again


def offset_committed_past_a_failure(_: punq.Container) -> None:
    """A handler that fails has handled."""
    part: Any = Delivery

    async def settle_anyway(self: Delivery, record: Record, *, attempt: int) -> None:
        try:
            await self._handle([record])
        except Exception as error:  # noqa: BLE001 - that is the defect
            self._note(record, error, attempt=attempt)
        self.settled(1)

    part._settle_one = settle_anyway


def expiry_without_callback(container: punq.Container) -> None:
    """What expired is closed, and nobody told."""
    processor: Any = container.resolve(QueueProcessor)
    deliver = processor._deliver

    async def deliver_verdicts(lease: Lease, stored: StoredOutcome) -> None:
        if stored.outcome is Outcome.EXPIRED:
            await processor._queue.mark_published(lease)
        else:
            await deliver(lease, stored)

    processor._deliver = deliver_verdicts


def half_open_breaker_unlimited(_: punq.Container) -> None:
    """After the cool-down everybody may test the judge."""
    part: Any = CircuitBreaker

    def room(self: CircuitBreaker, now: float) -> float:
        return 0 if self.state(now) is BreakerState.OPEN else math.inf

    def begin(self: CircuitBreaker, _: float) -> int:
        return self._permit

    part.room, part.begin = room, begin


def commit_so_far(connection: Connection) -> None:
    """Tear a transaction in two."""
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


IN_CJ = ("before commit of cj",)
IN_PROVIDER = ("before commit of provider",)
AFTER_PUBLISHING = ("after publish", "before mark", "after apply", "after consume")

ALL = (
    Defect("mark before publish", mark_before_publish, deaths=("after mark", "before publish")),
    Defect("no compare-and-set", no_compare_and_set, deaths=AFTER_PUBLISHING),
    Defect("inbox apart from effect", inbox_apart_from_effect, deaths=IN_CJ),
    Defect("no lease expiry", no_lease_expiry, deaths=("before call", "after lease", "after accept")),
    Defect("outcome and event apart", outcome_and_event_apart, deaths=IN_PROVIDER),
    Defect("no row before the POST", no_row_before_the_post, deaths=IN_CJ),
    Defect("counter outside the transaction", counter_outside_the_transaction, deaths=IN_CJ),
    Defect("new event_id on retry", new_event_id_on_retry, deaths=AFTER_PUBLISHING),
    Defect("duplicate POST calls the judge", duplicate_post_calls_the_judge),
    Defect("offset committed past a failure", offset_committed_past_a_failure, LOCKED, kills=0),
    Defect("expiry without callback", expiry_without_callback, HANGING, kills=0),
    Defect("half-open breaker unlimited", half_open_breaker_unlimited, DOWN, kills=0),
)
DEFECTS = {defect.name: defect for defect in ALL}


def seen(violations: Sequence[str]) -> list[str]:
    """The kinds of those that show a broken promise, and not only a crash; each once."""
    kinds = dict.fromkeys(violation.split(":")[0] for violation in violations)
    return [kind for kind in kinds if kind != "error"]


def without(defect: Defect) -> Defect:
    """The same story of a sound house."""
    return replace(defect, install=lambda _: None)
