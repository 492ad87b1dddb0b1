"""Walks a queue and its model side by side through random lives, and asks after every step whether they agree."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.contracts import Outcome
from app.errors import JuxtaError
from app.provider.queue.protocol import (
    Ending,
    Lease,
    QueuedRequest,
    Reply,
    RequestQueue,
    State,
    StoredOutcome,
)
from tests.contracts.queue_model import Model, Row
from tests.contracts.queue_world import IDS, JUDGED, JUDGELESS, LIMIT, MAX_TRIES, RETENTION, World, request

T = TypeVar("T")

SECONDS = st.sampled_from([2.0, 10.0, 50.0])
LANES = st.sampled_from([JUDGED, JUDGED, JUDGELESS])


REQUESTS = st.builds(
    request,
    st.integers(0, len(IDS) - 1),
    variant=st.sampled_from([0, 0, 0, 1]),
    lane=LANES,
    priority=st.sampled_from([5, 5, 1, 9]),
    expires_in=st.sampled_from([1e6, 1e6, 20.0]),
    topic=st.sampled_from(["results", "results", None]),
)
OUTCOMES = st.builds(
    StoredOutcome, st.sampled_from(Outcome), st.binary(min_size=1, max_size=2)
)  # fmt: skip


class QueueMachine(RuleBasedStateMachine):
    """Time moves only by its rule. `alone` means one process at a time, else two handles stand for two processes."""

    leases: ClassVar[Bundle[Lease]] = Bundle("leases")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.runner = asyncio.Runner()
        self.model = Model(limit=LIMIT, max_tries=MAX_TRIES, retention=RETENTION, now=1_000.0)
        self.handles: list[RequestQueue] = []
        self.boots: list[str] = []
        self.turn = self.looks = 0
        self.highest_place = 0
        self.outcomes: dict[int, StoredOutcome] = {}

    @initialize(alone=st.booleans())
    def processes_start(self, *, alone: bool) -> None:
        self.alone = alone
        for number in range(1 if alone else 2):
            self.boots.append(f"boot-{number}")
            self.handles.append(self.enter(f"boot-{number}"))

    def enter(self, boot: str) -> RequestQueue:
        queue = self.world.open(
            boot=boot,
            exclusive=self.alone,
            limit=LIMIT,
            max_tries=MAX_TRIES,
            retention=RETENTION,
            clock=lambda: self.model.now,
        )
        return self.run(queue.__aenter__())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(coroutine)  # `run` sets a signal handler each time

    def pick(self) -> tuple[RequestQueue, str]:
        self.turn += 1
        number = self.turn % len(self.handles)
        return self.handles[number], self.boots[number]

    def agree(self, real: Coroutine[Any, Any, T], modelled: Callable[[], T]) -> T | type[JuxtaError]:
        """Both give the same, or fail with the same error."""
        want = _outcome(modelled)
        got = _outcome(lambda: self.run(real))
        assert got == want
        return got

    # -- those who ask

    @rule(target=leases, asked=REQUESTS, lease_for=st.one_of(st.none(), SECONDS))
    def accept(self, asked: QueuedRequest, lease_for: float | None) -> Lease | MultipleResults[Lease]:
        queue, boot = self.pick()
        want = _outcome(lambda: self.model.accept(asked, lease_for, boot))
        got = _outcome(lambda: self.run(queue.accept(asked, lease_for=lease_for)))
        if isinstance(want, type) or want.known:
            assert got == want
            return multiple()
        place = self.learn_place(queue, asked.queue_id)
        lease = None if want.lease is None else replace(want.lease, place=place)
        assert got == replace(want, lease=lease)
        return multiple() if lease is None else lease

    @rule(asked=REQUESTS)
    def the_same_request_comes_twice_at_once(self, asked: QueuedRequest) -> None:
        queue, boot = self.pick()

        async def twice() -> Sequence[object]:
            return await asyncio.gather(queue.accept(asked), queue.accept(asked), return_exceptions=True)

        got = [type(answer) if isinstance(answer, JuxtaError) else answer for answer in self.run(twice())]
        want = [_outcome(lambda: self.model.accept(asked, None, boot)) for _ in range(2)]
        assert got == want
        if not isinstance(want[0], type) and not want[0].known:
            self.learn_place(queue, asked.queue_id)

    @rule(target=leases, number=st.integers(0, len(IDS) - 1), purged=st.booleans())
    def an_id_lives_twice(self, *, number: int, purged: bool) -> MultipleResults[Lease]:
        """Past the retention an id is new: leases of its first life must not reach into the second."""
        first = self.accept(request(number), 10.0)
        if not isinstance(first, Lease):
            return first
        self.store(first, StoredOutcome(Outcome.SUCCEEDED, b"first life"))
        self.model.now += RETENTION
        if purged:
            self.purge()
        second = self.accept(request(number), 10.0)
        return multiple(first, *([second] if isinstance(second, Lease) else []))

    def learn_place(self, queue: RequestQueue, queue_id: UUID) -> int:
        entry = self.run(queue.find(queue_id))
        assert entry is not None, "an accepted request is not there"
        assert entry.place > self.highest_place, "a place was used again"
        self.highest_place = self.model.rows[queue_id].place = entry.place
        return entry.place

    @rule(queue_id=st.sampled_from(IDS))
    def promise_callback(self, queue_id: UUID) -> None:
        self.agree(self.pick()[0].promise_callback(queue_id), lambda: self.model.promise_callback(queue_id))

    @rule(queue_id=st.sampled_from(IDS))
    def hurry(self, queue_id: UUID) -> None:
        self.agree(self.pick()[0].hurry(queue_id), lambda: self.model.hurry(queue_id))

    @rule(queue_id=st.sampled_from(IDS))
    def cancel(self, queue_id: UUID) -> None:
        self.agree(self.pick()[0].cancel(queue_id), lambda: self.model.cancel(queue_id))

    # -- those who work

    @rule(target=leases, lane=LANES, limit=st.integers(1, 3), seconds=SECONDS, begin=st.booleans())
    def lease(self, *, lane: str, limit: int, seconds: float, begin: bool) -> MultipleResults[Lease]:
        return multiple(*self.lease_some(lane, limit, seconds, begin=begin))

    def lease_some(self, lane: str, limit: int, seconds: float, *, begin: bool = False) -> list[Lease]:
        queue, boot = self.pick()
        got = self.run(queue.lease(lane, limit=limit, seconds=seconds, begin=begin))
        rows = self.model.judgeable(lane)[:limit]
        want = [self.model.take(row, seconds, boot, begin=begin) for row in rows]
        assert list(got) == want
        return want

    @rule(target=leases, limit=st.integers(1, 3), seconds=SECONDS)
    def lease_closing(self, limit: int, seconds: float) -> MultipleResults[Lease]:
        return multiple(*self.close_some(limit, seconds))

    def close_some(self, limit: int, seconds: float) -> list[Lease]:
        """Among the rows that need no judge no order is promised."""
        queue, boot = self.pick()
        got = self.run(queue.lease_closing(limit=limit, seconds=seconds))
        closable = {row.place: row for row in self.model.closable()}
        assert len(got) == min(limit, len(closable))
        for lease in got:
            row = closable.pop(lease.place, None)
            assert row is not None, "handed out though it needs a judge or is not ready"
            assert lease == self.model.take(row, seconds, boot)
        return list(got)

    @rule(lease=leases)
    def begin_try(self, lease: Lease) -> None:
        self.agree(self.pick()[0].begin_try(lease), lambda: self.model.begin_try(lease))

    @rule(lease=leases, seconds=SECONDS)
    def extend(self, lease: Lease, seconds: float) -> None:
        self.agree(self.pick()[0].extend(lease, seconds), lambda: self.model.extend(lease, seconds))

    @rule(lease=leases, outcome=OUTCOMES)
    def store(self, lease: Lease, outcome: StoredOutcome) -> None:
        got = self.agree(self.pick()[0].store(lease, outcome), lambda: self.model.store(lease, outcome))
        if not isinstance(got, type):
            assert self.outcomes.setdefault(lease.place, got[0]) == got[0], "a second outcome"

    @rule(lease=leases)
    def mark_published(self, lease: Lease) -> None:
        self.agree(self.pick()[0].mark_published(lease), lambda: self.model.mark_published(lease))

    @rule(lease=leases, after=st.sampled_from([0.0, 0.0, 5.0, 30.0]), untried=st.booleans())
    def release(self, lease: Lease, after: float, *, untried: bool = False) -> None:
        self.agree(
            self.pick()[0].release(lease, after=after, untried=untried),
            lambda: self.model.release(lease, after, untried=untried),
        )

    @rule(target=leases, tried=st.booleans(), by_release=st.booleans(), wakes=st.booleans())
    def an_answer_changes_hands(
        self, *, tried: bool, by_release: bool, wakes: bool
    ) -> MultipleResults[Lease]:
        """A worker answers and then lets go of the row, or seems dead, before it could publish."""
        first = self.lease_some(JUDGED, 1, 10.0)
        for lease in first:
            if tried:
                self.begin_try(lease)
            self.store(lease, StoredOutcome(Outcome.SUCCEEDED, b"first hand"))
            if by_release:
                self.release(lease, 0.0)
        if not by_release:
            self.time_passes(10.0)
        second = self.close_some(1, 10.0)
        for lease in first if wakes else ():
            self.mark_published(lease)
        return multiple(*first, *second)

    @rule(target=leases, after=st.sampled_from([0.0, 5.0]), begin=st.booleans())
    def a_try_fails(self, *, after: float, begin: bool) -> MultipleResults[Lease]:
        leases = self.lease_some(JUDGED, 1, 10.0, begin=begin)
        for lease in leases:
            if not begin:
                self.begin_try(lease)
            self.release(lease, after)
        return multiple(*leases)

    @rule(target=leases)
    def a_worker_stops_before_its_call(self) -> MultipleResults[Lease]:
        leases = self.lease_some(JUDGED, 1, 10.0, begin=True)
        for lease in leases:
            self.release(lease, 0.0, untried=True)
        return multiple(*leases)

    # -- what happens around them

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0, 60.0, 150.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.now += seconds

    @precondition(lambda self: self.looks % 3 == 0)  # it costs as much as ten other steps
    @rule()
    def a_process_restarts(self) -> None:
        self.turn += 1
        number = self.turn % len(self.handles)
        self.run(self.handles[number].__aexit__(None, None, None))
        self.boots[number] = boot = f"boot-{number}-{self.turn}"
        if self.alone:
            self.model.reboot(boot)
        self.handles[number] = self.enter(boot)

    @rule()
    def purge(self) -> None:
        self.agree(self.pick()[0].purge(), self.model.purge)

    @rule(seconds=st.sampled_from([2.0, 60.0]))
    def recent_starts(self, seconds: float) -> None:
        got = self.run(self.pick()[0].recent_starts(seconds=seconds))
        assert {lane: sorted(ages) for lane, ages in got.items()} == self.model.recent_starts(seconds)

    @rule(
        lane=st.one_of(st.none(), LANES),
        state=st.one_of(st.none(), st.sampled_from(State)),
        limit=st.integers(1, 3),
    )
    def browse(self, lane: str | None, state: State | None, limit: int) -> None:
        after = self.highest_place // 2
        got = self.run(self.pick()[0].browse(lane=lane, state=state, after=after, limit=limit))
        assert list(got) == self.model.browse(lane, state, after, limit)

    @invariant()
    def people_see_what_is_there(self) -> None:
        if not self.handles:
            return
        queue, _ = self.pick()
        self.looks += 1
        if self.looks % 2:  # one look per step, in turn: half the time for nearly the same sight
            assert list(self.run(queue.browse(limit=100))) == self.model.browse(None, None, 0, 100)
            return
        stats = self.model.stats()
        assert self.run(queue.stats()) == stats
        if self.alone:
            for lane in (JUDGED, JUDGELESS):
                assert queue.waiting(lane) == (stats[lane].waiting if lane in stats else 0)

    def teardown(self) -> None:
        """Every accepted request ends in one outcome and is closed, given workers for one lane, a closer, and time."""
        try:
            if self.handles and sys.exc_info()[0] is None:
                self.work_to_the_end()
        finally:
            for handle in self.handles:
                self.run(handle.__aexit__(None, None, None))
            self.runner.close()
            self.world.close()

    def work_to_the_end(self) -> None:
        for seconds in (0.0, 60.0, 2e6):
            self.model.now += seconds
            busy = True
            while busy:
                judged = self.lease_some(JUDGED, 100, 10.0)
                closing = self.close_some(100, 10.0)
                for lease in [*judged, *closing]:
                    self.finish(lease)
                busy = bool(judged or closing)
        left: list[Row] = [row for row in self.model.rows.values() if row.open]
        assert not left, "a request was never answered and delivered"
        for row in self.model.rows.values():
            assert row.stored == self.outcomes[row.place]
        for _ in range(2):
            self.people_see_what_is_there()

    def finish(self, lease: Lease) -> None:
        if lease.stored is None:
            if lease.ending is None:
                self.begin_try(lease)
            self.store(lease, StoredOutcome(_FOR[lease.ending], b"event"))
        row = self.model.rows[lease.request.queue_id]
        if row.reply is Reply.CALLBACK:
            self.mark_published(lease)


_FOR = {
    None: Outcome.SUCCEEDED,
    Ending.EXPIRED: Outcome.EXPIRED,
    Ending.CANCELLED: Outcome.CANCELLED,
    Ending.EXHAUSTED: Outcome.FAILED,
}


def _outcome(do: Callable[[], T]) -> T | type[JuxtaError]:
    try:
        return do()
    except JuxtaError as error:
        return type(error)


def keep_the_contract(world: Callable[[], World], *, examples: int, thorough: bool = True) -> None:
    """Run the machine. Not `thorough` neither shrinks nor remembers: right for mutants and for slow engines."""
    run_state_machine_as_test(
        lambda: QueueMachine(world()),  # type: ignore[arg-type]  # it takes any callable
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink] if thorough else [Phase.generate],
            report_multiple_bugs=thorough,
            suppress_health_check=list(HealthCheck),
        ),
    )
