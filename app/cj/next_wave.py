"""What a batch asks next, or why it stops: pure but for the warm start that a memory keeps of the last fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.cj.batch import Batch, BatchState, PlannedPair, comparison_id, freeze
from app.cj.memory import Memory
from app.cj.scoring_ranking import Scoring, as_verdicts, score
from app.cj.statistics.auditing import draw_audits
from app.cj.statistics.pairing import next_pairs
from app.cj.statistics.sharing import share_pairs
from app.cj.statistics.stopping import StopReason, stop_reason
from app.cj.store import Ended, FittedWave, Plan
from app.contracts import LLMComparisonRequest

UNHURRIED = frozenset({StopReason.COMPARISONS, StopReason.NO_PAIRS})
"""Reasons for which a batch still waits for its waves in flight: they may bring a pair to ask again."""

_AUDIT_LOTS = 1
_Asked = tuple[int, int, int, int, int | None]
"""First, second, judge, again, audit_of."""


def decide(batch: Batch, memory: Memory, topic: str) -> Plan:
    """Fit, then stop or choose pairs, whose verdicts are to come to this topic."""
    scoring = memory.scoring = score(
        as_verdicts(memory.first, memory.second, memory.share, memory.judge, memory.confidence),
        batch.essays,
        start=memory.scoring.fit if memory.scoring else None,
    )
    reason: str | None = batch.stop_reason
    pairs: list[PlannedPair] = []
    if reason is None:
        reason = _reason(batch, memory, scoring)
        if reason is None or reason in UNHURRIED:
            pairs = _next(batch, memory, scoring, fresh=reason is None)
            reason = None if pairs else reason or StopReason.NO_PAIRS
    return Plan(
        batch_id=batch.id,
        state=batch.state,
        waves=batch.waves,
        fitted_wave=memory.wave,
        scores=scoring.fit.scores.tolist(),
        standard_errors=scoring.fit.standard_errors.tolist(),
        verdicts=scoring.verdicts.tolist(),
        fitted=_fitted(memory, scoring) if memory.share else None,
        stop_reason=reason,
        finished=batch.state is BatchState.RUNNING and reason is not None and memory.wave >= batch.waves,
        pairs=[(pair, _body(batch, memory, pair, topic)) for pair in pairs],
    )


def _reason(batch: Batch, memory: Memory, scoring: Scoring) -> StopReason | None:
    """The rule of `stop_reason`, with what is in flight counted as spent and asked already."""
    in_flight = batch.planned - memory.ended
    each = memory.cost_usd / memory.ended if memory.ended else 0.0
    endless = batch.extended_to is not None  # somebody wanted so many more, whatever was reached
    found = stop_reason(
        fit=scoring.fit,
        verdicts_per_item=scoring.verdicts,
        connected=scoring.connected,
        target=math.inf if endless else batch.settings.target_reliability,
        comparisons_per_essay=math.inf if endless else batch.settings.comparisons_per_essay,
        spent=memory.cost_usd + each * in_flight,
        budget=batch.settings.budget_usd,
    )
    if found is None and _left(batch, memory) <= 0:
        distinct = len({(min(pair), max(pair)) for pair in memory.pairs})
        every_pair = distinct == batch.essays * (batch.essays - 1) // 2
        return StopReason.NO_PAIRS if every_pair else StopReason.COMPARISONS
    return found


def _next(batch: Batch, memory: Memory, scoring: Scoring, *, fresh: bool) -> list[PlannedPair]:
    """First the pairs that failed, asked anew with the same sides; then audits; then a round of pairs never asked."""
    wave = batch.waves + 1
    rng = np.random.default_rng([batch.settings.seed, wave])
    pairs = [
        (one.first, one.second, one.judge, one.again + 1, one.audit_of)
        for one in memory.failed[: max(0, _left(batch, memory))]
    ]
    if fresh:
        pairs += _audits(batch, memory, wave)
        met = np.array(memory.pairs, dtype=np.int64).reshape(-1, 2)
        sides = np.bincount(met[:, 0], minlength=batch.essays) - np.bincount(
            met[:, 1], minlength=batch.essays
        )
        chosen = next_pairs(
            items=batch.essays,
            rounds_done=batch.waves,
            random_rounds=batch.settings.random_rounds,
            scores=scoring.fit.scores if memory.share else None,
            met=met,
            sides=sides,
            rng=rng,
        )
        chosen = chosen[: max(0, _left(batch, memory) - len(pairs))]
        judges = share_pairs(chosen, memory.seen, rng)
        pairs += [(int(a), int(b), int(j), 0, None) for (a, b), j in zip(chosen, judges, strict=True)]
    return [
        PlannedPair(sequence=batch.planned + n, first=a, second=b, judge=j, again=again, audit_of=audit_of)
        for n, (a, b, j, again, audit_of) in enumerate(pairs, start=1)
    ]


def _body(batch: Batch, memory: Memory, pair: PlannedPair, topic: str) -> bytes:
    """Freeze the exact request, so that a repair can never differ from the first send."""
    request = LLMComparisonRequest(
        user_prompt=batch.question,
        essay_a=memory.texts[pair.first],
        essay_b=memory.texts[pair.second],
        callback_topic=topic,
        correlation_id=comparison_id(batch.id, pair.sequence),
        llm_config_overrides=batch.settings.judges[pair.judge],
        metadata={"batch_id": str(batch.id), "sequence": pair.sequence},
        callback_key=str(batch.id),
        expires_in=batch.settings.expires_in,
        priority=batch.settings.priority,
    )
    return freeze(request)


def _fitted(memory: Memory, scoring: Scoring) -> FittedWave:
    return FittedWave(
        wave=memory.wave,
        verdicts=len(memory.share),
        reliability=scoring.fit.reliability,
        sigma=scoring.fit.sigma,
        positions=tuple(scoring.fit.position_means.tolist()),
        position_errors=tuple(scoring.fit.position_errors.tolist()),
        islands=scoring.islands,
        cost_usd=memory.cost_usd,
    )


def _audits(batch: Batch, memory: Memory, wave: int) -> list[_Asked]:
    """Verdicts of the newest complete wave, to be asked for again by the same judge with the sides swapped.

    Where there are comparisons for every pair, no audit takes the place of one. Lots for audits are drawn apart, so that
    their share changes no other lot.
    """
    every_pair = batch.essays * (batch.essays - 1) // 2
    spare = batch.most_verdicts - every_pair
    room = min(_left(batch, memory), spare - len(memory.audited)) if spare >= 0 else _left(batch, memory)
    candidates = [one for one in memory.newest if one.sequence not in memory.audited]
    drawn = draw_audits(
        candidates=len(candidates),
        verdicts=len(memory.share),
        audited=len(memory.audited),
        share=batch.settings.audit_share,
        rng=np.random.default_rng([batch.settings.seed, wave, _AUDIT_LOTS]),
    )
    again = [candidates[n] for n in drawn[: max(0, room - len(memory.failed))]]
    return [(one.second, one.first, one.judge, 0, one.sequence) for one in again]


def hopeless(fresh: Sequence[Ended], excused: int) -> bool:
    """Whether what came in since the last look holds not one verdict, but for what was sent before a resumption."""
    blamed = [one for one in fresh if one.wave > excused]
    return any(one.again == 0 for one in blamed) and all(one.share is None for one in blamed)


def _left(batch: Batch, memory: Memory) -> int:
    """Comparisons that may still be asked under the cap; what is in flight counts as asked, what failed does not."""
    return batch.most_verdicts - len(memory.share) - memory.audit_verdicts - (batch.planned - memory.ended)
