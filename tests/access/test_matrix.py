"""Scopes by routes, every pair of them, over the whole application."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest
from starlette.routing import Route

from app.access.policy import CJ, PLATFORM, PROVIDER, WEB, Need, Policy
from app.access.scopes import ALL, Scope
from app.contracts import Problem
from app.errors import ConfigurationError
from app.settings import ROOT
from tests.access.conftest import DAY, Door, opened

TABLE: Policy = {**PLATFORM, **PROVIDER, **CJ, **WEB}
CLOSED = sorted(line for line, need in TABLE.items() if need.scopes)
OPEN = sorted(line for line, need in TABLE.items() if not need.scopes)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("door")) as door:
        yield door


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("unlocked"), enabled=False) as door:
        yield door


@pytest.fixture(scope="module")
def keys(door: Door) -> dict[str, str]:
    """A key for each scope."""
    return {word: door.key(f"only-{word}", word) for word in ALL.words}


@pytest.fixture(scope="module")
def useless(door: Door) -> dict[str, str]:
    """What looks like a key with every scope and is none."""
    good, revoked = door.key("good", "admin"), door.key("revoked", "admin")
    expired = door.key("expired", "admin", expires_in=DAY)
    door.call(door.access.keys.revoke, "revoked", by="test")
    door.clock.now += DAY
    other = door.key("other", "admin")
    return {
        "unknown": "juxta_aaaaaaaa_" + "A" * 43,
        "secret of another": good[:15] + other[15:],
        "changed at the end": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "too short": good[:-1],
        "too long": good + "A",
        "no key": "admin",
        "revoked": revoked,
        "expired": expired,
    }


def address(line: str) -> str:
    """A line of the table as something to ask: every id in it is that of nothing."""
    line = line.replace("{position:int}", "0")
    return re.sub(r"{[^}]*}", str(uuid4()), line).replace("/static", "/static/juxta.css")


def turned_away(answer: httpx2.Response) -> int | None:
    """401 or 403 when the gate refused; None when it let the request through, whatever came of it then."""
    if answer.status_code == 303 and answer.headers["location"].startswith("/login"):
        return 401
    return answer.status_code if answer.status_code in {401, 403} else None


@pytest.mark.parametrize("line", CLOSED)
def test_each_scope_opens_what_the_table_says_and_nothing_else(
    door: Door, keys: dict[str, str], line: str
) -> None:
    need = TABLE[line]
    for word, key in keys.items():
        enough = word == "admin" or Scope[word.upper()] in need.scopes
        answer = door.ask(address(line), key)
        assert turned_away(answer) == (None if enough else 403), word
        if not enough and not need.page:
            problem = Problem.model_validate_json(answer.content)
            assert answer.headers["content-type"] == "application/problem+json"
            assert " or ".join(need.scopes.words) in problem.detail


@pytest.mark.parametrize("line", CLOSED)
def test_without_a_key_that_counts_nothing_opens_and_nobody_learns_why(
    door: Door, useless: dict[str, str], line: str
) -> None:
    without = door.ask(address(line))
    assert turned_away(without) == 401
    if not TABLE[line].page:
        assert without.headers["content-type"] == "application/problem+json"
        assert without.headers["www-authenticate"] == "Bearer"
    for why, key in useless.items():
        answer = door.ask(address(line), key)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), why
        if not TABLE[line].page and not line.startswith("HEAD"):
            assert answer.content == without.content, why


@pytest.mark.parametrize("line", [line for line in CLOSED if line.startswith("GET")])
def test_asking_for_the_head_alone_needs_the_same(door: Door, keys: dict[str, str], line: str) -> None:
    head = address(line).replace("GET", "HEAD")
    assert turned_away(door.ask(head)) == 401
    assert turned_away(door.ask(head, keys["judge"])) == 403


@pytest.mark.parametrize("line", OPEN)
def test_what_is_public_asks_nobody(door: Door, line: str) -> None:
    with_nothing = door.ask(address(line))
    assert with_nothing.status_code == door.ask(address(line), "no key").status_code
    assert with_nothing.status_code in {200, 303, 503} or line == "POST /login"


@pytest.mark.parametrize("line", CLOSED)
def test_a_key_with_two_scopes_opens_what_either_opens(door: Door, line: str) -> None:
    both = door.key("both", "read", "operate")
    enough = TABLE[line].scopes & (Scope.READ | Scope.OPERATE)
    assert turned_away(door.ask(address(line), both)) == (None if enough else 403)


@pytest.mark.parametrize("line", CLOSED)
def test_where_no_keys_are_needed_everybody_may_do_everything(unlocked: Door, line: str) -> None:
    assert turned_away(unlocked.ask(address(line))) is None


async def nothing(_request: object) -> None:
    raise NotImplementedError


def test_a_route_without_a_line_does_not_start(door: Door) -> None:
    routes = [Route("/a", nothing, methods=["GET", "POST"])]
    with pytest.raises(ConfigurationError, match="no line for POST /a"):
        door.access.guarded(routes, {"GET /a": Need(Scope.READ)})


def test_a_line_without_a_route_does_not_start(door: Door) -> None:
    lines = {"GET /a": Need(Scope.READ), "GET /b": Need(Scope.READ)}
    with pytest.raises(ConfigurationError, match="GET /b, which is no route"):
        door.access.guarded([Route("/a", nothing)], lines)


def test_the_table_in_the_documentation_is_the_one_in_force() -> None:
    text = (ROOT / "docs" / "access.md").read_text(encoding="utf-8")
    written: dict[str, str] = {}
    for scopes, lines in re.findall(r"^\| ([a-z ]+) \| (`.*) \|$", text, re.MULTILINE):
        written |= dict.fromkeys(re.findall(r"`([^`]+)`", lines), scopes)
    assert written == {line: " or ".join(need.scopes.words) or "everybody" for line, need in TABLE.items()}


def test_only_what_operators_alone_may_do_is_audited() -> None:
    audited = {line for line, need in TABLE.items() if need.audited}
    assert "DELETE /api/v1/batches/{batch_id}" in audited
    assert "GET /api/v1/audit" in audited
    assert "POST /api/v1/comparison/{correlation_id}/cancel" not in audited  # cj does that for every open row
    assert not {line for line in audited if TABLE[line].scopes & (Scope.READ | Scope.SUBMIT)}
