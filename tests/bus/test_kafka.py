"""KafkaBus on a real broker, beyond what every bus promises; the broker is well here. See also test_kafka_faults.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from app.bus.kafka import KafkaBus, KafkaConnection, TopicLayout
from app.bus.kafka.clients import abandon
from app.bus.kafka.connection import RECORD_LIMIT, TOPIC_LIMIT
from app.bus.kafka.partition import Place
from app.bus.protocol import Record, Reject, Retry, dead_letter_topic
from app.errors import BusUnavailable, TopicAbsent
from tests.bus import kafka_cases as cases
from tests.bus.kafka_cases import LAYOUT, MEMBERSHIP, POLICY, Seen, bus_on, operator, topic_name, until
from tests.engines import Kafka

pytestmark = pytest.mark.anyio


# Groups


async def test_a_handler_longer_than_the_poll_limit_handles_each_record_once_while_members_come(
    kafka: Kafka,
) -> None:
    await cases.two_members_and_a_slow_handler(kafka.servers)


async def test_what_a_process_was_handling_when_it_crashed_is_not_committed(kafka: Kafka) -> None:
    await cases.a_crash_in_the_middle_of_a_handler(kafka.servers)


async def test_a_member_that_vanishes_without_a_word_is_replaced_within_its_session_timeout_and_3_seconds(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, seen = topic_name(), Seen()
    entered = anyio.Event()

    async def hang(_: Sequence[Record]) -> None:
        entered.set()
        await anyio.sleep_forever()

    async with bus_on(kafka.servers, topic) as source:
        with anyio.CancelScope() as process:
            async with bus_on(kafka.servers, topic, cj=hang):
                for number in range(12):
                    await source.publish(Record(topic, f"key-{number}", str(number), b""))
                await entered.wait()
                monkeypatch.setattr("app.bus.kafka.member.stop", abandon)
                process.cancel()
        monkeypatch.undo()
        async with bus_on(kafka.servers, topic, cj=seen):
            assert await until(lambda: len(set(seen.ids)) == 12) < MEMBERSHIP.session_timeout + 3


async def test_a_new_group_begins_at_the_earliest_record(kafka: Kafka) -> None:
    await cases.a_group_that_comes_later(kafka.servers)


async def test_publishers_that_do_not_wait_for_each_other_keep_the_order_of_a_key(kafka: Kafka) -> None:
    await cases.order_of_a_key(kafka.servers)


async def test_commits_follow_in_the_background_and_stop_before_what_is_not_settled(kafka: Kafka) -> None:
    topic, stuck = topic_name(), anyio.Event()

    async def handle(records: Sequence[Record]) -> None:
        if any(record.id == "5" for record in records) and not stuck.is_set():
            raise Retry("not yet")

    layout = TopicLayout(partitions=1)
    async with operator(kafka.servers) as people:
        async with bus_on(kafka.servers, topic, layout=layout, cj=handle) as bus:
            for number in range(8):
                await bus.publish(Record(topic, "key", str(number), b""))
            group = f"cj-{topic}"
            offsets: list[int] = []
            with anyio.fail_after(10):
                while offsets[-1:] != [5]:
                    offsets += (await people.committed(group)).values()
            for _ in range(20):
                offsets += (await people.committed(group)).values()
            assert max(offsets) == 5
            assert bus.health().lag == {(group, topic): 3}
            stuck.set()
            await until(lambda: bus.health().lag == {(group, topic): 0})
        assert [*(await people.committed(group)).values()] == [8]


async def test_health_says_how_old_the_oldest_waiting_record_is(kafka: Kafka) -> None:
    topic, gate = topic_name(), anyio.Event()

    async def handle(_: Sequence[Record]) -> None:
        await gate.wait()

    async with bus_on(kafka.servers, topic, cj=handle) as bus:
        await bus.publish(Record(topic, "key", "1", b""))
        await until(lambda: bus.health().oldest > 0.2)
        gate.set()
        await until(lambda: bus.health().oldest == 0)


async def test_a_backlog_beyond_the_limit_is_fetched_in_parts(kafka: Kafka) -> None:
    topic, gate, seen = topic_name(), anyio.Event(), Seen()

    async def handle(records: Sequence[Record]) -> None:
        await gate.wait()
        await seen(records)

    async with bus_on(kafka.servers, topic, layout=TopicLayout(partitions=1), cj=handle) as bus:
        for number in range(12):
            await bus.publish(Record(topic, "key", str(number), bytes(400_000)))
        place = next(iter(bus._members[0]._places.values()))
        await until(lambda: place.paused)
        assert place.unsettled < 12
        gate.set()
        await until(lambda: len(seen.ids) == 12)
    assert seen.ids == [str(number) for number in range(12)]


# Topics


async def test_topics_and_their_dead_letters_are_made_as_configured(kafka: Kafka) -> None:
    topic = topic_name()
    layout = TopicLayout(partitions=5, retention=3600.0)
    async with operator(kafka.servers) as people, bus_on(kafka.servers, topic, layout=layout) as bus:
        await until(lambda: bus.health().healthy)
        for name in (topic, dead_letter_topic(topic)):
            assert await people.partitions(name) == 5
            settings = await people.settings(name)
            assert (settings["retention.ms"], settings["max.message.bytes"]) == ("3600000", str(TOPIC_LIMIT))


async def test_a_topic_that_exists_is_taken_as_it_is(kafka: Kafka) -> None:
    topic, seen = topic_name(), Seen()
    async with operator(kafka.servers) as people:
        await people.make(topic, partitions=2)
        async with bus_on(kafka.servers, topic, cj=seen) as bus:
            for number in range(20):
                await bus.publish(Record(topic, f"key-{number}", str(number), b""))
            await until(lambda: len(seen.ids) == 20)
        assert await people.partitions(topic) == 2


async def test_a_topic_that_nobody_declared_is_refused_at_once(kafka: Kafka) -> None:
    async with bus_on(kafka.servers, topic_name()) as bus:
        with anyio.fail_after(1), pytest.raises(BusUnavailable, match="other was not declared"):
            await bus.publish(Record("other", "key", "1", b""))


def test_an_illegal_topic_name_is_refused_by_name(kafka: Kafka) -> None:
    bus = KafkaBus(KafkaConnection(servers=kafka.servers), topics=["so so"])
    with pytest.raises(ValueError, match="'so so' is no legal topic name"):
        anyio.run(bus.__aenter__)


async def test_a_topic_that_cannot_be_made_is_refused_by_name_and_holds_up_no_other(kafka: Kafka) -> None:
    """A broker makes no topic whose name differs from another's in dots and underscores only."""
    there = topic_name()
    absent, like_it = f"{there}.absent", f"{there}_absent"
    async with operator(kafka.servers) as people:
        await people.make(like_it)
        bus = KafkaBus(KafkaConnection(servers=kafka.servers), POLICY, topics=[absent, there], layout=LAYOUT)
        async with bus:
            with anyio.fail_after(POLICY.publish_timeout), pytest.raises(TopicAbsent, match=absent):
                await bus.publish(Record(absent, "key", "1", b""))
            await bus.publish(Record(there, "key", "2", b""))
            with anyio.fail_after(0.5), pytest.raises(TopicAbsent):
                await bus.publish(Record(absent, "key", "1", b""))
            await people.delete(like_it)
            await until(lambda: bus.health().healthy)
            await bus.publish(Record(absent, "key", "1", b""))


@pytest.mark.parametrize("back", ["by people", "by the bus"])
async def test_a_topic_that_is_deleted_in_mid_flight_is_read_on_as_soon_as_it_is_back(
    kafka: Kafka, back: str
) -> None:
    topic, seen = topic_name(), Seen()
    async with operator(kafka.servers) as people, bus_on(kafka.servers, topic, cj=seen) as bus:
        for number in range(30):
            await bus.publish(Record(topic, f"key-{number}", f"old-{number}", b""))
        await until(lambda: len(seen.ids) == 30)
        await people.delete(topic)
        if back == "by people":
            await people.make(topic)
        sent = 0
        with anyio.fail_after(20):
            while sent < 30:
                try:
                    await bus.publish(Record(topic, f"key-{sent}", f"new-{sent}", b""))
                except BusUnavailable:
                    continue  # as a ledger does: again, under the same id
                sent += 1
        new = {f"new-{number}" for number in range(30)}
        # Nothing is said of what went into the old topic in its last moment: a ledger's repairs send it again.
        await until(lambda: len(new & set(seen.ids)) >= 25)
        await until(lambda: bus.health().healthy)
        await bus.publish(Record(topic, "key", "last", b""))
        await until(lambda: "last" in seen.ids)


async def test_a_topic_made_anew_is_read_from_its_beginning_even_when_it_outgrew_the_old_one(
    kafka: Kafka,
) -> None:
    await cases.a_topic_made_anew_that_has_outgrown_the_old_one(kafka.servers)


# Records


async def test_a_record_over_the_limit_fails_at_once_and_harms_nobody(kafka: Kafka) -> None:
    topic, seen = topic_name(), Seen()
    async with bus_on(kafka.servers, topic, cj=seen) as bus:
        with anyio.fail_after(1), pytest.raises(BusUnavailable, match="over the limit of 1,000,000"):
            await bus.publish(Record(topic, "key", "large", bytes(RECORD_LIMIT)))
        await bus.publish(Record(topic, "key", "1", b""))
        await until(lambda: seen.ids)
    assert seen.ids == ["1"]


async def test_the_largest_record_can_be_handled_and_buried(kafka: Kafka) -> None:
    topic, dead = topic_name(), Seen()
    sent = Record(topic, "key", "1", bytes(RECORD_LIMIT - 20))

    async def reject(records: Sequence[Record]) -> None:
        assert records == [sent]
        raise Reject("never")

    bus = bus_on(kafka.servers, topic, cj=reject)
    bus.subscribe(dead_letter_topic(topic), f"watch-{topic}", dead)
    async with bus:
        await bus.publish(sent)
        await until(lambda: dead.ids)


async def test_a_topic_that_takes_less_than_our_batches_refuses_only_what_is_too_large(kafka: Kafka) -> None:
    topic, seen, outcomes = topic_name(), Seen(), dict[int, bool]()
    async with operator(kafka.servers) as people:
        await people.make(topic, 1, max_message_bytes="3000")

    async with bus_on(kafka.servers, topic, cj=seen) as bus:

        async def publish(number: int, size: int) -> None:
            try:
                await bus.publish(Record(topic, "key", str(number), bytes(size)))
            except BusUnavailable:
                outcomes[number] = False
            else:
                outcomes[number] = True

        async with anyio.create_task_group() as callers:
            for number, size in enumerate([500, 900, 900, 5000, 900, 900]):
                callers.start_soon(publish, number, size)
        await until(lambda: len(seen.ids) >= 5)
    assert outcomes == {0: True, 1: True, 2: True, 3: False, 4: True, 5: True}
    assert seen.ids == ["0", "1", "2", "4", "5"]


async def test_records_of_other_programs_are_handled(kafka: Kafka) -> None:
    topic, records = topic_name(), list[Record]()

    async def handle(batch: Sequence[Record]) -> None:
        records.extend(batch)

    async with bus_on(kafka.servers, topic, layout=TopicLayout(partitions=1), cj=handle) as bus:
        await until(lambda: bus.health().healthy)
        async with cases.foreign_producer(kafka.servers) as others:
            await others.send_and_wait(topic, b"bare")
            await others.send_and_wait(topic, b"ce", key=b"\xff", headers=[("ce_id", b"7"), ("x", b"\xfe")])
        await until(lambda: len(records) == 2)
    assert records == [
        Record(topic, "", f"{topic}/0/0", b"bare"),
        Record(topic, "\ufffd", "7", b"ce", {"ce_id": "7", "x": "\ufffd"}),
    ]


# Security


async def test_tls_and_sasl_reach_the_broker(kafka: Kafka) -> None:
    topic, seen = topic_name(), Seen()
    connection = KafkaConnection(
        servers=kafka.secure_servers,
        security_protocol="SASL_SSL",
        username=kafka.USER,
        password=kafka.PASSWORD,
        ca_file=str(kafka.authority),
    )
    bus = KafkaBus(connection, POLICY, topics=[topic], layout=LAYOUT, membership=MEMBERSHIP)
    bus.subscribe(topic, f"cj-{topic}", seen)
    async with bus:
        await bus.publish(Record(topic, "key", "1", b""))
        await until(lambda: seen.ids)
    wrong = KafkaBus(replace(connection, password="wrong"), POLICY, topics=[topic])
    async with wrong:
        await until(lambda: "does not answer" in wrong.health().reason)


# The bus's own faults


async def test_a_consumer_that_is_stuck_although_the_broker_answers_is_made_anew(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.bus.kafka.member.SILENCE", 0.5)
    topic, seen = topic_name(), Seen()
    async with bus_on(kafka.servers, topic, cj=seen) as bus:
        await bus.publish(Record(topic, "key", "1", b""))
        await until(lambda: seen.ids)
        consumer = bus._members[0]._consumer
        consumer._fetcher._fetch_task.cancel()  # it ends without a word, as an error inside aiokafka ends it
        await bus.publish(Record(topic, "key", "2", b""))
        await until(lambda: "2" in seen.ids)
        assert bus._members[0]._consumer is not consumer
        await until(lambda: bus.health().healthy)
    assert seen.ids == ["1", "2"]


async def test_a_producer_that_died_is_made_anew(kafka: Kafka) -> None:
    topic, seen = topic_name(), Seen()
    async with bus_on(kafka.servers, topic, replace(POLICY, publish_timeout=1.0), cj=seen) as bus:
        await bus.publish(Record(topic, "key", "1", b""))
        producer = bus._publisher._producer
        assert producer is not None
        producer._sender._sender_task.cancel()
        with pytest.raises(BusUnavailable):
            await bus.publish(Record(topic, "key", "2", b""))
        await bus.publish(Record(topic, "key", "3", b""))
        await until(lambda: "3" in seen.ids)


async def test_a_fault_of_the_bus_itself_ends_the_process_and_health_says_so(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Place) -> None:
        raise AssertionError("the bus is broken")

    monkeypatch.setattr(Place, "_next_batch", broken)
    topic, reasons = topic_name(), list[str]()

    async def live() -> None:
        async with bus_on(kafka.servers, topic, cj=Seen()) as bus:
            await bus.publish(Record(topic, "key", "1", b""))
            try:
                await anyio.sleep_forever()
            finally:
                reasons.append(bus.health().reason)

    with pytest.raises(ExceptionGroup) as caught:
        await live()
    assert caught.group_contains(AssertionError, match="the bus is broken")
    assert reasons == ["a delivery died"]


async def test_subscriptions_are_made_once_and_before_entering(kafka: Kafka) -> None:
    topic, seen = topic_name(), Seen()
    bus = bus_on(kafka.servers, topic, cj=seen)
    with pytest.raises(ValueError, match="already has a handler"):
        bus.subscribe(topic, f"cj-{topic}", seen)
    async with bus:
        with pytest.raises(RuntimeError, match="before entering"):
            bus.subscribe(topic, "audit", seen)
    with pytest.raises(RuntimeError, match="entered once"):
        async with bus:
            pass
