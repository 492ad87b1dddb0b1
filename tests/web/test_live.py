"""The live stream: nothing is lost over a reconnect, and no stream keeps a server from leaving."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx2
import pytest
from starlette.testclient import TestClient

from app.cj.batch import BatchState
from app.cj.planner import IN_FLIGHT
from app.cj.scoring_ranking import RankedEssay
from app.web.snapshot import lines
from tests.cj.conftest import queued
from tests.web.conftest import Site, new_batch, served

Event = tuple[str, int | None, Any]


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Read events as a browser does; comments are heartbeats."""
    name, order, data = "message", None, ""
    for line in lines:
        if not line:
            if data:
                yield name, order, json.loads(data)
            name, order, data = "message", None, ""
        elif not line.startswith(":"):
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                order = int(value)
            elif field == "data":
                data += value


def events(client: TestClient, batch_id: UUID, **headers: str) -> list[Event]:
    answer = client.get(f"/api/v1/batches/{batch_id}/events", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return list(parse(iter(answer.text.split("\n"))))


def verdicts(found: list[Event]) -> list[int | None]:
    return [order for name, order, _ in found if name == "verdict"]


def test_an_ended_batch_sends_every_verdict_its_state_and_done(site: Site, client: TestClient) -> None:
    batch_id = site.finished()
    found = events(client, batch_id)
    batch = site.batch(batch_id)
    assert verdicts(found) == list(range(1, batch.decided + 1))
    assert [name for name, _, _ in found][-2:] == ["state", "done"]
    state = found[-2][2]
    assert (state["state"], state["done"], state["ended"]) == ("finished", batch.decided, True)
    assert [line["rank"] for line in state["ranking"]] == [1, 2, 3, 4, 5, 6]
    for line in state["ranking"]:
        assert 0 <= line["left"] < line["dot"] < line["right"] <= 100
    assert found[0][2]["detail"] == "rules/balanced · clear · 0 ms"
    assert " beat " in found[0][2]["sentence"]


def test_a_reconnect_gets_the_verdicts_after_the_last_one_it_saw(site: Site, client: TestClient) -> None:
    batch_id = site.finished()
    last = site.batch(batch_id).decided
    found = events(client, batch_id, **{"Last-Event-ID": str(last - 3)})
    assert verdicts(found) == [last - 2, last - 1, last]
    assert [name for name, _, _ in found][-2:] == ["state", "done"]
    assert verdicts(events(client, batch_id, **{"Last-Event-ID": str(last)})) == []


def test_the_page_may_say_where_to_begin_but_the_browser_knows_better(site: Site, client: TestClient) -> None:
    batch_id = site.finished()
    last = site.batch(batch_id).decided
    path = f"/api/v1/batches/{batch_id}/events?after={last - 1}"
    assert verdicts(list(parse(iter(client.get(path).text.split("\n"))))) == [last]
    answer = client.get(path, headers={"Last-Event-ID": str(last)})
    assert verdicts(list(parse(iter(answer.text.split("\n"))))) == []


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "٣", "9" * 40])
def test_an_unreadable_last_event_id_is_refused(site: Site, client: TestClient, given: str) -> None:
    batch_id = site.finished()
    answer = client.get(f"/api/v1/batches/{batch_id}/events", headers={b"Last-Event-ID": given.encode()})
    assert answer.status_code == 422


def test_an_unknown_batch_has_no_stream(client: TestClient) -> None:
    assert client.get(f"/api/v1/batches/{uuid4()}/events").status_code == 404


def test_the_head_of_a_stream_ends_while_the_batch_waits(site: Site, client: TestClient) -> None:
    waiting = site.start(start=False)
    answer = client.head(f"/api/v1/batches/{waiting}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_more_verdicts_than_fit_in_one_read_all_arrive(
    site: Site, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.live._AT_ONCE", 4)
    batch_id = site.finished()
    assert verdicts(events(client, batch_id)) == list(range(1, site.batch(batch_id).decided + 1))


async def _collect(site: Site, batch_id: UUID, until: str, found: list[Event]) -> None:
    stream = site.stream(heartbeat=0.2)
    with anyio.fail_after(20):
        async for event in stream.follow(batch_id, 0):
            found.append((event.event or "", None if event.id is None else int(event.id), event.data))
            if event.event == until:
                return


def test_a_running_batch_streams_to_its_end_while_others_work(site: Site, client: TestClient) -> None:
    found: list[Event] = []

    async def watch() -> None:
        batch_id = await site.cj.workflow.create(new_batch(), start=True)
        await _collect(site, batch_id, "done", found)

    site.call(watch)
    orders = verdicts(found)
    assert orders == list(range(1, len(orders) + 1))
    assert found[-1][0] == "done"


def test_a_ranking_is_sent_again_only_when_it_changed(site: Site, client: TestClient) -> None:
    site.provider.verdict = queued
    batch_id = site.start()
    site.until(batch_id, lambda batch: batch.planned > 0)
    rankings: list[Any] = []

    async def watch() -> None:
        stream = site.stream(heartbeat=0.02)
        with anyio.fail_after(20):
            async for event in stream.follow(batch_id, 0):
                rankings.append(json.loads(event.data or "{}")["ranking"])
                if len(rankings) == 3:
                    return

    site.call(watch)
    assert len(rankings[0]) == 6
    assert rankings[1:] == [None, None]


def test_a_deleted_batch_ends_its_stream(site: Site, client: TestClient) -> None:
    site.provider.verdict = queued
    found: list[Event] = []

    batch_id = site.start()
    site.until(batch_id, lambda batch: batch.waves == IN_FLIGHT)

    async def watch() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_collect, site, batch_id, "done", found)
            await site.cj.workflow.delete(batch_id)

    site.call(watch)
    assert found[-1][0] == "done"
    assert "deleted" in found[-1][2]


def test_a_quiet_batch_still_sends_its_state_now_and_then(site: Site, client: TestClient) -> None:
    site.provider.verdict = queued
    batch_id = site.start()
    states = 0

    async def watch() -> None:
        nonlocal states
        stream = site.stream(heartbeat=0.05)
        with anyio.fail_after(20):
            async for event in stream.follow(batch_id, 0):
                states += event.event == "state"
                if states == 5:
                    return

    site.call(watch)
    assert states == 5


def test_an_open_stream_does_not_keep_the_server_from_leaving(site: Site) -> None:
    site.provider.verdict = queued
    site.heartbeat = 60.0
    with httpx2.Client(timeout=20) as http:
        with served(site) as url:
            path = f"{url}/api/v1/batches/{site.start()}/events"
            answer = http.send(http.build_request("GET", path), stream=True)
            lines = answer.iter_lines()
            name, _, state = next(parse(lines))
            assert (name, state["state"]) == ("state", "running")
            began = time.monotonic()
        assert time.monotonic() - began < 3
        assert "done" not in [name for name, _, _ in parse(lines)]


def test_over_real_http_a_lost_connection_loses_no_verdict(site: Site) -> None:
    with served(site) as url, httpx2.Client(timeout=20) as http:
        batch_id = site.start()
        path = f"{url}/api/v1/batches/{batch_id}/events"
        seen: list[int] = []
        while True:
            headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
            with http.stream("GET", path, headers=headers) as answer:
                fresh = 0
                done = False
                for name, order, _ in parse(answer.iter_lines()):
                    if order is not None:
                        seen.append(order)
                        fresh += 1
                    done = name == "done"
                    if fresh == 4 or done:
                        break
            if done:
                break
        batch = site.batch(batch_id)
        assert batch.state is BatchState.FINISHED
        assert seen == list(range(1, batch.decided + 1))


def test_an_essay_that_nobody_has_compared_has_no_rank() -> None:
    row = RankedEssay(
        rank=1, position=0, essay="E0", level=None, score=0.0, se=1.0, low=-2.0, high=2.0, comparisons=0
    )
    (line,) = lines([row])
    assert line.rank is None
