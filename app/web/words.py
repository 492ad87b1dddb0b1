"""Figures and states as words: never a number without its origin, never a verdict without who judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from app.cj.batch import NEVER_SENT, Batch, BatchState, ComparisonState
from app.cj.statistics.stopping import StopReason
from app.cj.store import is_broke
from app.cj.views import Comparison, Summary
from app.contracts import JudgeKind, Pricing, Winner
from app.errors import RequestCancelled

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"
NOTHING_YET = "\N{EN DASH}"
RELIABILITY_NAME = "empirical-Bayes estimate"
RELIABILITY = f"{RELIABILITY_NAME}: the share of the spread in scores that the verdicts explain"
RELIABILITY_METHOD = f"empirical-Bayes reliability, 1 {MINUS} mean(SE²) / (σ² (1 {MINUS} 1/n))"
JUDGES = {
    JudgeKind.HUMAN.value: "people",
    JudgeKind.LLM.value: "LLM",
    JudgeKind.RULES.value: "rules",
    JudgeKind.SIMULATED.value: "simulated",
}
BANNERS = {
    JudgeKind.HUMAN.value: "Judged by people.",
    JudgeKind.LLM.value: "Judged by an AI{models}, not by people. A person decides: look at what matters yourself before you grade pupils with it.",
    JudgeKind.RULES.value: "Judged by rules, not by people or an AI. Use it to learn the tool; do not grade pupils with it.",
    JudgeKind.SIMULATED.value: "Judged by a simulation that was told the scores. It tests the method and says nothing about the essays.",
}
STATES = {
    BatchState.READY: "not started",
    BatchState.RUNNING: "running",
    BatchState.PAUSED: "paused",
    BatchState.FINISHED: "finished",
    BatchState.CANCELLED: "cancelled",
    BatchState.DELETING: "being deleted",
}
_STOPS = {
    StopReason.RELIABILITY.value: "the reliability asked for was reached",
    StopReason.BUDGET.value: "the budget is spent",
    StopReason.COMPARISONS.value: "the comparisons per essay asked for are used up",
    StopReason.NO_PAIRS.value: "every pair of essays has been compared",
    StopReason.CANCELLED.value: "somebody cancelled it",
}
_CLEAR, _LIKELY = 0.8, 0.65
_MINUTE, _HOUR = 60.0, 3600.0
_EXACT_MS = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """One ended comparison as a sentence; `detail` says who, how sure, how long."""

    order: int
    sentence: str
    detail: str
    judge_kind: str | None


def verdict(one: Comparison) -> Verdict:
    """Say what one ended comparison brought."""
    if one.state != ComparisonState.DECIDED:
        return Verdict(
            one.ended_order or 0,
            f"{one.essay_a} and {one.essay_b} got no verdict",
            (one.error_code or one.state).replace("-", " "),
            None,
        )
    sentence = {
        Winner.ESSAY_A.value: f"{one.essay_a} beat {one.essay_b}",
        Winner.ESSAY_B.value: f"{one.essay_b} beat {one.essay_a}",
    }.get(one.winner or "", f"{one.essay_a} and {one.essay_b} tied")
    parts = [judge_name(one), confidence(one.confidence), milliseconds(one.response_time_ms)]
    return Verdict(one.ended_order or 0, sentence, " · ".join(filter(None, parts)), one.judge_kind)


def judge_name(one: Comparison) -> str:
    """Who judged, as `rules/balanced`: the provider and the last part of the model's name."""
    model = (one.model or "").rsplit("/", 1)[-1]
    return "/".join(filter(None, (one.provider, model)))


def confidence(value: float | None) -> str:
    """How sure the judge was; 0.5 is a coin toss."""
    if value is None:
        return ""
    return "clear" if value >= _CLEAR else "likely" if value >= _LIKELY else "close"


def milliseconds(value: int | None) -> str:
    """A judge's time."""
    if value is None:
        return ""
    return f"{value} ms" if value < _EXACT_MS else f"{value / _EXACT_MS:.1f} s"


def duration(seconds: float | None) -> str:
    """About how long, as one says it."""
    if seconds is None:
        return "unknown"
    if seconds < _MINUTE:
        return "less than a minute"
    if seconds < 1.5 * _HOUR:
        return f"about {round(seconds / _MINUTE)} min"
    return f"about {seconds / _HOUR:.0f} h"


def usd(value: float) -> str:
    """Money; small sums keep their digits."""
    return f"{value:.4f} USD" if 0 < value < 0.01 else f"{value:.2f} USD"  # noqa: PLR2004 - a cent


def usd_up(value: float) -> str:
    """Money rounded up, for sums that are not exceeded."""
    digits = 4 if 0 < value < 0.01 else 2  # noqa: PLR2004 - a cent
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:.{digits}f} USD"


def most(cost: float | None, budget: float | None) -> str:
    """What a start costs at most, for its button; nothing for judges that take nothing."""
    if cost is None:
        return "cost unknown"
    if budget is not None and beyond(cost, budget):
        return f"stops at {usd(budget)}"
    return f"at most {usd_up(cost)}" if cost else ""


def beyond(cost: float | None, budget: float | None) -> str:
    """What a start would come to at most without its budget; nothing where the budget is enough."""
    return usd_up(cost) if cost is not None and budget is not None and budget < cost else ""


def cost(batch: Batch, *, unpriced: bool = False) -> str:
    """What was spent, and of how much; `unpriced`: the price of one of its judges is not known."""
    if unpriced:
        return f"{usd(batch.cost_usd)}, and what is unknown" if batch.cost_usd else "unknown"
    budget = batch.settings.budget_usd
    return usd(batch.cost_usd) if budget is None else f"{usd(batch.cost_usd)} of {usd(budget)}"


def price(pricing: Pricing | None) -> str:
    """What a model takes, with the day on which somebody read it."""
    if pricing is None:
        return "price unknown"
    if not pricing.prompt and not pricing.completion:
        return "costs nothing"
    seen = f", as of {pricing.on}" if pricing.on else ""
    return f"{pricing.prompt:g} USD per million tokens read, {pricing.completion:g} written{seen}"


def figure(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign; a dash when there is none yet."""
    if value is None:
        return NOTHING_YET
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def between(value: float | None, low: float | None, high: float | None) -> str:
    """A number with the bounds of its 95 % interval."""
    if value is None or low is None or high is None:
        return figure(value)
    return f"{figure(value)} ({figure(low)} to {figure(high)})"


def share(value: float | None) -> str:
    """A share of 100, whole."""
    return NOTHING_YET if value is None else f"{100 * value:.0f}{SPACE}%"


def share_between(value: float | None, low: float | None, high: float | None) -> str:
    """A share of 100 with the bounds of its 95 % interval."""
    if value is None or low is None or high is None:
        return share(value)
    return f"{share(value)} ({100 * low:.0f} to {100 * high:.0f})"


def reliability(value: float | None) -> str:
    """A reliability cut off, not rounded: 0.897 does not look like the 0.90 it has not reached."""
    return NOTHING_YET if value is None else f"{math.floor(value * 100 + 1e-9) / 100:.2f}"


def moment(posix: float | None) -> str:
    """A moment in UTC for reading."""
    return "" if posix is None else f"{datetime.fromtimestamp(posix, UTC):%Y-%m-%d %H:%M} UTC"


def rfc3339(posix: float | None) -> str:
    """A moment in UTC for machines."""
    if posix is None:
        return ""
    return datetime.fromtimestamp(posix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count(number: int, noun: str) -> str:
    """`1 essay`, `1,200 essays`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def stopped(batch: Batch) -> str:
    """Why no more pairs are asked, or what the batch still waits for."""
    if batch.state is BatchState.READY:
        return "It has not started yet."
    if batch.stop_reason is None:
        return "It has not stopped: the ranking below is provisional."
    if batch.stop_reason == StopReason.BUDGET and not is_broke(batch):
        return "Stopped because the budget would not have lasted for another round of pairs."
    if batch.stop_reason == StopReason.COMPARISONS and batch.extended_to is not None:
        return "Stopped because the comparisons added to it are used up."
    because = _STOPS.get(batch.stop_reason, batch.stop_reason.replace("_", " "))
    return f"Stopped because {because}."


def banners(summary: Summary) -> list[tuple[str, str]]:
    """Judge kind and sentence for each kind that judged, with counts when there was more than one."""
    models = f" ({', '.join(summary.ai_models)})" if summary.ai_models else ""
    alone = len(summary.judge_kinds) == 1
    found = []
    for kind, number in summary.judge_kinds.items():
        sentence = BANNERS.get(kind, f"Judged by {kind}.").replace("{models}", models)
        found.append((kind, sentence if alone else f"{count(number, 'verdict')}: {sentence}"))
    return found


FLAGS = {
    "addresses-judge": "speaks to its judge",
    "verdict-json": "holds something like a ready-made verdict",
    "invisible-characters": "holds characters that nobody sees",
    "delimiter-lookalike": "imitates the marks around an essay or a conversation",
}


def flag(name: str) -> str:
    """What was found in an essay."""
    return FLAGS.get(name, name.replace("-", " "))


def roads(summary: Summary) -> tuple[str, str]:
    """How verdicts came: on the answer to the request (200), or as a callback after a promise (202)."""
    answered, called = summary.roads.get("response", 0), summary.roads.get("callback", 0)
    return f"{answered:,} at once (200)", f"{called:,} by callback (202)"


def failures(summary: Summary) -> str:
    """Comparisons without verdict by class."""
    special = {NEVER_SENT: "not sent, for want of money"}
    if is_broke(summary.batch):
        special[RequestCancelled.code] = "taken back, for want of money"
    return ", ".join(
        f"{special.get(name, name.replace('-', ' '))} ({number:,})"
        for name, number in summary.failures.items()
    )
