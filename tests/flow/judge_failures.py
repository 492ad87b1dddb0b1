"""What must come of each misbehaviour of a language model or its server: the table of docs/judge-failures.md.

`python -m tests.flow.judge_failures` prints it for the page; a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "judge-failures.md"
TRIES = 2
"""How often a judge is asked for one comparison in this proof; as shipped it is `queue.max_tries`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How a comparison must end whose judge does nothing else.

    `code` is the class, empty for a verdict; `again`: asked up to `TRIES` times; `trips`: each try counts toward the
    breaker; `turns`: HTTP calls in a try, 2 with a repair; `retryable`: a new comparison may help.
    """

    who: str
    code: str = ""
    again: bool = False
    trips: bool = False
    turns: int = 1
    retryable: bool = False

    @property
    def tries(self) -> int:
        return TRIES if self.again else 1


def verdict(who: str) -> Fate:
    return Fate(who=who)


def final(code: str, who: str, *, trips: bool = False, turns: int = 1) -> Fate:
    return Fate(who=who, code=code, trips=trips, turns=turns)


def passing(code: str, who: str, *, trips: bool = True) -> Fate:
    return Fate(who=who, code=code, again=True, trips=trips, retryable=True)


def unreadable(who: str) -> Fate:
    return final("malformed", who, turns=2)


FATES: Mapping[str, Fate] = {
    "rate_limited_seconds": passing("unavailable", "OpenAI, Anthropic, OpenRouter", trips=False),
    "rate_limited_date": passing("unavailable", "proxies; the HTTP standard allows it", trips=False),
    "rate_limited_ms": passing("unavailable", "OpenAI, Azure", trips=False),
    "rate_limited_in_words": passing("unavailable", "OpenAI's message, Google's RetryInfo", trips=False),
    "rate_limited_bare": passing("unavailable", "gateways, servers of one's own", trips=False),
    "rate_limited_for_days": Fate(
        who="a quota of the month, a clock that is wrong", code="request-expired", retryable=True
    ),
    "rate_limited_nonsense": passing("unavailable", "gateways", trips=False),
    "server_error": passing("unavailable", "every vendor, now and then"),
    "bad_gateway_html": passing("unavailable", "the proxy before a vendor"),
    "unavailable": passing("unavailable", "Google under load, others in maintenance"),
    "overloaded": passing("unavailable", "Anthropic under load"),
    "connection_refused": passing("unavailable", "a server of one's own that is not running"),
    "reset_at_once": passing("unavailable", "a load balancer that lost its server"),
    "reset_mid_body": passing("unavailable", "a server that crashed"),
    "ends_early": passing("unavailable", "a proxy that gave up"),
    "never_answers": passing("timeout", "a model that loads, a connection that is lost"),
    "hangs_after_headers": passing("timeout", "a model that thinks beyond all patience"),
    "slow_drip": passing("timeout", "a server that keeps the line open with a byte now and then"),
    "truncated_body": passing("malformed", "a proxy that cuts"),
    "truncated_json": unreadable("small models, when nothing holds them to the schema"),
    "fenced_json": unreadable("small models, and older ones"),
    "json_in_prose": unreadable("small models, and older ones"),
    "wrong_schema": unreadable("servers that ignore the schema"),
    "refusal": final("refused", "all three, each in a way of its own"),
    "content_filter": final("refused", "all three, Azure, OpenRouter"),
    "cut_at_max_tokens": final("too_long", "models that reason longer than there is room"),
    "empty_content": unreadable("models that spend all on reasoning"),
    "wrong_winner": unreadable("servers that ignore the schema"),
    "both_winners": unreadable("servers that ignore the schema"),
    "confidence_out_of_range": unreadable("servers that ignore the schema"),
    "endless_justification": verdict("models that do not stop"),
    "huge_output": final("malformed", "a model in a loop, a hostile server"),
    "wrong_model": final("wrong_model", "gateways that fall back to another model", trips=True),
    "ok_with_error_body": passing("unavailable", "OpenRouter, other gateways"),
    "redirect": final("rejected", "a base URL that has moved; a login page", trips=True),
    "wrong_content_type": verdict("proxies"),
    "gzip_bomb": final("malformed", "a hostile server"),
    "duplicate_keys": unreadable("models that change their mind while they write"),
    "invalid_utf8": passing("malformed", "a server that cuts between the bytes of a letter"),
    "wrong_key": final("auth", "every vendor; Google says 400", trips=True),
    "payment_required": final("quota", "DeepSeek, OpenRouter, Anthropic", trips=True),
    "insufficient_quota": final(
        "quota", "OpenAI, Anthropic, Google's quota of the day: all as a 429", trips=True
    ),
    "unknown_model": final("rejected", "every vendor", trips=True),
}


def table(says: Mapping[str, str]) -> str:
    """The table in Markdown; `says` has a sentence for each misbehaviour."""
    rows = [
        "| name | the judge | as happens with | outcome | asked again | trips the breaker |",
        "|---|---|---|---|---|---|",
        *(_row(name, says[name], fate) for name, fate in FATES.items()),
    ]
    return "\n".join(rows) + "\n"


def _row(name: str, says: str, fate: Fate) -> str:
    outcome = f"`{fate.code}`" if fate.code else "a verdict"
    if fate.turns == 2:
        again = "once at once, as a repair"
    elif fate.again:
        again = "yes"
    else:
        again = "when the server allows it: too late" if fate.retryable else "no"
    return f"| `{name}` | {says} | {fate.who} | {outcome} | {again} | {'yes' if fate.trips else 'no'} |"


if __name__ == "__main__":
    from tests.fake_llm import MISBEHAVIOURS

    print(table({name: each.says for name, each in MISBEHAVIOURS.items()}), end="")
