"""Dead letters on Kafka: what the contract's tests cannot see."""

from __future__ import annotations

import pytest
from aiokafka.structs import OffsetAndMetadata

from app.bus.kafka import KafkaBus, KafkaConnection, letters
from app.bus.marks import Marks
from app.errors import BusClosed, BusUnavailable

pytestmark = pytest.mark.anyio


async def test_without_a_broker_they_are_unavailable_and_nobody_waits_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(letters, "PATIENCE", 0.1)
    async with KafkaBus(KafkaConnection(servers="127.0.0.1:1"), topics=["result"]) as bus:
        with pytest.raises(BusUnavailable, match=r"Kafka at 127\.0\.0\.1:1"):
            async with bus.dead_letters("result"):
                pytest.fail("there is nothing to open")
    with pytest.raises(BusClosed):
        async with bus.dead_letters("result"):
            pytest.fail("the bus was left")


@pytest.mark.parametrize(
    ("stored", "span", "marks"),
    [
        (None, range(3, 9), Marks(3)),
        (OffsetAndMetadata(5, ""), range(3, 9), Marks(5)),
        (OffsetAndMetadata(5, "1,2"), range(3, 9), Marks(5, ((6, 8),))),
        (OffsetAndMetadata(2, "1,2"), range(3, 9), Marks(5)),  # the retention took the first ones
        (OffsetAndMetadata(7, "1,2"), range(4), Marks(0)),  # another topic of the same name
        (OffsetAndMetadata(1, "of somebody else"), range(4), Marks(1)),
    ],
)
def test_marks_fit_what_is_kept_now(stored: OffsetAndMetadata | None, span: range, marks: Marks) -> None:
    assert letters._marks(stored, span) == marks
