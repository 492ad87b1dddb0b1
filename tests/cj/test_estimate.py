"""What a batch comes to: a bound that no pairing passes, and no sum where a price is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cj.batch import BatchSettings
from app.cj.estimate import AROUND, estimate, unpriced
from app.cj.statistics.pairing import next_pairs
from app.contracts import JudgeKind, LLMConfigOverrides, ModelInfo, ModelList, Pricing
from app.provider.judges.llm.prompt import PROMPTS, VERSION
from app.provider.judges.llm.verdict import WrittenVerdict

DEAR = LLMConfigOverrides(provider="openai", model="dear")
UNKNOWN = LLMConfigOverrides(provider="openai", model="unknown")
FREE = LLMConfigOverrides(provider="rules", model="panel-v1/balanced")
KNOWN = ModelList(
    models=(
        ModelInfo(
            provider="openai",
            model="dear",
            kind=JudgeKind.LLM,
            price=Pricing(prompt=2.0, completion=10.0),
            bytes_per_token=4.0,
            answer_tokens=1000,
        ),
        ModelInfo(provider="openai", model="unknown", kind=JudgeKind.LLM, price=None, bytes_per_token=3.0),
        ModelInfo(
            provider="rules",
            model="panel-v1/balanced",
            kind=JudgeKind.RULES,
            price=Pricing(prompt=0.0, completion=0.0),
        ),
    )
)


def settings(*judges: LLMConfigOverrides, **more: object) -> BatchSettings:
    return BatchSettings.model_validate({"judges": judges, "comparisons_per_essay": 4} | more)


def test_the_sum_is_what_is_read_and_the_room_for_what_is_written() -> None:
    found = estimate([4000, 6000], 1000, settings(DEAR), KNOWN, seconds_each=2.0)
    read, written = (1000 + AROUND + 4000 + 6000) / 4, 1000
    assert found.comparisons == 1
    assert found.seconds == 2.0
    assert found.cost_usd == pytest.approx((read * 2 + written * 10) / 1e6)


def test_what_is_written_to_a_cache_is_in_the_sum_where_that_is_dearer() -> None:
    info = KNOWN.models[0]
    for written, reading in ((2.5, 2.5), (1.0, 2.0)):
        price = Pricing(prompt=2.0, completion=0.0, cached=0.1, cache_written=written)
        known = ModelList(models=(info.model_copy(update={"price": price}),))
        found = estimate([4000, 6000], 1000, settings(DEAR), known)
        assert found.cost_usd == pytest.approx((1000 + AROUND + 4000 + 6000) / 4 * reading / 1e6)


def test_an_override_of_the_room_or_the_role_is_in_the_sum() -> None:
    asked = LLMConfigOverrides(provider="openai", model="dear", max_tokens=100, system_prompt="x" * 400)
    plain = estimate([10, 10], 10, settings(DEAR), KNOWN).cost_usd
    changed = estimate([10, 10], 10, settings(asked), KNOWN).cost_usd
    assert plain is not None
    assert changed == pytest.approx(plain + (100 * 2 - 900 * 10) / 1e6)


def test_judges_share_the_comparisons() -> None:
    alone = estimate([500] * 6, 10, settings(DEAR), KNOWN).cost_usd
    shared = estimate([500] * 6, 10, settings(DEAR, FREE), KNOWN).cost_usd
    assert alone is not None
    assert shared == pytest.approx(alone / 2)


def test_without_a_price_there_is_no_sum_but_a_name() -> None:
    found = estimate([500] * 6, 10, settings(DEAR, UNKNOWN), KNOWN)
    assert (found.cost_usd, found.unpriced) == (None, ("openai/unknown",))
    stranger = LLMConfigOverrides(provider="else")
    assert unpriced([stranger, FREE, DEAR], KNOWN) == ("else",)


def test_rules_take_nothing() -> None:
    found = estimate([500] * 6, 10, settings(FREE), KNOWN)
    assert (found.cost_usd, found.unpriced, found.seconds) == (0.0, (), None)


@given(
    sizes=st.lists(st.integers(1, 9000), min_size=2, max_size=15),
    per_essay=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_no_pairing_of_random_rounds_shows_more_than_was_estimated(
    sizes: list[int], per_essay: int, seed: int
) -> None:
    chosen = settings(DEAR, comparisons_per_essay=per_essay)
    found = estimate(sizes, 0, chosen, KNOWN)
    met = np.empty((0, 2), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for done in range(per_essay):
        pairs = next_pairs(
            items=len(sizes),
            rounds_done=done,
            random_rounds=per_essay,
            scores=None,
            met=met,
            sides=np.zeros(len(sizes), dtype=np.int64),
            rng=rng,
        )
        met = np.concatenate([met, np.array(pairs, dtype=np.int64).reshape(-1, 2)])
    asked = met[: found.comparisons]
    shown = sum(sizes[int(a)] + sizes[int(b)] for a, b in asked)
    spent = ((len(asked) * AROUND + shown) / 4 * 2 + len(asked) * 1000 * 10) / 1e6
    assert found.cost_usd is not None
    assert spent <= found.cost_usd + 1e-12


def test_what_stands_around_the_essays_in_a_prompt_fits_into_its_share() -> None:
    template = (PROMPTS / f"{VERSION}.txt").stat().st_size
    schema = len(str(WrittenVerdict.model_json_schema()))
    assert template + schema <= AROUND
