"""Decides what to ask next: fits the complete waves, stops or plans one more wave, and commits that as one step.

Wave k is planned from the complete results of waves up to k-2 only, whatever else has arrived by then. So two waves
are in flight, and the scores do not depend on the road, the engines or the order of arrival.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, KeysView, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import numpy as np
import structlog
from pydantic import ValidationError

from app.cj.batch import Batch, BatchState, PlannedPair, comparison_id, freeze
from app.cj.changes import Changes
from app.cj.scoring_ranking import Scoring, as_verdicts, score
from app.cj.statistics import IntArray
from app.cj.statistics.auditing import draw_audits
from app.cj.statistics.pairing import next_pairs
from app.cj.statistics.sharing import share_pairs
from app.cj.statistics.stopping import StopReason, stop_reason
from app.cj.store import BatchStore, Ended, FittedWave, Plan, is_broke
from app.contracts import LLMComparisonRequest
from app.errors import NotFound, Unavailable

log = structlog.get_logger()
_UNHURRIED = frozenset({StopReason.COMPARISONS, StopReason.NO_PAIRS})
IN_FLIGHT = 2
HOPELESS = "Paused: not one comparison of the last wave got a verdict. Mend the cause, then resume."
MOST_AGAIN = 2
_AUDIT_LOTS = 1
_Asked = tuple[int, int, int, int, int | None]
"""First, second, judge, again, audit_of."""


@dataclass(slots=True)
class Memory:
    """What the planner keeps of one running batch, so that a wave costs its own size and not the batch's.

    All of it can be read again from the store. `wave` is the last wave inside; `failed` waits to be asked again;
    `closing`: there is nothing new to ask, but the waves in flight may still bring a pair to ask again.
    `withdrawn`: the budget is spent, and what waited at the provider was taken back.
    `pairs` are those asked for a score, `audits` those asked for a second time to see whether the judge is consistent, and
    `audited` the verdicts these are about; `newest` are the verdicts of the last wave, which may be. `seen` counts how often
    each essay was put before each judge.
    """

    texts: Sequence[str]
    seen: IntArray
    planned: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)
    audits: list[tuple[int, int]] = field(default_factory=list)
    audited: set[int] = field(default_factory=set)
    wave: int = 0
    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    judge: list[int] = field(default_factory=list)
    confidence: list[float | None] = field(default_factory=list)
    newest: list[Ended] = field(default_factory=list)
    audit_verdicts: int = 0
    failed: list[Ended] = field(default_factory=list)
    ended: int = 0
    cost_usd: float = 0.0
    closing: bool = False
    withdrawn: bool = False
    scoring: Scoring | None = None

    def absorb(self, ended: Sequence[Ended], wave: int) -> None:
        """Take in the complete waves up to `wave`.

        A failure that may be mended is kept only while it is the pair's last: after a restart, waves are taken in
        again whose failures were asked anew long ago.
        """
        asked = Counter(self.pairs + self.audits) if any(one.share is None for one in ended) else Counter()
        if wave != self.wave:
            self.newest = [
                one for one in ended if one.wave == wave and one.share is not None and one.audit_of is None
            ]
        for one in ended:
            if one.share is not None and one.audit_of is not None:
                self.audit_verdicts += 1
            elif one.share is not None:
                self.first.append(one.first)
                self.second.append(one.second)
                self.share.append(one.share)
                self.judge.append(one.judge)
                self.confidence.append(one.confidence)
            elif one.retryable and one.again < MOST_AGAIN and asked[one.first, one.second] == one.again + 1:
                self.failed.append(one)
            self.cost_usd += one.cost_usd
        self.ended += len(ended)
        self.wave = wave

    def plan(self, pairs: Iterable[PlannedPair]) -> None:
        """Take in pairs that are stored as planned. A pair asked anew is seen no more often for that."""
        for pair in pairs:
            self.planned += 1
            if pair.audit_of is not None:
                self.audits.append((pair.first, pair.second))
                self.audited.add(pair.audit_of)
                continue
            self.pairs.append((pair.first, pair.second))
            if not pair.again:
                self.seen[pair.first, pair.judge] += 1
                self.seen[pair.second, pair.judge] += 1


class Planner:
    """Plans every batch that `wake` names; `visit_all` at start names each running one."""

    def __init__(
        self,
        store: BatchStore,
        changes: Changes,
        *,
        callback_topic: str,
        planned: Callable[[], None],
    ) -> None:
        self._store = store
        self._changes = changes
        self._topic = callback_topic
        self._planned = planned
        self._memories: dict[UUID, Memory] = {}
        self._due: dict[UUID, None] = {}
        self._woken = anyio.Event()

    def wake(self, batch_id: UUID) -> None:
        """Plan this batch soon; many wake-ups make one visit."""
        self._due[batch_id] = None
        self._woken.set()

    @property
    def remembered(self) -> KeysView[UUID]:
        """The batches whose texts are in this process's memory."""
        return self._memories.keys()

    async def visit_all(self) -> None:
        """Look at every running batch: after a start, and now and then for what another process left.

        And at every batch in memory: another process may have ended or deleted it, with its texts.
        """
        for batch_id in {*await self._store.running(), *self._memories}:
            self.wake(batch_id)

    async def run(self) -> None:
        """Plan whatever is woken, one batch at a time.

        :raises StoreUnavailable: the batch that met it is visited again when `run` is called again.
        """
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            while self._due:
                batch_id = next(iter(self._due))
                del self._due[batch_id]
                try:
                    await self._plan_or_pause(batch_id)
                except Unavailable:
                    self.wake(batch_id)
                    self._planned()  # perhaps: the commit may have arrived
                    raise

    async def _plan_or_pause(self, batch_id: UUID) -> None:
        """One batch's fault ends only that batch."""
        try:
            await self.plan(batch_id)
        except (ValidationError, ValueError, ArithmeticError) as error:
            self._memories.pop(batch_id, None)
            log.exception("cannot plan", batch=str(batch_id))
            await self._store.pause(batch_id, f"Paused: it cannot be planned ({type(error).__name__}).")
            self._changes.announce(batch_id)

    async def plan(self, batch_id: UUID) -> None:
        """Take as many steps as the complete waves allow."""
        try:
            while await self._step(batch_id):
                self._planned()
                self._changes.announce(batch_id)
        except NotFound:  # deleted since it was woken
            self._memories.pop(batch_id, None)
        except Unavailable:  # perhaps half a step was taken: read again what is stored
            self._memories.pop(batch_id, None)
            raise

    async def _step(self, batch_id: UUID) -> bool:
        """Plan one wave, decide to stop, or finish; False when there is nothing to do yet."""
        memory = self._memories.get(batch_id)
        progress = await self._store.progress(batch_id, since=memory.wave if memory else 0)
        batch = progress.batch
        if memory and memory.planned != batch.planned:  # another process planned meanwhile
            del self._memories[batch_id]
            return True
        if batch.state is not BatchState.RUNNING:
            if batch.state is not BatchState.PAUSED:
                self._memories.pop(batch_id, None)
            return False
        if is_broke(batch) and not (memory and memory.withdrawn):
            return await self._withdraw(batch, memory)
        to_the_end = batch.stop_reason or batch.freshly_extended or (memory and memory.closing)
        horizon = batch.waves if to_the_end else batch.waves - IN_FLIGHT + 1
        if progress.complete < horizon:
            return False
        memory = memory or await self._remember(batch)
        fresh = [one for one in progress.ended if one.wave <= horizon]
        memory.absorb(fresh, max(horizon, 0))
        # Once the money is spent nothing is left that a pause could save.
        if _hopeless(fresh, progress.excused) and not is_broke(batch):
            return await self._pause(batch)
        plan = await anyio.to_thread.run_sync(self._decide, batch, memory)
        return await self._carry_out(plan, memory)

    async def _withdraw(self, batch: Batch, memory: Memory | None) -> bool:
        """Spend no more. What was never sent is ended by whoever claims it next."""
        memory = memory or await self._remember(batch)
        await self._store.withdraw(batch.id)
        memory.withdrawn = True
        return True

    async def _remember(self, batch: Batch) -> Memory:
        texts = await self._store.texts(batch.id)
        if len(texts) < batch.essays:
            raise NotFound(f"Batch {batch.id} was deleted.")
        memory = Memory(texts, np.zeros((batch.essays, len(batch.settings.judges)), dtype=np.int64))
        memory.plan(await self._store.planned_pairs(batch.id))
        self._memories[batch.id] = memory
        return memory

    async def _carry_out(self, plan: Plan, memory: Memory) -> bool:
        if plan.stop_reason in _UNHURRIED and not plan.finished:
            memory.closing = True
            return True
        if not await self._store.commit_plan(plan):
            del self._memories[plan.batch_id]
            return True
        if plan.pairs:
            memory.plan(pair for pair, _ in plan.pairs)
            memory.failed.clear()
            memory.closing = False
        if plan.finished:
            del self._memories[plan.batch_id]
        return True

    async def _pause(self, batch: Batch) -> bool:
        """A wave without one verdict would be followed by others like it: stop spending and say so."""
        await self._store.pause(batch.id, HOPELESS)
        self._changes.announce(batch.id)
        return False

    def _decide(self, batch: Batch, memory: Memory) -> Plan:
        """Fit, then stop or choose pairs; pure but for the memory's warm start, run off the event loop."""
        scoring = memory.scoring = score(
            as_verdicts(memory.first, memory.second, memory.share, memory.judge, memory.confidence),
            batch.essays,
            start=memory.scoring.fit if memory.scoring else None,
        )
        reason: str | None = batch.stop_reason
        pairs: list[PlannedPair] = []
        if reason is None:
            reason = self._reason(batch, memory, scoring)
            if reason is None or reason in _UNHURRIED:
                pairs = self._next(batch, memory, scoring, fresh=reason is None)
                reason = None if pairs else reason or StopReason.NO_PAIRS
        return Plan(
            batch_id=batch.id,
            waves=batch.waves,
            fitted_wave=memory.wave,
            scores=scoring.fit.scores.tolist(),
            standard_errors=scoring.fit.standard_errors.tolist(),
            verdicts=scoring.verdicts.tolist(),
            fitted=_fitted(memory, scoring) if memory.share else None,
            stop_reason=reason,
            finished=reason is not None and memory.wave >= batch.waves,
            pairs=[(pair, self._body(batch, memory, pair)) for pair in pairs],
        )

    def _reason(self, batch: Batch, memory: Memory, scoring: Scoring) -> StopReason | None:
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

    def _next(self, batch: Batch, memory: Memory, scoring: Scoring, *, fresh: bool) -> list[PlannedPair]:
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
            PlannedPair(
                sequence=batch.planned + n, first=a, second=b, judge=j, again=again, audit_of=audit_of
            )
            for n, (a, b, j, again, audit_of) in enumerate(pairs, start=1)
        ]

    def _body(self, batch: Batch, memory: Memory, pair: PlannedPair) -> bytes:
        """Freeze the exact request, so that a repair can never differ from the first send."""
        request = LLMComparisonRequest(
            user_prompt=batch.question,
            essay_a=memory.texts[pair.first],
            essay_b=memory.texts[pair.second],
            callback_topic=self._topic,
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


def _hopeless(fresh: Sequence[Ended], excused: int) -> bool:
    """Whether what came in since the last look holds not one verdict, but for what was sent before a resumption."""
    blamed = [one for one in fresh if one.wave > excused]
    return any(one.again == 0 for one in blamed) and all(one.share is None for one in blamed)


def _left(batch: Batch, memory: Memory) -> int:
    """Comparisons that may still be asked under the cap; what is in flight counts as asked, what failed does not."""
    return batch.most_verdicts - len(memory.share) - memory.audit_verdicts - (batch.planned - memory.ended)
