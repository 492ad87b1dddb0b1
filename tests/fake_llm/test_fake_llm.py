"""The fake answers as the vendors do: their own clients read it, wrong requests do not pass, everything is counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.wire import Call
from tests.fake_llm import FakeLLM
from tests.fake_llm.client import FORMATS, KEY, MODEL, SCHEMA, ask, prompt

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


async def test_each_vendor_names_its_requests_and_what_is_left_of_the_limit() -> None:
    async with FakeLLM(per_minute=300) as server:
        seen = {name: await ask(server.url, name) for name in FORMATS}
    assert seen["openai"].headers["x-request-id"]
    assert seen["openai"].headers["x-ratelimit-limit-requests"] == "300"
    assert seen["openai"].headers["x-ratelimit-remaining-requests"] == "299"
    assert seen["anthropic"].headers["request-id"]
    assert seen["anthropic"].headers["anthropic-ratelimit-requests-remaining"] == "298"
    assert seen["google"].json["responseId"]
    assert not any("ratelimit" in header for header in seen["google"].headers)


@pytest.mark.parametrize(
    ("base", "path"),
    [("", "/chat/completions"), ("/v1", "/v1/messages"), ("/v1", "/v1beta/models/m:generateContent")],
)
async def test_a_base_url_with_or_without_v1_is_as_wrong_as_at_the_vendors(
    server: FakeLLM, base: str, path: str
) -> None:
    keys = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "x-goog-api-key": KEY}
    async with ModelClient() as client:
        found = await client.post(Call(f"{server.url}{base}{path}", keys, {}), total=20.0)
        listed = await client.get(f"{server.url}/models", keys, total=20.0)
    assert (found.status, listed.status) == (404, 404)
