"""Where results enter cj. A 200 and a callback are both recorded here; a handler is one transaction and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from pydantic import ValidationError

from app.bus.protocol import Record, Reject, Retry
from app.cj.batch import Arrival, Fate, Road
from app.cj.changes import Changes
from app.cj.store import BatchStore
from app.contracts import COMPARISON_RESULT_TYPE, EventEnvelope, LLMOrchestratorResponse
from app.errors import Unavailable

_MAJOR = 1
_Envelope = EventEnvelope[LLMOrchestratorResponse]


class EventProcessor:
    """Applies results; never posts, publishes or fits.

    `complete` is called with each batch that may have a wave complete now: the planner's wake-up.
    """

    def __init__(self, store: BatchStore, changes: Changes, *, complete: Callable[[UUID], None]) -> None:
        self._store = store
        self._changes = changes
        self._complete = complete
        self.recorded: Counter[Road] = Counter()
        """Results that this process applied since it started, by the road they came on."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Take a batch of callbacks from the bus.

        :raises Reject: a record can never be applied: it does not decode, nobody asked for it, or its key is another
            batch's.
        :raises Retry: the store is away.
        """
        arrivals = [self._read(record) for record in records]
        try:
            fates = await self.record(arrivals)
        except Unavailable as error:
            raise Retry(str(error)) from error
        if Fate.UNKNOWN in fates:
            unknown = arrivals[fates.index(Fate.UNKNOWN)].id
            raise Reject(
                f"unknown correlation_id {unknown}: no comparison in this cj's store asked for it; cj processes with "
                "stores of their own need a cj.callback_topic and a cj.group each"
            )
        if Fate.FOREIGN in fates:
            at = fates.index(Fate.FOREIGN)
            raise Reject(
                f"foreign key {records[at].key}: comparison {arrivals[at].id} belongs to another batch; "
                "a callback carries the callback_key of its request"
            )

    async def record(self, arrivals: Sequence[Arrival]) -> Sequence[Fate]:
        """Apply results in one transaction and wake the planner when a wave is complete.

        It is woken too when nobody knows whether they were stored, and when they had been: whoever stored them may have
        died, or never have heard of it.
        """
        touched = {arrival.batch_id for arrival in arrivals}
        try:
            recorded = await self._store.record(arrivals)
        except Unavailable:
            self._wake(touched)
            raise
        known = zip(arrivals, recorded.fates, strict=True)
        self._wake(recorded.completed | {a.batch_id for a, fate in known if fate is Fate.DUPLICATE})
        self.recorded.update(
            arrival.road
            for arrival, fate in zip(arrivals, recorded.fates, strict=True)
            if fate is Fate.APPLIED and arrival.road is not None
        )
        for batch_id in touched:
            self._changes.announce(batch_id)
        return recorded.fates

    def _wake(self, batch_ids: Iterable[UUID | None]) -> None:
        for batch_id in batch_ids:
            if batch_id is not None:
                self._complete(batch_id)

    def _read(self, record: Record) -> Arrival:
        try:
            envelope = _Envelope.model_validate_json(record.body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise Reject(f"does not decode: {where}: {first['msg']}") from error
        if envelope.major_version != _MAJOR:
            raise Reject(f"unknown major version {envelope.schema_version}; this reader knows {_MAJOR}.x")
        if envelope.event_type != COMPARISON_RESULT_TYPE:
            raise Reject(f"unknown event_type {envelope.event_type}")
        if envelope.correlation_id != envelope.data.correlation_id:
            raise Reject("the envelope and its data name different correlation_ids")
        return Arrival.of_event(envelope.data, _batch_id(record.key))


def _batch_id(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None
