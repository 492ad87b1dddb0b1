"""Keys as people make, use and end them: from the command line, while a server runs on the same folder or before."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio
import pytest

from app.access.access import Access
from app.access.audit import Outcome
from app.access.keyring import FRESH
from app.cli.stores import with_access
from app.settings import load
from tests.access.conftest import opened
from tests.cli.test_cli import juxta

ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def test_a_key_is_made_used_and_revoked_while_the_server_runs(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with opened(folder) as door:
        made = juxta("key", "new", "--name", "ann", "--scope", "read", "--scope", "submit", "--data", folder)
        assert made.returncode == 0
        assert re.fullmatch(r"juxta_[a-z2-7]{8}_[\w-]{43}\n", made.stdout)
        assert "only once" in made.stderr
        key = made.stdout.strip()
        assert key not in made.stderr
        assert door.ask("GET /api/v1/batches", key).status_code == 200
        assert door.ask("GET /api/v1/audit", key).status_code == 403

        ended = juxta("key", "revoke", "ann", "--data", folder)
        assert (ended.returncode, ended.stdout) == (0, "")
        door.clock.now += FRESH
        assert door.ask("GET /api/v1/batches", key).status_code == 401


def test_before_the_first_start_the_folder_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    made = juxta(
        "key", "new", "--name", "boss", "--scope", "admin", "--json", "--expires-in", "30", "--data", folder
    )
    shown = json.loads(made.stdout)
    assert (shown["name"], shown["scopes"]) == ("boss", "admin")
    assert shown["expires_at"] > shown["created_at"]
    with opened(folder) as door:
        assert door.ask("GET /api/v1/audit", shown["key"]).status_code == 200


def test_lists_hold_no_secret_and_name_who_did_what(tmp_path: Path) -> None:
    key = juxta("key", "new", "--name", "ann", "--scope", "judge", "--data", tmp_path).stdout.strip()
    juxta("key", "revoke", key[6:14], "--data", tmp_path)
    listed = juxta("key", "ls", "--json", "--data", tmp_path)
    (row,) = json.loads(listed.stdout)
    assert (row["id"], row["name"], row["scopes"]) == (key[6:14], "ann", "judge")
    assert row["revoked_at"]
    audited = juxta("audit", "ls", "--json", "--data", tmp_path)
    assert [entry["action"] for entry in json.loads(audited.stdout)] == ["key new", "key revoke"]
    tables = juxta("key", "ls", "--data", tmp_path).stdout + juxta("audit", "ls", "--data", tmp_path).stdout
    assert "ann" in tables
    assert "os:" in tables
    assert key[15:] not in tables + listed.stdout + audited.stdout


async def _of_a_night(access: Access) -> None:
    for action, target, detail in (
        ("POST /api/v1/breakers/trip", "", "200 rules/panel-v1: too strict"),
        ("POST /api/v1/queue/{queue_id}/cancel", ID, "200"),
        ("POST /api/v1/queue/{queue_id}/retry", ID, "200"),
    ):
        await access.audit.write("ann", action, target=target, detail=detail, outcome=Outcome.DONE)


def test_on_80_columns_actions_can_be_told_apart_and_ids_are_whole(tmp_path: Path) -> None:
    settings, _ = load(environment={}, assignments=[f"data={tmp_path}"])
    anyio.run(with_access, settings, _of_a_night)
    table = juxta("audit", "ls", "--data", tmp_path, columns=80).stdout
    assert max(map(len, table.splitlines())) <= 80
    for action in ("POST …/breakers/trip ", "POST …/queue/…/cancel ", "POST …/queue/…/retry "):
        assert action in table
    assert table.count(ID) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("key", "new", "--name", "local", "--scope", "read"), 1, "choose another"),
        (("key", "new", "--name", "a b", "--scope", "read"), 1, "is no name for a key"),
        (
            ("key", "new", "--name", "ann", "--scope", "reed"),
            1,
            "there are: read, submit, judge, operate, admin",
        ),
        (("key", "new", "--name", "ann"), 2, "Missing option"),
        (("key", "new", "--name", "ann", "--scope", "read", "--expires-in", "0"), 2, "--expires-in"),
        (("key", "revoke", "nobody"), 3, "There is no key 'nobody'"),
        (("--check", "--host", "0.0.0.0"), 2, "http.host: '0.0.0.0' can be reached by others"),
    ],
)
def test_a_fault_is_told_and_nothing_is_made(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = juxta(*arguments, "--data", tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
