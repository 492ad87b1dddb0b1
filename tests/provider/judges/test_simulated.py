"""The simulated judge: repeatable, errs as the model says, and knows only the texts in its file."""

from __future__ import annotations

from collections import Counter
from math import exp
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from app.contracts import JudgeKind, LLMComparisonRequest, LLMConfigOverrides, Winner
from app.errors import ConfigurationError, InvalidRequest
from app.provider.judges.digests import text_sha256
from app.provider.judges.protocol import Judge, JudgeError, Verdict
from app.provider.judges.simulated import SimulatedJudge, load_scores, load_simulated

TEXTS = [f"Essay number {number}." for number in range(40)]
SCORES = {text_sha256(text): number / 8 for number, text in enumerate(TEXTS)}
DIGEST = text_sha256("one")


def ask(essay_a: str, essay_b: str, *, correlation_id: int = 1) -> LLMComparisonRequest:
    return LLMComparisonRequest(
        user_prompt="Which?", essay_a=essay_a, essay_b=essay_b, correlation_id=UUID(int=correlation_id)
    )


def decide(judge: Judge, request: LLMComparisonRequest) -> Verdict:
    return anyio.run(judge.compare, request)


def every_verdict(judge: Judge) -> dict[tuple[int, int], Verdict]:
    async def all_pairs() -> dict[tuple[int, int], Verdict]:
        numbers = range(len(TEXTS))
        return {
            (a, b): await judge.compare(ask(TEXTS[a], TEXTS[b])) for a in numbers for b in numbers if a != b
        }

    return anyio.run(all_pairs)


def test_the_same_request_gets_the_same_verdict_whatever_its_id() -> None:
    first = decide(SimulatedJudge(SCORES, seed=3), ask(TEXTS[1], TEXTS[2], correlation_id=1))
    again = decide(SimulatedJudge(SCORES, seed=3), ask(TEXTS[1], TEXTS[2], correlation_id=2))
    assert first == again
    assert (first.provider, first.model, first.judge_kind) == (
        "simulated", "simulated-v1", JudgeKind.SIMULATED,
    )  # fmt: skip


def test_the_order_of_the_truth_is_recovered() -> None:
    wins: Counter[int] = Counter()
    for (a, b), verdict in every_verdict(SimulatedJudge(SCORES, seed=1)).items():
        wins[a if verdict.winner is Winner.ESSAY_A else b] += 1
    agree = sum(wins[a] < wins[b] for a in range(40) for b in range(a + 1, 40))
    assert agree / (40 * 39 / 2) > 0.9


def test_it_errs_as_often_as_bradley_terry_says() -> None:
    verdicts = every_verdict(SimulatedJudge(SCORES, seed=5, discrimination=0.5))
    expected = sum(1 / (1 + exp(-0.5 * abs(a - b) / 8)) for a, b in verdicts)
    right = sum((verdict.winner is Winner.ESSAY_A) == (a > b) for (a, b), verdict in verdicts.items())
    assert right == pytest.approx(expected, abs=3.5 * (len(verdicts) * 0.25) ** 0.5)
    assert right < len(verdicts)


def test_other_seeds_and_swapped_pairs_are_other_draws() -> None:
    one, other = (every_verdict(SimulatedJudge(SCORES, seed=seed)) for seed in (1, 2))
    assert any(one[pair].winner is not other[pair].winner for pair in one)
    even = every_verdict(SimulatedJudge(dict.fromkeys(SCORES, 0.0), seed=1))
    same_side = sum(even[a, b].winner is even[b, a].winner for a, b in even) / len(even)
    assert 0.4 < same_side < 0.6


def test_confidence_is_that_of_the_likelier_side_however_far_apart() -> None:
    far = SimulatedJudge({text_sha256("a"): -1e6, text_sha256("b"): 1e6}, seed=1)
    verdict = decide(far, ask("a", "b"))
    assert (verdict.winner, verdict.confidence) == (Winner.ESSAY_B, 1.0)
    equal = SimulatedJudge(dict.fromkeys([text_sha256("a"), text_sha256("b")], 2.0), seed=1)
    assert decide(equal, ask("b", "a")).confidence == 0.5


def test_an_unknown_text_is_refused() -> None:
    with pytest.raises(JudgeError, match="Essay B") as caught:
        decide(SimulatedJudge(SCORES, seed=1), ask(TEXTS[0], TEXTS[1] + " "))
    assert (caught.value.code, caught.value.retryable) == ("unknown_text", False)


def test_there_is_one_lane_and_nothing_to_set() -> None:
    judge = SimulatedJudge(SCORES, seed=1)
    assert (
        judge.lane(LLMConfigOverrides(provider="simulated", model="simulated-v1")) == "simulated/simulated-v1"
    )
    with pytest.raises(InvalidRequest, match=r"llm_config_overrides\.model.*temperature"):
        judge.lane(LLMConfigOverrides(model="gpt", temperature=0))


def test_the_latency_is_waited_for() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    decide(SimulatedJudge(SCORES, seed=1, latency=2.5, sleep=sleep), ask(TEXTS[0], TEXTS[1]))
    assert waits == [2.5]


def test_scores_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        f"\ufeffsha256,score\n{DIGEST.upper()}, -1.5\n\n{text_sha256('two')},2\n", encoding="utf-8"
    )
    assert load_scores(path) == {DIGEST: -1.5, text_sha256("two"): 2.0}
    verdict = decide(load_simulated(path, seed=1, discrimination=100), ask("one", "two"))
    assert verdict.winner is Winner.ESSAY_B


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "the file is empty"),
        ("sha,score\n", "line 1: the header must be sha256,score"),
        (f"sha256,score\n{DIGEST}\n", "line 2: two columns"),
        ("sha256,score\nabc,1\n", "line 2: 'abc' is no sha256"),
        (f"sha256,score\n{DIGEST},much\n", "line 2: 'much' is no finite number"),
        (f"sha256,score\n{DIGEST},nan\n", "line 2: 'nan' is no finite number"),
        (f"sha256,score\n{DIGEST},1\n{DIGEST},2\n", "line 3: .* another score"),
        (f"sha256,score\nabc,1\n{DIGEST},x\n", "line 2: .*; line 3: "),
        (f"sha256,score\n{'x' * 200_000},1\n", "field larger than field limit"),
    ],
)
def test_a_wrong_file_of_scores_is_refused_by_line(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=fault):
        load_scores(path)


def test_a_missing_or_binary_file_of_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        load_scores(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="utf-8"):
        load_scores(tmp_path / "binary.csv")
