from __future__ import annotations

from collections import Counter

from app.provider.former_life import starts
from app.provider.rate_limiter import REMEMBERED, Former
from app.provider.spending import Paid


def paid(*, began: float, ended: float, calls: int = 1, tokens: int = 100) -> Paid:
    return Paid(began, ended, calls, tokens)


def counted(*found: Former) -> Counter[Former]:
    return Counter(found)


def test_a_call_that_was_paid_counts_its_repair_and_its_tokens() -> None:
    found = starts([12.0], [paid(began=12.0, ended=8.0, calls=2)], repairs=True)
    assert counted(*found) == counted(Former(8.0, 100), Former(8.0, 0))


def test_a_call_under_way_at_the_end_may_have_had_a_repair_and_takes_as_much_as_the_dearest() -> None:
    known = [paid(began=30.0, ended=20.0, tokens=700), paid(began=30.0, ended=25.0, tokens=300)]
    found = starts([30.0, 30.0, 5.0], known, repairs=True)
    assert counted(*found) == counted(Former(20.0, 700), Former(25.0, 300), Former(5.0, 700), Former(5.0, 0))


def test_where_nothing_was_paid_yet_nobody_knows_what_a_call_takes() -> None:
    assert starts([3.0], [], repairs=True) == [Former(3.0, None), Former(3.0, 0)]


def test_a_judge_that_makes_no_repair_counts_each_try_once() -> None:
    assert counted(*starts([3.0, 9.0], [], repairs=False)) == counted(Former(3.0, None), Former(9.0, None))


def test_what_began_before_the_minute_and_ended_within_it_hides_no_call_under_way() -> None:
    long = paid(began=REMEMBERED + 10.0, ended=1.0)
    assert Former(4.0, 100) in starts([4.0], [long], repairs=False)
