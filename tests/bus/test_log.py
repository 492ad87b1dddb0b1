from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bus.log import Log, Partition, Place, decode, encode
from app.bus.protocol import Record

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


class Member:
    """Takes note of what the log tells it."""

    def __init__(self) -> None:
        self.offered: list[Place] = []
        self.revoked: list[Place] = []

    def offer(self, place: Place) -> None:
        self.offered.append(place)

    def revoke(self, place: Place) -> None:
        self.revoked.append(place)


def record(identity: str) -> Record:
    return Record("t", "k", identity, b"")


def ids(log: Log, group: str) -> list[str]:
    return [each.id for each in log.read(Place(group, "t", 0), limit=100)]


@settings(deadline=None, derandomize=True)
@given(TEXT, TEXT, st.binary(), st.dictionaries(TEXT, TEXT))
def test_a_record_crosses_as_bytes_and_comes_back(
    key: str, identity: str, body: bytes, headers: dict[str, str]
) -> None:
    sent = Record("t", key, identity, body, headers)
    assert decode("t", encode(sent)) == sent


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_the_wire_refuses_does_not_enter_the_log(name: str) -> None:
    for broken in (Record("t", name, "1", b""), Record("t", "k", "1", b"", {"h": name})):
        with pytest.raises(ValueError):  # noqa: PT011  both kinds of it
            encode(broken)


def test_what_every_known_group_settled_is_dropped_and_a_new_group_begins_after_it() -> None:
    log = Log(partitions=1)
    log.join(Member(), [("cj", "t"), ("audit", "t")])
    for number in range(5):
        log.append(log.partition_for("t", "k"), record(str(number)))
    log.commit(Place("cj", "t", 0), 4)
    log.commit(Place("audit", "t", 0), 2)
    log.join(Member(), [("late", "t")])
    assert ids(log, "cj") == ["4"]
    assert ids(log, "audit") == ids(log, "late") == ["2", "3", "4"]
    assert len(log.partition_for("t", "k").frames) == 3


def test_a_topic_that_nobody_reads_keeps_its_last_records() -> None:
    log = Log(partitions=1, capacity=3)
    for number in range(10):
        log.append(log.partition_for("t", "k"), record(str(number)))
    log.join(Member(), [("late", "t")])
    assert ids(log, "late") == ["7", "8", "9"]


def test_a_partition_is_full_only_for_the_sake_of_a_group() -> None:
    partition = Partition("t", 0, capacity=1)
    partition.append((b"", b""))
    assert not partition.full
    partition.admit("cj")
    assert partition.full


def test_a_place_that_moves_is_revoked_and_offered_when_it_is_released() -> None:
    log = Log(partitions=2)
    first, second = Member(), Member()
    log.join(first, [("cj", "t")])
    places = log.places("cj", "t")
    for partition in log.topic("t"):
        log.append(partition, record("1"))
    assert first.offered == places
    assert all(log.take(place, first) for place in places)
    log.join(second, [("cj", "t")])
    assert first.revoked == [places[1]]
    assert not log.take(places[1], second)
    log.release(places[1])
    assert second.offered == [places[1]]
    assert log.take(places[1], second)


def test_a_place_without_records_cannot_be_taken() -> None:
    log = Log(partitions=1)
    member = Member()
    log.join(member, [("cj", "t")])
    assert not log.take(Place("cj", "t", 0), member)


def test_a_place_with_records_stalls_by_the_clock() -> None:
    now = 100.0
    log = Log(partitions=1, clock=lambda: now)
    place = Place("cj", "t", 0)
    log.join(Member(), [("cj", "t")])
    now = 200.0
    assert log.stalled_for(place) == 0
    log.append(log.partition_for("t", "k"), record("1"))
    log.append(log.partition_for("t", "k"), record("2"))
    now = 230.0
    assert log.stalled_for(place) == 30
    log.commit(place, 1)
    assert log.stalled_for(place) == 0
