"""Whether a provider takes the key is found out for free, in each format."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette

from app.provider.judges.llm.anthropic import AnthropicFormat
from app.provider.judges.llm.google import GoogleFormat
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.openai import OpenAIFormat
from app.provider.judges.llm.probe import BELIEVED, Probe
from app.provider.judges.llm.wire import Format
from app.provider.judges.protocol import JudgeError
from tests.fake_llm import FakeLLM
from tests.provider.provider_world import served

pytestmark = pytest.mark.anyio

KEY = "sk-canary-91c2"
FORMATS: Mapping[str, Callable[..., Format]] = {
    "openai": OpenAIFormat,
    "anthropic": AnthropicFormat,
    "google": GoogleFormat,
}
PATHS = {"openai": "/v1", "anthropic": "", "google": ""}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def probing(
    provider: str, key: str, clock: Clock | None = None
) -> AsyncIterator[tuple[Probe, FakeLLM]]:
    async with FakeLLM(key=KEY, models=["judge-1"]) as server, ModelClient() as client:
        wire = FORMATS[provider](base_url=server.url + PATHS[provider], key=key)
        yield Probe(wire, client, monotonic=clock or Clock()), server


@pytest.mark.parametrize("provider", PATHS)
async def test_a_key_that_is_taken_shows_the_models_and_costs_nothing(provider: str) -> None:
    async with probing(provider, KEY) as (probe, server):
        assert (await probe.look()).models == frozenset({"judge-1"})
        assert server.stats()["starts"] == 0


@pytest.mark.parametrize("key", ["", "wrong"])
@pytest.mark.parametrize("provider", PATHS)
async def test_a_key_that_is_missing_or_wrong_is_refused(provider: str, key: str) -> None:
    async with probing(provider, key) as (probe, _):
        with pytest.raises(JudgeError) as caught:
            await probe.look()
    assert caught.value.code == "auth"
    assert "wrong" not in caught.value.detail


async def test_a_good_answer_is_believed_for_a_minute_and_a_bad_one_never() -> None:
    clock = Clock()
    async with probing("openai", KEY, clock) as (probe, server):
        await server.misbehave("connection_refused")
        with pytest.raises(JudgeError, match="cannot be reached"):
            await probe.known()
        await server.behave()
        await probe.known()
        await server.misbehave("connection_refused")
        await probe.known()
        clock.now = BELIEVED
        with pytest.raises(JudgeError, match="cannot be reached"):
            await probe.known()


async def test_a_server_without_a_list_is_not_said_to_take_the_key() -> None:
    async with served(Starlette()) as port, ModelClient() as client:
        url = f"http://127.0.0.1:{port}/v1"
        found = await Probe(OpenAIFormat(base_url=url, key=KEY), client).look()
    assert found.models is None
    assert "not known" in found.words


def test_no_representation_shows_the_key() -> None:
    for of_format in FORMATS.values():
        assert KEY not in repr(of_format(base_url="http://x", key=KEY).listing())
