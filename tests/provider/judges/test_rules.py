"""The offline judge: fair to both sides, repeatable, outspoken about what it does, and refusing what it cannot do."""

from __future__ import annotations

import hashlib
import json
import random
from itertools import islice, pairwise, permutations
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import JudgeKind, LLMComparisonRequest, LLMComparisonResponse, LLMConfigOverrides, Winner
from app.errors import ConfigurationError, InvalidRequest
from app.provider.judges.panel import PERSONAS, load_panel
from app.provider.judges.protocol import Judge, JudgeError, Verdict
from app.provider.judges.rules import LONG_TEXT, NOT_JUDGED, RulesJudge, load_rules

FILE = Path(__file__).parents[3] / "config" / "judges.toml"
QUESTION = "Should the town build a new swimming pool?"
JUDGE = load_rules(FILE)

PLAIN = (
    "The town has a pool but it is old. I go there with my dad. The water is cold and the showers do not work. "
    "A new pool would be good for the kids and for the old people. It costs a lot but we pay tax. "
    "My friends want it too. So I say yes to a new pool in our town. We can swim there in the winter."
)
RICH = (
    "Although the proposed swimming pool would be expensive, the benefits for local residents are considerable. "
    "Children learn to swim, pensioners recover their mobility, and competitive athletes no longer travel elsewhere. "
    "However, the council should publish realistic estimates before construction begins. "
    "Which neighbourhood carries the noise; who pays for maintenance? These questions deserve honest answers."
)
SLOPPY = (
    "i think the the town need a new swiming pool becuase it is old ,and cold. we dont like it their. "
    "the swimming pool in the next town is nice,it has a slide. i was there with my class. a swimming pool is fun. "
    "swimming is good for you and you get strong. swimming makes you tired .so you sleep. i want a pool now."
)
LAID_OUT = (
    "First of all, a pool is where people meet.\n\nSecondly, it is cheap when it is full, because tickets pay for it. "
    "For example, my aunt goes each day.\n\nOn the other hand, a bus to the lake is free.\n\n"
    "Therefore, although I like the plan, I would wait.\n\nIn conclusion, let us ask all who live here what they need."
)
FLAT = (
    "The municipal pool needs replacement. Local families deserve modern facilities. The present building looks dreadful. "
    "Its changing cabins smell awful. Swimming strengthens every muscle. Regular exercise prevents illness. "
    "A bigger basin attracts visitors. Shops would profit enormously. Some neighbours fear traffic. Others dislike spending "
    "money. Their worries sound exaggerated. Cities exist for residents. Good councils invest wisely."
)
SENTENCES = tuple(
    part.strip() + end
    for text in (PLAIN, RICH, SLOPPY, LAID_OUT, FLAT)
    for part, end in ((piece, ".") for piece in text.split("."))
    if part.strip()
)
essays = st.lists(st.sampled_from(SENTENCES), min_size=12, max_size=40).map(" ".join)
personas = st.sampled_from(PERSONAS)
WORD = {Winner.ESSAY_A: Winner.ESSAY_B, Winner.ESSAY_B: Winner.ESSAY_A, Winner.TIE: Winner.TIE}


def ask(essay_a: str, essay_b: str, persona: str | None = None, **overrides: Any) -> LLMComparisonRequest:
    model = {} if persona is None else {"model": f"panel-v1/{persona}"}
    return LLMComparisonRequest(
        user_prompt=QUESTION,
        essay_a=essay_a,
        essay_b=essay_b,
        correlation_id=UUID(int=1),
        llm_config_overrides=LLMConfigOverrides(**model, **overrides),
    )


def decide(judge: Judge, request: LLMComparisonRequest) -> Verdict:
    return anyio.run(judge.compare, request)


def assert_fair(judge: Judge, essay_a: str, essay_b: str, persona: str) -> None:
    """Swapping the essays swaps the winner and every mention of a side, and nothing else."""
    shown = decide(judge, ask(essay_a, essay_b, persona))
    swapped = decide(judge, ask(essay_b, essay_a, persona))
    assert swapped.winner is WORD[shown.winner]
    assert swapped.confidence == shown.confidence
    sides = str.maketrans("AB", "BA")
    assert [
        word.translate(sides) if word in {"A:", "B:"} else word for word in shown.justification.split()
    ] == (swapped.justification.split())


class LeansToTheFirst(RulesJudge):
    """A mutant: the essay shown first gets a little more."""

    def _weigh(self, *arguments: Any) -> list[float]:
        return [1e-9 + part for part in super()._weigh(*arguments)]


@settings(deadline=None, max_examples=60)
@given(essays, essays, personas)
def test_swapping_the_essays_swaps_the_verdict(essay_a: str, essay_b: str, persona: str) -> None:
    assert_fair(JUDGE, essay_a, essay_b, persona)


def test_a_judge_that_leans_to_the_first_essay_is_caught() -> None:
    panel = load_panel(FILE)
    mutant = LeansToTheFirst(norms=panel.norms, weights=panel.weights, personas=panel.personas)
    with pytest.raises(AssertionError):
        assert_fair(mutant, PLAIN, PLAIN, "balanced")


@settings(deadline=None, max_examples=40)
@given(essays, essays, personas)
def test_the_same_request_gets_the_same_verdict_from_any_process(
    essay_a: str, essay_b: str, persona: str
) -> None:
    request = ask(essay_a, essay_b, persona)
    assert decide(load_rules(FILE), request) == decide(JUDGE, request)


@settings(deadline=None, max_examples=60)
@given(essays, essays, personas)
def test_a_verdict_fits_the_wire_and_says_what_was_not_judged(
    essay_a: str, essay_b: str, persona: str
) -> None:
    verdict = decide(JUDGE, ask(essay_a, essay_b, persona))
    assert verdict.justification.endswith("Does not read meaning, argument or truth.")
    assert f"persona {persona}" in verdict.justification
    assert len(verdict.justification) < 600
    assert all(part.count(",") <= 2 for part in verdict.justification.split("."))
    assert 0.5 <= verdict.confidence <= 1
    assert (verdict.winner is Winner.TIE) == (verdict.confidence == 0.5)
    assert (verdict.provider, verdict.model, verdict.judge_kind) == (
        "rules", f"panel-v1/{persona}", JudgeKind.RULES,
    )  # fmt: skip
    LLMComparisonResponse(
        winner=verdict.winner,
        justification=verdict.justification,
        confidence=verdict.confidence,
        provider=verdict.provider,
        model=verdict.model,
        judge_kind=verdict.judge_kind,
        correlation_id=UUID(int=1),
    )


def test_a_justification_never_quotes_an_essay() -> None:
    marked = RICH.replace("council", "Zyxwvut").replace("athletes", "qqqqqqqq")
    said = decide(JUDGE, ask(marked, PLAIN)).justification
    assert "Zyxwvut" not in said
    assert "qqqqqqqq" not in said


def test_the_largest_differences_are_named() -> None:
    said = decide(JUDGE, ask(PLAIN, f"{PLAIN} {PLAIN}")).justification
    more = len(PLAIN.split())
    assert said.startswith(f"Rules, persona balanced. Essay B: longer by {more} words")
    against = decide(JUDGE, ask(f"{SLOPPY} {SLOPPY} {SLOPPY}", PLAIN)).justification
    assert "Against that, essay B: fewer mechanical slips." in against


def test_equal_texts_tie() -> None:
    verdict = decide(JUDGE, ask(PLAIN, PLAIN))
    assert (verdict.winner, verdict.confidence) == (Winner.TIE, 0.5)
    assert verdict.justification == f"Rules, persona balanced: no measured difference. {NOT_JUDGED}"


def test_the_noise_of_adding_floats_in_another_order_decides_nothing() -> None:
    words = [f"word{chr(97 + number % 26) * (number // 26 + 2)}" for number in range(50)]
    cuts = (0, 7, 10, 22, 31, 37, 50)
    sentences = [" ".join(words[start:end]) + "." for start, end in pairwise(cuts)]
    for order in islice(permutations(sentences), 100, 200):
        verdict = decide(JUDGE, ask(" ".join(sentences), " ".join(order), "structure"))
        assert (verdict.winner, verdict.confidence) == (Winner.TIE, 0.5)


def test_without_a_model_the_balanced_persona_judges() -> None:
    assert decide(JUDGE, ask(PLAIN, RICH)) == decide(JUDGE, ask(PLAIN, RICH, "balanced"))


def test_personas_disagree_where_their_leanings_differ() -> None:
    def winners(essay_a: str, essay_b: str) -> dict[str, Winner]:
        return {persona: decide(JUDGE, ask(essay_a, essay_b, persona)).winner for persona in PERSONAS}

    laid_out = winners(FLAT, LAID_OUT)
    assert laid_out["language"] is Winner.ESSAY_A
    assert laid_out["structure"] is Winner.ESSAY_B
    slips = winners(f"{SLOPPY} {SLOPPY}", PLAIN)
    assert slips["accuracy"] is Winner.ESSAY_B
    assert slips["content"] is Winner.ESSAY_A


def test_the_length_term_can_be_switched_off_and_every_justification_says_so() -> None:
    without = load_rules(FILE, length_term=False)
    request = ask(PLAIN, f"{PLAIN} {PLAIN}")
    assert "longer by" in decide(JUDGE, request).justification
    verdict = decide(without, request)
    assert "longer by" not in verdict.justification
    assert verdict.justification.endswith(f"Length was not weighed. {NOT_JUDGED}")
    assert verdict.confidence < decide(JUDGE, request).confidence


@pytest.mark.parametrize(("essay_a", "essay_b", "named"), [
    ("Too short.", PLAIN, "Essay A has 2 words"),
    (PLAIN, "word " * 49, "Essay B has 49 words"),
    ("…", "😀", "Essay A has 0 words"),
])  # fmt: skip
def test_a_short_text_is_refused_not_guessed_at(essay_a: str, essay_b: str, named: str) -> None:
    with pytest.raises(JudgeError, match=named) as caught:
        decide(JUDGE, ask(essay_a, essay_b))
    assert (caught.value.code, caught.value.retryable, caught.value.trips) == ("too_short", False, False)


def test_fifty_words_are_enough() -> None:
    assert decide(JUDGE, ask("word " * 50, PLAIN)).winner is Winner.ESSAY_B


def test_the_panel_has_one_lane() -> None:
    models = [f"panel-v1/{persona}" for persona in PERSONAS]
    assert JUDGE.models == tuple(models)
    asked = [LLMConfigOverrides(), LLMConfigOverrides(provider="rules")]
    asked += [LLMConfigOverrides(model=model) for model in models]
    assert {JUDGE.lane(overrides) for overrides in asked} == {"rules/panel-v1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("provider", "openai"),
        ("model", "panel-v1"),
        ("model", "panel-v2/balanced"),
        ("temperature", 0.0),
        ("max_tokens", 10),
        ("reasoning_effort", "none"),
        ("system_prompt", "Be kind."),
    ],
)
def test_an_override_that_cannot_be_honoured_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        JUDGE.lane(LLMConfigOverrides.model_validate({name: value}))
    assert [field for field, _ in caught.value.errors] == [f"llm_config_overrides.{name}"]


def test_all_refused_overrides_are_named_at_once() -> None:
    with pytest.raises(InvalidRequest, match=r"temperature.*max_tokens") as caught:
        JUDGE.lane(LLMConfigOverrides(temperature=1, max_tokens=5))
    assert len(caught.value.errors) == 2


def test_a_model_that_went_away_while_the_request_waited_is_no_verdict() -> None:
    with pytest.raises(JudgeError) as caught:
        decide(JUDGE, ask(PLAIN, RICH, "former"))
    assert (caught.value.code, caught.value.retryable) == ("unknown_model", False)


def test_the_pace_is_waited_for_and_without_one_nothing_is() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    decide(load_rules(FILE, sleep=sleep), ask(PLAIN, RICH))
    assert waits == []
    decide(load_rules(FILE, pace=0.15, sleep=sleep), ask(PLAIN, RICH))
    assert waits == [0.15]


def test_a_long_text_is_measured_like_a_short_one() -> None:
    words = [*PLAIN.split(), *RICH.split()]
    long = " ".join(random.Random(1).choices(words, k=LONG_TEXT))
    assert len(long) > LONG_TEXT
    assert_fair(JUDGE, long, PLAIN, "balanced")


def test_the_profiles_kept_are_bounded_and_hold_no_essay() -> None:
    judge = load_rules(FILE)
    judge._profiles._room = 400
    for number in range(20):
        decide(judge, ask(f"{PLAIN} Unique{number}.", RICH))
    kept = judge._profiles._kept
    assert sum(profile.words for profile in kept.values()) + judge._profiles._room == 400
    assert judge._profiles._room >= 0
    assert PLAIN[:40] not in repr(kept)


def test_the_digest_is_of_the_three_texts_as_shown() -> None:
    texts = json.dumps([QUESTION, PLAIN, RICH], ensure_ascii=False, separators=(",", ":"))
    assert decide(JUDGE, ask(PLAIN, RICH)).prompt_sha256 == hashlib.sha256(texts.encode()).hexdigest()


def test_an_incomplete_panel_is_refused() -> None:
    panel = load_panel(FILE)
    with pytest.raises(ConfigurationError, match=r"rules\.weights\.slips: missing"):
        RulesJudge(
            norms=panel.norms,
            weights={name: weight for name, weight in panel.weights.items() if name != "slips"},
            personas=panel.personas,
        )
