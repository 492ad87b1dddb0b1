"""From what a provider says went wrong to the class of the failure. Its own words are read, never passed on.

refused      the model or a filter would not judge these texts           final
malformed    the answer cannot be read                                   final, unless the server itself is broken
too_long     the texts, or the answer, do not fit                        final
auth         the key is missing, wrong, or may not                       final, trips: the next call would fail too
quota        nothing is left to spend                                    final, trips
rejected     the server takes no such request: wrong address or model    final, trips
wrong_model  another model answered than was asked                       final, trips
timeout      no answer in time                                           again, trips
unavailable  away or broken: trips; too many requests: slows             again
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.provider.judges.llm.retry_after import bounded, retry_after, span
from app.provider.judges.llm.verdict import strict_json
from app.provider.judges.llm.wire import Answer
from app.provider.judges.protocol import JudgeError

UNSAID = 5.0
"""Seconds to leave a server alone that says "too many requests" and not until when."""

OK = 200
REDIRECT = range(300, 400)
SERVER = 500

_BY_WORD: Mapping[str, str] = {
    word: code
    for code, words in {
        "auth": "invalid_api_key authentication_error permission_error permission_denied unauthenticated api_key_invalid"
        " invalid_authentication api_key_expired organization_on_hold",
        "quota": "insufficient_quota billing_error billing_hard_limit_reached billing_not_active insufficient_balance"
        " contract_spend_limit_reached enforced_spend_limit_reached linked_organization_spend_limit_reached"
        " linked_organization_billing_unavailable",
        "too_long": "context_length_exceeded exceed_context_size_error request_too_large string_above_max_length",
        "refused": "content_filter content_policy_violation responsibleaipolicyviolation moderation_blocked",
        "slow": "rate_limit_error rate_limit_exceeded resource_exhausted rate_limited requests tokens",
        "unavailable": "overloaded_error api_error server_error internal internal_error internal_server_error"
        " unavailable server_overloaded engine_overloaded",
        "timeout": "timeout_error deadline_exceeded timeout",
        "rejected": "model_not_found not_found_error not_found",
    }.items()
    for word in words.split()
}
_BY_PHRASE: Mapping[str, str] = {
    "credit balance is too low": "quota",
    "api key not valid": "auth",
    "prompt is too long": "too_long",
    "maximum context length": "too_long",
    "context window": "too_long",
    "input token count": "too_long",
    "exceeds the maximum number of tokens": "too_long",
    "requires moderation": "refused",
    "content management policy": "refused",
}
_BY_STATUS: Mapping[int, str] = {
    401: "auth",
    402: "quota",
    403: "auth",
    407: "auth",
    408: "timeout",
    413: "too_long",
    425: "unavailable",
    429: "slow",
    504: "timeout",
}
_DETAILS: Mapping[str, str] = {
    "auth": "The provider does not accept the key, or the key may not do this",
    "quota": "The account has nothing left to spend",
    "too_long": "The texts are too long for this model",
    "refused": "The provider refuses these texts",
    "slow": "The provider asks for fewer requests",
    "unavailable": "The provider is away or broken",
    "timeout": "The provider did not answer in time",
    "rejected": "The server takes no such request; look at the model's name and the base URL",
}
_TOO_MANY = "slow"


def failure(code: str, where: str, *, wait: float | None = None, cost_usd: float = 0.0) -> JudgeError:
    """The error of this class; `where` says how it showed, `wait` how long the server wants to be left alone."""
    detail = f"{_DETAILS[code]} ({where})."
    if code == _TOO_MANY:
        pause = wait or UNSAID
        return JudgeError("unavailable", detail, retryable=True, retry_after=pause, cost_usd=cost_usd)
    if code in {"unavailable", "timeout"}:
        return JudgeError(code, detail, retryable=True, trips=True, retry_after=wait, cost_usd=cost_usd)
    return JudgeError(code, detail, trips=code in {"auth", "quota", "rejected"}, cost_usd=cost_usd)


def not_understood(what: str) -> JudgeError:
    """A 200 that is nothing a server of this format sends: a broken server, or another kind of it."""
    return JudgeError("malformed", f"The server's answer {what}.", retryable=True, trips=True)


def envelope(answer: Answer, *, now: float) -> dict[str, Any]:
    """The JSON object in a successful answer.

    :raises JudgeError: the server says that it failed, by status or in the body, or sent something else.
    """
    try:
        body = strict_json(answer.body)
    except ValueError:
        body = None
    error = _error_in(body, answer.status)
    if answer.status != OK or error:
        raise classified(answer.status, answer.headers, error, now=now)
    if body is None:
        raise not_understood("is no JSON")
    if not isinstance(body, dict):
        raise not_understood("is no JSON object")
    return body


def classified(status: int, headers: Mapping[str, str], error: object, *, now: float) -> JudgeError:
    """The failure that a status and the `error` member of a body tell of.

    Its own words come first: a 429 may mean an empty purse, and a 200 may hold an error.
    """
    where = f"HTTP status {status}"
    wait = bounded(_delay(error)) or retry_after(headers, now=now)
    if status in REDIRECT:
        return failure("rejected", f"{where}: redirects are not followed")
    meant = _inner_status(error) if status == OK else status
    code = _told(error) or _BY_STATUS.get(meant)
    if code is None:
        code = "rejected" if OK < meant < SERVER else "unavailable"
    return failure(code, where, wait=wait)


def _error_in(body: object, status: int) -> object:
    """What a body says of an error: its member of that name, in a list of one too; some servers lay it out flat."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return None
    return body.get("error") or (None if status == OK else body)


def _told(error: object) -> str | None:
    """By a code first, then by what only the message says."""
    for word in _words(error):
        if (code := _BY_WORD.get(word)) is not None:
            return code
    message = error.get("message") if isinstance(error, dict) else error
    if isinstance(message, str):
        said = message[:2000].lower()
        return next((code for phrase, code in _BY_PHRASE.items() if phrase in said), None)
    return None


def _words(error: object) -> Iterable[str]:
    """The codes in an error, the most specific first.

    OpenAI has `code` and `type`, Anthropic `type` and perhaps details, Google `status` and `details[].reason`.
    """
    if not isinstance(error, dict):
        return
    details = error.get("details")
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict):
            yield from _texts(detail, ("reason", "error_code"))
    yield from _texts(error, ("code", "type", "status"))


def _texts(source: dict[str, Any], names: tuple[str, ...]) -> Iterable[str]:
    return (value.lower() for name in names if isinstance(value := source.get(name), str))


def _inner_status(error: object) -> int:
    """The status that gateways write into the body of a 200."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 0


def _delay(error: object) -> float | None:
    """Google's RetryInfo: `{"retryDelay": "34s"}` among the details."""
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else []:
        said = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(said, str) and (wait := span(said)) is not None:
            return wait
    return None
