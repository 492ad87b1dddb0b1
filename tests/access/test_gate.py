"""What the gate does beside scopes: names of principals, the audit log, foreign pages."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.access.audit import AuditEntry, Outcome
from app.access.keyring import FRESH
from app.access.policy import Need
from app.access.scopes import Scope
from app.contracts import COMPARISON_RESULT_TOPIC, Problem
from app.provider.judges.simulated import MODEL, PROVIDER
from tests.access.conftest import Door, opened
from tests.flow.house import QUESTION, essay, rows

ESSAY = "A sentence that must not be in any log. " * 20


def comparison(first: int, **changes: Any) -> dict[str, Any]:
    return {
        "user_prompt": QUESTION,
        "essay_a": essay(first),
        "essay_b": essay(0),
        "callback_topic": COMPARISON_RESULT_TOPIC,
        "correlation_id": str(uuid4()),
        "llm_config_overrides": {"provider": PROVIDER, "model": MODEL},
    } | changes


def batch(door: Door, key: str | None = None) -> str:
    essays = [{"name": f"e{n}", "text": essay(n)} for n in range(4)]
    judges = [{"provider": PROVIDER, "model": MODEL}]
    asked = {
        "title": "T",
        "question": QUESTION,
        "essays": essays,
        "settings": {"judges": judges},
        "start": False,
    }
    answer = door.ask("POST /api/v1/batches", key, json=asked)
    assert answer.status_code == 201, answer.text
    batch_id: str = answer.json()["id"]
    return batch_id


def problem(answer: httpx2.Response, status: int) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return Problem.model_validate_json(answer.content)


def brief(entry: AuditEntry) -> tuple[str, str, str, Outcome]:
    return entry.principal, entry.action, entry.detail, entry.outcome


def test_the_same_id_from_two_principals_is_two_requests(door: Door) -> None:
    ann, bob = door.key("ann", "submit"), door.key("bob", "submit")
    asked = comparison(1)
    first = door.ask("POST /api/v1/comparison", ann, json=asked)
    second = door.ask("POST /api/v1/comparison", bob, json={**asked, "essay_a": essay(2)})
    assert (first.status_code, second.status_code) == (200, 200)
    assert len(door.judge.calls) == 2
    again = door.ask("POST /api/v1/comparison", bob, json=asked)
    assert problem(again, 422).code == "request-mismatch"


def test_a_new_key_of_the_same_name_goes_on_where_the_old_one_ended(door: Door) -> None:
    old, asked = door.key("ann", "submit"), comparison(1)
    first = door.ask("POST /api/v1/comparison", old, json=asked)
    new = door.key("ann", "submit")
    door.call(door.access.keys.revoke, old[6:14], by="test")
    door.clock.now += FRESH
    assert door.ask("POST /api/v1/comparison", old, json=asked).status_code == 401
    again = door.ask("POST /api/v1/comparison", new, json=asked)
    assert again.json() == first.json()
    assert len(door.judge.calls) == 1


def test_without_keys_everybody_is_local(unlocked: Door) -> None:
    asked = comparison(1)
    assert unlocked.ask("POST /api/v1/comparison", json=asked).status_code == 200
    assert rows(unlocked.folder / "provider.db", "SELECT DISTINCT principal FROM requests") == [("local",)]


def test_the_scheme_of_the_header_is_read_in_any_case_and_no_other_scheme_is(door: Door) -> None:
    key = door.key("ann", "read")

    def status(authorization: str) -> int:
        return door.ask("GET /api/v1/batches", headers={"authorization": authorization}).status_code

    assert status(f"bearer  {key} ") == 200
    assert status(f"BEARER {key}") == 200
    for wrong in (key, f"Basic {key}", f"Bearer{key}", "Bearer", "", f"Bearer {key} {key}"):
        assert status(wrong) == 401, wrong


def test_a_stopped_database_of_keys_is_an_outage_and_no_refusal(door: Door) -> None:
    key = door.key("ann", "read")
    door.call(door.access.__aexit__, None, None, None)
    assert problem(door.ask("GET /api/v1/batches", key), 503).retryable


def test_what_an_operator_does_is_a_row_with_its_end(door: Door) -> None:
    operator, reader, submitter = (door.key(scope, scope) for scope in ("operate", "read", "submit"))
    batch_id = batch(door, submitter)
    one = f"/api/v1/batches/{batch_id}"
    door.ask(f"POST {one}/pause", operator)
    door.ask(f"POST {one}/pause", reader)
    door.ask(f"GET {one}", reader)
    door.ask(f"POST {one}/start", submitter)
    door.ask(f"DELETE {one}", operator)
    pause, delete = "POST /api/v1/batches/{batch_id}/pause", "DELETE /api/v1/batches/{batch_id}"
    found = door.audited()
    assert [brief(entry) for entry in found] == [
        ("operate", pause, "409", Outcome.FAILED),
        ("read", pause, "needs operate", Outcome.REFUSED),
        ("operate", delete, "204", Outcome.DONE),
    ]
    assert {entry.target for entry in found} == {batch_id}
    assert {entry.at for entry in found} == {door.clock.now}


def test_what_an_action_is_about_is_in_the_log_before_it_is_done(door: Door) -> None:
    seen: list[AuditEntry] = []

    async def act(request: Request) -> Response:
        await door.access.specify(request, "this\none")
        await door.access.specify(request, "x" * 500)
        seen.extend(await door.access.audit.latest(1))
        return Response("done")

    (route,) = door.access.guarded([Route("/act", act, methods=["POST"])], {"POST /act": Need(Scope.OPERATE)})
    app: Any = door.client.app
    app.router.routes.append(route)
    door.ask("POST /act", door.key("boss", "operate"))
    said = f"this?one {'x' * 200}"
    assert [brief(entry) for entry in (*seen, door.audited()[-1])] == [
        ("boss", "POST /act", said, Outcome.BEGUN),
        ("boss", "POST /act", f"200 {said}", Outcome.DONE),
    ]


def test_who_needs_no_key_is_audited_as_local(unlocked: Door) -> None:
    unlocked.ask(f"POST /batches/{uuid4()}/delete")
    (entry,) = unlocked.audited()
    assert brief(entry) == ("local", "POST /batches/{batch_id:uuid}/delete", "404", Outcome.FAILED)


def test_an_action_that_cannot_be_audited_is_not_done(door: Door) -> None:
    key = door.key("boss", "admin")
    batch_id = batch(door, key)
    assert door.ask(f"GET /api/v1/batches/{batch_id}", key).status_code == 200
    with closing(sqlite3.connect(door.folder / "access.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = door.ask(f"DELETE /api/v1/batches/{batch_id}", key)
        assert problem(refused, 503).retryable
        assert "retry-after" in refused.headers
        assert door.ask(f"GET /api/v1/batches/{batch_id}", key).json()["state"] == "ready"
    assert door.ask(f"DELETE /api/v1/batches/{batch_id}", key).status_code == 204


def test_an_end_that_cannot_be_written_leaves_the_row_begun_and_the_answer_as_it_was(door: Door) -> None:
    async def lock(_request: Request) -> Response:
        other.execute("BEGIN IMMEDIATE")
        return Response("done")

    (route,) = door.access.guarded([Route("/do", lock, methods=["POST"])], {"POST /do": Need(Scope.OPERATE)})
    app: Any = door.client.app
    app.router.routes.append(route)
    key = door.key("boss", "operate")
    with closing(
        sqlite3.connect(door.folder / "access.db", isolation_level=None, check_same_thread=False)
    ) as other:
        assert door.ask("POST /do", key).text == "done"
    (entry,) = door.audited()
    assert brief(entry) == ("boss", "POST /do", "", Outcome.BEGUN)


def test_a_bug_is_a_failure_in_the_log(door: Door) -> None:
    async def broken(_request: Request) -> Response:
        raise ZeroDivisionError

    (route,) = door.access.guarded([Route("/x", broken, methods=["POST"])], {"POST /x": Need(Scope.ADMIN)})
    app: Any = door.client.app
    app.router.routes.append(route)
    with pytest.raises(ZeroDivisionError):
        door.ask("POST /x", door.key("boss", "admin"))
    assert brief(door.audited()[-1]) == ("boss", "POST /x", "500", Outcome.FAILED)


def test_no_text_of_an_essay_or_a_key_is_in_the_log(door: Door) -> None:
    key = door.key("boss", "admin")
    door.ask("DELETE /api/v1/batches/x", key, content=ESSAY)
    door.ask("POST /login", data={"key": f"{ESSAY}{key}"})
    door.ask("POST /login", data={"key": f"{key[:-1]}_"})
    content = json.dumps([asdict(entry) for entry in door.audited()])
    assert "sentence" not in content
    assert key[15:40] not in content


def test_what_is_put_into_a_path_is_cut_and_made_printable(door: Door) -> None:
    door.ask(f"DELETE /api/v1/batches/{'x' * 500}", door.key("boss", "operate"))
    door.ask("DELETE /api/v1/batches/a%0Ab", door.key("boss", "operate"))
    long, line = door.audited()
    assert long.target == "x" * 200
    assert line.target == "a?b"


def test_the_log_is_read_a_page_at_a_time_and_reading_it_is_in_it(door: Door) -> None:
    key = door.key("boss", "admin")
    for _ in range(3):
        door.ask("DELETE /api/v1/batches/x", key)
    first = door.ask("GET /api/v1/audit?limit=2", key).json()
    assert first["entries"][0]["action"] == "key new"
    second = door.ask(f"GET /api/v1/audit?limit=2&after={first['next']}", key).json()
    assert [entry["number"] for entry in second["entries"]] == [3, 4]
    last = door.ask(f"GET /api/v1/audit?after={second['next']}", key).json()
    assert last["next"] is None
    assert {entry["action"] for entry in last["entries"]} == {"GET /api/v1/audit"}
    assert last["entries"][0]["at"].endswith("+00:00")


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=1001", "limit=", "after=" + "9" * 30]
)
def test_a_cursor_that_is_none_is_refused(door: Door, query: str) -> None:
    problem(door.ask(f"GET /api/v1/audit?{query}", door.key("boss", "admin")), 422)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_foreign_name_is_misdirected_on_every_route(tmp_path: Path, *, enabled: bool) -> None:
    with opened(tmp_path, enabled=enabled) as door:
        key = door.key("boss", "admin")
        for line in ("GET /healthz", "GET /api/v1/batches", "POST /api/v1/comparison"):
            answer = door.ask(line, key, headers={"host": "evil.example"})
            assert problem(answer, 421).code == "misdirected"
        for line in ("GET /", "GET /static/juxta.css", "GET /login", "POST /login"):
            answer = door.ask(line, key, headers={"host": "evil.example"})
            assert answer.status_code == 421
            assert "auth.hosts" in answer.text


@pytest.mark.parametrize("enabled", [True, False])
def test_a_foreign_page_changes_nothing_whatever_it_knows(tmp_path: Path, *, enabled: bool) -> None:
    foreign = ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"})
    with opened(tmp_path, enabled=enabled) as door:
        key = door.key("boss", "admin")
        batch_id = batch(door, key)
        for headers in foreign:
            one = f"/api/v1/batches/{batch_id}"
            assert problem(door.ask(f"DELETE {one}", key, headers=headers), 403).code == "forbidden"
            assert door.ask(f"POST /batches/{batch_id}/start", key, headers=headers).status_code == 403
            assert door.ask("POST /login", headers=headers, data={"key": key}).status_code == 403
            assert door.ask(f"GET {one}", key, headers=headers).json()["state"] == "ready"
        own = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
        assert door.ask(f"DELETE {one}", key, headers=own).status_code == 204


def test_configured_names_are_answered_to(tmp_path: Path) -> None:
    with opened(tmp_path, "auth.hosts=['juxta.example.org']") as door:
        assert door.ask("GET /healthz", headers={"host": "juxta.example.org"}).status_code == 200
        assert door.ask("GET /healthz", headers={"host": "x.example.org"}).status_code == 421
