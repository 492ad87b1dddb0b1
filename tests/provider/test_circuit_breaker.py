from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from app.provider.circuit_breaker import BreakerState, CircuitBreaker


def breaker(**changes: float) -> CircuitBreaker:
    settings: dict[str, float] = {"window": 60, "cooldown": 10, "cooldown_cap": 50, "probe_deadline": 30}
    return CircuitBreaker(threshold=3, **(settings | changes))


def opened(at: float = 0.0) -> CircuitBreaker:
    it = breaker()
    for _ in range(3):
        it.fail(it.begin(at), at)
    return it


def test_a_closed_breaker_lets_everything_through() -> None:
    it = breaker()
    assert it.state(0) is BreakerState.CLOSED
    assert it.room(0) == math.inf
    assert it.describe(0) == "closed"


def test_it_opens_at_the_threshold_and_not_before() -> None:
    it = breaker()
    for moment in (1.0, 2.0):
        it.fail(it.begin(moment), moment)
    assert it.state(2) is BreakerState.CLOSED
    assert it.describe(2) == "closed, 2 recent failures"
    it.fail(it.begin(3), 3)
    assert it.state(3) is BreakerState.OPEN
    assert it.room(3) == 0
    assert it.seconds_until_room(3) == 10
    assert it.describe(3) == "open for 10 s more: 3 failures within 60 s"


def test_failures_outside_the_window_are_forgotten() -> None:
    it = breaker()
    for moment in (0.0, 1.0, 60.5, 61.5, 122.0):
        it.fail(it.begin(moment), moment)
    assert it.state(122) is BreakerState.CLOSED


def test_an_answer_ends_a_row_of_failures() -> None:
    it = breaker()
    for moment in range(100):
        for _ in range(2):
            it.fail(it.begin(moment), moment)
        it.succeed(it.begin(moment))
        assert it.describe(moment) == "closed"


def test_a_judge_that_fails_now_and_then_is_not_left_alone() -> None:
    """Five in a hundred of 300 calls a minute are 15 failures a minute: it opened every twenty seconds."""
    it, chance = CircuitBreaker(), Random(5)
    for call in range(3_000):
        permit, moment = it.begin(call / 5), call / 5
        it.fail(permit, moment) if chance.random() < 0.05 else it.succeed(permit)
        assert it.state(moment) is BreakerState.CLOSED


def test_a_judge_that_mostly_fails_is_left_alone_soon() -> None:
    it, chance = CircuitBreaker(), Random(5)
    for call in range(100):
        moment = call / 5
        if it.room(moment):
            permit = it.begin(moment)
            it.fail(permit, moment) if chance.random() < 0.7 else it.succeed(permit)
    assert it.describe(20).startswith(("open", "half-open"))


def test_half_open_lets_exactly_one_probe_through() -> None:
    it = opened()
    assert it.room(9.99) == 0
    assert it.room(10) == 1
    it.begin(10)
    assert it.room(10) == 0
    assert it.describe(10) == "half-open: one call is testing the judge"


def test_a_good_probe_closes_it_and_forgets_the_growth() -> None:
    it = opened()
    it.succeed(it.begin(10))
    assert it.state(10) is BreakerState.CLOSED
    for _ in range(3):
        it.fail(it.begin(11), 11)
    assert it.seconds_until_room(11) == 10


def test_a_bad_probe_opens_it_for_longer_up_to_the_cap() -> None:
    it, now, pauses = opened(), 0.0, []
    for _ in range(4):
        now += it.seconds_until_room(now)
        it.fail(it.begin(now), now)
        pauses.append(it.seconds_until_room(now))
    assert pauses == [20, 40, 50, 50]


def test_a_lost_probe_blocks_only_until_its_deadline() -> None:
    it = opened()
    lost = it.begin(10)
    assert it.seconds_until_room(11) == 29
    assert it.room(40) == 1
    it.succeed(it.begin(40))
    it.fail(lost, 41)
    assert it.state(41) is BreakerState.CLOSED


def test_an_abandoned_probe_may_be_taken_again_at_once() -> None:
    it = opened()
    it.abandon(it.begin(10))
    assert it.room(10) == 1


def test_late_news_of_calls_from_before_it_opened_change_nothing() -> None:
    it = breaker()
    early = it.begin(0)
    for _ in range(3):
        it.fail(it.begin(1), 1)
    it.succeed(early)
    assert it.state(1) is BreakerState.OPEN
    it.begin(11)
    it.fail(early, 11)
    it.abandon(early)
    assert it.room(11) == 0
    assert it.state(11) is BreakerState.HALF_OPEN


def test_by_hand_it_opens_until_by_hand_it_closes_and_keeps_the_reason() -> None:
    it = breaker()
    it.trip("the invoice is unpaid")
    assert it.room(1e9) == 0
    assert it.describe(5) == "open by hand: the invoice is unpaid"
    it.reset("paid")
    assert it.room(5) == math.inf
    assert it.describe(5) == "closed by hand: paid"


def test_it_says_for_how_long_it_has_not_been_closed_however_often_it_was_probed() -> None:
    it = opened(3.0)
    assert it.open_seconds(5) == 2
    it.fail(it.begin(13), 14)
    assert it.state(20) is BreakerState.OPEN
    assert it.open_seconds(20) == 17
    it.trip("enough", 21)
    assert (it.tripped, it.open_seconds(23)) == (True, 2), "stopped by hand since then"
    it.reset("mended")
    assert it.open_seconds(24) is None
    it.trip("by who has no watch")
    assert it.open_seconds(30) is None


@given(st.lists(st.sampled_from(["begin", "succeed", "fail", "abandon", "wait"]), max_size=60))
def test_while_not_closed_at_most_one_call_runs_and_it_never_blocks_for_ever(steps: list[str]) -> None:
    it, now = opened(), 0.0
    probes: list[int] = []
    for step in steps:
        if step == "begin" and it.room(now):
            if it.state(now) is not BreakerState.CLOSED:
                assert it.room(now) == 1
                probes.append(it.begin(now))
                assert it.room(now) == 0
            else:
                it.begin(now)
        elif step == "succeed" and probes:
            it.succeed(probes.pop())
        elif step == "fail" and probes:
            it.fail(probes.pop(), now)
        elif step == "abandon" and probes:
            it.abandon(probes.pop())
        elif step == "wait":
            now += 3
        assert it.seconds_until_room(now) <= 50
        assert it.room(now + it.seconds_until_room(now)) > 0


def test_it_says_since_when_it_is_not_closed_over_all_bad_probes() -> None:
    it = opened(at=5.0)
    assert it.open_seconds(9) == 4
    it.fail(it.begin(15), 15)
    assert it.open_seconds(20) == 15
    it.succeed(it.begin(35))
    assert it.open_seconds(36) is None
    it.trip("a look at the bill")
    assert it.open_seconds(40) is None
