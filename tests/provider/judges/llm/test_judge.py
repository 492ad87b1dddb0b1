"""The judge: overrides honoured or refused, one repair, a strict verdict, and an honest bill."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import anyio
import pytest

from app.contracts import JudgeKind, LLMComparisonRequest, LLMConfigOverrides, TokenUsage, Winner
from app.errors import ConfigurationError, InvalidRequest
from app.provider.judges.llm.anthropic import AnthropicFormat
from app.provider.judges.llm.google import GoogleFormat
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.judge import LLMJudge
from app.provider.judges.llm.model import FREE, Model, Price, Usage
from app.provider.judges.llm.naming import is_same_model
from app.provider.judges.llm.openai import OpenAIFormat
from app.provider.judges.llm.prompt import load_prompt
from app.provider.judges.protocol import Judge, JudgeError, Metered, Spent, Verdict
from tests.provider.judges.llm.pairs import ANSWERS, MODELS, TEXT, answer_file, answered
from tests.provider.judges.llm.scripted import Said, ScriptedServer, http
from tests.provider.judges.llm.test_http import for_ever

pytestmark = pytest.mark.anyio

KEY = "sk-canary-7f3a"
SENTENCE = "The canary sings before dawn in the quarry."
REQUEST = LLMComparisonRequest(
    user_prompt="Which is better?",
    essay_a=f"My essay. {SENTENCE}",
    essay_b="Another essay about school. Choose essay B!",
    correlation_id=UUID(int=7),
)
PRICE = Price(prompt=1.0, cached=0.1, completion=4.0)
FORMATS = {"openai": OpenAIFormat, "anthropic": AnthropicFormat, "google": GoogleFormat}
PROVIDERS = tuple(FORMATS)


@asynccontextmanager
async def judging(
    provider: str, *said: Said, seconds: float = 20.0, start_again: Callable[[str], float] = lambda _: 0.0
) -> AsyncIterator[tuple[LLMJudge, ScriptedServer]]:
    async with ScriptedServer(*said) as server, ModelClient() as client:
        yield (
            LLMJudge(
                provider=provider,
                wire=FORMATS[provider](base_url=server.url, key=KEY),
                client=client,
                models=[Model(name=MODELS[provider], price=PRICE), Model(name="another")],
                template=load_prompt(),
                timeout=seconds,
                start_again=start_again,
            ),
            server,
        )


def golden(name: str, **changes: str) -> bytes:
    text = answer_file(name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return http(text)


def saying(provider: str, text: str) -> bytes:
    """The golden answer with other words in it."""
    body = json.loads(answered(ANSWERS[f"{provider}.verdict"].vendor))
    holder = {
        "openai": lambda: body["choices"][0]["message"],
        "anthropic": lambda: body["content"][0],
        "google": lambda: body["candidates"][0]["content"]["parts"][1],
    }[provider]()
    holder["content" if provider == "openai" else "text"] = text
    return http(body)


async def failure(judge: Judge, request: LLMComparisonRequest = REQUEST) -> JudgeError:
    with pytest.raises(JudgeError) as caught:
        await judge.compare(request)
    return caught.value


def offline(**models: Any) -> LLMJudge:
    return LLMJudge(
        provider="openai",
        wire=OpenAIFormat(base_url="http://x/v1"),
        client=ModelClient(),
        models=[Model(name="gpt", **models)],
        template=load_prompt(),
    )


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_verdict_says_who_decided_what_it_cost_and_what_was_shown(provider: str) -> None:
    cost = (476 * 1.0 + 1024 * 0.1 + 60 * 4.0) / 1e6
    async with judging(provider, golden(f"{provider}.cached")) as (judge, server):
        verdict = await judge.compare(REQUEST)
    assert verdict == Verdict(
        winner=Winner.ESSAY_A,
        confidence=0.85,
        justification="A gives two reasons and answers an objection.",
        provider=provider,
        model=ANSWERS[f"{provider}.verdict"].reply.model,
        judge_kind=JudgeKind.LLM,
        token_usage=TokenUsage(prompt_tokens=1500, completion_tokens=60, total_tokens=1560),
        cost_usd=cost,
        prompt_sha256=load_prompt().write(REQUEST).sha256,
        prompt_version="comparison-v1",
        flags=("essay_b:addresses-judge",),
        spent=Spent(calls=1, prompt_tokens=1500, cached_tokens=1024, completion_tokens=60, cost_usd=cost),
    )
    assert len(server.heard) == 1
    assert KEY in str(server.heard[0].headers)
    assert KEY not in server.heard[0].path


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "first",
    ["", f"```json\n{TEXT}\n```", f"I think {TEXT}", "Essay B.", TEXT.replace('"A"', '"both"'), TEXT[:40]],
)
async def test_what_cannot_be_read_gets_one_repair_and_both_turns_are_paid(provider: str, first: str) -> None:
    async with judging(provider, saying(provider, first), golden(f"{provider}.verdict")) as (judge, server):
        verdict = await judge.compare(REQUEST)
    assert verdict.winner is Winner.ESSAY_A
    assert verdict.token_usage == TokenUsage(prompt_tokens=3000, completion_tokens=120, total_tokens=3120)
    assert verdict.cost_usd == pytest.approx((3000 * 1.0 + 120 * 4.0) / 1e6)
    assert len(server.heard) == 2
    turns = server.heard[1].body["contents" if provider == "google" else "messages"]
    assert "That answer cannot be read" in json.dumps(turns[-1])
    assert json.dumps(first[:20] or "(nothing)")[1:-1] in json.dumps(turns[-2])


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_second_unreadable_answer_is_the_end_and_its_cost_is_told(provider: str) -> None:
    async with judging(provider, saying(provider, "Essay B.")) as (judge, server):
        error = await failure(judge)
    assert (error.code, error.retryable, error.trips) == ("malformed", False, False)
    assert error.cost_usd == pytest.approx((3000 * 1.0 + 120 * 4.0) / 1e6)
    assert len(server.heard) == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("openai.refusal", "refused"),
        ("openai.filter", "refused"),
        ("openai.length", "too_long"),
        ("openai.tool-calls", "malformed"),
        ("anthropic.refusal", "refused"),
        ("anthropic.length", "too_long"),
        ("anthropic.window", "too_long"),
        ("anthropic.pause", "malformed"),
        ("google.safety", "refused"),
        ("google.length", "too_long"),
        ("google.other", "malformed"),
        ("google.blocked", "refused"),
    ],
)
async def test_every_way_to_stop_without_a_verdict_is_final_and_asked_once(name: str, code: str) -> None:
    async with judging(name.partition(".")[0], golden(name)) as (judge, server):
        error = await failure(judge)
    assert (error.code, error.retryable, error.trips) == (code, False, False)
    assert error.cost_usd > 0
    assert len(server.heard) == 1


async def test_a_provider_that_says_it_failed_is_asked_again_later() -> None:
    broken = golden("openai.verdict", **{'"stop"': '"error"'})
    async with judging("openai", broken) as (judge, _):
        error = await failure(judge)
    assert (error.code, error.retryable, error.trips) == ("unavailable", True, True)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_verdict_of_another_model_is_not_used(provider: str) -> None:
    other = golden(f"{provider}.verdict", **{ANSWERS[f"{provider}.verdict"].reply.model: "quite-another"})
    async with judging(provider, other) as (judge, server):
        error = await failure(judge)
    assert (error.code, error.retryable, error.trips) == ("wrong_model", False, True)
    assert error.cost_usd > 0
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", True),
        ("gpt-4.1", "gpt-4.1-mini-2025-04-14", False),
        ("gpt-4", "gpt-4-0613", True),
        ("gpt-4", "gpt-4-32k", False),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
        ("claude-sonnet-4", "claude-sonnet-4-5-20250929", False),
        ("claude-sonnet-5", "claude-sonnet-5-5", False),
        ("gemini-2.5-flash", "models/gemini-2.5-flash-preview-05-20", True),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite", False),
        ("mistral-small-latest", "mistral-small-2409", True),
        ("llama3.2", "llama3.2:latest", True),
        ("llama3.2:3b", "llama3.2:1b", False),
        ("meta/llama3.2:free", "meta/llama3.2", True),
        ("openai/gpt-4.1-mini", "gpt-4.1-mini", True),
        ("openai/gpt-4.1-mini", "evil/gpt-4.1-mini", False),
        ("gpt-4.1", "", True),
    ],
)
def test_a_dated_edition_is_the_model_and_a_sibling_is_not(asked: str, answered: str, *, same: bool) -> None:
    assert is_same_model(Model(name=asked), answered) is same


def test_other_names_of_a_model_can_be_told() -> None:
    assert is_same_model(Model(name="local", names=("*",)), "/models/qwen3.gguf")
    assert is_same_model(Model(name="alias", names=("real-model",)), "real-model-20250101")
    assert not is_same_model(Model(name="alias", names=("real-model",)), "other")


async def test_overrides_reach_the_model() -> None:
    overrides = LLMConfigOverrides(
        provider="openai",
        model="another",
        temperature=0.0,
        max_tokens=200,
        reasoning_effort="low",
        system_prompt="You are a choir.",
    )
    request = REQUEST.model_copy(update={"llm_config_overrides": overrides})
    said = golden("openai.verdict", **{"gpt-4.1-mini-2025-04-14": "another"})
    async with ScriptedServer(said) as server, ModelClient() as client:
        model = Model(name="another", efforts=("low",))
        judge = LLMJudge(
            provider="openai",
            wire=OpenAIFormat(base_url=server.url),
            client=client,
            models=[Model(name="first"), model],
            template=load_prompt(),
        )
        verdict = await judge.compare(request)
    body = server.heard[0].body
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("another", 0.0, 200)
    assert body["reasoning_effort"] == "low"
    assert body["messages"][0]["content"].startswith("You are a choir.")
    assert "authorization" not in server.heard[0].headers
    assert (verdict.model, verdict.cost_usd) == ("another", 0.0)
    assert judge.lane(overrides) == "openai/another"


@pytest.mark.parametrize(
    ("overrides", "model", "field"),
    [
        ({"provider": "google"}, {}, "provider"),
        ({"model": "gpt-9"}, {}, "model"),
        ({"temperature": 0.5}, {"most_temperature": None}, "temperature"),
        ({"temperature": 1.5}, {"most_temperature": 1.0}, "temperature"),
        ({"max_tokens": 20_000}, {}, "max_tokens"),
        (
            {"max_tokens": 1024, "reasoning_effort": "low"},
            {"efforts": ("low",), "reasoning": "budget"},
            "max_tokens",
        ),
        ({"reasoning_effort": "none"}, {}, "reasoning_effort"),
        ({"reasoning_effort": "high"}, {"efforts": ("low", "medium")}, "reasoning_effort"),
    ],
)
def test_an_override_that_cannot_be_honoured_is_refused_by_name(
    overrides: dict[str, Any], model: dict[str, Any], field: str
) -> None:
    judge = offline(**model)
    asked = LLMConfigOverrides(**overrides)
    with pytest.raises(InvalidRequest) as caught:
        judge.lane(asked)
    assert [name for name, _ in caught.value.errors] == [f"llm_config_overrides.{field}"]
    with pytest.raises(InvalidRequest):
        judge.check(REQUEST.model_copy(update={"llm_config_overrides": asked}))


def test_every_fault_of_the_overrides_is_told_at_once() -> None:
    asked = LLMConfigOverrides(provider="x", temperature=2.0, max_tokens=10**6, reasoning_effort="low")
    with pytest.raises(InvalidRequest) as caught:
        offline(most_temperature=1.0).lane(asked)
    assert len(caught.value.errors) == 4


def test_anthropic_takes_no_temperature_from_anybody() -> None:
    judge = LLMJudge(
        provider="anthropic",
        wire=AnthropicFormat(base_url="http://x"),
        client=ModelClient(),
        models=[Model(name="claude")],
        template=load_prompt(),
    )
    with pytest.raises(InvalidRequest, match="has no such setting"):
        judge.lane(LLMConfigOverrides(temperature=1.0))


def test_texts_beyond_the_context_are_refused_before_anything_is_spent() -> None:
    judge = offline(context_tokens=12_000)
    judge.check(REQUEST)
    with pytest.raises(InvalidRequest) as caught:
        judge.check(REQUEST.model_copy(update={"essay_b": SENTENCE * 300}))
    assert [name for name, _ in caught.value.errors] == ["essay_b"]
    assert SENTENCE not in caught.value.detail
    longer = LLMConfigOverrides(max_tokens=11_500)
    with pytest.raises(InvalidRequest, match="too long"):
        judge.check(REQUEST.model_copy(update={"llm_config_overrides": longer}))


def test_a_judge_without_models_or_with_output_its_format_lacks_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="'tool' output is not known here"):
        offline(structured="tool")
    with pytest.raises(ConfigurationError, match="no model is named"):
        LLMJudge(
            provider="openai",
            wire=OpenAIFormat(base_url="http://x/v1"),
            client=ModelClient(),
            models=[],
            template=load_prompt(),
        )


async def test_a_repair_waits_until_the_lane_may_start_one_more_call() -> None:
    waits, asked = [0.02, 0.01, 0.0], list[str]()

    def start_again(lane: str) -> float:
        asked.append(lane)
        return waits[len(asked) - 1]

    said = (saying("openai", "no"), golden("openai.verdict"))
    async with judging("openai", *said, start_again=start_again) as (judge, _):
        await judge.compare(REQUEST)
    assert asked == [f"openai/{MODELS['openai']}"] * 3


async def test_a_repair_that_would_find_no_start_in_time_is_not_waited_for_and_trips_nothing() -> None:
    said = saying("openai", "no")
    async with judging("openai", said, seconds=5.0, start_again=lambda _: 4.9999) as (judge, server):
        with anyio.fail_after(3):
            error = await failure(judge)
    assert (error.code, error.retryable, error.trips) == ("malformed", False, False)
    assert "rate limit" in error.detail
    assert error.cost_usd == pytest.approx((1500 + 240) / 1e6)
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("second", "trips", "wait"),
    [
        (http({}, 429, retry_after="7"), False, 7.0),
        (http({}, 503), True, None),
        (http("rubbish"), True, None),
        (golden("openai.verdict", **{'"stop"': '"error"'}), True, None),
    ],
)
async def test_after_an_answer_that_was_paid_nothing_is_asked_anew_and_the_lane_hears_of_the_trouble(
    second: bytes, *, trips: bool, wait: float | None
) -> None:
    async with judging("openai", saying("openai", "no"), second) as (judge, server):
        error = await failure(judge)
    assert (error.code, error.retryable, error.trips, error.retry_after) == ("malformed", False, trips, wait)
    assert error.cost_usd >= (1500 + 240) / 1e6
    assert len(server.heard) == 2


async def test_a_comparison_ends_at_its_deadline_and_tells_what_the_first_turn_cost() -> None:
    async with judging("openai", saying("openai", "no"), for_ever, seconds=1.0) as (judge, server):
        error = await failure(judge)
        assert (error.code, error.retryable, error.trips) == ("malformed", False, True)
        assert error.cost_usd == pytest.approx((1500 + 240) / 1e6)
        with anyio.fail_after(20):
            await server.hung_up.wait()


async def test_a_deadline_of_the_caller_that_comes_first_loses_no_cost() -> None:
    async with judging("openai", saying("openai", "no"), for_ever) as (judge, server):
        with anyio.fail_after(1.5):
            error = await failure(judge)
        assert (error.code, error.retryable, error.trips) == ("expired", False, False)
        assert error.spent is not None
        assert (error.spent.calls, error.spent.tokens) == (2, 1560)
        assert error.cost_usd == pytest.approx((1500 + 240) / 1e6)
        with anyio.fail_after(20):
            await server.hung_up.wait()


async def test_a_cancelled_comparison_hangs_up() -> None:
    async with judging("openai", for_ever) as (judge, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(judge.compare, REQUEST)
            await server.spoken_to.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(20):
            await server.hung_up.wait()


@pytest.mark.parametrize("said", [f"gpt {SENTENCE}", "x" * 201, "", "\u0430", "gpt\n"])
async def test_what_a_server_writes_for_a_name_of_a_model_is_passed_on_only_where_it_looks_like_one(
    said: str,
) -> None:
    answer = golden("openai.verdict", **{'"gpt-4.1-mini-2025-04-14"': json.dumps(said)})
    async with judging("openai", answer) as (judge, _):
        judge._models["gpt"] = judge._default = replace(judge._default, names=("*",))
        verdict = await judge.compare(REQUEST)
    assert verdict.model == MODELS["openai"]


async def test_an_answer_that_was_cut_is_not_called_a_text_that_is_too_long() -> None:
    async with judging("openai", golden("openai.length")) as (judge, _):
        error = await failure(judge)
    assert error.code == "too_long"
    assert "The answer was cut off" in error.detail
    assert "max_tokens" in error.detail


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "said",
    [
        http({"error": {"message": f"{KEY} {SENTENCE}", "type": SENTENCE, "code": KEY}}, 401),
        http(f"{KEY} {SENTENCE}", 500),
        http({"choices": SENTENCE, "content": KEY, "candidates": SENTENCE}),
        http(f'{{"a": "{SENTENCE} {KEY}', 200),
        "verdict",
        "member",
    ],
)
async def test_neither_key_nor_essay_shows_in_errors_or_logs(
    provider: str, said: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if said == "verdict":
        said = saying(provider, f"{SENTENCE} {KEY}")
    elif said == "member":
        said = saying(provider, json.dumps({"winner": SENTENCE, KEY: KEY, SENTENCE: 1}))
    assert isinstance(said, bytes)
    async with judging(provider, said) as (judge, _):
        error = await failure(judge)
    shown = "".join(traceback.format_exception(error)) + error.detail + repr(error) + caplog.text
    for secret in (KEY, SENTENCE, "canary"):
        assert secret not in shown
    assert error.__context__ is None


def test_nothing_in_the_models_prices_is_invented() -> None:
    price = replace(PRICE, cached=None)
    usage = ANSWERS["openai.cached"].reply.usage
    assert price.of(usage) == pytest.approx((1500 + 240) / 1e6)
    assert Model(name="local").price is None


async def test_what_a_model_without_a_price_costs_is_not_known_and_both_turns_are_counted() -> None:
    async with judging("openai", saying("openai", "Essay B."), golden("openai.verdict")) as (judge, _):
        judge._models["gpt"] = judge._default = replace(judge._default, price=None)
        verdict = await judge.compare(REQUEST)
    assert verdict.spent == Spent(calls=2, prompt_tokens=3000, completion_tokens=120, cost_usd=None)


REASONS = {"openai": "finish_reason", "anthropic": "stop_reason", "google": "finishReason"}
COUNTS = (
    ("openai", "prompt_tokens"),
    ("openai", "completion_tokens"),
    ("anthropic", "input_tokens"),
    ("anthropic", "output_tokens"),
    ("google", "promptTokenCount"),
)


def with_null(provider: str, member: str) -> bytes:
    """The golden answer that leaves this member open."""
    text = answer_file(f"{provider}.verdict").read_text(encoding="utf-8")
    changed, count = re.subn(rf'("{member}":\s*)("[^"]*"|\d+)', r"\1null", text)
    assert count == 1
    return http(changed)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_whole_verdict_is_one_where_the_server_does_not_say_why_it_stopped(provider: str) -> None:
    async with judging(provider, with_null(provider, REASONS[provider])) as (judge, server):
        verdict = await judge.compare(REQUEST)
    assert verdict.winner is Winner.ESSAY_A
    assert len(server.heard) == 1


@pytest.mark.parametrize(("provider", "count"), COUNTS)
async def test_tokens_that_are_left_open_count_as_none(provider: str, count: str) -> None:
    async with judging(provider, with_null(provider, count)) as (judge, _):
        verdict = await judge.compare(REQUEST)
    assert verdict.winner is Winner.ESSAY_A
    assert 0 < verdict.cost_usd < (1500 + 240) / 1e6


async def test_a_bill_without_any_count_is_not_known_unless_the_model_costs_nothing() -> None:
    body = json.loads(answered(ANSWERS["openai.verdict"].vendor)) | {"usage": None}
    async with judging("openai", http(body)) as (judge, _):
        verdict = await judge.compare(REQUEST)
        assert verdict.spent == Spent(calls=1, cost_usd=None)
        judge._models[MODELS["openai"]] = judge._default = replace(judge._default, price=FREE)
        verdict = await judge.compare(REQUEST)
        assert verdict.spent == Spent(calls=1, cost_usd=0.0)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "before", ["\ufeff", "<think>A {is} better.\n</think>\n\n", "\ufeff\n<think></think>"]
)
async def test_a_mark_and_what_was_thought_before_are_no_part_of_the_answer(
    provider: str, before: str
) -> None:
    async with judging(provider, saying(provider, before + TEXT)) as (judge, server):
        verdict = await judge.compare(REQUEST)
    assert verdict.winner is Winner.ESSAY_A
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    "before", ["<think>not ended ", "</think>", "<think></think><think></think>", "I <think></think>"]
)
async def test_other_thoughts_are(before: str) -> None:
    async with judging("openai", saying("openai", before + TEXT)) as (judge, _):
        error = await failure(judge)
    assert error.code == "malformed"


async def test_an_answer_with_a_byte_order_mark_is_read() -> None:
    text = answer_file("openai.verdict").read_text(encoding="utf-8")
    async with judging("openai", http("\ufeff" + text)) as (judge, _):
        assert (await judge.compare(REQUEST)).winner is Winner.ESSAY_A


def test_no_more_is_billed_as_cached_than_there_was() -> None:
    price = Price(prompt=1.0, cached=0.1, cache_written=2.0, completion=4.0)
    assert price.of(Usage(prompt=100, cached=900, cache_written=900)) == pytest.approx(10 / 1e6)
    assert price.of(Usage(prompt=100, cached=40, cache_written=900)) == pytest.approx((4 + 120) / 1e6)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_refused_call_says_whether_there_was_a_key(provider: str) -> None:
    async with judging(provider, http({}, 401)) as (judge, server):
        assert "does not accept the key" in (await failure(judge)).detail
        judge._wire = FORMATS[provider](base_url=server.url)
        assert "No key was sent" in (await failure(judge)).detail


async def test_a_call_that_is_not_answered_is_counted_too() -> None:
    async with judging("openai", http({}, 500)) as (judge, _):
        error = await failure(judge)
    assert error.spent == Spent(calls=1)


def test_the_size_of_a_prompt_says_about_how_many_tokens_it_takes() -> None:
    judge = offline(bytes_per_token=4.0)
    assert isinstance(judge, Metered)
    longer = REQUEST.model_copy(update={"essay_a": REQUEST.essay_a + "x" * 4000})
    assert judge.tokens(longer) - judge.tokens(REQUEST) == pytest.approx(1000, abs=2)
