"""What a provider's error body says, in the words of each vendor: read, and never passed on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.provider.judges.llm.retry_after import span

SLOW = "slow"
"""Too many requests; the other classes are those of `failures.py`."""

_PER_DAY = "quota_per_day"
_BY_WORD: Mapping[str, str] = {
    word: code
    for code, words in {
        "auth": "invalid_api_key authentication_error permission_error permission_denied unauthenticated"
        " api_key_invalid api_key_expired invalid_authentication organization_on_hold",
        "quota": "insufficient_quota billing_error billing_hard_limit_reached billing_not_active insufficient_balance"
        " contract_spend_limit_reached enforced_spend_limit_reached linked_organization_spend_limit_reached"
        f" linked_organization_billing_unavailable {_PER_DAY}",
        "too_long": "context_length_exceeded exceed_context_size_error request_too_large string_above_max_length",
        "refused": "content_filter content_policy_violation responsibleaipolicyviolation moderation_blocked",
        SLOW: "rate_limit_error rate_limit_exceeded resource_exhausted rate_limited requests tokens",
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
    "content filtering policy": "refused",
}
_READ = 2_000
"""Characters of a message that are looked at."""
_COME_BACK = re.compile(r"(?:try again|retry) in ((?:\d{1,9}[dhm])*\d{1,9}(?:\.\d{1,9})?m?s)")


def complaint(body: object, *, succeeded: bool) -> object:
    """The error in a body: the member of that name, in a list of one too; some servers lay it out flat."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return None
    return body.get("error") or (None if succeeded else body)


def class_of(error: object) -> str | None:
    """The class that the error names, by a code first, then by what only its message says."""
    for word in _words(error):
        if (code := _BY_WORD.get(word)) is not None:
            return code
    message = _message(error)
    return next((code for phrase, code in _BY_PHRASE.items() if phrase in message), None)


def inner_status(error: object) -> int:
    """The HTTP status that gateways write into the body of a 200; 0 for none."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 0


def names_form(error: object) -> bool:
    """Whether it complains about the JSON schema that an answer should fit, in OpenAI's words for that."""
    param = error.get("param") if isinstance(error, dict) else None
    said = f"{param if isinstance(param, str) else ''} {_message(error)}"
    return "response_format" in said or "json_schema" in said


def wait_of(error: object) -> float | None:
    """The seconds to wait that stand in the body: Google's RetryInfo, or "try again in 7.5s"."""
    for detail in _details(error):
        said = detail.get("retryDelay")
        if isinstance(said, str) and (wait := span(said)) is not None:
            return wait
    found = _COME_BACK.search(_message(error))
    return span(found[1]) if found else None


def _words(error: object) -> Iterator[str]:
    """The codes in an error, the most specific first.

    OpenAI has `code` and `type`, Anthropic `type` and perhaps details, Google `status` and `details[].reason`, and
    says which of its quotas is used up: that of the day will not come back soon.
    """
    if not isinstance(error, dict):
        return
    for detail in _details(error):
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else []:
            if isinstance(violation, dict) and "PerDay" in str(violation.get("quotaId")):
                yield _PER_DAY
        yield from _texts(detail, ("reason", "error_code"))
    yield from _texts(error, ("code", "type", "status"))


def _texts(source: dict[str, Any], names: tuple[str, ...]) -> Iterable[str]:
    return (value.lower() for name in names if isinstance(value := source.get(name), str))


def _details(error: object) -> list[dict[str, Any]]:
    details = error.get("details") if isinstance(error, dict) else None
    return [one for one in (details if isinstance(details, list) else [details]) if isinstance(one, dict)]


def _message(error: object) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return message[:_READ].lower() if isinstance(message, str) else ""
