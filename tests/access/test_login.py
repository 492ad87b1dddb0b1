"""Signing in with a form, and what the cookie is worth."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.audit import Outcome
from app.access.keyring import FRESH
from app.access.keys import SESSION
from app.web.login import local_path
from tests.access.conftest import Door, opened


def sign_in(door: Door, key: str, following: str = "", **headers: str) -> str:
    answer = door.ask("POST /login", data={"key": key, "next": following}, headers=headers)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["set-cookie"])


def test_a_page_asks_people_to_sign_in_and_leads_back(door: Door) -> None:
    answer = door.ask("GET /batches/new?a=b&c=d e")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/batches/new%3Fa%3Db%26c%3Dd%2520e"
    form = door.ask(f"GET {answer.headers['location']}")
    assert 'name="next" value="/batches/new?a=b&amp;c=d%20e"' in form.text
    assert "<script" not in form.text
    done = door.ask("POST /login", data={"key": door.key("ann", "read"), "next": "/batches/new?a=b"})
    assert (done.status_code, done.headers["location"]) == (303, "/batches/new?a=b")
    page = door.ask("GET /batches/new")
    assert page.status_code == 200
    assert "Sign out ann" in page.text


def test_a_form_that_was_sent_without_a_session_leads_to_the_login(door: Door) -> None:
    answer = door.ask("POST /batches")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_does_not_hold_the_key(door: Door) -> None:
    key = door.key("ann", "read")
    cookie = sign_in(door, key)
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert f"Max-Age={int(SESSION)}" in cookie
    assert "Secure" not in cookie
    assert key not in cookie
    assert "Secure" in sign_in(door, key, **{"x-forwarded-proto": "https"})


def test_the_cookie_opens_pages_and_api_with_the_scopes_of_the_key(door: Door) -> None:
    sign_in(door, door.key("ann", "read"))
    assert door.ask("GET /").status_code == 200
    assert door.ask("GET /api/v1/batches").status_code == 200
    refused = door.ask("POST /batches")
    assert refused.status_code == 403
    assert "scope submit" in refused.text
    assert "Sign out ann" in refused.text


def test_a_key_in_the_header_counts_before_the_cookie(door: Door) -> None:
    sign_in(door, door.key("ann", "read"))
    assert door.ask("GET /api/v1/batches", "no key").status_code == 401
    assert door.ask("GET /api/v1/audit", door.key("boss", "admin")).status_code == 200


def test_signing_out_ends_the_session_and_not_the_key(door: Door) -> None:
    key = door.key("ann", "read")
    sign_in(door, key)
    session = door.client.cookies["juxta_session"]
    answer = door.ask("POST /logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "juxta_session" not in door.client.cookies
    assert door.ask("GET /api/v1/batches", session).status_code == 401
    assert door.ask("GET /api/v1/batches", key).status_code == 200
    assert door.ask("POST /logout").status_code == 303


def test_a_session_ends_with_the_day_and_with_its_key(door: Door) -> None:
    key = door.key("ann", "read")
    sign_in(door, key)
    door.clock.now += SESSION - 1
    assert door.ask("GET /").status_code == 200
    door.clock.now += 1
    assert door.ask("GET /").status_code == 303
    sign_in(door, key)
    assert door.ask("GET /").status_code == 200
    door.call(door.access.keys.revoke, "ann", by="test")
    door.clock.now += FRESH
    assert door.ask("GET /").status_code == 303


def test_a_session_opens_no_other_session(door: Door) -> None:
    sign_in(door, door.key("ann", "admin"))
    answer = door.ask("POST /login", data={"key": door.client.cookies["juxta_session"]})
    assert answer.status_code == 401


def test_a_wrong_key_is_told_so_and_audited_without_it(door: Door) -> None:
    key = door.key("ann", "read")
    for wrong in (key[:-3] + "AAA", "guess", ""):
        answer = door.ask("POST /login", data={"key": wrong, "next": "/batches/new"})
        assert answer.status_code == 401
        assert "opens nothing here" in answer.text
        assert 'value="/batches/new"' in answer.text
        assert "set-cookie" not in answer.headers
    found = door.audited()
    assert [(entry.action, entry.outcome) for entry in found] == [("login", Outcome.REFUSED)] * 3
    assert [entry.target for entry in found] == [key[6:14], "", ""]


def test_failures_beyond_sixty_a_minute_are_counted_and_not_stored(door: Door) -> None:
    for _ in range(70):
        door.ask("POST /login", data={"key": "guess"})
    assert len(door.audited()) == 60
    door.clock.now += 60
    door.ask("POST /login", data={"key": "guess"})
    assert door.audited()[-1].detail == "and 10 more in the minute before"


def test_a_form_that_is_too_long_or_none_at_all_is_refused(door: Door) -> None:
    assert door.ask("POST /login", content=b"key=" + b"x" * 20_000).status_code == 413
    assert door.ask("POST /login", content=b"\xff\x00&&==").status_code == 401


def test_where_no_keys_are_needed_the_login_leads_on(unlocked: Door) -> None:
    answer = unlocked.ask(f"GET /login?next={quote('/batches/new')}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/batches/new")
    assert unlocked.ask("POST /login", data={"key": "x"}).headers["location"] == "/"
    page = unlocked.ask("GET /")
    assert "Sign out" not in page.text


@pytest.mark.parametrize(
    "foreign",
    ["", "evil", "//evil.example", "/\\evil.example", "http://evil.example", "javascript:x", "/\t/evil", "/\n//e",
     "\\\\evil", " /a", "/a\x00", "/" + "x" * 3000],
)  # fmt: skip
def test_only_paths_of_this_server_are_gone_on_to(foreign: str) -> None:
    assert local_path(foreign) == "/"


@given(st.text(alphabet="/\\:.@?#ab\t\n %", max_size=12))
def test_what_is_gone_on_to_is_always_here(text: str) -> None:
    path = local_path(text)
    assert path[0] == "/"
    assert path[1:2] not in {"/", "\\"}


def test_the_login_sends_nobody_elsewhere(tmp_path: Path) -> None:
    with opened(tmp_path) as door:
        key = door.key("ann", "read")
        answer = door.ask("POST /login", data={"key": key, "next": "//evil.example"})
        assert answer.headers["location"] == "/"
