from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.provider.rate_limiter import RateLimiter, Start


def most_in_any_minute(starts: Sequence[float]) -> int:
    return max((sum(first <= other < first + 60 for other in starts) for first in starts), default=0)


@given(
    limit=st.integers(1, 5),
    recent=st.lists(st.floats(-59, 0), max_size=5),
    steps=st.lists(st.tuples(st.floats(0, 40), st.floats(0, 8), st.booleans()), max_size=60),
)
def test_no_sliding_minute_holds_more_starts_than_the_limit(
    limit: int, recent: list[float], steps: list[tuple[float, float, bool]]
) -> None:
    recent = recent[:limit]
    it = RateLimiter(requests=limit, recent=[Start(at, 0) for at in recent])
    starts, now = list(recent), 0.0
    for pause, delay, begins in steps:
        now += pause
        if it.reserve(now):
            continue
        if begins:
            now += delay  # the database was slow between the reservation and the call
            it.start(now)
            starts.append(now)
        else:
            it.give_back()
    assert most_in_any_minute(starts) <= limit


@given(limit=st.integers(1, 5), count=st.integers(1, 20))
def test_waiting_as_long_as_told_is_long_enough(limit: int, count: int) -> None:
    it, now = RateLimiter(requests=limit), 0.0
    for _ in range(count):
        now += it.wait(now)
        assert it.reserve(now) == 0
        it.start(now)


def test_a_reservation_counts_before_the_call_starts() -> None:
    it = RateLimiter(requests=2)
    assert it.reserve(0) == 0
    assert it.reserve(0) == 0
    assert it.reserve(0) > 0
    it.give_back()
    assert it.reserve(0) == 0


def test_the_limit_holds_over_a_restart() -> None:
    it = RateLimiter(requests=2, recent=[Start(-10.0, 0), Start(-50.0, 0)])
    assert it.reserve(0) == 10
    assert it.reserve(10) == 0


def test_the_limit_of_tokens_holds_over_a_restart() -> None:
    it = RateLimiter(tokens=100, recent=[Start(-50.0, 60), Start(-10.0, 40)])
    assert it.reserve(0, tokens=50) == 10
    assert it.reserve(10, tokens=50) == 0


def test_retry_after_is_a_floor_that_an_earlier_one_cannot_lower() -> None:
    it = RateLimiter()
    it.pause_until(30)
    it.pause_until(20)
    assert it.wait(10) == 20
    assert it.wait(30) == 0


def test_tokens_are_limited_as_estimated_and_corrected_by_what_was_used() -> None:
    it = RateLimiter(tokens=100)
    assert it.reserve(0, tokens=60) == 0
    start = it.start(0, tokens=60)
    assert it.wait(1, tokens=60) == 59
    it.settle(start, tokens=30)
    assert it.wait(1, tokens=60) == 0
    it.settle(start, tokens=90)
    assert it.wait(1, tokens=60) == 59


def test_a_call_above_the_token_limit_runs_alone_and_not_never() -> None:
    it = RateLimiter(tokens=100)
    assert it.reserve(0, tokens=500) == 0
    it.start(0, tokens=500)
    assert it.wait(0, tokens=1) == 60
    assert it.wait(60, tokens=500) == 0


def test_without_limits_nothing_is_logged() -> None:
    it = RateLimiter()
    for moment in range(1000):
        assert it.reserve(moment) == 0
        it.start(moment)
    assert not it._log


def test_a_reservation_can_count_for_more_tokens_while_they_fit() -> None:
    limiter = RateLimiter(tokens=100)
    assert limiter.reserve(0, tokens=10) == 0
    assert limiter.reserve(0, tokens=10) == 0
    assert limiter.widen(0, by=80) == 0
    assert limiter.widen(0, by=1) == 60
    limiter.start(0, tokens=90)
    assert limiter.widen(1, by=1) == 59
    assert limiter.widen(60, by=90) == 0


def test_one_that_is_above_the_limit_by_itself_runs_alone() -> None:
    limiter = RateLimiter(tokens=100)
    limiter.reserve(0)
    assert limiter.widen(0, by=500) == 0
    assert limiter.reserve(0, tokens=1) > 0
