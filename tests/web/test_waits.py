"""The page says why a batch waits, and says so no more once it need not."""

import json
import time

from starlette.testclient import TestClient

from app.cj.batch import BatchState
from app.contracts import LaneStatus, LLMConfigOverrides, ProviderStatus
from app.web.waits import lanes_of, waits
from tests.cj.conftest import queued
from tests.web.conftest import Site, lane, new_batch

NOON = 43_200.0
OPEN = "open for 12 s more: 5 failures within 60 s"


def words_of(site: Site, *lanes: LaneStatus, away: tuple[str, ...] = ()) -> str:
    """What the page says of a running batch of the rules judge."""
    site.provider.verdict = queued
    batch_id = site.start()
    batch = site.until(batch_id, lambda b: b.planned > 0)
    return waits(batch, ProviderStatus(lanes=lanes, away=away), NOON)


def test_an_open_breaker_is_named_with_its_reason_and_the_next_try(site: Site, client: TestClient) -> None:
    assert client
    said = words_of(site, lane("rules/panel-v1", OPEN, seconds_until_room=12.0, open_seconds=30.0))
    assert said == (
        "Waiting for judge rules/panel-v1: breaker open since 11:59:30 UTC (5 failures within 60 s), next try in 12 s."
    )
    said = words_of(site, lane("rules/panel-v1", "half-open: one call is testing the judge"))
    assert said == "Waiting for judge rules/panel-v1: breaker half-open, one call is testing the judge."
    said = words_of(site, lane("rules/panel-v1", "open by hand: it dreams"))
    assert said == "Waiting for judge rules/panel-v1: somebody stopped it (it dreams)."


def test_what_other_judges_do_is_not_said(site: Site, client: TestClient) -> None:
    assert client
    assert words_of(site, lane("rules/panel-v1"), lane("openai/m", OPEN), lane("rules/panel-v11", OPEN)) == ""


def test_a_provider_that_is_away_is_waited_for(site: Site, client: TestClient) -> None:
    assert client
    assert words_of(site, away=("it did not answer",)) == "Waiting for the provider: it did not answer"
    assert words_of(site, lane("rules/panel-v1"), away=("one of two is away",)) == ""


def test_a_judge_without_a_model_goes_by_every_lane_of_its_provider() -> None:
    status = ProviderStatus(lanes=(lane("openai/a"), lane("openai/b"), lane("google/a")))
    asked = new_batch(judges=(LLMConfigOverrides(provider="openai"),)).settings
    assert [one.name for one in lanes_of(asked, status)] == ["openai/a", "openai/b"]


def test_the_pages_say_it_and_its_stream_takes_it_back(site: Site, client: TestClient) -> None:
    site.provider.verdict = queued
    site.status = ProviderStatus(lanes=(lane("rules/panel-v1", OPEN, seconds_until_room=12.0),))
    batch_id = site.start()
    site.until(batch_id, lambda b: b.planned > 0)
    for page in ("live", "ranking"):
        text = client.get(f"/batches/{batch_id}/{page}").text
        assert "Waiting for judge rules/panel-v1: breaker open" in text

    async def follow() -> list[str]:
        said: list[str] = []
        async for event in site.stream(heartbeat=0.01).follow(batch_id, 0):
            if event.event == "state":
                said.append(json.loads(str(event.data))["waits"])
                site.status = ProviderStatus(lanes=(lane("rules/panel-v1"),))
            if len(said) > 1 and not said[-1]:
                return said
        return said

    deadline = time.monotonic() + 20
    said = site.call(follow)
    assert time.monotonic() < deadline
    assert said[0].startswith("Waiting for judge rules/panel-v1")
    assert said[-1] == ""
    site.call(site.cj.workflow.pause, batch_id)
    site.status = ProviderStatus(lanes=(lane("rules/panel-v1", OPEN),))
    assert site.batch(batch_id).state is BatchState.PAUSED
    for page in ("live", "ranking"):
        assert "Waiting for judge" not in client.get(f"/batches/{batch_id}/{page}").text


def test_between_two_looks_at_the_provider_its_clocks_go_on() -> None:
    status = ProviderStatus(
        lanes=(lane("openai/m", OPEN, seconds_until_room=12, open_seconds=3), lane("openai/n"))
    )
    paused, well = status.later(2.5).lanes
    assert (paused.open_seconds, paused.seconds_until_room) == (5.5, 9.5)
    assert (well.open_seconds, well.seconds_until_room) == (None, 0.0)
