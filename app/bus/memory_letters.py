"""The dead letters in a `Log`: kept like other records, marked beside them, and dropped when marked from the front on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.bus.log import Log, Partition, decode
from app.bus.marks import Marks
from app.bus.protocol import Kept
from app.errors import BusUnavailable


class MemoryDeadLetters:
    """A `DeadLetterLog`. Nobody knows when its letters came."""

    def __init__(self, log: Log, topic: str) -> None:
        self._log = log
        self._partitions = log.topic(topic)
        self.spans: Mapping[int, range] = {
            partition.number: range(partition.start, partition.start + len(partition.frames))
            for partition in self._partitions
        }
        self.marks: Mapping[int, Marks] = {
            partition.number: partition.marks.since(partition.start) for partition in self._partitions
        }

    async def read(self, partition: int, offset: int, limit: int) -> Sequence[Kept]:
        """As promised."""
        there = self._partitions[partition]
        first = max(offset, there.start)
        stop = min(first + limit, self.spans[partition].stop)
        return [
            Kept(partition, first + at, None, decode(there.topic, frame))
            for at, frame in enumerate(there.frames[first - there.start : max(first, stop) - there.start])
        ]

    async def mark(self, partition: int, marks: Marks) -> None:
        """As promised; what is marked and read by no group makes room."""
        if self._log.down:
            raise BusUnavailable("the log is down")
        there: Partition = self._partitions[partition]
        there.marks = marks
        there.forget_marked()
