"""Everything that the fake does wrong on request, by name."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.fake_llm import broken_http, broken_words
from tests.fake_llm.broken_words import Change
from tests.fake_llm.dialect import Fault
from tests.fake_llm.exchange import Exchange

TEN_DAYS = 864_000
REFUSED = "connection_refused"

Act = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True)
class Misbehaviour:
    """A name, what it does in one sentence, and how."""

    name: str
    says: str
    act: Act


def _denies(fault: Fault, headers: Callable[[float], Mapping[str, str]] = lambda _: {}) -> Act:
    async def act(exchange: Exchange) -> None:
        await exchange.send(exchange.denial(fault).having(**headers(exchange.wait)))

    return act


def _says(change: Change) -> Act:
    async def act(exchange: Exchange) -> None:
        await exchange.send(exchange.answer(change(exchange.good)))

    return act


async def _limits_in_its_own_words(exchange: Exchange) -> None:
    await exchange.send(exchange.denial(Fault.RATE, wait=exchange.wait))


async def _refuses(exchange: Exchange) -> None:
    """Google blocks the prompt: no word is written, and none is billed."""
    refused = broken_words.refusal(exchange.good)
    await exchange.send(exchange.answer(refused.saying("") if exchange.dialect.name == "google" else refused))


async def _filters(exchange: Exchange) -> None:
    """Anthropic has no stop reason for it: its filter answers with an error."""
    if exchange.dialect.name == "anthropic":
        await exchange.send(exchange.denial(Fault.FILTERED))
    else:
        await exchange.send(exchange.answer(broken_words.filtered(exchange.good)))


def _date(wait: float) -> str:
    """Whole seconds, rounded up: never earlier than meant."""
    moment = math.ceil(datetime.now(UTC).timestamp() + wait)
    return format_datetime(datetime.fromtimestamp(0, UTC) + timedelta(seconds=moment), usegmt=True)


ALL = (
    Misbehaviour(
        "rate_limited_seconds",
        "429 with Retry-After in whole seconds.",
        _denies(Fault.RATE, lambda wait: {"retry_after": str(math.ceil(wait))}),
    ),
    Misbehaviour(
        "rate_limited_date",
        "429 with Retry-After as an HTTP date.",
        _denies(Fault.RATE, lambda wait: {"retry_after": _date(wait)}),
    ),
    Misbehaviour(
        "rate_limited_ms",
        "429 with retry-after-ms, in milliseconds, and no Retry-After.",
        _denies(Fault.RATE, lambda wait: {"retry_after_ms": str(math.ceil(1000 * wait))}),
    ),
    Misbehaviour(
        "rate_limited_in_words",
        "429 with the wait only where the vendor has words for it: OpenAI's message, Google's RetryInfo, Anthropic nowhere.",
        _limits_in_its_own_words,
    ),
    Misbehaviour("rate_limited_bare", "429 that does not say how long to wait.", _denies(Fault.RATE)),
    Misbehaviour(
        "rate_limited_for_days",
        "429 with a Retry-After of ten days.",
        _denies(Fault.RATE, lambda _: {"retry_after": str(TEN_DAYS)}),
    ),
    Misbehaviour(
        "rate_limited_nonsense",
        "429 with a Retry-After that is neither a number nor a date.",
        _denies(Fault.RATE, lambda _: {"retry_after": "soon"}),
    ),
    Misbehaviour("server_error", "500 with the vendor's error.", _denies(Fault.SERVER)),
    Misbehaviour("bad_gateway_html", "502 with the HTML page of a proxy.", broken_http.bad_gateway),
    Misbehaviour("unavailable", "503 with the vendor's error.", _denies(Fault.UNAVAILABLE)),
    Misbehaviour("overloaded", "529, overloaded, with the vendor's error.", _denies(Fault.OVERLOADED)),
    Misbehaviour(
        REFUSED,
        "The port is closed: connections are refused and those that are open are reset, for every format.",
        broken_http.resets_at_once,
    ),
    Misbehaviour(
        "reset_at_once",
        "The connection is reset before the first byte of an answer.",
        broken_http.resets_at_once,
    ),
    Misbehaviour(
        "reset_mid_body", "The connection is reset after half of the body.", broken_http.resets_mid_body
    ),
    Misbehaviour(
        "ends_early",
        "The connection ends in good order after half of the promised body.",
        broken_http.ends_early,
    ),
    Misbehaviour("never_answers", "The request is read and nothing is ever sent.", broken_http.never_answers),
    Misbehaviour(
        "hangs_after_headers",
        "200 and the headers are sent, the body never.",
        broken_http.hangs_after_headers,
    ),
    Misbehaviour("slow_drip", "The body comes at a byte a second (`pace`).", broken_http.drips),
    Misbehaviour(
        "truncated_body",
        "Half of the answer's JSON under a Content-Length that is true.",
        broken_http.cuts_the_body,
    ),
    Misbehaviour(
        "truncated_json",
        "The model's JSON ends in its middle though it says it stopped.",
        _says(broken_words.truncated),
    ),
    Misbehaviour("fenced_json", "The model's JSON stands in a Markdown fence.", _says(broken_words.fenced)),
    Misbehaviour("json_in_prose", "The model's JSON stands between sentences.", _says(broken_words.in_prose)),
    Misbehaviour(
        "wrong_schema", "The model answers an object with other fields.", _says(broken_words.other_fields)
    ),
    Misbehaviour(
        "refusal",
        "The model declines: OpenAI's refusal, Anthropic's stop reason, Google's blocked prompt.",
        _refuses,
    ),
    Misbehaviour(
        "content_filter",
        "A filter takes the words: OpenAI's finish reason, Anthropic's 400, Google's SAFETY.",
        _filters,
    ),
    Misbehaviour(
        "cut_at_max_tokens",
        "Half of the model's JSON, with the stop reason of a limit.",
        _says(broken_words.cut_short),
    ),
    Misbehaviour("empty_content", "The model stops as usual and said nothing.", _says(broken_words.empty)),
    Misbehaviour(
        "wrong_winner",
        'The winner is "Essay B.", which is none of the names.',
        _says(broken_words.wrong_winner),
    ),
    Misbehaviour("both_winners", "The winner is a list of both.", _says(broken_words.both_winners)),
    Misbehaviour(
        "confidence_out_of_range",
        "The confidence is 170, or a level that was not offered.",
        _says(broken_words.beyond_confidence),
    ),
    Misbehaviour(
        "endless_justification",
        "A good verdict with a justification of 100,000 characters.",
        _says(broken_words.endless_justification),
    ),
    Misbehaviour("huge_output", "A justification of 50 MB in chunks, without a length.", broken_http.floods),
    Misbehaviour(
        "wrong_model", "A good verdict, by another model than was asked.", _says(broken_words.other_model)
    ),
    Misbehaviour("ok_with_error_body", "200 with the vendor's error as body.", broken_http.fails_with_200),
    Misbehaviour("redirect", "307 to another path, where followers are counted.", broken_http.redirects),
    Misbehaviour(
        "wrong_content_type", "A good answer that calls itself text/html.", broken_http.calls_it_html
    ),
    Misbehaviour(
        "gzip_bomb", "About 100 kB of gzip that unpack to 100 MB of spaces and the answer.", broken_http.bombs
    ),
    Misbehaviour(
        "duplicate_keys",
        "The model's JSON names two winners under one key.",
        _says(broken_words.duplicate_keys),
    ),
    Misbehaviour("invalid_utf8", "The words hold bytes that are no UTF-8.", broken_http.breaks_utf8),
    Misbehaviour(
        "wrong_key", "The vendor's answer to a wrong key: 401, Google 400.", _denies(Fault.KEY_WRONG)
    ),
    Misbehaviour("payment_required", "402 with the vendor's error.", _denies(Fault.PAYMENT)),
    Misbehaviour(
        "insufficient_quota",
        "The vendor's way to say that the money is gone, a 429 of another kind; waiting does not help.",
        _denies(Fault.QUOTA),
    ),
    Misbehaviour("unknown_model", "404: there is no such model.", _denies(Fault.MODEL_UNKNOWN)),
)

MISBEHAVIOURS: Mapping[str, Misbehaviour] = {each.name: each for each in ALL}
