"""Every kind of bad input, against one real server: what is wrong is said, nothing is stored, and it goes on."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.contracts import COMPARISON_RESULT_TOPIC, Problem

from .house import furnish, rows
from .process import PATIENT, Process, process_on, run, until

SECRET = "Xylophone quarrels"
ESSAY = f"{SECRET} are heard far over the sea by people who never asked for them. " * 6
BODY_LIMIT = 20_000
Asking = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    furnish(folder := tmp_path_factory.mktemp("server"))
    with process_on(
        folder,
        "--no-demo",
        *("--set", f"http.body_limit={BODY_LIMIT}", "--set", f"http.upload_limit={BODY_LIMIT}"),
        *("--set", "http.header_timeout=0.4", "--set", "http.body_timeout=0.4"),
        *("--set", "judges.rules.pace=0"),
    ) as process:
        yield process
        assert SECRET not in process.stderr
        assert "Traceback" not in process.stderr


@dataclass
class Stored:
    """How many requests and batches the server holds."""

    requests: int
    batches: int


@pytest.fixture(autouse=True)
def expected(server: Process) -> Iterator[Stored]:
    """No bad input leaves anything behind, and the server answers as before; a test that stores something says so."""
    before = stored(server)
    yield before
    assert stored(server) == before
    assert server.client.get("/healthz").json() == {"status": "alive"}


def stored(server: Process) -> Stored:
    return Stored(
        rows(server.folder / "provider.db", "SELECT count(*) FROM requests")[0][0],
        rows(server.folder / "cj.db", "SELECT count(*) FROM batches")[0][0],
    )


def comparison(**changes: Any) -> Asking:
    fields = {
        "user_prompt": "Which is better?",
        "essay_a": ESSAY,
        "essay_b": ESSAY.upper(),
        "callback_topic": COMPARISON_RESULT_TOPIC,
        "correlation_id": str(uuid4()),
    }
    return fields | changes


def batch(**changes: Any) -> Asking:
    essays = [{"name": f"e{n}", "text": f"{ESSAY} {n}"} for n in range(3)]
    return {"title": "Bad", "question": "Which is better?", "essays": essays, "start": False} | changes


def problem_in(response: httpx2.Response, status: int) -> Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert SECRET not in response.text
    assert SECRET.upper() not in response.text
    assert "Traceback" not in response.text
    problem = Problem.model_validate_json(response.content)
    assert problem.status == status
    assert problem.title
    assert problem.detail
    return problem


def fields_of(problem: Problem) -> set[str]:
    return {error.field for error in problem.errors}


def post(server: Process, path: str, content: Any) -> httpx2.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return server.client.post(path, content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize("path", ["/api/v1/comparison", "/api/v1/batches"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"essay=" + SECRET.encode(), b'"\xff\xfe"', b"\x00", b"[" * 9000]
)
def test_a_body_that_is_not_json_is_refused(server: Process, path: str, body: bytes) -> None:
    assert problem_in(post(server, path, body), 400).code == "malformed-body"


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"'])
def test_json_that_is_no_object_is_refused(server: Process, body: bytes) -> None:
    assert problem_in(post(server, "/api/v1/comparison", body), 422).code == "invalid-request"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"essay_a": 7}, "essay_a"),
        ({"essay_a": ""}, "essay_a"),
        ({"essay_b": None}, "essay_b"),
        ({"essay_b": [ESSAY]}, "essay_b"),
        ({"essay_a": f"{ESSAY}\x00"}, "essay_a"),
        ({"correlation_id": "17"}, "correlation_id"),
        ({"expires_in": -1}, "expires_in"),
        ({"expires_in": "soon"}, "expires_in"),
        ({"priority": 10}, "priority"),
        ({"priority": "5"}, "priority"),
        ({"expires_in": True}, "expires_in"),
        ({"metadata": {"long": "x" * 5000}}, "metadata"),
        ({"student": SECRET}, "student"),
        ({"llm_config_overrides": {"temperature": 9}}, "llm_config_overrides.temperature"),
        ({"llm_config_overrides": {"colour": "red"}}, "llm_config_overrides.colour"),
        ({"llm_config_overrides": {"provider": "nobody"}}, "llm_config_overrides.provider"),
        ({"llm_config_overrides": {"model": "nothing"}}, "llm_config_overrides.model"),
        ({"llm_config_overrides": {"system_prompt": "Be kind."}}, "llm_config_overrides.system_prompt"),
        ({"callback_topic": "somebody.elses.topic"}, "callback_topic"),
        ({"callback_topic": "no topic at all!"}, "callback_topic"),
        ({"callback_topic": "x" * 300}, "callback_topic"),
    ],
)
def test_a_field_that_is_wrong_is_named(server: Process, changes: Asking, field: str) -> None:
    problem = problem_in(post(server, "/api/v1/comparison", comparison(**changes)), 422)
    assert fields_of(problem) == {field}
    assert not problem.retryable


@pytest.mark.parametrize("field", ["expires_in", "priority"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(server: Process, field: str, number: str) -> None:
    text = json.dumps(comparison(**{field: 12345})).replace("12345", number)
    response = post(server, "/api/v1/comparison", text.encode())
    problem = problem_in(response, response.status_code)
    assert problem.status in {400, 422}
    assert problem.status == 400 or fields_of(problem) == {field}


@pytest.mark.parametrize("surrogate", ["\\ud800", "\\udfff"])
def test_a_lone_surrogate_is_refused(server: Process, surrogate: str) -> None:
    text = json.dumps(comparison(essay_a="HERE")).replace("HERE", surrogate)
    response = post(server, "/api/v1/comparison", text.encode())
    problem_in(response, response.status_code)
    assert response.status_code in {400, 422}


def test_an_idempotency_key_that_differs_is_refused(server: Process) -> None:
    response = server.client.post(
        "/api/v1/comparison", json=comparison(), headers={"idempotency-key": str(uuid4())}
    )
    assert fields_of(problem_in(response, 422)) == {"Idempotency-Key"}


def test_the_id_of_a_readable_comparison_comes_back_with_the_refusal(server: Process) -> None:
    asked = comparison(callback_topic="somebody.elses.topic")
    problem = problem_in(post(server, "/api/v1/comparison", asked), 422)
    assert str(problem.correlation_id) == asked["correlation_id"]


@pytest.mark.parametrize("path", ["/api/v1/comparison", "/api/v1/batches"])
def test_a_body_that_announces_too_much_is_refused_unread(server: Process, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10 * BODY_LIMIT}\r\n\r\n"
    with spoken(server, head.encode()) as connection:
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("path", ["/api/v1/comparison", "/api/v1/batches"])
def test_a_body_that_grows_too_large_is_refused(server: Process, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    with spoken(server, head.encode() + chunk * (BODY_LIMIT // 0x1000 + 1)) as connection:
        assert everything(connection).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_the_limit_is_read(server: Process) -> None:
    body = json.dumps(comparison(callback_topic="x")).encode().ljust(BODY_LIMIT)
    problem_in(post(server, "/api/v1/comparison", body), 422)
    problem_in(post(server, "/api/v1/comparison", body + b" "), 413)


@pytest.mark.parametrize(
    "said", [b"", b"POST /api/v1/comparison HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: "]
)
def test_headers_that_do_not_come_end_the_connection(server: Process, said: bytes) -> None:
    with spoken(server, said) as connection:
        assert everything(connection) == b""


def test_headers_that_drip_in_end_the_connection(server: Process) -> None:
    def drip() -> bool:
        try:
            connection.send(b"A: b\r\n")
            return connection.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    with spoken(server, b"GET /healthz HTTP/1.1\r\n") as connection:
        connection.settimeout(0.02)
        until(drip)


@pytest.mark.parametrize("path", ["/api/v1/comparison", "/api/v1/batches"])
def test_a_body_that_does_not_come_is_answered_408_and_the_connection_closed(
    server: Process, path: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + '{"essay_a": '
    with spoken(server, head.encode()) as connection:
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


@contextmanager
def spoken(server: Process, said: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENT) as connection:
        connection.sendall(said)
        yield connection


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    try:
        while chunk := connection.recv(65_536):
            found += chunk
    except ConnectionResetError:
        pass  # it closed without reading what we had sent
    return found


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"essays": []}, "essays"),
        ({"essays": [{"name": "e", "text": ESSAY}]}, "essays"),
        ({"essays": [{"name": "e0", "text": ESSAY}, {"name": "e1", "text": ""}]}, "essays.1.text"),
        ({"essays": [{"name": "e0", "text": ESSAY}, {"name": "", "text": f"{ESSAY}1"}]}, "essays.1.name"),
        ({"essays": [{"name": "e0", "text": ESSAY}, {"name": "e1", "text": ESSAY}]}, "e1"),
        ({"essays": [{"name": "e", "text": ESSAY}, {"name": "e", "text": f"{ESSAY}1"}]}, "e"),
        ({"essays": [{"name": "e0", "text": ESSAY}, {"name": "e1", "text": " \n "}]}, "e1"),
        ({"question": ""}, "question"),
        ({"question": 7}, "question"),
        ({"title": ""}, "title"),
        ({"start": "perhaps"}, "start"),
        ({"start": 1}, "start"),
        ({"settings": {"seed": "7"}}, "settings.seed"),
        ({"colour": "red"}, "colour"),
        ({"settings": {"colour": "red"}}, "settings.colour"),
        ({"settings": {"target_reliability": 2}}, "settings.target_reliability"),
        ({"settings": {"judges": []}}, "settings.judges"),
    ],
)
def test_a_batch_that_cannot_be_ranked_is_refused_by_name(
    server: Process, changes: Asking, field: str
) -> None:
    problem = problem_in(post(server, "/api/v1/batches", batch(**changes)), 422)
    assert field in fields_of(problem)


@pytest.mark.parametrize("name", [str(uuid4()), "17"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/ranking"),
        ("GET", "/comparisons"),
        ("POST", "/start"),
        ("POST", "/pause"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ],
)
def test_an_unknown_batch_is_not_found(server: Process, method: str, path: str, name: str) -> None:
    problem = problem_in(server.client.request(method, f"/api/v1/batches/{name}{path}"), 404)
    assert problem.code == "not-found"


def test_an_unknown_comparison_is_not_found(server: Process) -> None:
    problem_in(server.client.get(f"/api/v1/comparisons/{uuid4()}"), 404)
    problem_in(server.client.get(f"/api/v1/queue/{uuid4()}"), 404)
    problem_in(server.client.post(f"/api/v1/comparison/{uuid4()}/cancel"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/comparison", {"POST"}),
        ("POST", "/api/v1/queue", {"GET", "HEAD"}),
        pytest.param(
            "PUT",
            "/api/v1/batches",
            {"GET", "HEAD", "POST"},
        ),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    server: Process, method: str, path: str, allowed: set[str]
) -> None:
    response = server.client.request(method, path)
    problem_in(response, 405)
    assert set(response.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/api/v1/queue?limt=5", "limt"),
        ("GET", "/api/v1/queue?limit=5&limit=6", "limit"),
        ("GET", "/api/v1/queue/stats?lane=rules", "lane"),
        ("GET", "/api/v1/providers?x", "x"),
        ("GET", "/api/v1/batches?limit=5", "limit"),
        ("GET", f"/api/v1/batches/{uuid4()}/comparisons?before=5", "before"),
        ("GET", f"/api/v1/batches/{uuid4()}/events?from=5", "from"),
        ("DELETE", f"/api/v1/batches/{uuid4()}?dry_run=true", "dry_run"),
        ("POST", f"/api/v1/batches/{uuid4()}/cancel?dry_run=true", "dry_run"),
    ],
)
def test_a_query_parameter_that_is_unknown_or_given_twice_is_refused(
    server: Process, method: str, path: str, field: str
) -> None:
    assert fields_of(problem_in(server.client.request(method, path), 422)) == {field}


def test_a_path_that_leads_nowhere_is_not_found(server: Process) -> None:
    problem_in(server.client.get("/api/v1/nothing"), 404)


@contextmanager
def written_by_somebody_else(file: Path) -> Iterator[Callable[[], object]]:
    """Hold the write lock of a database; what is yielded lets it go."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield lambda: other.execute("ROLLBACK")


def test_a_locked_ledger_is_503_and_the_same_request_counts_once_it_is_free(
    server: Process, expected: Stored
) -> None:
    asked = comparison()
    with written_by_somebody_else(server.folder / "provider.db") as let_go:
        response = post(server, "/api/v1/comparison", asked)
        problem = problem_in(response, 503)
        assert (problem.code, problem.retryable) == ("store-unavailable", True)
        assert int(response.headers["retry-after"]) >= 1
        let_go()
        assert stored(server) == expected
    answer = until(lambda: good(post(server, "/api/v1/comparison", asked)))
    assert answer.json()["correlation_id"] == asked["correlation_id"]
    expected.requests += 1


def test_a_locked_store_of_batches_is_503_and_the_same_batch_is_taken_once_it_is_free(
    server: Process, expected: Stored
) -> None:
    with written_by_somebody_else(server.folder / "cj.db") as let_go:
        response = post(server, "/api/v1/batches", batch())
        assert problem_in(response, 503).retryable
        assert int(response.headers["retry-after"]) >= 1
        let_go()
        assert stored(server) == expected
    until(lambda: good(post(server, "/api/v1/batches", batch())))
    expected.batches += 1


def good(response: httpx2.Response) -> httpx2.Response | None:
    return response if response.is_success else None


def test_a_second_process_on_the_same_data_is_refused_and_told_who_has_it(server: Process) -> None:
    refused = run(server.folder)
    assert refused.returncode == 2
    assert f"in use by process {server.child.pid} (serving {server.url})" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert json.loads((server.folder / "cj.lock").read_text())["pid"] == server.child.pid


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("colour=red", "colour: unknown setting (from command line)"),
        ("cj.callback_topic='elsewhere'", "cj.callback_topic: 'elsewhere' is not in provider.topics"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_that_names_it(
    tmp_path: Path, assignment: str, words: str
) -> None:
    refused = run(tmp_path / "data", "--set", assignment)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert words in line
    assert not (tmp_path / "data").exists()


def test_every_fault_of_the_settings_is_said_at_once(tmp_path: Path) -> None:
    refused = run(tmp_path, "--set", "colour=red", "--set", "http.grace=-1")
    assert refused.returncode == 2
    first, second = refused.stderr.splitlines()
    assert {"colour", "http.grace"} <= set(f"{first} {second}".replace(":", " ").split())
