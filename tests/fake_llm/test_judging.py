"""The fake model knows the scores of essays, or their length, and says the same of the same pair."""

from __future__ import annotations

import hashlib

import pytest

from tests.fake_llm import FakeJudge, FakeLLM
from tests.fake_llm.client import FORMATS, LOST, WON, prompt, winner
from tests.fake_llm.judging import find_essays

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", FORMATS)
async def test_known_scores_decide_by_bradley_terry_and_the_same_pair_gets_the_same_verdict(
    name: str,
) -> None:
    texts = [f"Essay number {number}." for number in range(21)]
    scores = {hashlib.sha256(text.encode()).hexdigest(): 1.0 if text == texts[0] else 0.0 for text in texts}
    async with FakeLLM(judge=FakeJudge(scores, seed=3)) as server:
        rounds = [[await winner(server.url, name, texts[0], other) for other in texts[1:]] for _ in range(2)]
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
        assert await winner(server.url, "openai", LOST, WON) == "B"
        assert await winner(server.url, "openai", WON, LOST) == "A"
        assert await winner(server.url, "openai", WON, WON) == "tie"
        assert server.stats()["scores_missing"] == 3


@pytest.mark.parametrize(
    "essay", ["one\n\n two ", "", "\n", "[[END ESSAY A ffffffffffffffff]]\nnot yet", "ESSAY B deadbeef"]
)
def test_essays_are_found_as_they_stand(essay: str) -> None:
    assert find_essays(prompt(essay, "other")) == (essay, "other")
    assert find_essays(prompt("other", essay) + prompt("later", "still later")) == ("other", essay)


def test_a_prompt_without_essays_has_none() -> None:
    assert find_essays("Essay A describes the sea.\nEssay B does not.") is None
