"""Every misbehaviour of the fake server, in every format: the right class, nothing guessed, over in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from app.contracts import LLMComparisonRequest, Winner
from app.provider.judges.llm.anthropic import AnthropicFormat
from app.provider.judges.llm.catalogue import load_catalogue
from app.provider.judges.llm.failures import UNSAID
from app.provider.judges.llm.google import GoogleFormat
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.judge import LLMJudge
from app.provider.judges.llm.model import Model, Price
from app.provider.judges.llm.openai import OpenAIFormat
from app.provider.judges.llm.prompt import load_prompt
from app.provider.judges.llm.retry_after import LONGEST
from app.provider.judges.protocol import JudgeError
from app.settings import ROOT
from tests.fake_llm.misbehaviours import ALL
from tests.fake_llm.server import FakeLLM

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).parents[4] / "docs" / "llm-judges.md"
KEY = "sk-canary-9b2e"
SENTENCE = "The canary sings before dawn in the quarry."
REQUEST = LLMComparisonRequest(
    user_prompt="Which essay is better?",
    essay_a=SENTENCE * 20,
    essay_b=SENTENCE * 5,
    correlation_id=UUID(int=5),
)
FORMATS: Mapping[str, tuple[Callable[..., Any], str]] = {
    "openai": (OpenAIFormat, "/v1"),
    "anthropic": (AnthropicFormat, ""),
    "google": (GoogleFormat, ""),
}


def model_of(provider: str) -> Model:
    """A model that is not listed, as people have it who name a server of their own."""
    shipped = load_catalogue([ROOT / "config" / "models.toml"], today=date(2026, 11, 25))
    found = shipped.find(provider, "fake-large-1", anywhere=True)
    assert found is not None
    return replace(found, price=Price(prompt=1.0, completion=4.0))


class Fate(NamedTuple):
    """What a judge makes of it; `calls` as the server counted them, `paid` whether there were tokens to pay."""

    code: str
    again: bool = False
    trips: bool = False
    wait: float | None = None
    calls: int = 1
    paid: bool = False


GOOD = Fate("", paid=True)
AWAY = Fate("unavailable", again=True, trips=True)
LATE = Fate("timeout", again=True, trips=True)
GARBLED = Fate("malformed", again=True, trips=True)
UNREAD = Fate("malformed", calls=2, paid=True)
OVERFLOWING = Fate("malformed")
REJECTED = Fate("rejected", trips=True)
QUOTA = Fate("quota", trips=True)
SLOW = Fate("unavailable", again=True, wait=1.0)

EXPECTED: Mapping[str, Fate] = {
    "rate_limited_seconds": SLOW,
    "rate_limited_date": SLOW._replace(wait=1.5),
    "rate_limited_ms": SLOW,
    "rate_limited_in_words": SLOW,
    "rate_limited_bare": SLOW._replace(wait=UNSAID),
    "rate_limited_for_days": SLOW._replace(wait=LONGEST),
    "rate_limited_nonsense": SLOW._replace(wait=UNSAID),
    "server_error": AWAY,
    "bad_gateway_html": AWAY,
    "unavailable": AWAY,
    "overloaded": AWAY,
    "connection_refused": AWAY._replace(calls=0),
    "reset_at_once": AWAY,
    "reset_mid_body": AWAY,
    "ends_early": AWAY,
    "never_answers": LATE,
    "hangs_after_headers": LATE,
    "slow_drip": LATE,
    "truncated_body": GARBLED,
    "truncated_json": UNREAD,
    "fenced_json": UNREAD,
    "json_in_prose": UNREAD,
    "wrong_schema": UNREAD,
    "refusal": Fate("refused", paid=True),
    "content_filter": Fate("refused", paid=True),
    "cut_at_max_tokens": Fate("too_long", paid=True),
    "empty_content": UNREAD,
    "wrong_winner": UNREAD,
    "both_winners": UNREAD,
    "confidence_out_of_range": UNREAD,
    "endless_justification": GOOD,
    "huge_output": OVERFLOWING,
    "wrong_model": Fate("wrong_model", trips=True, paid=True),
    "ok_with_error_body": AWAY,
    "redirect": REJECTED,
    "wrong_content_type": GOOD,
    "gzip_bomb": OVERFLOWING,
    "duplicate_keys": UNREAD,
    "invalid_utf8": GARBLED,
    "wrong_key": Fate("auth", trips=True),
    "payment_required": QUOTA,
    "insufficient_quota": QUOTA,
    "unknown_model": REJECTED,
}
OWN: Mapping[tuple[str, str], Fate] = {
    ("anthropic", "rate_limited_in_words"): SLOW._replace(wait=UNSAID),  # it has no words for it
    ("anthropic", "content_filter"): Fate("refused"),  # an error, not an answer
}


def test_every_misbehaviour_has_an_expected_fate() -> None:
    assert set(EXPECTED) == {misbehaviour.name for misbehaviour in ALL}


def test_the_table_in_the_documentation_says_the_same() -> None:
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and (expected := EXPECTED.get(cells[1].strip("`"))):
            assert cells[3].startswith(f"`{expected.code}`" if expected.code else "a verdict"), line
            assert (", again" in cells[3]) is expected.again, line
            assert ("after a repair" in cells[3]) is (expected.calls == 2), line
            assert ("the lane waits" in cells[3]) is (expected.wait is not None), line
    missing = [name for name in EXPECTED if f"| `{name}` |" not in DOCUMENT.read_text(encoding="utf-8")]
    assert not missing


@pytest.mark.parametrize("provider", FORMATS)
@pytest.mark.parametrize("name", EXPECTED)
async def test_a_misbehaviour_has_its_class(name: str, provider: str) -> None:
    expected = OWN.get((provider, name), EXPECTED[name])
    wire, path = FORMATS[provider]
    async with FakeLLM(key=KEY, pace=0.05) as server, ModelClient(connect=2.0) as client:
        await server.misbehave(name)
        judge = LLMJudge(
            provider=provider,
            wire=wire(base_url=server.url + path, key=KEY),
            client=client,
            models=[model_of(provider)],
            template=load_prompt(),
            timeout=0.5 if expected is LATE else 20.0,
        )
        if not expected.code:
            verdict = await judge.compare(REQUEST)
            assert verdict.winner is Winner.ESSAY_A
            assert len(verdict.justification) <= 1000
        else:
            with pytest.raises(JudgeError) as caught:
                await judge.compare(REQUEST)
            error = caught.value
            assert (error.code, error.retryable, error.trips) == (
                expected.code,
                expected.again,
                expected.trips,
            )
            assert error.retry_after == (
                None if expected.wait is None else pytest.approx(expected.wait, abs=1.0)
            )
            assert (error.cost_usd > 0) is expected.paid
            assert KEY not in repr(error)
            assert SENTENCE not in repr(error)
        assert server.stats()["starts"] == expected.calls
