"""Every failure has its class, in the words of each vendor and of the servers between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from app.provider.judges.llm.failures import UNSAID
from app.provider.judges.llm.wire import Answer
from app.provider.judges.protocol import JudgeError
from tests.provider.judges.llm.pairs import FORMATS, answer_file

SECRET = "sesame-opens"


def openai(code: str | None, kind: str = "invalid_request_error", message: str = SECRET) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind: str, message: str = SECRET, details: Any = None) -> dict[str, Any]:
    error = {"type": kind, "message": message, **({"details": details} if details else {})}
    return {"type": "error", "error": error, "request_id": "req_1"}


def google(code: int, status: str, message: str = SECRET, *details: Mapping[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
DAY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
MINUTE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
SPENT = {"error_code": "contract_spend_limit_reached"}

CASES: list[tuple[str, int, Any, str]] = [
    ("openai", 401, openai("invalid_api_key"), "auth"),
    ("openai", 403, openai("unsupported_country_region_territory"), "auth"),
    ("openai", 404, openai("model_not_found"), "rejected"),
    ("openai", 400, openai(None), "rejected"),
    ("openai", 400, openai("context_length_exceeded"), "too_long"),
    ("openai", 400, openai(None, message="This model's maximum context length is 8192 tokens"), "too_long"),
    ("openai", 400, openai("content_filter", message="Azure's content management policy"), "refused"),
    ("openai", 429, openai("insufficient_quota", "insufficient_quota"), "quota"),
    ("openai", 429, openai("rate_limit_exceeded", "requests"), "slow"),
    ("openai", 500, openai(None, "server_error"), "unavailable"),
    ("openai", 402, {"error": {"message": "Insufficient Balance", "code": 402}}, "quota"),
    ("openai", 403, {"error": {"message": "Your chosen model requires moderation", "code": 403}}, "refused"),
    ("openai", 404, {"error": f"model '{SECRET}' not found, try pulling it first"}, "rejected"),
    ("openai", 401, {"message": "Unauthorized", "request_id": SECRET}, "auth"),
    (
        "openai",
        400,
        {"object": "error", "message": "maximum context length is 4096", "code": 400},
        "too_long",
    ),
    ("openai", 400, [google(400, "INVALID_ARGUMENT", SECRET, BAD_KEY)], "auth"),
    ("openai", 200, {"error": {"message": SECRET, "code": 502}}, "unavailable"),
    ("openai", 200, {"error": {"message": SECRET, "code": 429}}, "slow"),
    ("openai", 200, {"error": {"message": SECRET}}, "unavailable"),
    ("anthropic", 401, anthropic("authentication_error"), "auth"),
    ("anthropic", 403, anthropic("permission_error"), "auth"),
    ("anthropic", 402, anthropic("billing_error"), "quota"),
    ("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low"), "quota"),
    ("anthropic", 400, anthropic("invalid_request_error", SECRET, SPENT), "quota"),
    ("anthropic", 400, anthropic("invalid_request_error", "prompt is too long: 9 tokens > 8"), "too_long"),
    (
        "anthropic",
        400,
        anthropic("invalid_request_error", "Output blocked by content filtering policy"),
        "refused",
    ),
    ("anthropic", 413, anthropic("request_too_large"), "too_long"),
    ("anthropic", 404, anthropic("not_found_error"), "rejected"),
    ("anthropic", 429, anthropic("rate_limit_error"), "slow"),
    ("anthropic", 500, anthropic("api_error"), "unavailable"),
    ("anthropic", 504, anthropic("timeout_error"), "timeout"),
    ("anthropic", 529, anthropic("overloaded_error"), "unavailable"),
    ("anthropic", 200, anthropic("overloaded_error"), "unavailable"),
    ("google", 400, google(400, "INVALID_ARGUMENT", SECRET, BAD_KEY), "auth"),
    ("google", 403, google(403, "PERMISSION_DENIED"), "auth"),
    ("google", 404, google(404, "NOT_FOUND"), "rejected"),
    (
        "google",
        400,
        google(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the limit"),
        "too_long",
    ),
    ("google", 400, google(400, "INVALID_ARGUMENT"), "rejected"),
    ("google", 429, google(429, "RESOURCE_EXHAUSTED"), "slow"),
    ("google", 429, google(429, "RESOURCE_EXHAUSTED", SECRET, MINUTE), "slow"),
    ("google", 429, google(429, "RESOURCE_EXHAUSTED", SECRET, MINUTE, DAY), "quota"),
    ("google", 500, google(500, "INTERNAL"), "unavailable"),
    ("google", 503, google(503, "UNAVAILABLE"), "unavailable"),
    ("google", 504, google(504, "DEADLINE_EXCEEDED"), "timeout"),
    ("google", 200, google(503, "UNAVAILABLE"), "unavailable"),
]
FATE: Mapping[str, tuple[str, bool, bool]] = {
    "auth": ("auth", False, True),
    "quota": ("quota", False, True),
    "rejected": ("rejected", False, True),
    "too_long": ("too_long", False, False),
    "refused": ("refused", False, False),
    "slow": ("unavailable", True, False),
    "unavailable": ("unavailable", True, True),
    "timeout": ("timeout", True, True),
}
"""The code, whether it is tried again, whether it counts toward the breaker."""


def failed(provider: str, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> JudgeError:
    with pytest.raises(JudgeError) as caught:
        FORMATS[provider].read(Answer(status, headers or {}, body), now=0.0)
    assert SECRET not in caught.value.detail
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(("provider", "status", "body", "kind"), CASES)
def test_a_vendors_error_has_its_class(provider: str, status: int, body: Any, kind: str) -> None:
    error = failed(provider, status, json.dumps(body).encode())
    assert (error.code, error.retryable, error.trips) == FATE[kind]
    assert error.retry_after == (UNSAID if kind == "slow" else None)


@pytest.mark.parametrize("provider", FORMATS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, "rejected"), (400, "rejected"), (401, "auth"), (402, "quota"), (403, "auth"), (404, "rejected"),
        (408, "timeout"), (413, "too_long"), (418, "rejected"), (429, "slow"), (500, "unavailable"),
        (502, "unavailable"), (503, "unavailable"), (504, "timeout"), (529, "unavailable"),
    ],
)  # fmt: skip
def test_a_status_alone_has_its_class(provider: str, status: int, kind: str) -> None:
    error = failed(provider, status, f"<html>{SECRET}</html>".encode())
    assert (error.code, error.retryable, error.trips) == FATE[kind]
    assert str(status) in error.detail


def test_a_server_that_takes_no_schema_is_told_from_one_without_the_model() -> None:
    for said in (
        openai(None, message="response_format type is unavailable now"),
        openai(None, message="'json_schema' is not supported") | {"param": SECRET},
        {"error": {"message": "no", "param": "response_format"}},
    ):
        error = failed("openai", 400, json.dumps(said).encode())
        assert (error.code, error.trips) == ("rejected", True)
        assert "judges.openai.structured" in error.detail
    assert "structured" not in failed("openai", 400, json.dumps(openai(None)).encode()).detail


@pytest.mark.parametrize("provider", FORMATS)
def test_a_key_that_was_not_sent_is_not_called_a_wrong_one(provider: str) -> None:
    assert "does not accept the key" in failed(provider, 401, b"").detail
    with pytest.raises(JudgeError, match="No key was sent") as caught:
        FORMATS[provider].read(Answer(401, {}, b"", keyed=False), now=0.0)
    assert (caught.value.code, caught.value.trips) == ("auth", True)


@pytest.mark.parametrize("provider", FORMATS)
def test_the_wait_that_a_server_asks_for_is_kept(provider: str) -> None:
    assert failed(provider, 429, b"", {"retry-after": "7"}).retry_after == 7
    assert failed(provider, 503, b"", {"retry-after": "Thu, 01 Jan 1970 00:00:09 GMT"}).retry_after == 9
    assert failed(provider, 429, b"", {"retry-after": "1e9"}).retry_after == 3600


def test_googles_wait_stands_in_the_body() -> None:
    body = json.dumps(google(429, "RESOURCE_EXHAUSTED", SECRET, RETRY)).encode()
    assert failed("google", 429, body).retry_after == 34


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 7.5s. Visit", 7.5),
        ("Please try again in 1m12s.", 72.0),
        ("Please try again in 250ms.", 0.25),
        ("* Quota exceeded\nPlease retry in 20.04466179s.", 20.04466179),
        ("Please try again in a while.", UNSAID),
    ],
)
def test_a_wait_that_stands_in_the_message_alone_is_found(message: str, seconds: float) -> None:
    body = json.dumps(openai("rate_limit_exceeded", "requests", message)).encode()
    assert failed("openai", 429, body).retry_after == pytest.approx(seconds)


@pytest.mark.parametrize("provider", FORMATS)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b'"text"', b"\xff\xfe{}", b"<html></html>", b'{"choices": [], "candidates": []}',
        b'{"choices": [{}], "candidates": [7], "content": "x"}', b"[" * 100_000, b'{"a": 1, "a": 2}',
    ],
)  # fmt: skip
def test_a_200_that_is_something_else_is_a_broken_server(provider: str, body: bytes) -> None:
    error = failed(provider, 200, body)
    assert (error.code, error.retryable, error.trips) == ("malformed", True, True)


@pytest.mark.parametrize("name", ["openai.verdict", "anthropic.verdict", "google.verdict"])
def test_a_truncated_answer_is_never_read(name: str) -> None:
    whole = answer_file(name).read_bytes().strip()
    for length in range(0, len(whole), 7):
        assert failed(name.partition(".")[0], 200, whole[:length]).code == "malformed"
