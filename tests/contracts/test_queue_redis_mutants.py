"""Each promise of the queue, broken on purpose in the script of RedisQueue: the model must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from app.provider.queue.redis import RedisQueue
from app.provider.queue.redis.script import LEDGER
from tests.contracts.queue_machine import keep_the_contract
from tests.contracts.queue_promises import PROMISES
from tests.contracts.queue_world import World
from tests.contracts.queue_worlds import RedisWorld

FENCE = "row.held ~= '' and row.place == place and row.attempt == tonumber(attempt)"
FILED = """    if row then
      settle(row, {})
    else
      strike_everywhere(id)"""
EXPIRED = "row.expires_at <= now and row.outcome == '' and row.held == ''"
FULL = """  local of = counts_of(lane)
  if of.queued + of.leased + of.answered >= LIMIT then
    return {'full'}
  end
"""
ACCEPT = (
    "function changes.accept(id, lane, priority, fingerprint, topic, request, body, expires_in, lease_for)\n"
)
EARLIER = "return {'ok', row.reply, row.outcome, call('HGET', key_of(id), 'event')}"
PUBLISHING = """function changes.mark_published(id, place, attempt)
  local row = held(id, place, attempt)"""
HURRIED = "if row.state ~= 'published' and row.held == '' and row.ready_at > now then"
RELEASED = "local values = {held = '', ready_at = now + after}"


class ForgetsWithItsProcess(RedisQueue):
    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(url, **(given | {"prefix": given["prefix"] + uuid4().hex}))


def mutant(*changes: tuple[str, str]) -> Callable[[], World]:
    """A world whose script differs in these places; each is found exactly once."""
    script = LEDGER
    for promised, broken in changes:
        assert script.count(promised) == 1, promised
        script = script.replace(promised, broken)
    return lambda: RedisWorld(script=script)


MUTANTS: dict[str, Callable[[], World]] = {
    "no fencing": mutant((FENCE, "row.held ~= ''")),
    "fencing by attempt alone": mutant((FENCE, "row.held ~= '' and row.attempt == tonumber(attempt)")),
    "peek instead of lease": mutant(("  settle(row, values)\n  return {row.id,", "  return {row.id,")),
    "no reclaim after a crash": mutant(
        (FILED, f"    if row and row.held ~= '' then call('ZADD', DUE, text(now + 1e9), id) else{FILED.lstrip()}")
    ),
    "expired requests dropped in silence": mutant(
        (
            FILED,
            f"    if row and {EXPIRED} then settle(row, {{state = 'published', published_at = now}}) else{FILED.lstrip()}",
        )
    ),
    "expired request of a lane without judge never closed": mutant(
        (
            "    elseif key ~= CLOSER and",
            "    elseif key == CLOSER and call('HEXISTS', META, row.lane) == 0 then elseif key ~= CLOSER and",
        ),
        (
            "function changes.lease(lane, limit, seconds, begin)\n",
            "function changes.lease(lane, limit, seconds, begin)\n  call('HSET', META, lane, 'judged')\n",
        ),
    ),
    "outcome overwritten by a second worker": mutant(
        (EARLIER, "settle(row, {outcome = outcome, event = event}) return {'ok', row.reply, outcome, event}")
    ),
    "duplicates accepted": mutant(("if row and not is_past(row) then", "if false then")),
    "limit not enforced": mutant((">= LIMIT", ">= 1000")),
    "a known id refused as full": mutant((FULL, ""), (ACCEPT, ACCEPT + FULL)),
    "priority ignored": mutant(("(9 - row.priority)", "(9 - 5)")),
    "tries restart on release": mutant((RELEASED, RELEASED.replace("}", ", tries = 0}"))),
    "waiting for a breaker costs a try": mutant((RELEASED, RELEASED.replace("}", ", tries = row.tries + 1}"))),
    "leasing costs a try": mutant(("row.tries + begin", "row.tries + 1")),
    "a call begun with its lease costs none": mutant(("row.tries + begin", "row.tries")),
    "a shutdown costs a try": mutant(("if untried ~= '' then", "if false then")),
    "a direct call costs no try": mutant(("= 1, 1, now, now + lease_for", "= 1, 0, now, now + lease_for")),
    "delay ignored": mutant(("ready_at = now + after", "ready_at = now")),
    "a hurried request waits on": mutant((HURRIED, HURRIED.replace("row.held == ''", "false"))),
    "hurrying ends a lease": mutant((HURRIED, HURRIED.replace("row.held == ''", "true"))),
    "not durable": lambda: RedisWorld(queue=ForgetsWithItsProcess),
    "finished without fence": mutant((PUBLISHING, PUBLISHING.replace("held(id, place, attempt)", "load(id)"))),
    "judge asked again for an answered request": mutant(
        ("return row.outcome ~= '' or ending_of(row) ~= ''", "return ending_of(row) ~= ''")
    ),
    "answers on the connection of a dead process": mutant(("values.reply = 'callback'", "values.held = '1'")),
    "published rows forgotten before the retention": mutant(
        ("return row.published_at and row.published_at <= now - RETENTION", "return row.published_at")
    ),
}  # fmt: skip


def test_every_promise_is_broken_here_too() -> None:
    assert MUTANTS.keys() == PROMISES


@pytest.mark.parametrize("world", MUTANTS.values(), ids=MUTANTS.keys())
def test_the_model_catches(world: Callable[[], World]) -> None:
    with pytest.raises(AssertionError):
        keep_the_contract(world, examples=500, thorough=False)
