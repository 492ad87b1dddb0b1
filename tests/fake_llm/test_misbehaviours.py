"""Each misbehaviour does on the wire what its name says, in each format."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from tests.fake_llm import MISBEHAVIOURS, FakeLLM, Plan
from tests.fake_llm.client import FORMATS, KEY, MODEL, Seen, ask, until

pytestmark = pytest.mark.anyio

LIMITED = ("wait", "retry-after", "retry-after-ms")
SHORT, LONG = 0.3, 20.0


@pytest.fixture
async def server() -> AsyncIterator[FakeLLM]:
    async with FakeLLM(key=KEY, pace=0.01) as server:
        yield server


def _limited(header: str | None, fits: Callable[[str], bool] = lambda _: True) -> Callable[[Seen, str], None]:
    def check(seen: Seen, name: str) -> None:
        assert seen.status == 429
        assert "error" in seen.json
        assert [each for each in LIMITED if each in seen.headers] == ([header] if header else [])
        assert header is None or fits(seen.headers[header])

    return check


def _soon(date: str) -> bool:
    return date.endswith("GMT") and 0 < (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds() <= 4


def _in_words(seen: Seen, name: str) -> None:
    _limited(None)(seen, name)
    said = {
        "openai": b"try again in 3.000s",
        "google": b'"retryDelay": "3.000s"',
        "anthropic": b"rate_limit_error",
    }
    assert said[name] in seen.body


def _status(status: int) -> Callable[[Seen, str], None]:
    def check(seen: Seen, name: str) -> None:
        assert seen.status == status
        assert seen.json["error"]["message"]

    return check


def _html(seen: Seen, name: str) -> None:
    assert (seen.status, seen.headers["content-type"]) == (502, "text/html")
    assert seen.body.startswith(b"<!doctype html>")


def _cut(end: str, *, most: float) -> Callable[[Seen, str], None]:
    def check(seen: Seen, name: str) -> None:
        assert seen.end == end
        assert seen.status == 200
        assert len(seen.body) <= most * int(seen.headers["content-length"])

    return check


def _nothing(end: str) -> Callable[[Seen, str], None]:
    def check(seen: Seen, name: str) -> None:
        assert (seen.data, seen.end) == (b"", end)

    return check


def _drips(seen: Seen, name: str) -> None:
    _cut("silent", most=0.5)(seen, name)
    assert 1 <= len(seen.body) <= 1 + SHORT / 0.01


def _half_a_body(seen: Seen, name: str) -> None:
    assert len(seen.body) == int(seen.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(seen.body)


def _says(
    fits: Callable[[str], bool], *, stop: tuple[str, str, str] = ("stop", "end_turn", "STOP")
) -> Callable[[Seen, str], None]:
    def check(seen: Seen, name: str) -> None:
        assert seen.status == 200
        assert fits(seen.words(name)), seen.words(name)[:200]
        assert seen.stop(name) == stop[FORMATS.index(name)]

    return check


def _field(fits: Callable[[dict[str, object]], bool]) -> Callable[[Seen, str], None]:
    return _says(lambda words: fits(json.loads(words)))


def _no_json(words: str) -> bool:
    try:
        json.loads(words)
    except ValueError:
        return True
    return False


def _refused(seen: Seen, name: str) -> None:
    if name == "openai":
        assert seen.json["choices"][0]["message"]["content"] is None
        assert seen.json["choices"][0]["message"]["refusal"].startswith("I'm sorry")
    elif name == "anthropic":
        assert (seen.stop(name), seen.json["content"]) == ("refusal", [])
    else:
        assert seen.json["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
        assert "candidates" not in seen.json


def _filtered(seen: Seen, name: str) -> None:
    if name == "anthropic":
        assert (seen.status, seen.json["error"]["message"]) == (
            400,
            "Output blocked by content filtering policy",
        )
    else:
        assert seen.stop(name) == {"openai": "content_filter", "google": "SAFETY"}[name]
        assert "verdict" not in seen.body.decode()


def _huge(seen: Seen, name: str) -> None:
    assert "content-length" not in seen.headers
    assert len(seen.body) > 50_000_000
    assert len(json.loads(seen.words(name))["justification"]) > 50_000_000


def _other_model(seen: Seen, name: str) -> None:
    _good(seen, name)
    assert seen.json["modelVersion" if name == "google" else "model"] not in {MODEL, None}


def _error_in_200(seen: Seen, name: str) -> None:
    assert seen.status == 200
    assert seen.json["error"]["message"]


def _redirects(seen: Seen, name: str) -> None:
    assert (seen.status, seen.headers["location"], seen.body) == (307, "/_fake/elsewhere", b"")


def _good(seen: Seen, name: str) -> None:
    _field(lambda said: said["winner"] == "B" and said["confidence"] == "very_high")(seen, name)


def _calls_itself_html(seen: Seen, name: str) -> None:
    assert seen.headers["content-type"].startswith("text/html")
    _good(seen, name)


def _bomb(seen: Seen, name: str) -> None:
    assert seen.headers["content-encoding"] == "gzip"
    assert len(seen.body) < 1_000_000
    unpacked = zlib.decompress(seen.body, wbits=16 + zlib.MAX_WBITS)
    assert len(unpacked) > 100_000_000
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    _good(Seen(head + unpacked.lstrip(), "closed"), name)


def _doubled(words: str) -> bool:
    pairs = json.loads(words, object_pairs_hook=list)
    return [value for key, value in pairs if key == "winner"] == ["B", "A"]


def _broken_text(seen: Seen, name: str) -> None:
    assert seen.status == 200
    with pytest.raises(UnicodeDecodeError):
        seen.body.decode()
    json.loads(seen.body.decode(errors="replace"))


def _wrong_key(seen: Seen, name: str) -> None:
    _status({"openai": 401, "anthropic": 401, "google": 400}[name])(seen, name)


def _no_money(seen: Seen, name: str) -> None:
    _status(429)(seen, name)
    signs = {
        "openai": b'"insufficient_quota"',
        "anthropic": b'"enforced_spend_limit_reached"',
        "google": b"PerDay",
    }
    assert signs[name] in seen.body


CHECKS: dict[str, Callable[[Seen, str], None]] = {
    "rate_limited_seconds": _limited("retry-after", lambda said: said == "3"),
    "rate_limited_date": _limited("retry-after", _soon),
    "rate_limited_ms": _limited("retry-after-ms", lambda said: said == "3000"),
    "rate_limited_in_words": _in_words,
    "rate_limited_bare": _limited(None),
    "rate_limited_for_days": _limited("retry-after", lambda said: said == "864000"),
    "rate_limited_nonsense": _limited(
        "retry-after", lambda said: not said.isdecimal() and not _no_date(said)
    ),
    "server_error": _status(500),
    "bad_gateway_html": _html,
    "unavailable": _status(503),
    "overloaded": _status(529),
    "reset_at_once": _nothing("reset"),
    "reset_mid_body": _cut("reset", most=0.5),
    "ends_early": _cut("closed", most=0.5),
    "never_answers": _nothing("silent"),
    "hangs_after_headers": _cut("silent", most=0.0),
    "slow_drip": _drips,
    "truncated_body": _half_a_body,
    "truncated_json": _says(lambda words: words.startswith("{") and _no_json(words)),
    "fenced_json": _says(lambda words: words.startswith("```json\n{") and words.endswith("}\n```")),
    "json_in_prose": _says(lambda words: "\n\n{" in words and not words.startswith("{")),
    "wrong_schema": _field(lambda said: "winner" not in said),
    "refusal": _refused,
    "content_filter": _filtered,
    "cut_at_max_tokens": _says(_no_json, stop=("length", "max_tokens", "MAX_TOKENS")),
    "empty_content": _says(lambda words: not words),
    "wrong_winner": _field(lambda said: said["winner"] == "Essay B."),
    "both_winners": _field(lambda said: said["winner"] == ["A", "B"]),
    "confidence_out_of_range": _field(lambda said: said["confidence"] == "beyond any doubt"),
    "endless_justification": _field(lambda said: len(str(said["justification"])) == 100_000),
    "huge_output": _huge,
    "wrong_model": _other_model,
    "ok_with_error_body": _error_in_200,
    "redirect": _redirects,
    "wrong_content_type": _calls_itself_html,
    "gzip_bomb": _bomb,
    "duplicate_keys": _says(_doubled),
    "invalid_utf8": _broken_text,
    "wrong_key": _wrong_key,
    "payment_required": _status(402),
    "insufficient_quota": _no_money,
    "unknown_model": _status(404),
}
SILENT = {"hangs_after_headers", "slow_drip"}


def _no_date(said: str) -> bool:
    try:
        parsedate_to_datetime(said)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("misbehaviour", CHECKS)
async def test_a_misbehaviour_is_on_the_wire_what_its_name_says(
    server: FakeLLM, misbehaviour: str, name: str
) -> None:
    await server.misbehave(Plan(name=misbehaviour, times=1, wait=3))
    first = SHORT if misbehaviour == "never_answers" else LONG
    seen = await ask(server.url, name, first=first, patience=SHORT if misbehaviour in SILENT else LONG)
    CHECKS[misbehaviour](seen, name)
    assert KEY.encode() not in seen.data
    assert server.stats()["misbehaviours"] == {misbehaviour: 1}
    _good(await ask(server.url, name), name)


def test_every_misbehaviour_is_checked() -> None:
    assert CHECKS.keys() | {"connection_refused"} == MISBEHAVIOURS.keys()
    assert len(MISBEHAVIOURS) >= 30


async def test_a_closed_port_refuses_until_it_opens(server: FakeLLM) -> None:
    await server.misbehave("connection_refused")
    for name in FORMATS:
        with pytest.raises(ConnectionRefusedError):
            await ask(server.url, name)
    await server.behave()
    _good(await ask(server.url, "openai"), "openai")


async def test_a_port_closed_for_a_time_opens_by_itself(server: FakeLLM) -> None:
    await server.misbehave("connection_refused~0.5")
    with pytest.raises(ConnectionRefusedError):
        await ask(server.url, "google")
    await until(lambda: _answers(server))


async def test_open_connections_are_reset_when_the_port_closes(server: FakeLLM) -> None:
    await server.misbehave("never_answers")
    waiting = asyncio.create_task(ask(server.url, "anthropic"))
    await until(lambda: _runs(server))
    await server.misbehave("connection_refused")
    assert (await waiting).end == "reset"


async def test_a_misbehaviour_can_be_of_one_format_and_of_the_first_calls(server: FakeLLM) -> None:
    await server.misbehave("google/server_error*2")
    statuses = [
        (await ask(server.url, name)).status for name in ("openai", "google", "anthropic", "google", "google")
    ]
    assert statuses == [200, 500, 200, 500, 200]


async def test_a_misbehaviour_ends_with_its_seconds() -> None:
    now = 0.0
    async with FakeLLM(clock=lambda: now) as server:
        await server.misbehave(Plan(name="server_error", seconds=30))
        now = 29.9
        assert (await ask(server.url, "openai")).status == 500
        now = 30.0
        assert (await ask(server.url, "openai")).status == 200


async def test_a_misbehaviour_now_and_then_is_the_same_under_the_same_seed() -> None:
    async def statuses() -> list[int]:
        async with FakeLLM(seed=7) as server:
            await server.misbehave("server_error@0.5")
            return [(await ask(server.url, "openai")).status for _ in range(20)]

    first = await statuses()
    assert set(first) == {200, 500}
    assert await statuses() == first


async def test_errors_are_about_their_share() -> None:
    async with FakeLLM(errors=0.3, seed=1) as server:
        for _ in range(100):
            await ask(server.url, "openai")
        assert 15 <= sum(server.stats()["misbehaviours"].values()) <= 45


@pytest.mark.parametrize(
    "text", ["no_such_thing", "server_error*0", "server_error@2", "connection_refused*1", "a b"]
)
def test_a_plan_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Plan.read(text)


async def _runs(server: FakeLLM) -> bool:
    return server.counts.running > 0


async def _answers(server: FakeLLM) -> bool:
    try:
        return (await ask(server.url, "openai")).status == 200
    except ConnectionRefusedError:
        return False
