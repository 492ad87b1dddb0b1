"""Somebody on call at a running server, with nothing but the command line: what is stuck, why, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.engines import Kafka

from .deployment import Deployment, create, finished
from .house import LANE as SIMULATED
from .house import QUESTION, essay
from .installations import on_kafka
from .process import ROOT, Process, process_on, until

ESSAYS = ROOT / "examples" / "essays"
LANE = "rules/panel-v1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("oncall")
    with process_on(folder, "--no-demo", "--set", "judges.rules.pace=0") as process:
        yield process


def juxta(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "300", "NO_COLOR": "1"},
    )


def told(process: Process, *arguments: str) -> Any:
    done = juxta(*arguments, "--json", "--url", process.url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def essays() -> tuple[str, str]:
    first, second = (path.read_text(encoding="utf-8") for path in sorted(ESSAYS.glob("essay-*.txt"))[:2])
    return first, second


def ask(process: Process) -> Any:
    """A comparison of nobody's batch: its callback is one that cj never asked for, and so a dead letter."""
    first, second = essays()
    body = {
        "user_prompt": "Which is better?",
        "essay_a": first,
        "essay_b": second,
        "callback_topic": "huleedu.llm_provider.comparison_result.v1",
        "correlation_id": str(uuid4()),
        "llm_config_overrides": {"provider": "rules"},
    }
    return process.client.post("/api/v1/comparison", json=body)


def test_a_judge_stopped_by_hand_is_what_doctor_says_its_batch_waits_for(server: Process) -> None:
    tripped = told(server, "breaker", "trip", LANE, "--reason", "too strict today")
    assert tripped["words"].endswith("(by hand: too strict today), until it is reset")
    content = {
        "title": "Stuck",
        "question": "Which is better?",
        "essays": [{"name": f"e{n}", "text": text} for n, text in enumerate(essays())],
        "settings": {"comparisons_per_essay": 2},
    }
    batch_id = server.client.post("/api/v1/batches", json=content).json()["id"]
    until(lambda: server.client.get("/api/v1/queue/stats").json()["lanes"].get(LANE, {}).get("waiting"))
    done = juxta("doctor", "--url", server.url)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "batch 'Stuck'" in line]
    assert f"waiting for judge {LANE}: breaker open since " in line
    (listed,) = told(server, "breaker", "ls")
    assert listed["state"] == "open"
    assert told(server, "breaker", "reset", LANE, "--reason", "a good night's sleep")["state"] == "closed"
    until(lambda: server.batch(batch_id)["state"] == "finished")
    assert juxta("doctor", "--url", server.url).returncode == 0


def test_a_batch_whose_only_comparison_was_cancelled_paused_itself_and_doctor_says_that_alone(
    server: Process,
) -> None:
    told(server, "breaker", "trip", LANE, "--reason", "so that it waits")
    content = {
        "title": "Alone",
        "question": "Which is better?",
        "essays": [{"name": f"e{n}", "text": text} for n, text in enumerate(essays())],
        "settings": {"comparisons_per_essay": 1},
    }
    batch_id = server.client.post("/api/v1/batches", json=content).json()["id"]

    def waiting() -> list[Any]:
        found = server.client.get("/api/v1/queue", params={"state": "queued", "lane": LANE}).json()
        return list(found["entries"])

    (entry,) = until(waiting)
    told(server, "queue", "cancel", entry["queue_id"])
    until(lambda: server.batch(batch_id)["state"] == "paused")
    told(server, "breaker", "reset", LANE, "--reason", "it waited")
    done = juxta("doctor", "--url", server.url)
    (line,) = [line for line in done.stdout.splitlines() if "batch 'Alone'" in line]
    assert "not one comparison of the last wave got a verdict" in line
    server.client.post(f"/api/v1/batches/{batch_id}/cancel").raise_for_status()


def test_a_waiting_request_is_shown_hurried_and_cancelled(server: Process) -> None:
    told(server, "breaker", "trip", LANE, "--reason", "so that it waits")
    queue_id = ask(server).json()["queue_id"]
    assert told(server, "queue", "show", queue_id)["state"] == "queued"
    assert told(server, "queue", "retry", queue_id)["state"] == "queued"
    words = juxta("queue", "show", queue_id, "--url", server.url).stderr
    assert "open by hand: so that it waits" in words
    assert told(server, "queue", "cancel", queue_id)["outcome"] == "cancelled"
    assert told(server, "queue", "show", queue_id)["outcome"] == "cancelled"
    done = juxta("queue", "cancel", queue_id, "--url", server.url)
    assert (done.returncode, done.stdout) == (4, "")
    assert "ended as cancelled" in done.stderr
    told(server, "breaker", "reset", LANE, "--reason", "it waited")
    until(lambda: len(told(server, "dead-letters", "ls")) == 1)


def test_dead_letters_are_seen_and_sent_again_and_the_log_says_by_whom(server: Process) -> None:
    told(server, "breaker", "trip", LANE, "--reason", "so that it is a callback")
    assert ask(server).status_code == 202
    told(server, "breaker", "reset", LANE, "--reason", "now")
    letters = until(lambda: len(found := told(server, "dead-letters", "ls")) >= 1 and found)
    letter = letters[-1]
    assert letter["group"] == "cj"
    hidden = told(server, "dead-letters", "show", letter["id"])
    assert "body" not in hidden
    record = told(server, "dead-letters", "show", letter["id"], "--reveal")
    assert json.loads(record["body"])["event_type"]
    count = len(told(server, "dead-letters", "ls"))
    planned = told(server, "dead-letters", "redrive", "--dry-run", "--where", "reason~CORRELATION_ID")
    (reason,) = planned["reasons"]
    assert reason.startswith("unknown correlation_id …: ")  # the ids differ, the cause is one
    assert planned == {"sent": count, "reasons": {reason: count}, "refused": {}}
    assert told(server, "dead-letters", "ls", "--where", "group=nobody") == []
    done = juxta("dead-letters", "redrive", "--max", "1", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert "Sent again: 1." in done.stderr
    until(lambda: any(one["redrives"] == 1 for one in told(server, "dead-letters", "ls")))  # it died again
    assert len(told(server, "dead-letters", "ls")) == count
    doctor = juxta("doctor", "--url", server.url)
    assert doctor.returncode == 1
    assert f"comparison_result.v1: {count}" in doctor.stdout
    log = juxta("audit", "ls", "--json", "--data", str(server.folder))
    said = [(entry["action"], entry["detail"]) for entry in json.loads(log.stdout)]
    assert ("POST /api/v1/breakers/trip", f"200 {LANE}: too strict today") in said
    assert any(action.endswith("/record") for action, _ in said)
    assert any(action.endswith("/redrive") and "sent 1" in detail for action, detail in said)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("breaker", "trip", "no/judge", "--reason", "x"), 3, "No lane 'no/judge'"),
        (("queue", "show", str(uuid4())), 3, "No request is stored"),
        (("queue", "show", "nonsense"), 2, "'nonsense' is no queue_id; one looks like 7c9e6679-"),
        (("breaker", "trip", LANE, "--reason", " "), 2, "must not be empty"),
        (("dead-letters", "show", "0-99999"), 3, "no dead letter"),
        (("dead-letters", "ls", "--topic", "other"), 3, "No dead letters of 'other'"),
        (("dead-letters", "show", "the-first"), 2, "one looks like 3-1207"),
        (("dead-letters", "ls", "--where", "foo~x"), 2, "no field 'foo'; what can be asked for is reason, "),
        (("dead-letters", "redrive", "--where", "foo~x"), 2, "no field 'foo'"),
        (("dead-letters", "redrive", "--where", "reason"), 2, "field=text"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    server: Process, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = juxta(*arguments, "--url", server.url)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_where_no_server_is_it_says_so_and_what_to_type() -> None:
    for arguments in (("breaker", "ls"), ("doctor",), ("dead-letters", "ls")):
        done = juxta(*arguments, "--url", "http://127.0.0.1:1")
        assert (done.returncode, done.stdout) == (5, "")
        assert "No server answers at http://127.0.0.1:1" in done.stderr


def test_with_keys_it_needs_one_with_the_scope(tmp_path: Path) -> None:
    keys = {
        scope: juxta("key", "new", "--name", scope, "--scope", scope, "--data", str(tmp_path)).stdout.strip()
        for scope in ("read", "operate")
    }
    with process_on(tmp_path, "--no-demo", "--set", "auth.enabled=true") as process:
        url = ("--url", process.url)
        assert juxta("breaker", "ls", *url).returncode == 1
        assert juxta("breaker", "ls", *url, "--key", keys["read"]).returncode == 0
        refused = juxta("dead-letters", "redrive", *url, "--key", keys["read"])
        assert "scope operate" in refused.stderr
        assert juxta("dead-letters", "redrive", "--dry-run", *url, "--key", keys["operate"]).returncode == 0


def test_with_roles_apart_doctor_asks_them_all_and_dead_letters_are_seen_from_any(
    tmp_path: Path, kafka: Kafka
) -> None:
    if kafka.process_id is None:
        kafka.start()
    deployment = Deployment(tmp_path, on_kafka())
    with deployment.provider("p1") as provider, deployment.cj(provider) as cj:
        urls = ("--url", cj.url, "--url", provider.url)
        topic = deployment.settings["cj.callback_topic"]
        alone = {
            "user_prompt": QUESTION,
            "essay_a": essay(1),
            "essay_b": essay(2),
            "callback_topic": topic,
            "correlation_id": str(uuid4()),
        }
        provider.client.post("/api/v1/comparison", json=alone).raise_for_status()
        told(provider, "breaker", "trip", SIMULATED, "--reason", "so that both wait")
        alone["correlation_id"] = str(uuid4())
        assert provider.client.post("/api/v1/comparison", json=alone).status_code == 202
        batch_id = create(cj, essays=4)
        until(lambda: cj.batch(batch_id)["queued"])
        done = juxta("doctor", *urls)
        assert done.returncode == 1
        assert f"waiting for judge {SIMULATED}: breaker open since " in done.stdout
        told(provider, "breaker", "reset", SIMULATED, "--reason", "they waited")
        until(lambda: finished(cj, batch_id))
        (letter,) = until(lambda: told(cj, "dead-letters", "ls"))
        assert letter["at"] is not None
        assert told(provider, "dead-letters", "ls", "--topic", topic) == [letter]
        assert told(provider, "dead-letters", "redrive", "--topic", topic)["sent"] == 1
        (again,) = until(lambda: told(cj, "dead-letters", "ls"))  # nobody's, still
        assert (again["record_id"], again["redrives"]) == (letter["record_id"], 1)
        assert f"dead letters of {topic}: 1" in juxta("doctor", *urls).stdout
