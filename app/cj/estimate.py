"""What a batch comes to before it is started: comparisons, time, and money, were every call to answer at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.cj.batch import BatchSettings
from app.contracts import LLMConfigOverrides, ModelInfo, ModelList, Pricing
from app.errors import InvalidRequest

AROUND = 4_000
"""Bytes of a prompt around question and essays: instructions and the schema of the answer (measured: 2,600)."""

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a start comes to when every call answers at once; less if the reliability asked for is reached earlier.

    `cost_usd` is for prompts read at the dearer of their prices and answers that fill all the room they are given, and
    null where the price of a judge is unknown: `unpriced` names these. Repairs and retries come on top, for each is one
    more paid call; of them a budget takes care, not this.
    `seconds` is null where nobody knows how fast the judge is.
    """

    comparisons: int
    seconds: float | None
    cost_usd: float | None
    budget_usd: float | None
    unpriced: tuple[str, ...] = ()


def estimate(
    sizes: Sequence[int],
    question: int,
    settings: BatchSettings,
    known: ModelList,
    *,
    seconds_each: float | None = None,
) -> Estimate:
    """What comparing essays of `sizes` bytes costs under a question of so many bytes.

    Rounds pair each essay once, so that none is shown more than one time above its share; audits may fall on the longest.
    """
    comparisons = settings.most_comparisons(len(sizes))
    audits = int(settings.audit_share * comparisons)
    shown = math.ceil(2 * comparisons / max(1, len(sizes))) * sum(sizes) + 2 * audits * max(sizes, default=0)
    costs = [_cost(asked, comparisons, question, shown, known) for asked in settings.judges]
    total = [cost for cost in costs if cost is not None]
    return Estimate(
        comparisons=comparisons,
        seconds=None if seconds_each is None else comparisons * seconds_each,
        cost_usd=sum(total) / len(costs) if len(total) == len(costs) else None,
        budget_usd=settings.budget_usd,
        unpriced=unpriced(settings.judges, known),
    )


def unpriced(judges: Sequence[LLMConfigOverrides], known: ModelList) -> tuple[str, ...]:
    """The judges whose price nobody here knows, by name."""
    names = {asked: "/".join(filter(None, (asked.provider, asked.model))) for asked in judges}
    return tuple(
        dict.fromkeys(name or "default" for asked, name in names.items() if price(asked, known) is None)
    )


def require_prices(settings: BatchSettings, known: ModelList) -> None:
    """A budget is a promise to stop, which nobody can keep who does not know the price.

    :raises InvalidRequest: there is a budget, and a judge of unknown price.
    """
    if settings.budget_usd is not None and (names := unpriced(settings.judges, known)):
        raise InvalidRequest(
            f"No budget can be kept: nobody here knows what {' and '.join(names)} costs.",
            errors=(("settings.budget_usd", "the price of the judge is unknown"),),
            hint="Leave the budget out, or write the price into a file of your own (judges.catalogue): docs/judges.md shows one.",
        )


def price(asked: LLMConfigOverrides, known: ModelList) -> Pricing | None:
    """What a judge takes for a million tokens; None where it is not known."""
    found = find(asked, known)
    return found.price if found else None


def find(asked: LLMConfigOverrides, known: ModelList) -> ModelInfo | None:
    """What is known of a judge: without a name the first of all, or of its provider."""
    fitting = (
        info
        for info in known.models
        if asked.provider in {None, info.provider} and asked.model in {None, info.model}
    )
    return next(fitting, None)


def _cost(
    asked: LLMConfigOverrides, comparisons: int, question: int, shown: int, known: ModelList
) -> float | None:
    """What this judge would take for all of it, were it the only one."""
    found = find(asked, known)
    if found is None or found.price is None:
        return None
    if not found.bytes_per_token:  # it counts no tokens, so that its price can only be none
        return 0.0
    role = len((asked.system_prompt or "").encode())
    read = (comparisons * (question + AROUND + role) + shown) / found.bytes_per_token
    written = comparisons * (asked.max_tokens or found.answer_tokens or 0)
    reading = max(found.price.prompt, found.price.cache_written or 0.0)
    return (read * reading + written * found.price.completion) / _MILLION
