"""The fake as a process, and how it is told what to do."""

from __future__ import annotations

import hashlib
from pathlib import Path

import aiohttp
import pytest

from tests.fake_llm import FakeLLM, FakeLLMProcess
from tests.fake_llm.client import LOST, WON, ask, winner

pytestmark = pytest.mark.anyio


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
        assert await winner(process.url, "google", LOST, WON) == "A"
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
