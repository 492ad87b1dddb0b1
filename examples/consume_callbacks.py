#!/usr/bin/env python3
"""Ask Juxta for a verdict and take it from Kafka: a whole client of callbacks, with nothing of Juxta in it.

    pip install aiohttp aiokafka
    python examples/consume_callbacks.py --url http://127.0.0.1:8000 --servers 127.0.0.1:9092

It posts `comparison.json` under a fresh correlation_id. A 200 is the verdict and no event follows; after a 202 there is
nothing to poll, the verdict comes by the topic. The verdict goes to stdout as JSON, talk to stderr.

The rule for readers: delivery is at least once. A record may come again after a crash, a rebalance or a lost commit, here
and in every other reader. So

1. the key of an event is its `event_id`, the same on every copy (and a correlation_id has one outcome, ever);
2. record first, in one transaction with whatever the event changes, and only then commit the offset: a crash in between
   costs a second look, never a lost verdict;
3. ignore unknown fields: writers may add some; park a record whose major version you do not know, or that you cannot
   read, and go on: nothing that comes behind it should wait.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sqlite3
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

TOPIC = "huleedu.llm_provider.comparison_result.v1"
KNOWN_MAJOR_VERSION = "1"
COME_BACK = (429, 503)
POST_TIMEOUT = 30.0
KAFKA_TIMEOUT = 10.0


class Failed(Exception):
    """Something that the person who runs this can do something about."""


class Store:
    """What was handled, so that it is handled once. Yours is the database that your handler writes to anyway."""

    def __init__(self, file: str) -> None:
        self._database = sqlite3.connect(file)
        self._database.executescript(
            """CREATE TABLE IF NOT EXISTS results
                   (event_id TEXT PRIMARY KEY, correlation_id TEXT, status TEXT, result TEXT);
               CREATE TABLE IF NOT EXISTS parked (place TEXT PRIMARY KEY, reason TEXT, body BLOB);"""
        )

    def record(self, event: dict[str, Any]) -> bool:
        """Keep a result; False when it was kept before. Whatever else it changes belongs into this transaction."""
        result = event["data"]
        row = (event["event_id"], event["correlation_id"], result["status"], json.dumps(result))
        with self._database:
            return (
                self._database.execute("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)", row).rowcount == 1
            )

    def park(self, place: str, reason: str, body: bytes) -> None:
        """Keep what cannot be handled, for somebody to look at."""
        with self._database:
            self._database.execute("INSERT OR IGNORE INTO parked VALUES (?, ?, ?)", (place, reason, body))

    def close(self) -> None:
        """Let the file go."""
        self._database.close()


def read(body: bytes) -> dict[str, Any]:
    """The event in a record.

    :raises ValueError: it is no event, or one of a version that is not known here.
    """
    event = json.loads(body)
    try:
        major = event["schema_version"].split(".")[0]
        complete = {"event_id", "correlation_id"} <= event.keys() and "status" in event["data"]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("it is no event") from error
    if major != KNOWN_MAJOR_VERSION:
        raise ValueError(
            f"its schema_version is {event['schema_version']}, known here is {KNOWN_MAJOR_VERSION}"
        )
    if not complete:
        raise ValueError("it lacks event_id, correlation_id or status")
    return dict(event)


def handle(record: ConsumerRecord, store: Store) -> dict[str, Any] | None:
    """Record an event once, or park it; gives the result when it is new."""
    try:
        event = read(record.value or b"")
    except ValueError as error:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        store.park(place, str(error), record.value or b"")
        say(f"parked {place}: {error}")
        return None
    return dict(event["data"]) if store.record(event) else None


async def ask(url: str, comparison: dict[str, Any], key: str) -> dict[str, Any] | None:
    """Post a comparison; gives the verdict of a 200, nothing after a 202.

    429 and 503 say when to come back. Sending the same request again is safe after any of them, and after a broken
    connection: the correlation_id makes it one request.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=POST_TIMEOUT)
    endpoint = f"{url.rstrip('/')}/api/v1/comparison"
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        while True:
            try:
                async with session.post(endpoint, json=comparison) as response:
                    status, body = response.status, await response.read()
                    retry_after = response.headers.get("Retry-After", "1")
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Failed(f"no provider answers at {url} ({type(error).__name__})") from error
            if status not in COME_BACK:
                break
            say(f"{problem(status, body)}; again in {retry_after} s")
            await asyncio.sleep(int(retry_after))
    if status == 202:  # noqa: PLR2004 - Accepted
        return None
    if status == 200:  # noqa: PLR2004 - OK
        return dict(json.loads(body))
    raise Failed(problem(status, body))


def problem(status: int, body: bytes) -> str:
    """What a problem document (RFC 9457) says."""
    try:
        document = json.loads(body)
        fields = "; ".join(f"{error['field']}: {error['message']}" for error in document.get("errors", ()))
        return " ".join(filter(None, [f"{status}:", document["detail"], fields, document.get("hint")]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{status}, without saying why: is there a provider at this address?"


async def callback(consumer: AIOKafkaConsumer, file: str, correlation_id: str) -> dict[str, Any]:
    """Handle records until ours has come."""
    with contextlib.closing(Store(file)) as store:
        while True:
            batches = await consumer.getmany(timeout_ms=1000)
            fresh = [handle(record, store) for records in batches.values() for record in records]
            if batches:
                await consumer.commit()  # after the store has them, never before
            for result in fresh:
                if result is not None and result["correlation_id"] == correlation_id:
                    return result


async def converse(options: argparse.Namespace) -> dict[str, Any]:
    """Join the topic, ask, and wait for the answer by whichever road it comes."""
    correlation_id = str(uuid.uuid4())
    comparison = options.comparison | {
        "correlation_id": correlation_id,  # made before the request, so that it can be sent again
        "callback_topic": options.topic,
        "callback_key": "consume-callbacks",  # order holds per key
    }
    consumer = AIOKafkaConsumer(
        bootstrap_servers=options.servers,
        group_id=options.group,
        enable_auto_commit=False,  # it would commit what was fetched, handled or not
        auto_offset_reset="earliest",  # `latest` loses what came before a new group had joined
    )
    try:
        await join(consumer, options)
        say(f"asking under {correlation_id}")
        async with asyncio.timeout(options.timeout):
            verdict = await ask(options.url, comparison, options.key)
            if verdict is not None:
                say("200: a judge was free; no event follows")
                return verdict
            say("202: the answer will come by the topic")
            return await callback(consumer, options.store, correlation_id)
    except TimeoutError as error:
        raise Failed(
            f"no verdict within {options.timeout:g} s; the same request again, with its correlation_id, would be safe"
        ) from error
    except KafkaError as error:
        raise Failed(f"Kafka at {options.servers}: {error}") from error
    finally:
        # Leaving must not hide the answer: with the broker gone, stop() hangs, or says that it was cancelled.
        with contextlib.suppress(asyncio.CancelledError, TimeoutError, KafkaError):
            await asyncio.wait_for(consumer.stop(), KAFKA_TIMEOUT)


async def join(consumer: AIOKafkaConsumer, options: argparse.Namespace) -> None:
    """Join before asking: what cannot be received should not be asked for."""
    try:
        await asyncio.wait_for(consumer.start(), KAFKA_TIMEOUT)
        topics = await asyncio.wait_for(consumer.topics(), KAFKA_TIMEOUT)
    except TimeoutError as error:
        raise Failed(f"Kafka at {options.servers} does not answer") from error
    if options.topic not in topics:
        raise Failed(
            f"Kafka at {options.servers} has no topic {options.topic}; Juxta makes it when it starts"
        )
    consumer.subscribe([options.topic])


def comparison_in(file: str) -> dict[str, Any]:
    """What a file asks."""
    try:
        return dict(json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"no comparison can be read from {file} ({error})") from error


def say(words: str) -> None:
    """Talk to people, on stderr."""
    print(words, file=sys.stderr)


def main() -> None:
    """Run once; exit status 1 with one line of explanation when there is no verdict."""
    parser = argparse.ArgumentParser(description="Ask Juxta for a verdict and take it from Kafka.")
    parser.add_argument(
        "--url", default="http://127.0.0.1:8000", help="of the provider (default: %(default)s)"
    )
    parser.add_argument("--servers", default="127.0.0.1:9092", help="of Kafka (default: %(default)s)")
    parser.add_argument("--topic", default=TOPIC, help="one that the provider allows (default: %(default)s)")
    parser.add_argument("--key", default="", help="with the scope submit, where the provider asks for keys")
    parser.add_argument("--group", default="consume-callbacks", help="consumer group (default: %(default)s)")
    parser.add_argument(
        "--store", default="callbacks.db", help="SQLite file of what was handled (default: %(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the verdict")
    parser.add_argument(
        "--comparison",
        type=comparison_in,
        default=str(Path(__file__).with_name("comparison.json")),
        help="file with what to ask",
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its errors are raised as well
    try:
        result = asyncio.run(converse(parser.parse_args()))
    except Failed as failure:
        sys.exit(f"consume_callbacks: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if result.get("status", "succeeded") != "succeeded":
        sys.exit(f"consume_callbacks: the comparison {result['status']}: {result['error']['detail']}")


if __name__ == "__main__":
    main()
