"""The promises of a bus, B1 to B13, kept by every bus: the model first, then each promise by an example."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import anyio
import pytest

from app.bus.dead_letter import REDRIVES, again, revive
from app.bus.protocol import Bus, DeliveryPolicy, Handler, Record, Reject, Retry, dead_letter_topic
from app.contracts.comparison import LLMComparisonResponse
from app.errors import BusClosed, BusUnavailable
from tests.contracts.bus_model import Host, Member, World, run_model
from tests.contracts.bus_worlds import WORLDS, Engine, MemoryWorld

pytestmark = pytest.mark.anyio

POLICY = DeliveryPolicy(backoff=0.001, handler_timeout=10, publish_timeout=10, drain=10, batch=4)
BRIEF = DeliveryPolicy(backoff=0.001, handler_timeout=0.02, publish_timeout=0.02, drain=0.02, batch=4)


@pytest.mark.parametrize("engine", WORLDS.values(), ids=WORLDS)
def test_no_order_of_events_breaks_a_promise(engine: Engine) -> None:
    run_model(engine.world, examples=engine.examples, steps=engine.steps, phases=engine.phases)


@pytest.fixture(params=WORLDS.values(), ids=list(WORLDS))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with request.param.world() as world:
        yield world


def member(world: World, policy: DeliveryPolicy = POLICY, **handlers: Handler) -> Bus:
    """Return a bus that handles the world's topic for each named group; `dead` reads the dead letters."""
    bus = world.bus(policy)
    for name, handler in handlers.items():
        topic = dead_letter_topic(world.topic) if name == "dead" else world.topic
        bus.subscribe(topic, world.group(name), handler)
    return bus


def record(world: World, identity: str, key: str = "a", body: bytes = b"{}") -> Record:
    return Record(world.topic, key, identity, body, {"traceparent": "00-1", "ce_type": "verdict"})


class Inbox:
    """A handler that keeps what it handled, after doing what `act` says for each record."""

    def __init__(self, act: Callable[[Record], None] | None = None) -> None:
        self.records: list[Record] = []
        self.calls: list[list[str]] = []
        self._act = act

    async def __call__(self, records: Sequence[Record]) -> None:
        self.calls.append([record.id for record in records])
        for each in records:
            if self._act is not None:
                self._act(each)
        self.records.extend(records)

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.records]


class Gate:
    """A handler that stays inside until it is opened."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.open = anyio.Event()

    async def __call__(self, records: Sequence[Record]) -> None:
        ids = [record.id for record in records]
        self.begun += ids
        await self.open.wait()
        self.ended += ids


async def until(done: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not done():  # noqa: ASYNC110  a bus tells nobody when it is done
            await anyio.sleep(0.001)


async def rest(world: World) -> None:
    """Give what must not happen every chance to happen."""
    for _ in range(20):
        await world.tick()


# B1: stored, or an error; never a hang


async def test_publish_fails_while_the_broker_is_away_and_may_be_repeated(world: World) -> None:
    if not world.breakable:
        pytest.skip("this world cannot take its broker away")
    inbox = Inbox()
    async with member(world, BRIEF, cj=inbox) as bus:
        world.break_down(down=True)
        with anyio.fail_after(5), pytest.raises(BusUnavailable):
            await bus.publish(record(world, "1"))
        world.break_down(down=False)
        await bus.publish(record(world, "1"))
        await until(lambda: "1" in inbox.ids)


async def test_publish_is_refused_before_entering_and_after_leaving(world: World) -> None:
    bus = member(world)
    with pytest.raises(BusClosed):
        await bus.publish(record(world, "early"))
    async with bus:
        await bus.publish(record(world, "1"))
    with pytest.raises(BusClosed):
        await bus.publish(record(world, "late"))


# B2: at least once


async def test_every_group_gets_every_record(world: World) -> None:
    cj, audit = Inbox(), Inbox()
    async with member(world, cj=cj, audit=audit) as bus:
        for number in range(20):
            await bus.publish(record(world, str(number), key=f"key-{number % 5}"))
        await until(lambda: len(cj.ids) == len(audit.ids) == 20)
    assert sorted(cj.ids) == sorted(audit.ids) == sorted(map(str, range(20)))


async def test_what_a_crashed_process_was_handling_is_handled_by_another(world: World) -> None:
    gate, inbox = Gate(), Inbox()
    crashing = Host(member(world, cj=gate))
    await crashing.enter()
    async with member(world) as source:
        await source.publish(record(world, "1"))
        await until(lambda: gate.begun)
        await crashing.crash()
        async with member(world, cj=inbox):
            await until(lambda: inbox.ids)
    assert inbox.ids == ["1"]
    assert not gate.ended


# B3: order per key


async def test_records_of_a_key_come_in_the_order_they_were_published(world: World) -> None:
    inbox = Inbox()
    async with member(world, cj=inbox) as bus:
        for number in range(100):
            await bus.publish(record(world, str(number), key=f"key-{number % 7}"))
        await until(lambda: len(inbox.ids) == 100)
    by_key: dict[str, list[int]] = defaultdict(list)
    for each in inbox.records:
        by_key[each.key].append(int(each.id))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


# B4: one at a time


async def test_a_partition_moves_only_when_its_handler_has_ended(world: World) -> None:
    active: Counter[str] = Counter()
    twice: list[str] = []
    entered, settled = Counter[str](), Inbox()
    gate = anyio.Event()

    async def handle(records: Sequence[Record]) -> None:
        keys = {each.key for each in records}
        twice.extend(key for key in keys if active[key])
        active.update(keys)
        entered.update(each.id for each in records)
        await gate.wait()
        active.subtract(keys)
        await settled(records)

    async with member(world, cj=handle) as first:
        for number in range(12):
            await first.publish(record(world, str(number), key=f"key-{number}"))
        await until(lambda: entered)
        async with member(world, cj=handle):
            await rest(world)
            gate.set()
            await until(lambda: len(set(settled.ids)) == 12)
    assert not twice


# B5: retry


async def test_a_rejected_record_is_dead_at_once(world: World) -> None:
    def act(_: Record) -> None:
        raise Reject("unknown major version 9")

    cj, dead = Inbox(act), Inbox()
    async with member(world, cj=cj, dead=dead) as bus:
        await bus.publish(record(world, "1"))
        await until(lambda: dead.ids)
    assert cj.calls == [["1"]]
    assert dead.records[0].headers["dead-reason"] == "unknown major version 9"


async def test_bytes_that_do_not_decode_are_dead_at_once(world: World) -> None:
    def act(each: Record) -> None:
        LLMComparisonResponse.model_validate_json(each.body)

    cj, dead = Inbox(act), Inbox()
    async with member(world, cj=cj, dead=dead) as bus:
        await bus.publish(record(world, "1", body=b"the essay of a pupil"))
        await until(lambda: dead.ids)
    assert cj.calls == [["1"]]
    assert "pupil" not in json.dumps(dict(dead.records[0].headers))


async def test_a_bug_gets_three_strikes(world: World) -> None:
    def act(_: Record) -> None:
        raise ZeroDivisionError("of the pupil")

    cj, dead = Inbox(act), Inbox()
    async with member(world, cj=cj, dead=dead) as bus:
        await bus.publish(record(world, "1"))
        await until(lambda: dead.ids)
    assert cj.calls == [["1"]] * 3
    assert dead.records[0].headers["dead-error"].startswith("ZeroDivisionError at ")
    assert "pupil" not in json.dumps(dict(dead.records[0].headers))


async def test_a_hung_handler_gets_three_strikes(world: World) -> None:
    gate, dead = Gate(), Inbox()
    async with member(world) as source, member(world, BRIEF, cj=gate, dead=dead):
        await source.publish(record(world, "1"))
        await until(lambda: dead.ids)
    assert gate.begun == ["1"] * 3
    assert dead.records[0].headers["dead-error"].startswith("TimeoutError")


async def test_a_handler_that_waits_for_something_cancelled_gets_three_strikes(world: World) -> None:
    async def handle(_: Sequence[Record]) -> None:
        raise anyio.get_cancelled_exc_class()

    dead = Inbox()
    async with member(world, cj=handle, dead=dead) as bus:
        await bus.publish(record(world, "1"))
        await until(lambda: dead.ids)


async def test_a_dependency_that_is_down_costs_no_strike(world: World) -> None:
    attempts: list[int] = []

    def act(each: Record) -> None:
        attempts.append(each.attempt)
        if len(attempts) <= 10:
            raise Retry("the database is away")

    cj, dead = Inbox(act), Inbox()
    async with member(world, cj=cj, dead=dead) as bus:
        await bus.publish(record(world, "1"))
        await until(lambda: cj.ids)
    assert attempts == list(range(1, 12))
    assert not dead.ids


async def test_only_the_offender_of_a_batch_suffers(world: World) -> None:
    def act(each: Record) -> None:
        if each.id == "2":
            raise Reject("never")

    async with member(world) as source:
        for number in range(4):
            await source.publish(record(world, str(number)))
    cj, dead = Inbox(act), Inbox()
    async with member(world, cj=cj, dead=dead):
        await until(lambda: len(cj.ids) == 3 and dead.ids)
    assert (cj.ids, dead.ids) == (["0", "1", "3"], ["2"])


async def test_a_failing_record_holds_up_only_its_partition(world: World) -> None:
    def act(each: Record) -> None:
        if each.id == "stuck":
            raise Retry("for ever")

    inbox = Inbox(act)
    async with member(world, cj=inbox) as bus:
        await bus.publish(record(world, "stuck", key="a"))
        for number in range(20):
            await bus.publish(record(world, str(number), key=f"key-{number}"))
        await until(lambda: len({each.key for each in inbox.records}) > 5)
    assert "stuck" not in inbox.ids


# B6: dead letters


async def test_a_dead_letter_is_the_record_and_what_happened(world: World) -> None:
    def act(_: Record) -> None:
        raise Reject("never")

    dead = Inbox()
    sent = record(world, "1", body=b"\x00\xff")
    async with member(world, cj=Inbox(act), dead=dead) as bus:
        await bus.publish(sent)
        await until(lambda: dead.ids)
    (letter,) = dead.records
    assert (letter.topic, letter.key, letter.id, letter.body) == (f"{sent.topic}.dead", "a", "1", b"\x00\xff")
    error = letter.headers["dead-error"]
    assert letter.headers == {
        **sent.headers,
        "dead-topic": world.topic,
        "dead-group": world.group("cj"),
        "dead-error": error,
        "dead-reason": "never",
    }
    assert error.startswith("Reject at ")
    assert revive(letter) == sent


async def test_a_record_that_cannot_be_buried_stays_until_it_can(world: World) -> None:
    if not world.breakable:
        pytest.skip("this world cannot take its broker away")
    gate, dead = Gate(), Inbox()

    async def handle(records: Sequence[Record]) -> None:
        await gate(records)
        raise Reject("never")

    async with member(world, BRIEF, dead=dead), member(world, POLICY, cj=handle) as bus:
        await bus.publish(record(world, "1"))
        await until(lambda: gate.begun)
        world.break_down(down=True)
        gate.open.set()
        await until(lambda: gate.ended)
        await rest(world)
        assert not world.committed(world.group("cj"))
        assert not dead.ids
        world.break_down(down=False)
        await until(lambda: dead.ids)
    assert gate.begun == ["1"], "the verdict stands: only the burial is tried again"


async def test_a_dead_letter_can_be_sent_again(world: World) -> None:
    broken = True

    def act(_: Record) -> None:
        if broken:
            raise Reject("a fault, mended later")

    cj, dead = Inbox(act), Inbox()
    sent = record(world, "1")
    async with member(world, cj=cj, dead=dead) as bus:
        await bus.publish(sent)
        await until(lambda: dead.ids)
        broken = False
        await bus.publish(again(dead.records[0]))
        await until(lambda: cj.ids)
    assert cj.records == [replace(sent, headers={**sent.headers, REDRIVES: "1"})]


# B7, B8: from the start, as bytes


async def test_a_new_group_begins_with_what_was_there_before_it(world: World) -> None:
    async with member(world) as source:
        for number in range(5):
            await source.publish(record(world, str(number)))
    inbox = Inbox()
    async with member(world, cj=inbox):
        await until(lambda: len(inbox.ids) == 5)
    assert inbox.ids == ["0", "1", "2", "3", "4"]


async def test_what_is_handled_equals_what_was_sent_and_is_not_it(world: World) -> None:
    inbox = Inbox()
    sent = Record(world.topic, "clé", "id-1", bytes(range(256)), {"ce_source": "prövning", "empty": ""})
    async with member(world, cj=inbox) as bus:
        await bus.publish(sent)
        await until(lambda: inbox.ids)
    assert inbox.records == [sent]
    assert inbox.records[0] is not sent


# B10, B11: commits and leaving


async def test_a_commit_stops_before_the_record_that_waits(world: World) -> None:
    def act(each: Record) -> None:
        if each.id == "1":
            raise Retry("not yet")

    inbox, rerun = Inbox(act), Inbox()
    async with member(world) as source:
        for number in range(3):
            await source.publish(record(world, str(number)))
    async with member(world, cj=inbox):
        await until(lambda: len(inbox.calls) > 5)
    async with member(world, cj=rerun):
        await until(lambda: "2" in rerun.ids)
    assert rerun.ids[-2:] == ["1", "2"]


async def test_from_the_first_moment_of_leaving_no_group_begins_anything(world: World) -> None:
    slow, other = Gate(), Gate()
    leaving = Host(member(world, cj=slow, audit=other))
    await leaving.enter()
    async with member(world) as source, anyio.create_task_group() as tasks:
        for number in range(POLICY.batch):
            await source.publish(record(world, str(number)))
            await until(lambda: slow.begun and other.begun)
        for number in range(POLICY.batch, 3 * POLICY.batch):
            await source.publish(record(world, str(number)))
        tasks.start_soon(leaving.leave)
        await until(lambda: leaving.left)
        begun = [*slow.begun], [*other.begun]
        other.open.set()
        await until(lambda: other.ended)
        await rest(world)
        slow.open.set()
    assert (slow.begun, other.begun) == begun


async def test_what_finishes_while_draining_is_settled(world: World) -> None:
    gate, inbox = Gate(), Inbox()
    leaving = Host(member(world, cj=gate))
    await leaving.enter()
    async with member(world) as source:
        await source.publish(record(world, "1"))
        await until(lambda: gate.begun)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leaving.leave)
            await until(lambda: leaving.left)
            gate.open.set()
        await source.publish(record(world, "2"))
        async with member(world, cj=inbox):
            await until(lambda: inbox.ids)
    assert inbox.ids == ["2"]


async def test_leaving_gives_up_on_a_hung_handler_and_keeps_its_record(world: World) -> None:
    gate, inbox = Gate(), Inbox()
    policy = DeliveryPolicy(drain=0.02, handler_timeout=600)
    with anyio.fail_after(30):
        async with member(world, policy, cj=gate) as bus:
            await bus.publish(record(world, "1"))
            await until(lambda: gate.begun)
    async with member(world, cj=inbox):
        await until(lambda: inbox.ids)
    assert inbox.ids == ["1"]


async def test_leaving_does_not_wait_for_back_off(world: World) -> None:
    def act(_: Record) -> None:
        raise Retry("away")

    inbox = Inbox(act)
    policy = DeliveryPolicy(backoff=600, backoff_cap=600, drain=600)
    with anyio.fail_after(30):
        async with member(world, policy, cj=inbox) as bus:
            await bus.publish(record(world, "1"))
            await until(lambda: inbox.calls)
    assert inbox.calls == [["1"]]


async def test_an_error_of_the_caller_leaves_the_bus_as_it_was(world: World) -> None:
    with pytest.raises(LookupError, match="of the caller"):
        async with member(world, cj=Inbox()):
            raise LookupError("of the caller")


# B12: health


async def test_health_is_true_between_entering_and_leaving_and_counts_the_lag(world: World) -> None:
    gate = Gate()
    bus = member(world, cj=gate)
    assert not bus.health().healthy
    async with bus:
        await bus.publish(record(world, "1"))
        await until(lambda: gate.begun)
        await until(lambda: bus.health().lag == {(world.group("cj"), world.topic): 1})
        assert bus.health().healthy
        gate.open.set()
        await until(lambda: bus.health().lag == {(world.group("cj"), world.topic): 0})
    assert not bus.health().healthy


async def test_health_turns_false_when_a_partition_does_not_advance(world: World) -> None:
    gate = Gate()
    policy = DeliveryPolicy(drain=0.02, handler_timeout=600, stall=0.02)
    async with member(world, policy, cj=gate) as bus:
        await bus.publish(record(world, "1"))
        await until(lambda: not bus.health().healthy)
        assert world.topic in bus.health().reason
        gate.open.set()
        await until(lambda: bus.health().healthy)


# B13: bounded


async def test_a_slow_consumer_pushes_back_on_publishers() -> None:
    world = MemoryWorld(partitions=1, capacity=5)
    gate = Gate()
    published: list[int] = []

    async def publish(bus: Bus) -> None:
        for number in range(30):
            await bus.publish(record(world, str(number)))
            published.append(number)

    async with member(world, cj=gate) as bus, anyio.create_task_group() as tasks:
        tasks.start_soon(publish, bus)
        await until(lambda: gate.begun)
        await rest(world)
        assert published == [0, 1, 2, 3, 4]
        gate.open.set()
        await until(lambda: len(gate.ended) == 30)


async def test_publish_gives_up_when_no_consumer_makes_room() -> None:
    world = MemoryWorld(partitions=1, capacity=2)
    gate = Gate()
    async with member(world, DeliveryPolicy(publish_timeout=0.02, drain=0.02), cj=gate) as bus:
        await bus.publish(record(world, "1"))
        await bus.publish(record(world, "2"))
        with pytest.raises(BusUnavailable, match="is full"):
            await bus.publish(record(world, "3"))
        gate.open.set()
        await until(lambda: len(gate.ended) == 2)
        await bus.publish(record(world, "3"))


async def test_a_publisher_that_waits_for_room_is_told_when_the_bus_is_left() -> None:
    world = MemoryWorld(partitions=1, capacity=1)
    outcome: list[type[Exception]] = []

    async def publish() -> None:
        try:
            await leaving.bus.publish(record(world, "2"))
        except (BusClosed, BusUnavailable) as error:
            outcome.append(type(error))

    leaving = Member(member(world, DeliveryPolicy(drain=0.02), cj=Gate()), groups=["cj"])
    await leaving.enter()
    await leaving.bus.publish(record(world, "1"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        await rest(world)
        assert not outcome
        await leaving.leave()
    assert outcome == [BusClosed]
