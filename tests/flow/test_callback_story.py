"""What may happen to a callback on its way, in a whole house with its real bus: it counts once, or is parked with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from app.bus.protocol import Record
from app.cj.batch import Batch, BatchState
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    ComparisonQueued,
    EventEnvelope,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMOrchestratorResponse,
)
from app.errors import NotFound
from app.provider.queue.protocol import State

from .house import LANE, HeldJudge, House, batch_of, eventually, house_in, rows, until

pytestmark = pytest.mark.anyio

QUEUED = "judges.simulated.direct_concurrency=0"
IMPATIENT = "provider.patience=0.05"
Envelope = EventEnvelope[LLMOrchestratorResponse]


class Door:
    """Lets judges through when it is open."""

    def __init__(self) -> None:
        self.event = anyio.Event()

    async def __call__(self, request: LLMComparisonRequest) -> None:
        await self.event.wait()

    def open(self) -> None:
        self.event.set()


class Post:
    """Stands between the queue processor and the bus: notes every callback, and keeps it back while `closed`."""

    def __init__(self, house: House, *, closed: bool = False) -> None:
        self.closed = closed
        self.sent: list[Record] = []
        self._publish = house.bus.publish
        house.bus.publish = self.publish  # type: ignore[method-assign]

    async def publish(self, record: Record) -> None:
        self.sent.append(record)
        if not self.closed:
            await self._publish(record)

    async def deliver(self, *records: Record) -> None:
        for record in records:
            await self._publish(record)


async def settled(house: House) -> None:
    """Wait until cj has settled every callback there is."""
    await until(lambda: house.bus.health().lag["cj", COMPARISON_RESULT_TOPIC] == 0)


async def buried(house: House, count: int = 1) -> Record:
    await until(lambda: len(house.letters) >= count)
    return house.letters[-1]


async def started(house: House, essays: int = 6, **settings: object) -> UUID:
    return await house.workflow.create(batch_of(essays, **settings), start=True)


async def under_way(house: House, batch_id: UUID) -> Batch:
    """Wait until everything planned was sent and promised."""

    async def all_promised() -> bool:
        comparisons = await house.comparisons(batch_id)
        return bool(comparisons) and all(c.queued_at is not None for c in comparisons)

    await eventually(all_promised)
    return await house.views.batch(batch_id)


async def decided(house: House, comparison: UUID) -> bool:
    return (await house.views.comparison(comparison)).state == "decided"


async def assert_whole(house: House, batch_id: UUID) -> None:
    """The batch ended, with every comparison counted once."""
    batch = await house.finish(batch_id)
    comparisons = await house.comparisons(batch_id)
    assert (batch.decided, batch.failed) == (batch.planned, 0)
    assert [c.state for c in comparisons] == ["decided"] * batch.planned
    assert sorted(c.ended_order or 0 for c in comparisons) == list(range(1, batch.planned + 1))


async def test_a_judge_slower_than_patience_means_202_then_the_callback_and_one_call(tmp_path: Path) -> None:
    door = Door()
    judge = HeldJudge(door)
    async with house_in(tmp_path, judge, IMPATIENT) as house:
        post = Post(house)
        batch_id = await started(house)
        batch = await under_way(house, batch_id)
        assert batch.decided == 0
        assert post.sent == []
        await until(lambda: len(judge.calls) == batch.planned)
        door.open()
        await assert_whole(house, batch_id)
        roads = await house.roads(batch_id)
        assert roads["callback"] >= batch.planned
        assert len(judge.calls) == len(set(judge.calls)) == sum(roads.values())
        assert len(post.sent) == roads["callback"]


async def test_every_callback_delivered_twice_counts_once(tmp_path: Path) -> None:
    judge = HeldJudge()
    async with house_in(tmp_path, judge, QUEUED) as house:
        post = Post(house)
        batch_id = await started(house)
        await assert_whole(house, batch_id)
        before = await house.views.batch(batch_id), await house.scores(batch_id)
        await post.deliver(*post.sent)
        await settled(house)
        assert (await house.views.batch(batch_id), await house.scores(batch_id)) == before
        assert house.letters == []


async def test_callbacks_twice_and_backwards_while_the_batch_runs_change_nothing(tmp_path: Path) -> None:
    async with house_in(tmp_path / "plain", HeldJudge(), QUEUED) as house:
        batch_id = await started(house)
        await assert_whole(house, batch_id)
        expected = await house.scores(batch_id)
    async with house_in(tmp_path / "backwards", HeldJudge(), QUEUED) as house:
        post = Post(house, closed=True)
        batch_id = await started(house)
        delivered = 0
        while (batch := await house.views.batch(batch_id)).state is BatchState.RUNNING:
            with anyio.move_on_after(0.2):
                await until(lambda: len(post.sent) > delivered)  # noqa: B023 - called at once
            fresh, delivered = post.sent[delivered:], len(post.sent)
            await post.deliver(*reversed(fresh + fresh))
            await settled(house)
        assert batch.decided == batch.planned
        assert await house.scores(batch_id) == pytest.approx(expected, abs=1e-9)
        assert house.letters == []


async def test_a_lost_callback_is_repaired_by_the_same_request_and_counts_once_when_it_turns_up_late(
    tmp_path: Path,
) -> None:
    judge = HeldJudge()
    async with house_in(tmp_path, judge, QUEUED, "cj.repair_after=0.05", "cj.sweep_every=0.05") as house:
        post = Post(house, closed=True)
        batch_id = await started(house)
        await assert_whole(house, batch_id)
        assert await house.roads(batch_id) == {"response": len(judge.calls)}
        assert len(judge.calls) == len(set(judge.calls))
        before = await house.views.batch(batch_id), await house.comparisons(batch_id)
        await post.deliver(*post.sent)
        await settled(house)
        assert (await house.views.batch(batch_id), await house.comparisons(batch_id)) == before
        assert house.letters == []


async def test_a_callback_that_is_faster_than_its_202_counts_and_the_202_changes_nothing(
    tmp_path: Path,
) -> None:
    async with house_in(tmp_path, HeldJudge(), QUEUED) as house:
        slow: list[ComparisonQueued] = []
        ask = house.orchestrator.compare

        async def answer_late(
            request: LLMComparisonRequest,
        ) -> LLMComparisonResponse | ComparisonQueued:
            answer = await ask(request)
            assert isinstance(answer, ComparisonQueued)
            await eventually(lambda: decided(house, request.correlation_id))
            slow.append(answer)
            return answer

        house.orchestrator.compare = answer_late  # type: ignore[method-assign, assignment]
        batch_id = await started(house)
        await assert_whole(house, batch_id)
        await until(lambda: len(slow) == len({s.correlation_id for s in slow}) > 0)
        comparisons = await house.comparisons(batch_id)
    assert {c.road for c in comparisons} == {"callback"}
    assert {c.posts for c in comparisons} == {1}


async def test_callbacks_of_a_cancelled_batch_change_nothing(tmp_path: Path) -> None:
    door = Door()
    judge = HeldJudge(door)
    async with house_in(tmp_path, judge, QUEUED, "judges.simulated.concurrency=2") as house:
        post = Post(house)
        batch_id = await started(house)
        await under_way(house, batch_id)
        await until(lambda: len(judge.calls) == 2)
        before = await house.workflow.cancel(batch_id)

        async def told() -> bool:
            return sum(e.cancelled for e in await house.queue.browse()) >= before.planned - 2

        await eventually(told)
        door.open()
        await until(lambda: len(post.sent) == before.planned)
        await settled(house)
        after = await house.views.batch(batch_id)
        states = {c.state for c in await house.comparisons(batch_id)}
        outcomes = [Envelope.model_validate_json(r.body).data.status.value for r in post.sent]
    assert after == before
    assert states == {"cancelled"}
    assert len(judge.calls) == 2
    assert sorted(outcomes) == ["cancelled"] * (before.planned - 2) + ["succeeded"] * 2
    assert house.letters == []


async def test_callbacks_of_a_deleted_batch_are_no_strangers(tmp_path: Path) -> None:
    door = Door()
    async with house_in(tmp_path, HeldJudge(door), QUEUED, "cj.sweep_every=0.05") as house:
        post = Post(house)
        batch_id = await started(house)
        planned = (await under_way(house, batch_id)).planned
        await house.workflow.delete(batch_id)
        with pytest.raises(NotFound):
            await house.views.batch(batch_id)
        door.open()
        await until(lambda: len(post.sent) == planned)
        await settled(house)
        await post.deliver(*post.sent)
        await settled(house)
        with pytest.raises(NotFound):
            await house.views.batch(batch_id)
        assert house.letters == []


async def a_callback(house: House) -> Record:
    """A sound callback of a batch that has ended."""
    post = Post(house)
    batch_id = await started(house, 3)
    await assert_whole(house, batch_id)
    await until(lambda: len(post.sent) > 0)
    return post.sent[0]


def edited(record: Record, *, id: str = "edited", **changes: object) -> Record:  # noqa: A002 - the field's name
    envelope = Envelope.model_validate_json(record.body)
    return replace(record, id=id, body=envelope.model_copy(update=changes).model_dump_json().encode())


async def goes_on(house: House) -> None:
    """A batch started now comes to its end: nothing that was parked is in the way."""
    await assert_whole(house, await started(house, 3))
    await settled(house)


async def test_a_callback_that_nobody_asked_for_is_parked_with_its_reason(tmp_path: Path) -> None:
    async with house_in(tmp_path, HeldJudge(), QUEUED) as house:
        sound = await a_callback(house)
        data = Envelope.model_validate_json(sound.body).data
        stranger = uuid4()
        strange = edited(
            sound,
            correlation_id=stranger,
            data=data.model_copy(update={"correlation_id": stranger}),
        )
        strange = replace(strange, key=str(uuid4()))
        await house.bus.publish(strange)
        letter = await buried(house)
        await goes_on(house)
        assert len(house.letters) == 1
    assert str(stranger) in letter.headers["dead-reason"]
    assert "unknown correlation_id" in letter.headers["dead-reason"]
    assert letter.headers["dead-group"] == "cj"
    assert (letter.key, letter.id, letter.body) == (strange.key, strange.id, strange.body)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[]", b'{"event_id": "x"}', b"not an event"])
async def test_bytes_that_do_not_decode_are_parked_and_their_neighbours_are_handled(
    tmp_path: Path, body: bytes
) -> None:
    async with house_in(tmp_path, HeldJudge(), QUEUED) as house:
        sound = await a_callback(house)
        await house.bus.publish(sound)
        await house.bus.publish(replace(sound, id="garbage", body=body))
        await house.bus.publish(sound)
        letter = await buried(house)
        await goes_on(house)
        assert len(house.letters) == 1
    assert (letter.id, letter.body) == ("garbage", body)
    assert "does not decode" in letter.headers["dead-reason"]


async def test_a_version_that_cj_does_not_know_is_parked_and_a_later_minor_is_read(tmp_path: Path) -> None:
    async with house_in(tmp_path, HeldJudge(), QUEUED) as house:
        sound = await a_callback(house)
        await house.bus.publish(edited(sound, id="1.7", schema_version="1.7"))
        await house.bus.publish(edited(sound, id="2.0", schema_version="2.0"))
        letter = await buried(house)
        await goes_on(house)
        assert len(house.letters) == 1
    assert letter.id == "2.0"
    assert "unknown major version 2.0" in letter.headers["dead-reason"]


async def test_an_event_of_another_type_on_the_topic_is_parked(tmp_path: Path) -> None:
    async with house_in(tmp_path, HeldJudge(), QUEUED) as house:
        sound = await a_callback(house)
        await house.bus.publish(edited(sound, event_type="huleedu.weather.v1"))
        letter = await buried(house)
        await goes_on(house)
    assert "unknown event_type" in letter.headers["dead-reason"]


async def test_no_essay_travels_in_a_callback_or_stays_with_an_ended_request(tmp_path: Path) -> None:
    async with house_in(tmp_path, HeldJudge(), QUEUED) as house:
        sound = await a_callback(house)
        entries = await house.queue.browse(lane=LANE, state=State.PUBLISHED)
        assert entries
    assert b"page about the sea" not in sound.body
    assert not any(body for (body,) in rows(tmp_path / "provider.db", "SELECT body FROM payloads"))
    assert not any(body for (body,) in rows(tmp_path / "cj.db", "SELECT body FROM comparisons"))
