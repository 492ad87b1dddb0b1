"""What stands for the broker of an `InMemoryBus`: partitions, group offsets and members, for one event loop.

topic -> partitions -> frames (bytes), numbered by an offset that never falls. Each group knows, per partition, the
offset of its first unsettled record. A partition keeps what some known group has not settled; one that no group ever
read keeps its last `capacity` records. A place (group, topic, partition) belongs to one member and is held by at most
one while its records are handled, so a place that moves is free only when its last handler has ended (B4).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from random import Random
from typing import NamedTuple, Protocol
from zlib import crc32

import anyio

from app.bus.marks import Marks
from app.bus.protocol import Record
from app.errors import BusUnavailable

Frame = tuple[bytes, bytes]
"""Names and body of a record, as they cross the bus."""


class Place(NamedTuple):
    """One partition as one group sees it."""

    group: str
    topic: str
    partition: int


class Member(Protocol):
    """What the log tells a member."""

    def offer(self, place: Place) -> None:
        """`place` is yours, free, and has records."""

    def revoke(self, place: Place) -> None:
        """`place` now belongs to somebody else: begin nothing more there."""


def encode(record: Record) -> Frame:
    """Turn a record into bytes. NUL separates the names; the wire refuses it anyway."""
    headers = record.headers
    names = "\0".join((record.key, record.id, *chain.from_iterable(headers.items())))
    if names.count("\0") != 1 + 2 * len(headers):
        raise ValueError("key, id and headers of a record may not hold NUL")
    return names.encode(), bytes(record.body)


def decode(topic: str, frame: Frame) -> Record:
    """Turn bytes back into a record: key, id, then names and texts of headers in turn."""
    names = iter(frame[0].decode().split("\0"))
    return Record(topic, next(names), next(names), frame[1], dict(zip(names, names, strict=True)))


class Partition:
    """The kept frames of one partition, how far each known group has come, and of dead letters which are dealt with."""

    def __init__(self, topic: str, number: int, capacity: int) -> None:
        self.topic = topic
        self.number = number
        self.capacity = capacity
        self.frames: list[Frame] = []
        self.start = 0
        self.committed: dict[str, int] = {}
        self.moved_at: dict[str, float] = {}
        self.idle: set[str] = set()
        self.marks = Marks()
        self._stirred: anyio.Event | None = None

    @property
    def full(self) -> bool:
        """Whether publishers must wait for a group."""
        return len(self.frames) >= self.capacity and bool(self.committed)

    def append(self, frame: Frame) -> None:
        """Keep `frame`; without any group the oldest one gives way."""
        if len(self.frames) >= self.capacity and not self.committed:
            self._trim(1)
        self.frames.append(frame)

    def admit(self, group: str) -> None:
        """A new group begins at the earliest kept record (B7)."""
        self.committed.setdefault(group, self.start)

    def lag(self, group: str) -> int:
        """How many records `group` has not settled."""
        return self.start + len(self.frames) - self.committed[group]

    def read(self, group: str, limit: int) -> list[Record]:
        """Return the first unsettled records of `group`."""
        first = self.committed[group] - self.start
        return [decode(self.topic, frame) for frame in self.frames[first : first + limit]]

    def commit(self, group: str, count: int) -> None:
        """Settle the next `count` records of `group`, and drop what every known group has settled."""
        self.committed[group] += count
        if done := min(self.committed.values()) - self.start:
            self._trim(done)
            self.stir()

    def forget_marked(self) -> None:
        """Drop the first frames as far as they are marked, unless a group reads here."""
        if not self.committed:
            self._trim(max(0, self.marks.below - self.start))

    def stir(self) -> None:
        """Wake the publishers that wait for room."""
        if self._stirred is not None:
            self._stirred.set()
            self._stirred = None

    async def stirred(self) -> None:
        """Return when there may be room."""
        if self._stirred is None:
            self._stirred = anyio.Event()
        await self._stirred.wait()

    def _trim(self, count: int) -> None:
        del self.frames[:count]
        self.start += count


class Log:
    """Topics and members. Several `InMemoryBus`es on one log stand for several processes on one broker.

    `down` is for tests: while it is true nothing can be stored.
    """

    def __init__(
        self,
        partitions: int = 8,
        seed: int = 0,
        capacity: int = 10_000,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.down = False
        self.clock = clock
        self.random = Random(seed)
        self._topics: dict[str, list[Partition]] = defaultdict(list)
        self._members: dict[tuple[str, str], list[Member]] = defaultdict(list)
        self._holders: dict[Place, Member] = {}
        self._partitions = partitions
        self._capacity = capacity

    def topic(self, name: str) -> list[Partition]:
        """Return the partitions of a topic, made when first named."""
        partitions = self._topics[name]
        if not partitions:
            partitions += [Partition(name, number, self._capacity) for number in range(self._partitions)]
        return partitions

    def partition_for(self, topic: str, key: str) -> Partition:
        """Return where records of this key go (B3)."""
        partitions = self._topics[topic] or self.topic(topic)
        return partitions[crc32(key.encode()) % self._partitions]

    def append(self, partition: Partition, record: Record) -> None:
        """Store `record` and wake the groups that had nothing to do.

        :raises BusUnavailable: while the log is down.
        """
        if self.down:
            raise BusUnavailable("the log is down")
        partition.append(encode(record))
        if partition.idle:
            for group in sorted(partition.idle):
                self._offer(Place(group, partition.topic, partition.number))

    def join(self, member: Member, subscriptions: Iterable[tuple[str, str]]) -> None:
        """Give `member` its share of the places of each (group, topic)."""
        for group, topic in subscriptions:
            self._members[group, topic].append(member)
            for partition in self.topic(topic):
                partition.admit(group)
            self._rebalance(group, topic)

    def leave(self, member: Member) -> None:
        """Give the places of `member` to others; those it holds follow when it releases them."""
        for (group, topic), members in self._members.items():
            if member in members:
                members.remove(member)
                self._rebalance(group, topic)
        for partitions in self._topics.values():
            for partition in partitions:
                partition.stir()

    def owner(self, place: Place) -> Member | None:
        """Return the member that may handle this place."""
        members = self._members[place.group, place.topic]
        return members[place.partition % len(members)] if members else None

    def take(self, place: Place, member: Member) -> bool:
        """Hold `place` for `member`, unless it moved, is still held, or was emptied meanwhile."""
        if place in self._holders or self.owner(place) is not member:
            return False
        if self._partition(place).lag(place.group) == 0:
            return False
        self._holders[place] = member
        return True

    def release(self, place: Place) -> None:
        """Free `place` for its owner, who may be another by now."""
        self._holders.pop(place, None)
        self._offer(place)

    def read(self, place: Place, limit: int) -> list[Record]:
        """Return the first unsettled records of a place."""
        return self._partition(place).read(place.group, limit)

    def commit(self, place: Place, count: int) -> None:
        """Settle the next `count` records of a place."""
        partition = self._partition(place)
        partition.commit(place.group, count)
        partition.moved_at[place.group] = self.clock()

    def lag(self, group: str, topic: str) -> int:
        """How many records `group` has not settled on `topic`."""
        return sum(partition.lag(group) for partition in self.topic(topic))

    def stalled_for(self, place: Place) -> float:
        """How long this place has had records and settled none."""
        partition = self._partition(place)
        return self.clock() - partition.moved_at[place.group] if partition.lag(place.group) else 0.0

    def places(self, group: str, topic: str) -> list[Place]:
        """Name every place of a group."""
        return [Place(group, topic, number) for number in range(self._partitions)]

    def _partition(self, place: Place) -> Partition:
        return self._topics[place.topic][place.partition]

    def _rebalance(self, group: str, topic: str) -> None:
        for place in self.places(group, topic):
            holder = self._holders.get(place)
            if holder is None:
                self._offer(place)
            elif holder is not self.owner(place):
                holder.revoke(place)

    def _offer(self, place: Place) -> None:
        """Tell the owner of a free place that it has records; without records, remember that it waits for some."""
        partition = self._partition(place)
        partition.moved_at[place.group] = self.clock()
        if partition.lag(place.group) == 0:
            partition.idle.add(place.group)
            return
        partition.idle.discard(place.group)
        owner = self.owner(place)
        if owner is not None:
            owner.offer(place)
