"""aiokafka's clients within deadlines. Their own calls may never return when the broker is gone (measured, 0.14).

Idempotent sends, `commit()` and `producer.stop()` with an unsent batch never return; a failed `start()` leaves the client
open; `consumer.stop()` raises CancelledError though nobody cancelled, and leaves tasks that go on connecting. So each
such call runs in a task of its own, and what a client leaves behind is ended by hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

import anyio
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError, ProducerClosed
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

T = TypeVar("T")

CONNECT = 5.0
"""Seconds that one request of a starting client may take."""

GOODBYE = 0.75
"""Seconds for a client to stop; then it is abandoned."""

AWAY = (KafkaError, OSError, TimeoutError)
"""What a broker that is away, leaving or coming makes clients raise."""

_send = AIOKafkaConnection.send


def _send_or_be_away(self: AIOKafkaConnection, *request: Any, **more: Any) -> Any:
    """Tell of a broker that is away where uvloop tells of a bug.

    Between the end of a transport and the moment at which somebody notices, uvloop raises RuntimeError; asyncio takes
    the bytes and drops them. aiokafka expects neither, and its tasks would die of the one.
    """
    try:
        return _send(self, *request, **more)
    except KafkaError:
        raise
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(str(error)) from error


AIOKafkaConnection.send = _send_or_be_away

# aiokafka writes several lines a second while the broker is away; the bus says it once.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


async def bounded(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Await `work` in a task of its own, at most `seconds`; never wait for it to notice that it was cancelled.

    :raises TimeoutError: it took longer.
    :raises KafkaConnectionError: it was cancelled from within.
    """
    task = _task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError(f"no answer within {seconds:g} s")
    finally:
        task.cancel()
    if task.cancelled():
        raise KafkaConnectionError("the client gave up")
    return task.result()


async def start(client: Any, starting: Coroutine[Any, Any, None], seconds: float) -> None:
    """Start a client, and stay a little when it is not wanted any more: cut off in its first request, it leaks a socket.

    `seconds` is longer than the client's own deadline of a request, so that it gives up by itself.
    """
    task = _task(starting)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task}, timeout=GOODBYE)
            task.cancel()
    if not task.done() or task.cancelled():
        raise TimeoutError(f"{type(client).__name__} did not start within {seconds:g} s")
    task.result()


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends; then end the others, and raise what the one raised."""
    tasks = [_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait(tasks, timeout=GOODBYE)
    for task in done:
        if task.cancelled():  # let through, it would end a whole task group without a word
            raise KafkaConnectionError("the client gave up")
        task.result()


async def commit(consumer: Any, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit once. `consumer.commit` goes on for ever, and when cut off tells asyncio of an error that nobody awaits.

    :raises KafkaError: it was refused; IllegalStateError when a partition is not assigned any more.
    """
    assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
    if assignment is None or not offsets.keys() <= assignment.tps:
        raise IllegalStateError("partitions moved")
    coordinator = consumer._coordinator  # noqa: SLF001
    await coordinator.ensure_coordinator_known()
    marks = {partition: OffsetAndMetadata(offset, "") for partition, offset in offsets.items()}
    await coordinator._do_commit_offsets(assignment, marks)  # noqa: SLF001


def on_heartbeat(consumer: Any, tell: Callable[[float], None]) -> None:
    """Call `tell` with the moment at which each heartbeat was sent that the coordinator has answered."""
    coordinator = consumer._coordinator  # noqa: SLF001
    heartbeat = coordinator._do_heartbeat  # noqa: SLF001

    async def told() -> bool:
        sent_at = asyncio.get_running_loop().time()
        alive: bool = await heartbeat()
        if alive:
            tell(sent_at)
        return alive

    coordinator._do_heartbeat = told  # noqa: SLF001


async def stop(client: Any, seconds: float = GOODBYE) -> None:
    """Stop a producer or consumer, whatever state it and the broker are in."""
    stopping = _task(client.stop())
    try:
        await asyncio.wait({stopping}, timeout=seconds)
    finally:
        stopping.cancel()
        await abandon(client)


async def leave_group(consumer: Any, seconds: float = GOODBYE) -> None:
    """Stop a consumer in the middle of joining, where its own `stop` waits for the join, and say goodbye all the same.

    On the other connection: the broker answers one request of a connection at a time, and the join is one.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    try:
        if coordinator is not None and coordinator.member_id and coordinator.coordinator_id is not None:
            request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
            await bounded(consumer._client.send(coordinator.coordinator_id, request), seconds)  # noqa: SLF001
    except AWAY:
        pass  # the broker will miss the heartbeats
    finally:
        await abandon(consumer)


async def abandon(client: Any) -> None:
    """End the tasks and sockets that a client left behind, and fail what a producer still holds."""
    client._closed = True  # noqa: SLF001
    network = getattr(client, "client", None) or getattr(client, "_client", client)
    sender = getattr(client, "_sender", None)
    if sender is not None and sender.sender_task is not None:
        # Of a producer that is idempotent and not transactional this callback fails, loudly.
        sender.sender_task.remove_done_callback(sender._fail_all)  # noqa: SLF001
    for _ in range(5):  # a task of aiokafka may take more than one cancellation
        closing = {connection.close() for connection in network._conns.values()}  # noqa: SLF001
        waiting = network._md_update_fut  # noqa: SLF001
        if waiting is not None and not waiting.done():
            waiting.cancel()
        left = {*_tasks(client, network)}
        tasks = {task for task in left if not task.done()}
        for task in left:
            task.cancel()
            task.add_done_callback(_read)  # also of those that ended by writing to a closed socket
        waited = {*tasks, *(future for future in closing if not future.done())}
        if not waited:
            break
        await asyncio.wait(waited, timeout=0.05)
    if (accumulator := getattr(client, "_message_accumulator", None)) is not None:
        _fail_batches(accumulator)


def _fail_batches(accumulator: Any) -> None:
    """Nobody will answer for these; the producer's own `stop` waits for them, also when it was cut off."""
    held = {*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches}  # noqa: SLF001
    accumulator._pending_batches |= held  # noqa: SLF001  where each looks for itself when it is done
    accumulator.fail_all(ProducerClosed())
    for batch in held:
        for future in (batch.future, batch._drain_waiter):  # noqa: SLF001
            if future.done():
                _read(future)


def _tasks(client: Any, network: Any) -> Iterator[asyncio.Task[Any]]:
    parts = [network] + [getattr(client, name, None) for name in ("_coordinator", "_fetcher", "_sender")]
    names = (
        "_sync_task",
        "_coordination_task",
        "_heartbeat_task",
        "_commit_refresh_task",
        "_fetch_task",
        "_sender_task",
    )
    for part in parts:
        for name in names:
            if (task := getattr(part, name, None)) is not None:
                yield task
    yield from getattr(getattr(client, "_fetcher", None), "_pending_tasks", ())


def _task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that may be left alone."""
    task = asyncio.create_task(work)
    task.add_done_callback(_read)
    return task


def _read(future: asyncio.Future[Any]) -> None:
    """Asyncio complains about errors that nobody has looked at."""
    if not future.cancelled():
        future.exception()
