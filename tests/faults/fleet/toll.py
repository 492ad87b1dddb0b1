"""What became of every comparison: what is lost, what counts twice, what was promised and not kept."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from uuid import UUID, uuid5

from tests.faults.findings import Figure
from tests.faults.recount import COUNTS, VERDICT, refitted

from .books import Books, Copy, Request, Topic
from .posting import PRINCIPAL, Answer

CLOSE = 1e-9
"""Scores are written with all their digits; a warm start and a cold one end nearer than this."""


@dataclass
class Toll:
    """`comparisons` counts what cj asked for and got decided, `accepted` what the poster got a 200 or 202 for.

    `died`: processes that ended though nobody ended them; `unexpected`: those that were not ready, ended badly or moved.
    The fleet counts both, the stores do not know of them.
    """

    comparisons: int = 0
    by_callback: int = 0
    accepted: int = 0
    lost: int = 0
    double: int = 0
    recount: int = 0
    unkept: int = 0
    complaints: list[str] = field(default_factory=list)
    undecided: int = 0
    server_errors: int = 0
    died: int = 0
    unexpected: int = 0

    def __add__(self, other: Toll) -> Toll:
        """Of two fleets."""
        return Toll(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Toll)))

    def figures(self) -> list[Figure]:
        return [
            Figure.none("lost: comparisons, outcomes, callbacks", self.lost),
            Figure.none("double: results, counts, outcomes", self.double),
            Figure.none("batches whose scores are not those of a recount", self.recount),
            Figure.none("200 and 202 that were not kept", self.unkept),
            Figure.none("comparisons that ended otherwise than decided", self.undecided),
            Figure.none("posts answered with a 5xx other than 503", self.server_errors),
            Figure.none("processes that ended though nobody ended them", self.died),
            Figure.none("unexpected: not ready, ended badly, moved", self.unexpected),
        ]


def toll(
    books: Books,
    topics: Sequence[Topic],
    answers: Sequence[Answer],
    *,
    batches: Collection[str],
    forgetful: bool,
    wiped: bool = False,
) -> Toll:
    """Count; each thing counted is a complaint too.

    `forgetful`: requests may have been judged anew. `wiped`: callbacks of comparisons that have ended need not be on the
    topic.
    """
    ledger = books.ledger()
    copies = defaultdict(list)
    for copy in chain(*topics):
        copies[copy.request_id].append(copy)
    ended = set(_ended(books)) if wiped else set()
    accepted = [answer for answer in answers if answer.accepted]
    found = {
        "lost": [*books.unfinished(batches), *_open(books), *_never_published(ledger, copies, ended)],
        "double": [*_counted_twice(books), *_two_outcomes(copies, forgetful=forgetful)],
        "recount": list(_miscounted(books)),
        "unkept": [broken for answer in accepted if (broken := _broken(answer, ledger, copies))],
        "undecided": list(_undecided(books)),
        "server error": [
            f"{one.status} from {one.url}: {one.words}"
            for one in answers
            if one.status >= 500 and one.status != 503
        ],
    }
    ((decided,),) = books.cj("SELECT count(*) FROM comparisons WHERE state = 'decided'")
    return Toll(
        comparisons=decided,
        by_callback=books.by_callback(),
        accepted=len(accepted),
        lost=len(found["lost"]),
        double=len(found["double"]),
        recount=len(found["recount"]),
        unkept=len(found["unkept"]),
        complaints=[f"{kind}: {one}" for kind, some in found.items() for one in some[:20]],
        undecided=len(found["undecided"]),
        server_errors=len(found["server error"]),
    )


def _open(books: Books) -> Iterator[str]:
    sql = (
        "SELECT c.id, c.state FROM comparisons c JOIN batches b ON b.id = c.batch_id"
        " WHERE b.state = 'finished' AND c.state NOT IN ('decided', 'failed')"
    )
    for name, state in books.cj(sql):
        yield f"comparison {name} is {state} in a batch that is finished"


def _undecided(books: Books) -> Iterator[str]:
    for name, state, code in books.cj(
        "SELECT id, state, error_code FROM comparisons WHERE state IN ('failed', 'cancelled')"
    ):
        yield f"comparison {name} is {state}: {code}"


def _ended(books: Books) -> Iterator[UUID]:
    """The names in the ledger of cj's comparisons that have an outcome."""
    for (name,) in books.cj("SELECT id FROM comparisons WHERE state IN ('decided', 'failed')"):
        yield uuid5(name if isinstance(name, UUID) else UUID(name), PRINCIPAL)


def _never_published(
    ledger: Mapping[UUID, Request], copies: Mapping[UUID, Sequence[Copy]], excused: Collection[UUID]
) -> Iterator[str]:
    for name, row in ledger.items():
        if (row.state, row.reply) == ("published", "callback") and name not in copies and name not in excused:
            yield f"the callback of {name} is marked as published, and is not on its topic"


def _counted_twice(books: Books) -> Iterator[str]:
    orders = defaultdict(list)
    for batch_id, order in books.cj(
        "SELECT batch_id, ended_order FROM comparisons WHERE ended_order IS NOT NULL"
    ):
        orders[batch_id].append(order)
    for batch_id, order in orders.items():
        if sorted(order) != list(range(1, len(order) + 1)):
            yield f"the endings of batch {batch_id} have gaps or doubles: {sorted(order)}"
    counted = books.cj(
        "SELECT b.id, b.decided, b.failed, sum(CASE c.state WHEN 'decided' THEN 1 ELSE 0 END),"
        " sum(CASE c.state WHEN 'failed' THEN 1 ELSE 0 END) FROM batches b JOIN comparisons c ON c.batch_id = b.id"
        " GROUP BY b.id, b.decided, b.failed"
    )
    for batch_id, decided, failed, *rows in counted:
        if [decided, failed] != rows:
            yield f"batch {batch_id} counts {decided} decided and {failed} failed, its rows say {rows}"
    sql = (
        "SELECT w.batch_id, w.number, w.open, (SELECT count(*) FROM comparisons c WHERE c.batch_id = w.batch_id"
        " AND c.wave = w.number AND c.ended_order IS NULL) FROM waves w"
    )
    for batch_id, wave, open_, left in books.cj(sql):
        if open_ != left:
            yield f"wave {wave} of batch {batch_id} counts {open_} open comparisons, and has {left}"


def _two_outcomes(copies: Mapping[UUID, Sequence[Copy]], *, forgetful: bool) -> Iterator[str]:
    for name, some in copies.items():
        if len({copy.event_id for copy in some}) > 1:
            yield f"the callbacks of {name} have different event ids"
        elif not forgetful and len({copy.body for copy in some}) > 1:
            yield f"the callbacks of {name} have different contents"


def _miscounted(books: Books) -> Iterator[str]:
    """Fit the scores of each finished batch again, from the verdicts that are there."""
    verdicts = defaultdict(list)
    sql = f"SELECT batch_id, {VERDICT} FROM comparisons WHERE {COUNTS} ORDER BY batch_id, sequence"
    for batch_id, *verdict in books.cj(sql):
        verdicts[batch_id].append(verdict)
    shown = defaultdict(list)
    essays = (
        "SELECT e.batch_id, e.score, e.verdicts FROM essays e JOIN batches b ON b.id = e.batch_id"
        " WHERE b.state = 'finished' ORDER BY e.batch_id, e.position"
    )
    for batch_id, *row in books.cj(essays):
        shown[batch_id].append(row)
    for batch_id, rows in shown.items():
        fitted = refitted(verdicts[batch_id], len(rows))
        away = max(abs(mine - theirs) for (mine, _), theirs in zip(rows, fitted, strict=True))
        count = Counter(n for first, second, *_ in verdicts[batch_id] for n in (first, second))
        if away > CLOSE:
            yield f"a score of batch {batch_id} is {away:.2g} away from a recount"
        if [n for _, n in rows] != [count[position] for position in range(len(rows))]:
            yield f"the essays of batch {batch_id} show {[n for _, n in rows]} verdicts, a recount gives {count}"


def _broken(
    answer: Answer, ledger: Mapping[UUID, Request], copies: Mapping[UUID, Sequence[Copy]]
) -> str | None:
    """What an answer promised and nobody kept, if so."""
    row = ledger.get(answer.queue_id)
    if row is None:
        return f"{answer.status} for {answer.queue_id}, which the ledger does not know"
    if row.state != "published" or row.outcome is None or row.event is None:
        return f"{answer.status} for {answer.queue_id}, which is {row.state} with the outcome {row.outcome}"
    if answer.status == 202 and answer.queue_id not in copies:
        return f"202 for {answer.queue_id}, whose callback is not on its topic"
    if answer.status == 200 and answer.winner != (stored := json.loads(row.event)["data"]["winner"]):
        return f"200 for {answer.queue_id} said {answer.winner}, and {stored} is stored"
    return None
