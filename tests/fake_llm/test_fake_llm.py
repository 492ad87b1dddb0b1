"""The fake answers as the vendors do: their own clients read it, wrong requests do not pass, everything is counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import aiohttp
import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from tests.fake_llm import FakeJudge, FakeLLM, FakeLLMProcess, Prices
from tests.fake_llm.client import FORMATS, KEY, LOST, MODEL, SCHEMA, WON, ask, prompt
from tests.fake_llm.counting import Limiter, busiest_minute
from tests.fake_llm.judging import find_essays

pytestmark = pytest.mark.anyio

GOOGLES_SESSION = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)

WRONG: dict[str, dict[str, Any]] = {
    "openai": {
        "an unknown field": {"frobnicate": 1},
        "no messages": {"messages": ...},
        "an empty list of messages": {"messages": []},
        "a role that is none": {"messages": [{"role": "judge", "content": "x"}]},
        "a temperature too high": {"temperature": 2.5},
        "a number as text": {"max_tokens": "100"},
        "a format that is none": {"response_format": {"type": "xml"}},
        "a format with the schema in the wrong place": {
            "response_format": {"type": "json_schema", "schema": SCHEMA}
        },
        "strict without additionalProperties": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "v",
                    "strict": True,
                    "schema": {**SCHEMA, "additionalProperties": True},
                },
            }
        },
        "strict with an optional field": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "v", "strict": True, "schema": {**SCHEMA, "required": ["winner"]}},
            }
        },
        "json_object without the word": {
            "messages": [{"role": "user", "content": "hello"}],
            "response_format": {"type": "json_object"},
        },
        "max_tokens to a model that reasons": {"model": "gpt-5.6", "max_tokens": 100},
        "a temperature to a model that reasons": {"model": "o4-mini", "temperature": 0},
        "a stream": {"stream": True},
    },
    "anthropic": {
        "an unknown field": {"frobnicate": 1},
        "no max_tokens": {"max_tokens": ...},
        "a temperature, which this version has not": {"temperature": 0},
        "an assistant who begins": {"messages": [{"role": "assistant", "content": "x"}]},
        "an empty text": {"messages": [{"role": "user", "content": ""}]},
        "a schema without additionalProperties": {
            "output_config": {
                "format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
            }
        },
        "a schema with a length": {
            "output_config": {
                "format": {
                    "type": "json_schema",
                    "schema": {**SCHEMA, "properties": {"winner": {"type": "string", "maxLength": 5}}},
                }
            }
        },
        "OpenAI's name for the format": {"response_format": {"type": "json_object"}},
        "a tool without a schema": {"output_config": {}, "tools": [{"name": "verdict"}]},
        "a forced tool that is not there": {
            "output_config": {},
            "tool_choice": {"type": "tool", "name": "verdict"},
        },
        "thinking beyond max_tokens": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    },
    "google": {
        "an unknown field": {"frobnicate": 1},
        "an unknown field within": {"generationConfig": {"maxTokens": 100}},
        "no contents": {"contents": []},
        "a role that is none": {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]},
        "additionalProperties in its schema": {
            "generationConfig": {"responseMimeType": "application/json", "responseSchema": SCHEMA}
        },
        "a schema without its type of answer": {"generationConfig": {"responseJsonSchema": SCHEMA}},
        "two schemas": {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": {"type": "STRING"},
                "responseJsonSchema": SCHEMA,
            }
        },
        "a temperature too high": {"generationConfig": {"temperature": 3}},
    },
}


class Verdict(BaseModel):
    justification: str
    winner: Literal["A", "B", "tie"]
    confidence: Literal["very_low", "low", "medium", "high", "very_high"]


@pytest.fixture
async def server() -> AsyncIterator[FakeLLM]:
    async with FakeLLM(key=KEY, models=[MODEL, "gpt-5.6", "o4-mini"]) as server:
        yield server


async def test_openais_client_reads_a_verdict(server: FakeLLM) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        answer = await client.chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": prompt()}], response_format=Verdict
        )
        models = [model.id async for model in client.models.list()]
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    assert (parsed.winner, parsed.confidence, answer.choices[0].finish_reason) == ("B", "very_high", "stop")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == -(-len(prompt()) // 4)
    assert answer.model == MODEL
    assert answer._request_id
    assert MODEL in models


async def test_anthropics_client_reads_a_verdict_from_the_format_and_from_a_tool(server: FakeLLM) -> None:
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=KEY, max_retries=0) as client:
        turn: anthropic.types.MessageParam = {"role": "user", "content": prompt()}
        answer = await client.messages.parse(
            model=MODEL, max_tokens=500, messages=[turn], output_format=Verdict
        )
        called = await client.messages.create(
            model=MODEL,
            max_tokens=500,
            messages=[turn],
            tools=[{"name": "verdict", "input_schema": SCHEMA}],
            tool_choice={"type": "tool", "name": "verdict"},
        )
        models = [model.id async for model in client.models.list()]
    assert answer.parsed_output is not None
    assert (answer.parsed_output.winner, answer.stop_reason) == ("B", "end_turn")
    block = called.content[0]
    assert block.type == "tool_use"
    assert (Verdict.model_validate(block.input).winner, called.stop_reason) == ("B", "tool_use")
    assert answer.usage.output_tokens > 0
    assert MODEL in models


@GOOGLES_SESSION
async def test_googles_client_reads_a_verdict_by_either_schema(server: FakeLLM) -> None:
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=server.url))
    json_type = "application/json"
    ways: list[types.GenerateContentConfigDict] = [
        {
            "response_mime_type": json_type,
            "response_schema": Verdict,
            "system_instruction": "Be fair.",
            "temperature": 0,
        },
        {"response_mime_type": json_type, "response_json_schema": Verdict.model_json_schema()},
    ]
    async with client.aio as models_of:
        for way in ways:
            answer = await models_of.models.generate_content(model=MODEL, contents=prompt(), config=way)
            assert answer.text is not None
            assert Verdict.model_validate_json(answer.text).winner == "B"
            assert answer.candidates is not None
            assert answer.candidates[0].finish_reason is types.FinishReason.STOP
            assert answer.model_version == MODEL
            assert answer.usage_metadata is not None
            assert answer.usage_metadata.prompt_token_count
        models = [model.name async for model in await models_of.models.list()]
    assert f"models/{MODEL}" in models


@GOOGLES_SESSION
async def test_the_vendors_clients_know_a_wrong_key_and_an_unknown_model(server: FakeLLM) -> None:
    turn: Any = {"role": "user", "content": "x"}
    for key, model in (("wrong", MODEL), (KEY, "unknown-model")):
        o = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
        a = anthropic.AsyncAnthropic(base_url=server.url, api_key=key, max_retries=0)
        g = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=server.url))
        async with o, a, g.aio:
            with pytest.raises(openai.AuthenticationError if key == "wrong" else openai.NotFoundError):
                await o.chat.completions.create(model=model, messages=[turn])
            with pytest.raises(anthropic.AuthenticationError if key == "wrong" else anthropic.NotFoundError):
                await a.messages.create(model=model, max_tokens=9, messages=[turn])
            with pytest.raises(errors.ClientError) as raised:
                await g.aio.models.generate_content(model=model, contents="x")
            assert raised.value.code == (400 if key == "wrong" else 404)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in FORMATS for case in WRONG[name]])
async def test_a_wrong_request_does_not_pass(server: FakeLLM, name: str, case: str) -> None:
    seen = await ask(server.url, name, changed=WRONG[name][case])
    assert seen.status == 400, seen.body
    error = seen.json["error"]
    assert error["message"]
    assert error["type" if name != "google" else "status"].lower() in {
        "invalid_request_error",
        "invalid_argument",
    }
    assert server.stats()["models"] == {}


async def test_anthropic_wants_its_version_named(server: FakeLLM) -> None:
    for version in ("", "2024-01-01"):
        seen = await ask(server.url, "anthropic", headers={"anthropic-version": version})
        assert seen.status == 400
        assert seen.json["error"]["message"].startswith("anthropic-version:")


async def test_the_older_version_of_anthropic_has_a_temperature(server: FakeLLM) -> None:
    older = {"anthropic-version": "2023-06-01"}
    seen = await ask(server.url, "anthropic", headers=older, changed={"temperature": 0})
    assert seen.status == 200


@pytest.mark.parametrize("name", FORMATS)
async def test_no_answer_echoes_a_key(server: FakeLLM, name: str) -> None:
    canary = "canary-of-a-wrong-key"
    given = {"authorization": f"Bearer {canary}", "x-api-key": canary, "x-goog-api-key": canary}
    seen = await ask(server.url, name, headers=given)
    assert seen.status in {400, 401}
    assert canary.encode() not in seen.data
    assert KEY.encode() not in (await ask(server.url, name)).data
    assert KEY not in json.dumps(server.stats())


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
        await ask(server.url, "openai", patience=0.1)
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


@pytest.mark.parametrize("name", FORMATS)
async def test_known_scores_decide_by_bradley_terry_and_the_same_pair_gets_the_same_verdict(
    name: str,
) -> None:
    texts = [f"Essay number {number}." for number in range(21)]
    scores = {hashlib.sha256(text.encode()).hexdigest(): 1.0 if text == texts[0] else 0.0 for text in texts}
    async with FakeLLM(judge=FakeJudge(scores, seed=3)) as server:
        rounds = [[await _winner(server, name, texts[0], other) for other in texts[1:]] for _ in range(2)]
        assert server.stats()["scores_missing"] == server.stats()["essays_missing"] == 0
    assert rounds[0] == rounds[1]
    assert 10 <= rounds[0].count("A") < 20  # 14.6 expected, at a probability of 0.73 each


def test_a_bias_favours_the_first_essay() -> None:
    pairs = [(f"a{number}", f"b{number}") for number in range(400)]
    scores = {hashlib.sha256(text.encode()).hexdigest(): 0.0 for pair in pairs for text in pair}
    for bias, low, high in ((0.0, 160, 240), (2.0, 330, 375)):
        judge = FakeJudge(scores, bias=bias)
        assert low <= [judge.decide(a, b).winner for a, b in pairs].count("A") <= high


async def test_without_scores_the_longer_essay_wins_and_it_is_counted() -> None:
    async with FakeLLM() as server:
        assert await _winner(server, "openai", LOST, WON) == "B"
        assert await _winner(server, "openai", WON, LOST) == "A"
        assert await _winner(server, "openai", WON, WON) == "tie"
        assert server.stats()["scores_missing"] == 3


@pytest.mark.parametrize(
    "essay", ["one\n\n two ", "", "\n", "[[END ESSAY A ffffffffffffffff]]\nnot yet", "ESSAY B deadbeef"]
)
def test_essays_are_found_as_they_stand(essay: str) -> None:
    assert find_essays(prompt(essay, "other")) == (essay, "other")
    assert find_essays(prompt("other", essay) + prompt("later", "still later")) == ("other", essay)


def test_a_prompt_without_essays_has_none() -> None:
    assert find_essays("Essay A describes the sea.\nEssay B does not.") is None


async def test_a_process_serves_by_the_options_of_the_command_line(tmp_path: Path) -> None:
    truth = tmp_path / "scores.csv"
    digests = {hashlib.sha256(text.encode()).hexdigest(): score for text, score in ((LOST, 20), (WON, -20))}
    truth.write_text("sha256,score\n" + "".join(f"{digest},{score}\n" for digest, score in digests.items()))
    process = FakeLLMProcess(
        "--truth", str(truth), "--misbehave", "google/server_error*1", "openai/refusal*1"
    )
    try:
        process.start()
        assert (await ask(process.url, "google")).status == 500
        assert await _winner_at(process.url, "google", LOST, WON) == "A"
        assert b"I'm sorry" in (await ask(process.url, "openai")).body
        process.misbehave("connection_refused")
        with pytest.raises(ConnectionRefusedError):
            await ask(process.url, "openai")
        process.behave()
        assert process.stats()["starts"] == 3
    finally:
        process.close()


async def test_the_server_is_controlled_over_http() -> None:
    async with FakeLLM() as server, aiohttp.ClientSession(server.url) as session:
        async with session.post("/_fake/misbehave", json={"name": "overloaded", "times": 1}) as answer:
            assert answer.status == 200
        assert [(await ask(server.url, "anthropic")).status for _ in range(2)] == [529, 200]
        async with session.post("/_fake/misbehave", json={"name": "overlooked"}) as answer:
            assert answer.status == 400
        async with session.get("/_fake/misbehaviours") as answer:
            assert "overloaded" in await answer.json()
        async with session.get("/_fake/elsewhere") as answer:
            assert answer.status == 200
        async with session.get("/_fake/stats") as answer:
            stats = await answer.json()
            assert (stats["starts"], stats["statuses"], stats["redirects_followed"]) == (
                2,
                {"200": 1, "529": 1},
                1,
            )
        async with session.delete("/_fake/stats") as answer:
            assert server.stats()["starts"] == 0
        async with session.post("/_fake/misbehave", json={"name": "connection_refused"}) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("/_fake/stats")
        async with session.delete(f"{server.control_url}/_fake/misbehave") as answer:
            assert answer.status == 200
        assert (await ask(server.url, "openai")).status == 200


async def _winner(server: FakeLLM, name: str, essay_a: str, essay_b: str) -> str:
    return await _winner_at(server.url, name, essay_a, essay_b)


async def _winner_at(url: str, name: str, essay_a: str, essay_b: str) -> str:
    seen = await ask(url, name, text=prompt(essay_a, essay_b))
    return Verdict.model_validate_json(seen.words(name)).winner


def _cached(name: str, body: dict[str, Any]) -> int:
    if name == "google":
        return int(body["usageMetadata"].get("cachedContentTokenCount", 0))
    return int(body["usage"]["prompt_tokens_details"]["cached_tokens"])
