"""The server: three formats on one port of this machine, counted, limited, and misbehaving as it is told."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Any, Self

from tests.fake_llm.anthropic import Anthropic
from tests.fake_llm.control import PREFIX, control
from tests.fake_llm.counting import Counts, Limiter, Prices
from tests.fake_llm.dialect import Ask, Denied, Dialect, Fault
from tests.fake_llm.exchange import Connection, Exchange
from tests.fake_llm.google import Google
from tests.fake_llm.http import Answer, Request, read_request
from tests.fake_llm.judging import FakeJudge
from tests.fake_llm.listener import Listener
from tests.fake_llm.misbehaviours import MISBEHAVIOURS, REFUSED
from tests.fake_llm.model import FakeModel
from tests.fake_llm.models import format_of, list_models
from tests.fake_llm.openai import OpenAI
from tests.fake_llm.plan import Plan, Script

DIALECTS: tuple[Dialect, ...] = (OpenAI(), Anthropic(), Google())
HOST = "127.0.0.1"


class FakeLLM:
    """Serves while it is entered; `url` is what a client takes as its base, OpenAI's with `/v1` behind it.

    Without `key` none is asked for; without `models` every name is known. `latency` and `pace` in seconds, `pace`
    the time from byte to byte of a slow answer. `errors` is the share of calls that meet a trouble that passes.
    `control_url` serves `/_fake/` too, also while the port is closed.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        control_port: int = 0,
        judge: FakeJudge | None = None,
        key: str | None = None,
        models: Collection[str] | None = None,
        latency: float = 0.0,
        errors: float = 0.0,
        per_minute: int | None = None,
        prices: Prices | None = None,
        cache_minimum: int = 1024,
        pace: float = 1.0,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self._model = FakeModel(judge or FakeJudge(seed=seed), self.counts, cache_minimum=cache_minimum)
        self._key = key
        self._models = models
        self._latency = latency
        self._prices = prices or Prices()
        self._pace = pace
        self._clock = clock
        self._limiter = Limiter(per_minute)
        self._script = Script(errors=errors, seed=seed)
        self._ids = count(1)
        self._listener = Listener(self._serve, host=HOST, port=port)
        self._control = Listener(self._serve, host=HOST, port=control_port)
        self._reopening: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for listener in (self._listener, self._control):
                stack.push_async_callback(listener.close)
                await listener.open()
            stack.push_async_callback(self._stop_reopening)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """Where it serves."""
        return self._listener.url

    @property
    def control_url(self) -> str:
        """Where `/_fake/` is served whatever happens to the port."""
        return self._control.url

    def stats(self) -> dict[str, Any]:
        """What it saw, as `GET /_fake/stats` shows it."""
        return self.counts.report(self._clock())

    async def misbehave(self, plan: Plan | str) -> None:
        """From now on, after the plans in force; a string is read as the command line's.

        :raises ValueError: there is no such misbehaviour, or it cannot be had so.
        """
        plan = Plan.read(plan) if isinstance(plan, str) else plan
        if plan.name != REFUSED:
            self._script.add(plan, self._clock())
            return
        await self._stop_reopening()
        self._listener.refuse()
        self.counts.misbehaviours[REFUSED] += 1
        if plan.seconds is not None:
            self._reopening = asyncio.create_task(self._reopen(plan.seconds))

    async def behave(self) -> None:
        """End all misbehaviour but the `errors` of the start; a closed port opens."""
        self._script.clear()
        await self._stop_reopening()
        await self._listener.open()

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listener.open()

    async def _stop_reopening(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
            self._reopening = None

    async def _serve(self, connection: Connection) -> None:
        while not connection.writer.is_closing() and (request := await read_request(connection.reader)):
            await self._answer(connection, request)
            if request.headers.get("connection", "").lower() == "close":
                return

    async def _answer(self, connection: Connection, request: Request) -> None:
        if request.path.startswith(PREFIX):
            return await self._obey(connection, request)
        dialect = next((each for each in DIALECTS if each.serves(request)), None)
        if dialect is None or request.method != "POST":
            answer = self._other(request)
            return await connection.write(answer.head() + answer.body)
        self.counts.start(self._clock(), dialect.name)
        try:
            await self._judge(connection, dialect, request)
        finally:
            self.counts.running -= 1
        return None

    async def _obey(self, connection: Connection, request: Request) -> None:
        """A request that closes the port is answered before its own connection is."""
        connection.spared = True
        answer = await control(self, request)
        await connection.write(answer.head() + answer.body)
        connection.spared = False
        if not self._listener.is_open:
            connection.close()

    def _other(self, request: Request) -> Answer:
        """The list of models, or that there is nothing."""
        dialect = next(each for each in DIALECTS if each.name == format_of(request))
        request_id = f"{next(self._ids):024x}"
        try:
            self._check_key(dialect, request)
        except Denied as denied:
            return dialect.deny(denied, request_id=request_id)
        return list_models(request, self._models) or dialect.deny(
            Denied(Fault.NO_SUCH_PATH), request_id=request_id
        )

    async def _judge(self, connection: Connection, dialect: Dialect, request: Request) -> None:
        request_id = f"{next(self._ids):024x}"
        try:
            ask = self._admit(dialect, request)
        except Denied as denied:
            self.counts.refusals[denied.fault.name.lower()] += 1
            answer = dialect.deny(denied, request_id=request_id)
            self.counts.statuses[answer.status] += 1
            headers = self._headers(dialect, request_id, denied.wait)
            answer = replace(answer, headers=headers)
            return await connection.write(answer.head() + answer.body)
        await asyncio.sleep(self._latency)
        quota = self._limiter.quota(self._clock())
        exchange = Exchange(
            connection,
            dialect,
            ask,
            self._model.complete(dialect.name, ask),
            request_id,
            quota,
            pace=self._pace,
        )
        try:
            await self._act(exchange)
        finally:
            self.counts.statuses[exchange.status] += 1
            if exchange.billed is not None:
                usage = exchange.billed.usage
                self.counts.bill(f"{dialect.name}/{ask.model}", usage, self._prices, whole=exchange.whole)
        return None

    def _admit(self, dialect: Dialect, request: Request) -> Ask:
        """What is asked, in the vendors' order: the key, the limit, the request, the model."""
        self._check_key(dialect, request)
        wait = self._limiter.admit(self._clock())
        if wait is not None:
            raise Denied(Fault.RATE, wait=wait)
        ask = dialect.read(request)
        if self._models is not None and ask.model not in self._models:
            raise Denied(Fault.MODEL_UNKNOWN)
        return ask

    def _check_key(self, dialect: Dialect, request: Request) -> None:
        """No message holds the key."""
        given = dialect.key(request)
        if self._key is not None and given != self._key:
            raise Denied(Fault.KEY_MISSING if given is None else Fault.KEY_WRONG)

    async def _act(self, exchange: Exchange) -> None:
        plan = self._script.draw(exchange.dialect.name, self._clock())
        if plan is None:
            return await exchange.send(exchange.answer())
        self.counts.misbehaviours[plan.name] += 1
        exchange.wait = plan.wait
        return await MISBEHAVIOURS[plan.name].act(exchange)

    def _headers(self, dialect: Dialect, request_id: str, wait: float | None) -> dict[str, str]:
        """Those of a refusal. Google says how long to wait in the body alone."""
        headers = dialect.headers(request_id=request_id, quota=self._limiter.quota(self._clock()))
        if wait is not None and dialect.name != "google":
            headers["retry-after"] = str(math.ceil(wait))
        return headers
