"""Races inside cj and across the road between cj and the provider: what is counted, and once."""

from __future__ import annotations

from functools import partial

import anyio

from app.bus.protocol import Record
from app.cj.batch import BatchState
from app.contracts import COMPARISON_RESULT_TOPIC, LLMComparisonRequest
from app.contracts.events import result_event
from app.errors import Conflict
from tests.cj.conftest import ScriptedProvider, answer, queued
from tests.cj.test_event_processor import succeeded

from .stage import DIRECT, QUEUED, REPAIR_AFTER, Stage


def counted_once(stage: Stage, *, state: BatchState = BatchState.FINISHED) -> None:
    """Every comparison is in one final state, the counters are those of the rows, and nothing is due any more."""
    rows = stage.rows("SELECT state, ended_order, due_at, wave FROM comparisons")
    ((found, planned, decided, failed, waves),) = stage.rows(
        "SELECT state, planned, decided, failed, waves FROM batches"
    )
    ended = [row for row in rows if row[0] in {"decided", "failed"}]
    assert found == state, f"the batch is {found}"
    assert planned == len(rows), f"{planned} planned, {len(rows)} rows"
    assert {row[0] for row in rows} <= {"decided", "cancelled"}
    assert (decided, failed) == (len(ended), 0), f"{decided} counted of {len(ended)}"
    assert sorted(row[1] for row in ended) == list(range(1, len(ended) + 1))
    assert all(row[2] is None for row in rows), "an ended comparison is due again"
    assert stage.rows("SELECT number, size FROM waves WHERE open = 0 ORDER BY number") == [
        (number, sum(row[3] == number for row in rows)) for number in range(1, waves + 1)
    ]
    assert not stage.letters, "dead letters"


def finished(stage: Stage) -> bool:
    """Whether the batch has ended and nothing is left to be sent."""
    ((state,),) = stage.rows("SELECT state FROM batches")
    due = stage.rows("SELECT 1 FROM comparisons WHERE due_at IS NOT NULL")
    return state in {"finished", "cancelled"} and not due


async def callback_and_202(stage: Stage) -> None:
    """The callback is faster than the 202 that promises it, or not."""
    async with stage.provider("p", limits=QUEUED) as provider, stage.cj(provider.port) as cj:
        stage.gates.stop("post", provider.port, after=["generate_comparison"])
        stage.gates.stop("cj", cj.store, "postpone", "record")
        stage.gates.stop("judge", provider.judge, after=["compare"])
        stage.gates.stop("provider", provider.queue, "store", "mark_published")
        stage.gates.stop("provider", provider.bus, "publish")
        async with stage.running(cj.submitter.run, cj.planner.run):
            await stage.gates.race()
            await stage.until(lambda: finished(stage) and stage.owes_nothing())
    counted_once(stage)
    assert len(stage.calls) == 1
    assert stage.rows("SELECT posts, road FROM comparisons") == [(1, "callback")]


async def repost_and_late_callback(stage: Stage) -> None:
    """The soft deadline passes: cj asks again with the same id, and the first callback comes after all."""
    async with stage.provider("p", limits=QUEUED) as provider, stage.cj(provider.port) as cj:
        stage.gates.stop("judge", provider.judge, after=["compare"])
        stage.gates.stop("provider", provider.queue, "store")
        stage.gates.stop("provider", provider.bus, "publish")
        stage.gates.stop("cj", cj.store, "record")
        stage.gates.stop("post", provider.port, "generate_comparison")
        async with stage.running(cj.submitter.run, cj.planner.run):
            await stage.gates.race(partial(stage.pass_by, REPAIR_AFTER + 1, "the soft deadline passes"))
            await stage.until(lambda: finished(stage) and stage.owes_nothing())
            await cj.bus.publish(stage.published[0])  # and once more, when all is over
            await stage.until(lambda: not cj.bus.health().lag["cj", COMPARISON_RESULT_TOPIC])
    counted_once(stage)
    assert len(stage.calls) == 1, f"the judge was asked {len(stage.calls)} times"


async def cancel_and_callback(stage: Stage) -> None:
    """Somebody cancels the batch while its last result comes in."""
    async with stage.provider("p", limits=QUEUED) as provider, stage.cj(provider.port) as cj:
        stage.gates.stop("judge", provider.judge, after=["compare"])
        stage.gates.stop("provider", provider.queue, "store", "cancel")
        stage.gates.stop("provider", provider.bus, "publish")
        stage.gates.stop("cj", cj.store, "record", "postpone", "change", "cancellation_sent")

        async def cancel() -> None:
            try:
                await cj.workflow.cancel(stage.batch_id)
            except Conflict:
                told.append("finished before")

        told: list[str] = []
        async with stage.running(cj.submitter.run, cj.planner.run):
            await stage.gates.race(cancel)
            await stage.until(lambda: finished(stage) and stage.owes_nothing())
    counted_once(stage, state=BatchState.FINISHED if told else BatchState.CANCELLED)
    assert len(stage.calls) <= 1
    assert len({record.body for record in stage.published}) == len(stage.requests()) <= 1


async def finish_and_late_callback(stage: Stage) -> None:
    """The last result of the first wave comes twice, to two processes: each may plan on it, one does."""
    provider = ScriptedProvider(queued)
    async with stage.cj(provider, listens=False) as first, stage.cj(provider, listens=False) as second:
        async with stage.running(first.submitter.run):
            await stage.until(lambda: len(provider.requests) == len(stage.rows("SELECT 1 FROM comparisons")))
        events = [_event(stage, request) for request in provider.requests]
        await first.processor.handle(events[:-1])
        for name, cj in (("p", first), ("q", second)):
            stage.gates.stop(name, cj.store, "record", "progress", "commit_plan")
        async with stage.running(first.planner.run, second.planner.run):
            await stage.gates.race(
                *(partial(cj.processor.handle, [events[-1]]) for cj in (first, second)),
            )
        async with stage.running(first.planner.run, first.submitter.run):
            for _ in range(8):  # more than the batch has waves
                open_ones = [r for r in provider.requests if _is_open(stage, r)]
                await first.processor.handle([_event(stage, request) for request in open_ones])
                await anyio.sleep(1)
    counted_once(stage)


def _is_open(stage: Stage, request: LLMComparisonRequest) -> bool:
    sql = f"SELECT state FROM comparisons WHERE id = '{request.correlation_id}'"
    return stage.rows(sql) == [("submitted",)]


def _event(stage: Stage, request: LLMComparisonRequest) -> Record:
    event = result_event(succeeded(answer(request)))
    body = event.model_dump_json().encode()
    return Record(COMPARISON_RESULT_TOPIC, str(stage.batch_id), str(event.event_id), body)


async def sweeper_and_submitter(stage: Stage) -> None:
    """Two processes look for what is due, and one of them, just started, makes due what was sent."""
    repaired: list[int] = []
    async with stage.provider("p", limits=DIRECT) as provider:
        stage.gates.stop("post", provider.port, after=["generate_comparison"])

        async def repair() -> None:
            repaired.append(await second.store.repair_all())

        async with stage.cj(provider.port) as first, stage.cj(provider.port, listens=False) as second:
            for name, cj in (("p", first), ("q", second)):
                stage.gates.stop(name, cj.store, "claim", "record", "repair_all")
            async with stage.running(
                first.submitter.run, second.submitter.run, first.planner.run, second.planner.run
            ):
                await stage.gates.race(repair)
                await stage.until(lambda: finished(stage) and stage.owes_nothing())
    counted_once(stage)
    assert len(stage.calls) == 1, f"the judge was asked {len(stage.calls)} times"
    ((posts,),) = stage.rows("SELECT posts FROM comparisons")
    assert posts <= 1 + sum(repaired), f"sent {posts} times"


async def erase_and_callback(stage: Stage) -> None:
    """A batch is deleted while its callback is on the way: nothing of it stays, and the callback is no stranger."""
    async with stage.provider("p", limits=QUEUED) as provider, stage.cj(provider.port) as cj:
        stage.gates.stop("judge", provider.judge, after=["compare"])
        stage.gates.stop("provider", provider.bus, "publish")
        stage.gates.stop("cj", cj.store, "record", "postpone", "change", "bury")
        async with stage.running(cj.submitter.run, cj.planner.run):
            await stage.gates.race(lambda: cj.workflow.delete(stage.batch_id))
            await stage.until(lambda: not stage.rows("SELECT 1 FROM comparisons WHERE due_at IS NOT NULL"))
            await cj.store.bury()
            await stage.until(stage.owes_nothing)
            await stage.until(lambda: not cj.bus.health().lag["cj", COMPARISON_RESULT_TOPIC])
    for table in ("batches", "comparisons", "waves", "fits", "essays", "texts"):
        assert not stage.rows(f"SELECT 1 FROM {table}"), f"left in {table}"
    assert len(stage.rows("SELECT 1 FROM tombstones")) == 1
    assert not stage.letters, "the callback of a deleted batch was dead-lettered"
    assert len(stage.calls) <= 1
