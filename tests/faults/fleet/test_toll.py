"""The toll sees what is broken, on stores of an installation without processes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.flow.deployment import Deployment
from tests.flow.house import furnish

from .books import Books, Copy
from .posting import Answer
from .toll import Toll, toll

REQUEST = uuid4()
EVENT = json.dumps({"event_id": "one", "data": {"winner": "essay_a"}}).encode()
PUBLISHED = Copy(REQUEST, "one", EVENT, at=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cj", "p1"):
        furnish(tmp_path / name)
    return tmp_path


def counted(
    folder: Path, *copies: Copy, answers: tuple[Answer, ...] = (), batches: tuple[str, ...] = ()
) -> Toll:
    books = Books(Deployment(folder, ("bus.kind=kafka",)))
    return toll(books, ((), copies), answers, batches=batches, forgetful=False)


def stored(folder: Path, state: str, reply: str) -> None:
    row = {
        "place": 1,
        "queue_id": REQUEST.bytes,
        "correlation_id": b"",
        "principal": "local",
        "lane": "simulated",
        "fingerprint": b"",
        "callback_key": "",
        "priority": 5,
        "state": state,
        "reply": reply,
        "outcome": "succeeded",
        "held": False,
        "cancelled": False,
        "attempt": 1,
        "tries": 1,
        "expires_in": 1.0,
        "accepted_at": 0.0,
        "expires_at": 1.0,
        "ready_at": 0.0,
    }
    with closing(sqlite3.connect(folder / "p1" / "provider.db")) as ledger:
        columns, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        ledger.execute(f"INSERT INTO requests ({columns}) VALUES ({places})", row)
        ledger.execute("INSERT INTO payloads (place, body, event) VALUES (1, '', ?)", [EVENT])
        ledger.commit()


def answer(status: int, *, queue_id: UUID = REQUEST, winner: str | None = None) -> Answer:
    return Answer(0.0, "http://p1", status, 0.1, queue_id, winner, "")


def test_what_was_promised_and_kept_is_no_loss(folder: Path) -> None:
    stored(folder, "published", "callback")
    found = counted(folder, PUBLISHED, PUBLISHED, answers=(answer(202), answer(503)))
    assert found == Toll(0, 0, 1, 0, 0, 0, 0, complaints=[])


def test_a_202_that_the_ledger_does_not_know_is_not_kept(folder: Path) -> None:
    assert counted(folder, answers=(answer(202),)).unkept == 1


def test_a_202_whose_callback_is_not_on_its_topic_is_lost_and_not_kept(folder: Path) -> None:
    stored(folder, "published", "callback")
    found = counted(folder, answers=(answer(202),))
    assert (found.lost, found.unkept) == (1, 1)


def test_a_200_that_said_another_verdict_than_the_stored_one_is_not_kept(folder: Path) -> None:
    stored(folder, "published", "response")
    assert counted(folder, answers=(answer(200, winner="essay_a"),)).unkept == 0
    assert counted(folder, answers=(answer(200, winner="essay_b"),)).unkept == 1


def test_a_server_error_is_counted_and_a_503_is_none(folder: Path) -> None:
    assert counted(folder, answers=(answer(503), answer(500), answer(422))).server_errors == 1


def test_a_comparison_that_failed_is_counted_as_undecided(folder: Path) -> None:
    row = {"id": str(REQUEST), "batch_id": "b", "state": "failed"}
    numbers = dict.fromkeys(("sequence", "wave", "first", "second", "judge", "again", "planned_at"), 0)
    with closing(sqlite3.connect(folder / "cj" / "cj.db")) as store:
        every = {**row, **numbers}
        places = ", ".join(f":{name}" for name in every)
        store.execute(f"INSERT INTO comparisons ({', '.join(every)}) VALUES ({places})", every)
        store.commit()
    assert counted(folder).undecided == 1


def test_a_request_that_has_not_ended_and_a_batch_that_nobody_knows_are_lost(folder: Path) -> None:
    stored(folder, "leased", "callback")
    assert counted(folder, batches=("unheard-of",)).lost == 2


@pytest.mark.parametrize("other", [PUBLISHED._replace(event_id="two"), PUBLISHED._replace(body=EVENT + b" ")])
def test_callbacks_of_one_request_that_differ_are_double(folder: Path, other: Copy) -> None:
    stored(folder, "published", "callback")
    assert counted(folder, PUBLISHED, other).double == 1
