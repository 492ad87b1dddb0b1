"""One model of the bus, run against every bus: what may happen, and what must hold whatever happened.

A machine publishes records whose handlers fail by plan, while members join, leave and crash and the broker goes away.
It looks at a bus through the contract alone; a world that can see committed offsets is asked about them too.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import takewhile
from typing import Any, Protocol, TypeVar

import anyio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from structlog.testing import capture_logs

from app.bus.protocol import Bus, DeliveryPolicy, Handler, Record, Reject, Retry, dead_letter_topic
from app.errors import BusClosed, BusUnavailable

T = TypeVar("T")

POLICY = DeliveryPolicy(strikes=3, backoff=0.0, handler_timeout=30, publish_timeout=5, drain=0.5, batch=3)
GROUPS = ("cj", "audit")
KEYS = ("a", "b", "c", "d")
ACTS = ("ok", "error", "retry", "reject")
PLANS = st.lists(st.sampled_from(ACTS), max_size=4) | st.sampled_from(
    # Plans that chance is slow to find: just enough strikes, and almost enough.
    [["error"] * 3, ["error", "retry", "error", "error"], ["error", "error", "retry", "ok"], ["retry"] * 4]
)
HEADERS = {"traceparent": "00-1", "ce_source": "prövning"}


class World(AbstractAsyncContextManager[Any], Protocol):
    """One broker with its topic. A new kind of bus writes one of these and names it in `bus_worlds.WORLDS`."""

    topic: str
    breakable: bool

    def group(self, name: str) -> str:
        """Make a group's name unique to this world."""

    def bus(self, policy: DeliveryPolicy) -> Bus:
        """Return a new member, not entered."""

    def break_down(self, *, down: bool) -> None:
        """Let the broker go away or come back; only if `breakable`."""

    def committed(self, group: str) -> Sequence[str]:
        """Ids of the records that committed offsets cover; empty if this world cannot see them."""

    async def tick(self) -> None:
        """Let a little happen."""

    async def until(self, done: Callable[[], bool], what: str) -> None:
        """Return when `done`; fail with `what` when it does not come true in good time."""


class Host:
    """A process: one task that enters something, lives in it, and leaves or crashes."""

    def __init__(self, inner: AbstractAsyncContextManager[Any]) -> None:
        self.inner = inner
        self.left = False
        self._entered = asyncio.Event()
        self._go = asyncio.Event()
        self._scope = anyio.CancelScope()
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        with self._scope:
            async with self.inner:
                self._entered.set()
                await self._go.wait()
                self.left = True

    async def enter(self) -> None:
        entered = asyncio.create_task(self._entered.wait())
        await asyncio.wait([entered, self._task], return_when=asyncio.FIRST_COMPLETED)
        entered.cancel()
        self.check()

    async def leave(self) -> None:
        self._go.set()
        await self._task

    async def crash(self) -> None:
        """Everything it runs is gone at once, with no time to drain."""
        self._scope.cancel()
        await self._task

    def check(self) -> None:
        """Raise what ended this process before its time."""
        if self._task.done():
            self._task.result()


class Member(Host):
    """A process with one bus, and which groups it reads."""

    def __init__(self, bus: Bus, groups: Sequence[str]) -> None:
        super().__init__(bus)
        self.bus = bus
        self.groups = groups


class BusMachine(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.runner = asyncio.Runner()
        self.members: list[Member] = []
        self.hosts: list[Host] = []
        self.sent: dict[str, Record] = {}
        self.plans: dict[str, list[str]] = {}
        self.owed: dict[str, list[str]] = {}  # known group -> ids it must settle, in order
        self.acts: dict[tuple[str, str], list[str]] = defaultdict(
            list
        )  # (group, id) -> how single deliveries ended
        self.attempt: Counter[tuple[str, str]] = Counter()  # of the latest delivery
        self.strikes: Counter[tuple[str, str]] = Counter()  # since the record came to its present member
        self.settled: dict[str, set[str]] = defaultdict(set)
        self.dead: dict[str, set[str]] = defaultdict(set)
        self.active: Counter[tuple[str, str]] = Counter()
        self.disturbed = self.down = False
        self.faults: list[str] = []

    def run(self, awaitable: Awaitable[T]) -> T:
        async def step() -> T:
            return await awaitable

        result = self.runner.run(step())
        assert not self.faults, self.faults
        for host in self.hosts:
            host.check()
        return result

    # What handlers do -------------------------------------------------------------------------------------------

    def handler(self, group: str, processes: list[Member]) -> Handler:
        async def handle(records: Sequence[Record]) -> None:
            if processes[0].left:
                self.faults.append(f"a handler of {group} began after the bus was left")
            self.check_batch(group, records)
            keys = {(group, record.key) for record in records}
            self.active.update(keys)
            try:
                for record in records:
                    await self.act(group, record, single=len(records) == 1)
            finally:
                self.active.subtract(keys)
            self.settled[group].update(record.id for record in records)

        return handle

    def check_batch(self, group: str, records: Sequence[Record]) -> None:
        if not 1 <= len(records) <= POLICY.batch:
            self.faults.append(f"a batch of {len(records)}")
        begun: set[str] = set()
        for record in records:
            sent = self.sent.get(record.id)
            if sent is None:
                self.faults.append(f"{record.id} was never published")
                continue
            if sent is record:
                self.faults.append("the same object: nothing was encoded")
            if (record.topic, record.key, record.body, dict(record.headers)) != (
                sent.topic,
                sent.key,
                sent.body,
                dict(sent.headers),
            ):
                self.faults.append(f"{record.id} changed on the way")
            if self.active[group, record.key]:
                self.faults.append(f"two handlers at once for key {record.key} in {group}")
            begun.add(record.id)
            self.check_strikes(group, record)
            if not self.closed(group, record.id):
                self.check_order(group, record, begun)

    def check_order(self, group: str, record: Record, begun: set[str]) -> None:
        for earlier in takewhile(lambda identity: identity != record.id, self.sent):
            if self.sent[earlier].key != record.key or earlier in begun:
                continue
            if earlier in self.owed[group] and not self.closed(group, earlier):
                self.faults.append(f"{record.id} before {earlier} in {group}")

    def check_strikes(self, group: str, record: Record) -> None:
        """A member counts attempts and strikes from the start; while it counts on, three are the end."""
        spot = (group, record.id)
        if record.attempt <= self.attempt[spot]:
            self.strikes[spot] = 0
        self.attempt[spot] = record.attempt
        if self.strikes[spot] >= POLICY.strikes:
            self.faults.append(f"{record.id} was tried again in {group} after its last strike")

    async def act(self, group: str, record: Record, *, single: bool) -> None:
        """Do what the plan says. Only a single delivery uses up a step, so that a batch fails by its offender."""
        acts = self.acts[group, record.id]
        plan = self.plans.get(record.id, [])
        act = plan[len(acts)] if len(acts) < len(plan) else "ok"
        for _ in range(json.loads(record.body)["pauses"]):
            await asyncio.sleep(0)
        if single:
            acts.append(act)
            self.strikes[group, record.id] += {"error": 1, "reject": POLICY.strikes}.get(act, 0)
        if act == "error":
            raise RuntimeError("a bug")
        if act == "retry":
            raise Retry("the database is away")
        if act == "reject":
            raise Reject("unknown version")

    async def watch(self, letters: Sequence[Record]) -> None:
        """Read the dead letters, as an operator does."""
        for letter in letters:
            headers = dict(letter.headers)
            group = headers.pop("dead-group", "nobody")
            sent = self.sent.get(letter.id)
            if sent is None:
                self.faults.append(f"dead letter of unknown id {letter.id}")
                continue
            if headers.pop("dead-topic", "") != sent.topic:
                self.faults.append("a dead letter does not say its topic")
            if not (headers.pop("dead-error", "") and headers.pop("dead-reason", "")):
                self.faults.append("a dead letter does not say why")
            if (letter.key, letter.body, headers) != (sent.key, sent.body, HEADERS):
                self.faults.append(f"dead letter {letter.id} is not what was sent")
            self.dead[group].add(letter.id)

    def doomed(self, group: str, identity: str) -> bool:
        acts = self.acts[group, identity]
        return "reject" in acts or acts.count("error") >= POLICY.strikes

    def closed(self, group: str, identity: str) -> bool:
        """Whether later records of the key may begin."""
        return identity in self.settled[group] or self.doomed(group, identity)

    # What happens -----------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        async def enter() -> None:
            for inner in (self.world, self.source):
                self.hosts.append(Host(inner))
                await self.hosts[-1].enter()

        self.source = self.world.bus(POLICY)
        self.run(enter())

    @rule(key=st.sampled_from(KEYS), plan=PLANS, pauses=st.integers(0, 6))
    def a_record_is_published(self, key: str, plan: list[str], pauses: int) -> None:
        identity = str(len(self.sent))
        record = Record(self.world.topic, key, identity, json.dumps({"pauses": pauses}).encode(), HEADERS)
        if self.down:
            self.run(self.refused(self.source, record, BusUnavailable))
            return
        self.sent[identity] = record
        self.plans[identity] = plan
        for ids in self.owed.values():
            ids.append(identity)
        self.run(self.source.publish(record))

    @precondition(lambda self: len(self.members) < 3)
    @rule(names=st.sampled_from([GROUPS, GROUPS[:1], GROUPS[1:]]))
    def a_member_joins(self, names: tuple[str, ...]) -> None:
        self.disturbed = self.disturbed or bool(self.members)
        groups = [self.world.group(name) for name in names]
        known = list(self.owed)
        new = [group for group in groups if group not in known]
        for group in new:
            self.owed[group] = [] if known else list(self.sent)
        self.run(self.join(groups))
        for group in new:
            # What a known group has not settled even now was kept when the new group began.
            self.owed[group] = [
                identity
                for identity in self.sent
                if not known or any(not self.closed(other, identity) for other in known)
            ]

    async def join(self, groups: Sequence[str]) -> None:
        bus = self.world.bus(POLICY)
        processes: list[Member] = []
        for group in groups:
            bus.subscribe(self.world.topic, group, self.handler(group, processes))
        bus.subscribe(dead_letter_topic(self.world.topic), self.world.group("watch"), self.watch)
        processes.append(Member(bus, groups))
        self.members.append(processes[0])
        self.hosts.append(processes[0])
        await processes[0].enter()

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def a_member_leaves(self, data: st.DataObject) -> None:
        async def leave() -> None:
            await member.leave()
            await self.world.tick()
            await self.refused(member.bus, Record(self.world.topic, "a", "late", b"{}"), BusClosed)

        member = self.pick(data)
        self.run(leave())

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def a_member_crashes(self, data: st.DataObject) -> None:
        self.run(self.pick(data).crash())

    def pick(self, data: st.DataObject) -> Member:
        self.disturbed = True
        member = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
        self.hosts.remove(member)
        return member

    @precondition(lambda self: self.world.breakable)
    @rule()
    def the_broker_goes_away_or_comes_back(self) -> None:
        self.down = not self.down
        self.world.break_down(down=self.down)

    @rule()
    def time_passes(self) -> None:
        self.run(self.world.tick())

    async def refused(self, bus: Bus, record: Record, expected: type[Exception]) -> None:
        try:
            await bus.publish(record)
        except (BusClosed, BusUnavailable) as error:
            if not isinstance(error, expected):
                self.faults.append(f"{record.id} was refused by {error!r} and not by {expected.__name__}")
        else:
            self.faults.append(f"{record.id} was published without {expected.__name__}")

    # What must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def a_commit_never_passes_an_unsettled_record(self) -> None:
        for group in self.owed:
            for identity in set(self.world.committed(group)) & set(self.owed[group]):
                assert self.closed(group, identity), f"{group} committed past {identity}"

    def teardown(self) -> None:
        try:
            if self.hosts:
                self.run(self.finish())
                self.check_end()
        finally:
            self.runner.run(self.stop())
            self.runner.close()

    async def finish(self) -> None:
        """Mend everything, and wait until each known group has settled all that it is owed."""
        if self.down:
            self.world.break_down(down=False)
        for group in self.owed:
            if not any(group in member.groups for member in self.members):
                await self.join([group])
        await self.world.until(lambda: not self.open() or bool(self.faults), "it never settled")

    def open(self) -> list[tuple[str, str]]:
        return [
            (group, identity)
            for group, ids in self.owed.items()
            for identity in ids
            if identity not in self.settled[group] and identity not in self.dead[group]
        ]

    def check_end(self) -> None:
        for group, ids in self.owed.items():
            assert self.dead[group] <= {identity for identity in self.sent if self.doomed(group, identity)}
            for identity in ids:
                acts = self.acts[group, identity]
                handled, dead = identity in self.settled[group], identity in self.dead[group]
                assert handled or dead, f"{group} lost {identity}: {acts}"
                if not self.disturbed:
                    assert handled != dead, f"{identity} was settled twice in {group}: {acts}"
                    assert dead == self.doomed(group, identity)

    async def stop(self) -> None:
        for host in reversed(self.hosts):
            await host.crash()


def run_model(
    world: Callable[[], World], *, examples: int, steps: int, phases: Sequence[Phase] = tuple(Phase)
) -> None:
    """Run the model against fresh worlds; the examples are the same every time."""

    class Machine(BusMachine):
        def __init__(self) -> None:
            super().__init__(world())

    with capture_logs():  # tens of thousands of failures are planned here
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                phases=phases,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
