from __future__ import annotations

import pytest

from app.provider.circuit_breaker import BreakerState
from app.provider.judges.protocol import JudgeError, Spent
from app.provider.lane import LOOK_AGAIN, Lane, LaneLimits, Lanes
from app.provider.rate_limiter import Former


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lane(clock: Clock | None = None, **limits: float) -> Lane:
    return Lane("gpt", LaneLimits(**limits), clock=clock or Clock())  # type: ignore[arg-type]


def test_never_more_slots_than_the_judge_bears() -> None:
    it = lane(concurrency=3, direct_concurrency=2)
    assert len(it.take(2)) == 2
    assert it.take_direct(0) is not None
    assert it.take_direct(0) is None
    assert it.take(5) == []


def test_the_direct_road_is_for_an_empty_queue_only() -> None:
    it = lane()
    assert not it.may_run_direct(1)
    assert it.may_run_direct(0)


def test_the_direct_road_has_its_own_bound() -> None:
    it = lane(concurrency=8, direct_concurrency=1)
    slot = it.take_direct(0)
    assert slot is not None
    assert not it.may_run_direct(0)
    slot.give_back()
    assert it.may_run_direct(0)


def test_a_lane_of_people_is_never_called_by_machines() -> None:
    it = lane(concurrency=0, direct_concurrency=0)
    assert it.take(5) == []
    assert not it.may_run_direct(0)
    assert "waits for people" in it.status(3).words


def test_an_open_breaker_sends_to_the_queue_and_one_probe_reopens_the_lane() -> None:
    clock = Clock()
    it = lane(clock, failures=2, cooldown=10)
    for slot in it.take(2):
        slot.begin()
        slot.fail(JudgeError("unavailable", "down", retryable=True, trips=True))
    assert not it.may_run_direct(0)
    assert it.take(5) == []
    assert it.status(12).words.startswith("12 waiting, 0 running: judge paused, breaker open for 10 s more")
    clock.now = 10
    (probe,) = it.take(5)
    probe.begin()
    probe.succeed(tokens=0)
    assert it.breaker.state(10) is BreakerState.CLOSED


def test_429_slows_the_lane_and_does_not_trip_it() -> None:
    clock = Clock()
    it = lane(clock, failures=1)
    (slot,) = it.take(1)
    slot.begin()
    slot.fail(JudgeError("rate_limited", "slow down", retryable=True, retry_after=7))
    assert it.breaker.state(0) is BreakerState.CLOSED
    assert it.seconds_until_room() == 7
    assert it.take(1) == []
    clock.now = 7
    assert len(it.take(1)) == 1


def test_a_refusal_shows_that_the_judge_is_up() -> None:
    clock = Clock()
    it = lane(clock, failures=1)
    it.take(1)[0].fail(JudgeError("unavailable", "down", trips=True))
    clock.now = 10
    it.take(1)[0].fail(JudgeError("refused", "no"))
    assert it.breaker.state(10) is BreakerState.CLOSED


def test_a_slot_ends_once() -> None:
    it = lane(concurrency=2, requests_per_minute=2)
    (slot,) = it.take(1)
    slot.give_back()
    slot.give_back()
    slot.succeed(tokens=1)
    slot.fail(JudgeError("x", "x", trips=True))
    assert it.running == 0
    assert len(it.take(5)) == 2


def test_a_call_that_was_cut_off_stays_in_the_rate() -> None:
    it = lane(requests_per_minute=1)
    (slot,) = it.take(1)
    slot.begin()
    slot.give_back()
    assert it.take(1) == []
    assert it.seconds_until_room() == 60


def test_whoever_waits_for_room_is_called_when_a_slot_ends() -> None:
    it, calls = lane(), []
    it.freed = lambda: calls.append(it.running)
    (slot,) = it.take(1)
    slot.give_back()
    assert calls == [0]


def test_the_estimate_follows_the_judge_the_line_and_the_rate() -> None:
    clock = Clock()
    it = lane(clock, concurrency=2)
    assert it.estimate(5) == 0
    (slot,) = it.take(1)
    slot.begin()
    clock.now = 4
    slot.succeed(tokens=100)
    assert it.estimate(9) == 20
    assert lane(requests_per_minute=6).estimate(5) == 60


def test_tokens_of_the_next_call_are_expected_from_the_last_ones() -> None:
    it = lane(tokens_per_minute=250)
    (slot,) = it.take(1)
    slot.begin()
    slot.succeed(tokens=100)
    assert len(it.take(5)) == 1


def test_lanes_are_made_on_first_use_and_remember_a_former_life() -> None:
    clock = Clock()
    lanes = Lanes(lambda name: LaneLimits(requests_per_minute=len(name)), clock=clock)
    lanes.remember({"a": [Former(30.0)]})
    assert list(lanes) == []
    lanes.open("a")
    lanes.remember({"a": [Former(0.0)]})
    assert lanes["a"] is lanes["a"]
    assert lanes["a"].seconds_until_room() == pytest.approx(30)
    assert lanes["bb"].seconds_until_room() == 0
    assert [lane.name for lane in lanes] == ["a", "bb"]


def test_a_call_within_a_call_counts_toward_the_rate() -> None:
    clock = Clock()
    it = lane(clock, requests_per_minute=2)
    (slot,) = it.take(1)
    slot.begin()
    assert it.start_again() == 0
    assert it.start_again() == 60
    assert it.take(1) == []
    slot.succeed(tokens=10)
    assert it.running == 0
    clock.now = 60
    assert it.start_again() == 0
    assert len(it.take(2)) == 1


def test_the_minute_of_a_judge_behind_a_network_may_be_a_little_longer() -> None:
    clock = Clock()
    it = lane(clock, requests_per_minute=1, period=61)
    (slot,) = it.take(1)
    slot.begin()
    slot.succeed(tokens=0)
    clock.now = 60.5
    assert it.take(1) == []
    clock.now = 61
    assert len(it.take(1)) == 1


def test_a_call_counts_for_the_tokens_of_its_prompt_before_it_starts() -> None:
    clock = Clock()
    it = lane(clock, tokens_per_minute=1000)
    first, second = it.take(2)
    assert first.fit(700) == 0
    first.begin()
    assert second.fit(400) == LOOK_AGAIN
    second.give_back()
    assert it.take(1) == []  # small calls do not keep the large one waiting
    assert it.seconds_until_room() == 60
    clock.now = 60
    (again,) = it.take(1)
    assert again.fit(400) == 0


def test_a_call_that_failed_is_settled_by_what_it_used() -> None:
    clock = Clock()
    it = lane(clock, tokens_per_minute=1000)
    (slot,) = it.take(1)
    assert slot.fit(900) == 0
    slot.begin()
    error = JudgeError("malformed", "No verdict.")
    error.spent = Spent(calls=1, prompt_tokens=90, completion_tokens=10)
    slot.fail(error)
    (following,) = it.take(1)
    assert following.fit(900) == 0


def test_only_a_lane_with_a_limit_of_tokens_is_metered() -> None:
    assert lane(tokens_per_minute=1).take(1)[0].metered
    assert not lane().take(1)[0].metered


def test_where_nobody_knows_what_a_call_of_a_former_life_took_the_minute_is_waited_out() -> None:
    lanes = Lanes(lambda _: LaneLimits(tokens_per_minute=1000), clock=Clock())
    lanes.remember({"a": [Former(20.0, None)]})
    assert lanes["a"].take(1)[0].fit(10) > 0
    lanes.remember({"b": [Former(20.0, 400)]})
    assert lanes["b"].take(1)[0].fit(600) == 0


def test_what_did_not_fit_starts_as_soon_as_calls_took_less_than_was_thought() -> None:
    it = lane(tokens_per_minute=1000)
    first, second = it.take(2)
    assert first.fit(700) == 0
    first.begin()
    assert second.fit(700) > 0
    second.give_back()
    first.succeed(tokens=200)
    assert it.seconds_until_room() == 0
    (again,) = it.take(1)
    assert again.fit(700) == 0
