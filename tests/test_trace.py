"""The way of one comparison, told in order and drawn as a diagram."""

from __future__ import annotations

from uuid import uuid4

from app.cj.batch import ComparisonState, Road
from app.cj.views import Comparison
from app.contracts import Outcome, Winner
from app.provider.queue.protocol import Entry, Reply, State
from app.trace import mermaid, steps

NAME = 'two; "three"\n#four'


def comparison(**changes: object) -> Comparison:
    fields: dict[str, object] = dict.fromkeys(Comparison.__slots__) | {
        "id": uuid4(),
        "batch_id": uuid4(),
        "sequence": 3,
        "wave": 1,
        "first": 0,
        "second": 1,
        "judge": 0,
        "again": 0,
        "essay_a": "one",
        "essay_b": NAME,
        "state": ComparisonState.DECIDED,
        "posts": 1,
        "planned_at": 10.0,
        "submitted_at": 10.1,
        "queued_at": 10.3,
        "ended_at": 11.0,
        "road": Road.CALLBACK,
        "winner": Winner.ESSAY_B,
    }
    return Comparison(**fields | changes)  # type: ignore[arg-type]


ENTRY = Entry(
    queue_id=uuid4(),
    correlation_id=uuid4(),
    principal="local",
    lane="rules/panel-v1",
    state=State.PUBLISHED,
    reply=Reply.CALLBACK,
    priority=5,
    place=1,
    attempt=1,
    tries=1,
    cancelled=False,
    outcome=Outcome.SUCCEEDED,
    accepted_at=10.2,
    ready_at=10.2,
    expires_at=99.0,
    leased_at=10.5,
    answered_at=10.9,
    published_at=11.1,
)


def test_both_halves_are_told_in_the_order_they_happened() -> None:
    told = [step.words for step in steps(comparison(), ENTRY)]
    begins = ["plans", "POST", "accepts", "202", "asks", "outcome", "publishes", "callback", "marks"]
    assert [words.split()[0].rstrip(":,") for words in told] == begins


def test_a_200_has_no_bus_in_it() -> None:
    direct = steps(comparison(queued_at=None, road="response"), None)
    assert [step.words.split()[0] for step in direct] == ["plans", "POST", "200"]


def test_a_comparison_without_verdict_says_why() -> None:
    assert "no verdict (too_short)" in steps(comparison(winner=None, error_code="too_short"), None)[-1].words


def test_names_of_essays_cannot_break_out_of_the_diagram() -> None:
    drawn = mermaid(steps(comparison(), ENTRY)).splitlines()
    assert drawn[0] == "sequenceDiagram"
    assert all("->>" in line or "participant" in line for line in drawn[1:])
    assert not any(";" in line or "#" in line for line in drawn)
