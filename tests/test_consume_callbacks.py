"""The example consumer, part by part: it asks a real provider, and handles records as a reader should."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from aiohttp import web
from aiokafka import ConsumerRecord

from app.spec.asyncapi import example
from app.spec.provider import EXAMPLE as COMPARISON
from tests.engines import Kafka
from tests.flow.process import until
from tests.spec.serving import house_served

PROGRAM = Path(__file__).parents[1] / "examples" / "consume_callbacks.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("consume_callbacks", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = _load()


def ask(url: str, key: str = "", **changes: Any) -> Any:
    fields = COMPARISON | {"correlation_id": str(uuid4()), "callback_key": "test"} | changes
    return asyncio.run(program.ask(url, fields, key))


def test_a_200_is_the_verdict_and_a_202_none_yet(tmp_path: Path) -> None:
    with house_served(tmp_path / "free") as url:
        assert ask(url)["winner"] == "essay_a"
    with house_served(tmp_path / "busy", "judges.rules.direct_concurrency=0") as url:
        assert ask(url) is None


def test_a_refusal_is_told_in_the_words_of_the_problem(tmp_path: Path) -> None:
    with (
        house_served(tmp_path) as url,
        pytest.raises(program.Failed, match=r"422: .* callback_topic: allowed"),
    ):
        ask(url, callback_topic="somebody.elses")


def test_no_provider_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(program.Failed, match="no provider answers at"):
        ask(f"http://127.0.0.1:{port}")


def test_it_comes_back_when_told_to_with_the_same_request_and_its_key() -> None:
    requests: list[tuple[str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append((request.headers["Authorization"], await request.read()))
        if len(requests) < 3:
            return web.json_response({"detail": "Full."}, status=429, headers={"Retry-After": "0"})
        return web.json_response({"winner": "tie"})

    async def story() -> Any:
        application = web.Application()
        application.router.add_post("/api/v1/comparison", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            return await program.ask(f"http://{host}:{port}", dict(COMPARISON), "juxta_a_b")
        finally:
            await runner.cleanup()

    assert asyncio.run(story()) == {"winner": "tie"}
    assert len(set(requests)) == 1
    assert requests[0][0] == "Bearer juxta_a_b"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}"])
def test_what_is_no_problem_document_does_not_break_it(body: bytes) -> None:
    assert "without saying why" in program.problem(500, body)


def record(
    change: Callable[[dict[str, Any]], object] = lambda event: None, offset: int = 0
) -> ConsumerRecord[Any, Any]:
    """What aiokafka gives for an event as the provider publishes it, after a change."""
    published = example()
    event = json.loads(published.body)
    change(event)
    body = json.dumps(event).encode()
    return raw(body, offset)


def raw(body: bytes | None, offset: int = 0) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord(program.TOPIC, 0, offset, 0, 0, b"key", body, None, 3, len(body or b""), ())


def rows(file: Path, table: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(f"SELECT * FROM {table}").fetchall()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "callbacks.db"


def handled(file: Path, *records: ConsumerRecord[Any, Any]) -> list[Any]:
    """What a reader that starts anew makes of them."""
    with closing(program.Store(str(file))) as store:
        return [program.handle(one, store) for one in records]


def test_an_event_is_handled_once_however_often_it_comes(file: Path) -> None:
    first, again = handled(file, record(), record(offset=1))
    assert (first["winner"], again) == ("essay_a", None)
    assert handled(file, record(offset=2)) == [None], "not after a restart either"
    assert len(rows(file, "results")) == 1


def test_fields_that_it_does_not_know_are_ignored(file: Path) -> None:
    def grow(event: dict[str, Any]) -> None:
        event["colour"] = event["data"]["colour"] = "blue"
        event["schema_version"] = "1.7"

    assert handled(file, record(grow))[0]["winner"] == "essay_a"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(lambda event: event.update(schema_version="2.0")), "schema_version is 2.0"),
        (record(lambda event: event.pop("event_id")), "lacks event_id"),
        (record(lambda event: event.pop("data")), "no event"),
        (raw(b'"\xff"'), "decode"),
        (raw(b"[]"), "no event"),
        (raw(None), "Expecting value"),
    ],
)
def test_what_cannot_be_read_is_parked_and_what_comes_behind_it_is_handled(
    file: Path, bad: ConsumerRecord[Any, Any], reason: str
) -> None:
    parked, good = handled(file, bad, record(offset=1))
    assert parked is None
    assert good["winner"] == "essay_a"
    ((place, why, body),) = rows(file, "parked")
    assert (place, body) == (f"{program.TOPIC}/0/0", bad.value or b"")
    assert reason in why


def test_without_kafka_it_says_so_in_one_line_and_asks_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = subprocess.run(
        [sys.executable, PROGRAM, "--servers", f"127.0.0.1:{port}", "--url", "http://127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"consume_callbacks: Kafka at 127.0.0.1:{port}:")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("direct", "says"), [(0, "202: the answer will come by the topic"), (2, "200: a judge was free")]
)
def test_it_gets_its_verdict_by_either_road(kafka: Kafka, tmp_path: Path, direct: int, says: str) -> None:
    settings = (
        "bus.kind=kafka",
        f"kafka.servers={kafka.servers}",
        f"judges.rules.direct_concurrency={direct}",
    )
    with house_served(tmp_path / "data", *settings) as url, httpx2.Client(base_url=url) as client:
        until(lambda: client.get("/readyz").json()["parts"]["bus"] == "ok")
        done = _run(url, kafka.servers, tmp_path)
    assert done.returncode == 0, done.stderr
    assert says in done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["winner"] == "essay_a"
    if not direct:
        with closing(sqlite3.connect(tmp_path / "callbacks.db")) as store:
            recorded = store.execute("SELECT correlation_id FROM results").fetchall()
        assert recorded == [(verdict["correlation_id"],)]


def _run(url: str, servers: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, "--url", url, "--servers", servers],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=folder,
    )
