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

from collections.abc import Mapping
from typing import Any

from app.provider.judges.llm.complaints import SLOW, class_of, complaint, inner_status, names_form, wait_of
from app.provider.judges.llm.retry_after import bounded, retry_after
from app.provider.judges.llm.verdict import strict_json
from app.provider.judges.llm.wire import Answer
from app.provider.judges.protocol import JudgeError

UNSAID = 5.0
"""Seconds to leave a server alone that says "too many requests" and not until when."""

OK = 200
REDIRECT = range(300, 400)
SERVER = 500

_BY_STATUS: Mapping[int, str] = {
    401: "auth",
    402: "quota",
    403: "auth",
    407: "auth",
    408: "timeout",
    413: "too_long",
    425: "unavailable",
    429: SLOW,
    504: "timeout",
}
_DETAILS: Mapping[str, str] = {
    "auth": "The provider does not accept the key, or the key may not do this",
    "quota": "The account has nothing left to spend",
    "too_long": "The texts are too long for this model",
    "refused": "The provider refuses these texts",
    SLOW: "The provider asks for fewer requests",
    "unavailable": "The provider is away or broken",
    "timeout": "The provider did not answer in time",
    "rejected": "The server takes no such request; look at the model's name and the base URL",
}
FORMLESS = (
    "The server does not take the form in which the answer is asked for; set judges.openai.structured to json_object,"
    " or to none"
)


def failure(code: str, where: str, *, wait: float | None = None) -> JudgeError:
    """The error of this class; `where` says how it showed, `wait` how long the server wants to be left alone."""
    detail = f"{_DETAILS[code]} ({where})."
    if code == SLOW:
        return JudgeError("unavailable", detail, retryable=True, retry_after=wait or UNSAID)
    if code in {"unavailable", "timeout"}:
        return JudgeError(code, detail, retryable=True, trips=True, retry_after=wait)
    return JudgeError(code, detail, trips=code in {"auth", "quota", "rejected"})


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
    error = complaint(body, succeeded=answer.status == OK)
    if answer.status != OK or error:
        raise classified(answer, error, now=now)
    if body is None:
        raise not_understood("is no JSON")
    if not isinstance(body, dict):
        raise not_understood("is no JSON object")
    return body


def classified(answer: Answer, error: object, *, now: float) -> JudgeError:
    """The failure that the status and the `error` member of a body tell of.

    Its own words come first: a 429 may mean an empty purse, and a 200 may hold an error.
    """
    status = answer.status
    where = f"HTTP status {status}"
    wait = bounded(wait_of(error)) or retry_after(answer.headers, now=now)
    if status in REDIRECT:
        return failure("rejected", f"{where}: redirects are not followed")
    meant = inner_status(error) if status == OK else status
    code = class_of(error) or _BY_STATUS.get(meant)
    if code is None:
        code = "rejected" if OK < meant < SERVER else "unavailable"
    if code == "auth" and not answer.keyed:
        return JudgeError("auth", f"No key was sent, and the provider wants one ({where}).", trips=True)
    if code == "rejected" and names_form(error):
        return JudgeError("rejected", f"{FORMLESS} ({where}).", trips=True)
    return failure(code, where, wait=wait)
