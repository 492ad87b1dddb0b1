"""What the bus handler takes, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from app.bus.protocol import Record, Reject, Retry
from app.cj.batch import Arrival, Fate
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    LLMComparisonResponse,
    LLMOrchestratorResponse,
    Outcome,
    Problem,
)
from app.contracts.events import result_event

from .conftest import Cj, ScriptedProvider, answer, batch_of, cj_on, queued
from .places import Place

pytestmark = pytest.mark.anyio


FLAGS = ("essay_a:addresses-judge", "odd")


def record(body: bytes, key: str = "batch") -> Record:
    return Record(COMPARISON_RESULT_TOPIC, key, "id", body)


def failed(correlation_id: UUID) -> LLMOrchestratorResponse:
    now = datetime.now(UTC)
    return LLMOrchestratorResponse(
        request_id=uuid4(),
        correlation_id=correlation_id,
        status=Outcome.FAILED,
        requested_at=now,
        completed_at=now,
        error=Problem(type="urn:juxta:problem:refused", title="No", status=502, detail="no verdict"),
    )


def succeeded(verdict: LLMComparisonResponse) -> LLMOrchestratorResponse:
    now = datetime.now(UTC)
    fields = {name: getattr(verdict, name) for name in LLMComparisonResponse.model_fields}
    return LLMOrchestratorResponse(
        request_id=uuid4(), status=Outcome.SUCCEEDED, requested_at=now, completed_at=now, **fields
    )


def event(correlation_id: UUID, **changes: object) -> bytes:
    return result_event(failed(correlation_id)).model_copy(update=changes).model_dump_json().encode()


async def test_prompt_and_flags_are_kept_by_either_road(place: Place) -> None:
    provider = ScriptedProvider(queued)
    async with cj_on(place, provider) as cj:
        batch_id = await one_open(cj, provider)
        (request,) = provider.requests
        verdict = answer(request).model_copy(
            update={"prompt_version": "comparison-v1", "prompt_sha256": "5" * 64, "flags": FLAGS}
        )
        came = [Arrival.of_response(verdict, batch_id), Arrival.of_event(succeeded(verdict), batch_id)]
        assert {(one.prompt_version, one.prompt_sha256, one.flags) for one in came} == {
            ("comparison-v1", "5" * 64, FLAGS)
        }
        assert await cj.processor.record(came) == (Fate.APPLIED, Fate.DUPLICATE)
        stored = await cj.views.comparison(request.correlation_id)
        found = await cj.views.flagged(batch_id)
        summary = await cj.views.summary(batch_id)
    assert (stored.prompt_version, stored.prompt_sha256, stored.flags) == ("comparison-v1", "5" * 64, FLAGS)
    assert {(one.essay, one.found) for one in found} == {
        (stored.essay_a, ("addresses-judge", "odd")),
        (stored.essay_b, ("odd",)),
    }
    assert summary.prompts == {"comparison-v1": 1}


async def one_open(cj: Cj, provider: ScriptedProvider) -> UUID:
    batch_id = await cj.workflow.create(batch_of(2, comparisons_per_essay=1), start=True)
    await cj.until(batch_id, lambda b: len(provider.requests) == b.planned > 0)
    return batch_id


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "does not decode"),
        (b"not json", "does not decode"),
        (b"{}", "event_id"),
        (event(uuid4(), schema_version="2.0"), "unknown major version 2.0"),
        (event(uuid4(), event_type="other.v1"), "unknown event_type other.v1"),
        (event(uuid4()), r"unknown correlation_id .* stores of their own .* cj\.group"),
        (event(uuid4(), data=failed(uuid4())), "name different correlation_ids"),
    ],
)
async def test_what_can_never_be_applied_is_rejected_with_its_reason(
    place: Place, body: bytes, says: str
) -> None:
    async with cj_on(place, ScriptedProvider(), run=False) as cj:
        with pytest.raises(Reject, match=says):
            await cj.processor.handle([record(body)])


async def test_a_batch_with_one_stranger_applies_nothing_before_it_is_tried_one_by_one(
    place: Place,
) -> None:
    provider = ScriptedProvider(queued)
    async with cj_on(place, provider) as cj:
        batch_id = await one_open(cj, provider)
        good = record(event(provider.requests[0].correlation_id), str(batch_id))
        with pytest.raises(Reject):
            await cj.processor.handle([good, record(b"?")])
        assert (await cj.views.batch(batch_id)).failed == 0
        await cj.processor.handle([good])
        await cj.processor.handle([good])
        assert (await cj.views.batch(batch_id)).failed == 1


async def test_fields_added_by_a_newer_minor_version_are_ignored(place: Place) -> None:
    provider = ScriptedProvider(queued)
    async with cj_on(place, provider) as cj:
        batch_id = await one_open(cj, provider)
        body = event(provider.requests[0].correlation_id, schema_version="1.7")
        await cj.processor.handle([record(body[:-1] + b',"colour":"blue"}', str(batch_id))])
        assert (await cj.views.batch(batch_id)).failed == 1


async def test_a_store_that_is_away_means_try_again(place: Place) -> None:
    async with cj_on(place, ScriptedProvider(), run=False) as cj:
        pass
    with pytest.raises(Retry):
        await cj.processor.handle([record(event(uuid4()))])
