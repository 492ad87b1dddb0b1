"""Starts, minutes, tokens and money are counted as a vendor counts them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.fake_llm import FakeLLM, Prices
from tests.fake_llm.client import FORMATS, MODEL, ask
from tests.fake_llm.counting import Limiter, busiest_minute

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", FORMATS)
async def test_the_limit_holds_in_any_sliding_minute_and_says_when_there_is_room(name: str) -> None:
    now = 0.0
    async with FakeLLM(per_minute=2, clock=lambda: now) as server:
        statuses = []
        for moment in (0.0, 30.0, 59.0, 60.0, 89.0, 90.0):
            now = moment
            seen = await ask(server.url, name)
            statuses.append(seen.status)
            if moment == 59.0:
                told = seen.headers.get("retry-after") or seen.json["error"]["details"][0]["retryDelay"]
                assert told in {"1", "1.000s"}
        assert statuses == [200, 200, 429, 200, 429, 200]
        assert server.stats()["refusals"] == {"rate": 2}
        assert server.stats()["busiest_minute"] == 4


def test_a_minute_holds_what_is_less_than_sixty_seconds_apart() -> None:
    assert busiest_minute([]) == 0
    assert busiest_minute([0.0, 60.0, 120.0]) == 1
    assert busiest_minute([0.0, 59.999, 60.0]) == 2
    assert busiest_minute([0.0, 50.0, 55.0, 70.0, 109.0, 200.0]) == 4


def test_a_limiter_admits_as_soon_as_there_is_room() -> None:
    limiter = Limiter(1)
    assert limiter.admit(0.0) is None
    assert limiter.admit(10.0) == 50.0
    assert limiter.admit(60.0) is None


async def test_the_bill_is_that_of_the_tokens_in_the_answers() -> None:
    prices = Prices(*map(Decimal, ("2.5", "10", "1.25", "3")))
    async with FakeLLM(prices=prices) as server:
        usages = [(await ask(server.url, "openai")).json["usage"] for _ in range(3)]
        await server.misbehave("never_answers*1")
        await ask(server.url, "openai", first=0.3)
        await server.misbehave("server_error*1")
        await ask(server.url, "openai")
        stats = server.stats()
    spent = sum(Decimal(u["prompt_tokens"]) * 5 / 2 + u["completion_tokens"] * 10 for u in usages) / 1_000_000
    assert Decimal(stats["cost_usd"]) == spent
    assert Decimal(stats["unseen_cost_usd"]) == spent / 3
    assert (stats["starts"], stats["models"][f"openai/{MODEL}"]["answers"]) == (5, 3)


async def test_what_prompts_have_in_common_is_read_from_the_cache() -> None:
    constant = "The assignment. " * 400
    async with FakeLLM() as server:
        for name in ("openai", "google"):
            first, second = [
                (await ask(server.url, name, text=constant + end)).json for end in ("one", "two")
            ]
            assert _cached(name, first) == 0
            assert _cached(name, second) == len(constant) // 4 // 128 * 128


async def test_anthropic_caches_what_is_marked_and_no_more() -> None:
    constant = "The assignment. " * 400
    marked = {"type": "text", "text": constant, "cache_control": {"type": "ephemeral"}}
    async with FakeLLM() as server:
        usages = []
        for end in ("one", "two"):
            content = [marked, {"type": "text", "text": end}]
            seen = await ask(
                server.url, "anthropic", changed={"messages": [{"role": "user", "content": content}]}
            )
            usages.append(seen.json["usage"])
    size = len(constant) // 4
    figures = [(u["cache_creation_input_tokens"], u["cache_read_input_tokens"]) for u in usages]
    assert figures == [(size, 0), (0, size)]
    assert all(u["input_tokens"] <= 2 for u in usages)


async def test_an_answer_ends_at_the_tokens_allowed() -> None:
    async with FakeLLM() as server:
        seen = await ask(server.url, "anthropic", changed={"max_tokens": 5})
    assert (seen.stop("anthropic"), seen.json["usage"]["output_tokens"]) == ("max_tokens", 5)
    assert len(seen.words("anthropic")) == 20


def _cached(name: str, body: dict[str, Any]) -> int:
    if name == "google":
        return int(body["usageMetadata"].get("cachedContentTokenCount", 0))
    return int(body["usage"]["prompt_tokens_details"]["cached_tokens"])
