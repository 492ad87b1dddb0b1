"""Dead letters in the hands of people, on every bus: seen, told apart, sent again once, and never for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count

import anyio
import pytest

from app.bus.dead_letter import redrives
from app.bus.letter import Where
from app.bus.protocol import Bus, DeadLetterLog, DeliveryPolicy, Record, Reject
from app.bus.redrive import MOST_REDRIVES, DeadLetters
from app.errors import BusUnavailable, Conflict, InvalidRequest, NotFound
from tests.contracts.bus_model import World
from tests.contracts.bus_worlds import WORLDS, MemoryWorld

pytestmark = pytest.mark.anyio

POLICY = DeliveryPolicy(backoff=0.001, handler_timeout=10, publish_timeout=10, drain=10, batch=4)


@pytest.fixture(params=WORLDS.values(), ids=list(WORLDS))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with request.param.world() as world:
        yield world


class Reader:
    """A handler that rejects what `broken` says, with a reason, and keeps the rest."""

    def __init__(self, broken: Callable[[Record], bool] = lambda _: True) -> None:
        self.broken = broken
        self.kept: list[Record] = []
        self.rejected = 0

    async def __call__(self, records: Sequence[Record]) -> None:
        (record, *others) = records
        if others:
            raise RuntimeError("one by one, please")
        if self.broken(record):
            self.rejected += 1
            raise Reject(f"no batch {record.id[0]}")
        self.kept.append(record)

    @property
    def ids(self) -> list[str]:
        return sorted(record.id for record in self.kept)


class Desk:
    """A bus with a reader, and the dead letters of its topic."""

    def __init__(self, world: World, reader: Reader) -> None:
        self.world = world
        self.reader = reader
        self.bus: Bus = world.bus(POLICY)
        self.bus.subscribe(world.topic, world.group("cj"), reader)
        self.letters = DeadLetters(self.bus, [world.topic])

    async def bury(self, *ids: str) -> None:
        """Publish records that die, and return when all of them are dead letters."""
        dead = self.reader.rejected + len(ids)
        for each in ids:
            headers = {"ce_type": "verdict"}
            await self.bus.publish(Record(self.world.topic, f"key-{each}", each, each.encode(), headers))
        await self.world.until(lambda: self.reader.rejected >= dead, "they did not die")
        await self.waiting(len(ids), at_least=True)

    async def waiting(self, number: int, *, at_least: bool = False) -> None:
        for _ in range(500):
            found = (await self.letters.counts())[self.world.topic]
            if found == number or (at_least and found >= number):
                return
            await self.world.tick()
        raise AssertionError(f"{found} letters wait, not {number}")

    async def ids(self, *where: str) -> list[str]:
        page = await self.letters.page(self.world.topic, where=[Where.read(each) for each in where])
        assert page.next is None
        return sorted(letter.record_id for letter in page.letters)


async def test_a_letter_says_whose_it_was_and_why_it_died_and_what_it_holds_only_when_asked(
    world: World,
) -> None:
    desk = Desk(world, Reader())
    async with desk.bus:
        await desk.bury("a1")
        (letter,) = (await desk.letters.page(world.topic)).letters
        assert (letter.record_id, letter.key, letter.reason) == ("a1", "key-a1", "no batch a")
        assert letter.error.startswith("Reject at ")
        assert (letter.group, letter.redrives, letter.size) == (world.group("cj"), 0, 2)
        assert (await desk.letters.find(world.topic, letter.id)).record.body == b"a1"


async def test_what_is_mended_is_sent_again_as_it_was_and_waits_no_more(world: World) -> None:
    reader = Reader()
    desk = Desk(world, reader)
    async with desk.bus:
        await desk.bury("a1", "a2", "b1")
        reader.broken = lambda _: False
        done = await desk.letters.redrive(world.topic)
        assert (done.sent, done.reasons, done.refused) == (3, {"no batch a": 2, "no batch b": 1}, {})
        await world.until(lambda: len(reader.kept) == 3, "they did not come back")
        assert await desk.ids() == []
        assert (await desk.letters.redrive(world.topic)).sent == 0
    for record in reader.kept:
        assert (record.key, record.body, redrives(record)) == (f"key-{record.id}", record.id.encode(), 1)
        assert not [name for name in record.headers if name.startswith("dead-")]


async def test_a_dry_run_counts_by_reason_and_sends_nothing(world: World) -> None:
    desk = Desk(world, Reader())
    async with desk.bus:
        await desk.bury("a1", "a2", "b1")
        before = desk.reader.rejected
        told = await desk.letters.redrive(world.topic, where=[Where.read("reason=no batch a")], dry_run=True)
        assert (told.sent, told.reasons) == (2, {"no batch a": 2})
        assert await desk.ids() == ["a1", "a2", "b1"]
        assert desk.reader.rejected == before


async def test_only_what_is_meant_is_sent_and_the_others_wait_whichever_came_first(world: World) -> None:
    reader = Reader()
    desk = Desk(world, reader)
    async with desk.bus:
        await desk.bury("a1", "b1", "a2", "b2", "a3")
        reader.broken = lambda _: False
        assert (await desk.letters.redrive(world.topic, where=[Where.read("reason~BATCH B")])).sent == 2
        assert await desk.ids() == ["a1", "a2", "a3"]
        assert (await desk.letters.redrive(world.topic, where=[Where.read("id=a2")])).sent == 1
        assert await desk.ids() == ["a1", "a3"]
    other = Desk(world, Reader(lambda _: False))
    async with other.bus:  # as another process, later
        assert await other.ids() == ["a1", "a3"]
        assert (await other.letters.redrive(world.topic)).sent == 2
        await world.until(lambda: len(reader.kept) + len(other.reader.kept) >= 5, "they did not come back")
        assert await other.ids() == []
    assert sorted({*reader.ids, *other.reader.ids}) == ["a1", "a2", "a3", "b1", "b2"]


async def test_a_letter_that_dies_again_is_not_taken_in_the_same_run(world: World) -> None:
    desk = Desk(world, Reader())
    async with desk.bus:
        await desk.bury("a1", "a2", "a3")
        cursor, sent = None, []
        for _ in range(10):
            done = await desk.letters.redrive(world.topic, most=1, cursor=cursor)
            sent.append(done.sent)
            await desk.waiting(3)  # it died again, and is a letter again
            if (cursor := done.next) is None:
                break
        assert sum(sent) == 3, "each that was there at the beginning, once"
        assert len(sent) <= 4


async def test_a_letter_that_dies_each_time_is_left_alone_in_the_end(world: World) -> None:
    desk = Desk(world, Reader())
    async with desk.bus:
        await desk.bury("a1")
        for number in range(MOST_REDRIVES):
            assert (await desk.letters.redrive(world.topic)).sent == 1
            await world.until(lambda n=number: desk.reader.rejected == n + 2, "it did not die")  # type: ignore[misc]
            await desk.waiting(1)
        (letter,) = (await desk.letters.page(world.topic)).letters
        assert letter.redrives == MOST_REDRIVES
        done = await desk.letters.redrive(world.topic)
        assert (done.sent, done.refused) == (0, {f"sent again {MOST_REDRIVES} times before": 1})
        await desk.waiting(1)


async def test_pages_lead_through_all_of_them(world: World) -> None:
    desk = Desk(world, Reader())
    async with desk.bus:
        await desk.bury(*(f"a{number}" for number in range(7)))
        found: list[str] = []
        after: str | None = None
        for pages in count():
            page = await desk.letters.page(world.topic, after=after, limit=2)
            found += [letter.record_id for letter in page.letters]
            after = page.next
            if after is None:
                break
            assert pages < 7
        assert sorted(found) == [f"a{number}" for number in range(7)]


async def test_what_is_not_there_is_not_found_and_what_makes_no_sense_is_refused(world: World) -> None:
    desk = Desk(world, Reader())
    async with desk.bus:
        with pytest.raises(NotFound):
            await desk.letters.page("another-topic")
        for missing in ("0-99", "77-0"):
            with pytest.raises(NotFound):
                await desk.letters.find(world.topic, missing)
        with pytest.raises(InvalidRequest):
            await desk.letters.find(world.topic, "x")
        with pytest.raises(InvalidRequest):
            await desk.letters.redrive(world.topic, cursor="0-1")
        for words in ("reason", "payload=x", "=x", "reason="):
            with pytest.raises(InvalidRequest):
                Where.read(words)


class Interrupted:
    """A bus that stops taking records after some, as one does whose broker goes away."""

    def __init__(self, bus: Bus, takes: int) -> None:
        self._bus = bus
        self.takes = takes

    def dead_letters(self, topic: str) -> AbstractAsyncContextManager[DeadLetterLog]:
        return self._bus.dead_letters(topic)

    async def publish(self, record: Record) -> None:
        if not self.takes:
            raise BusUnavailable("gone")
        self.takes -= 1
        await self._bus.publish(record)


async def test_a_run_that_breaks_off_goes_on_where_it_stopped(world: World) -> None:
    reader = Reader()
    desk = Desk(world, reader)
    async with desk.bus:
        await desk.bury("a1", "a2", "a3", "a4")
        reader.broken = lambda _: False
        broken = DeadLetters(Interrupted(desk.bus, 2), [world.topic])  # type: ignore[arg-type]  # all that is asked of it
        with pytest.raises(BusUnavailable, match=r"letters sent before that: 2"):
            await broken.redrive(world.topic)
        await desk.waiting(2)
        assert (await desk.letters.redrive(world.topic)).sent == 2
        await world.until(lambda: len(reader.kept) == 4, "they did not come back")
    assert reader.ids == ["a1", "a2", "a3", "a4"]


async def test_one_run_at_a_time() -> None:
    world = MemoryWorld()
    desk = Desk(world, Reader())
    async with desk.bus:
        await desk.bury(*(f"a{number}" for number in range(8)))
        answers: list[object] = []

        async def run() -> None:
            try:
                answers.append((await desk.letters.redrive(world.topic)).sent)
            except Conflict as error:
                answers.append(type(error))

        held = desk.letters._redriving
        async with held, anyio.create_task_group() as tasks:
            tasks.start_soon(run)
        await run()
    assert answers == [Conflict, 8]


async def test_marked_letters_make_room_in_memory() -> None:
    world = MemoryWorld(partitions=1)
    reader = Reader()
    desk = Desk(world, reader)
    async with desk.bus:
        await desk.bury("a1", "a2")
        reader.broken = lambda _: False
        await desk.letters.redrive(world.topic)
        (partition,) = world.log.topic(f"{world.topic}.dead")
        assert partition.frames == []
