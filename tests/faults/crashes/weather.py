"""What a story happens in: a judge that answers, fails, is down or hangs, and a database that is locked now and then.

These are faults of what the house stands on, never of the house. The judge writes its calls into the diary.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any

import anyio
import punq
from sqlalchemy import Connection

from app.contracts import LLMComparisonRequest
from app.engines import Databases
from app.errors import StoreUnavailable
from app.provider.judges.protocol import JudgeError, Verdict
from tests.flow.house import HeldJudge

from .diary import Diary

FAILURES = 3
COOLDOWN = 0.1


@dataclass(frozen=True, slots=True)
class Weather:
    """`down`: the first so many calls of a life fail; `hanging`: these calls of a life never end; `locked_every`:
    of so many write transactions of cj one is refused. `concurrency` is calls of the judge at once.
    """

    name: str
    down: int = 0
    hanging: tuple[int, ...] = ()
    locked_every: int = 0
    expires_in: float = 86_400.0
    concurrency: int = 4

    @property
    def fair(self) -> bool:
        """Whether every comparison ends with a verdict, so that the outcome is that of an undisturbed batch."""
        return not self.hanging

    @property
    def settings(self) -> tuple[str, ...]:
        """Settings under which a short life sees every road, and kills alone exhaust nothing."""
        return (
            f"judges.simulated.concurrency={self.concurrency}",
            f"judges.simulated.direct_concurrency={max(1, self.concurrency // 2)}",
            "cj.concurrency=16",
            "provider.patience=0.03",  # a call in five is slower than this
            "queue.max_tries=100",  # a pair asked anew would be planned elsewhere
            f"breaker.failures={FAILURES}",
            f"breaker.cooldown={COOLDOWN}",
            f"breaker.cooldown_cap={COOLDOWN}",
            "log.level=error",
        )

    def install(self, container: punq.Container) -> None:
        """Lock the database of cj now and then."""
        if not self.locked_every:
            return
        database: Any = container.resolve(Databases).cj
        submit_write = database.submit_write
        passages = count(1)

        def sometimes_locked(work: Callable[[Connection], object]) -> Future[object]:
            if next(passages) % self.locked_every == 0:
                raise StoreUnavailable("The database is locked.", retry_after=1.0)
            future: Future[object] = submit_write(work)
            return future

        database.submit_write = sometimes_locked


FAIR = Weather("fair")
ONE_BY_ONE = Weather("one call at a time", concurrency=1)
LOCKED = Weather("database locked now and then", locked_every=5)
DOWN = Weather("judge down", down=9)
HANGING = Weather("judge hangs", hanging=(2, 5), expires_in=1.0)


class Witness(HeldJudge):
    """The judge of a life; most calls are quick, one in five is slower than the asker's patience."""

    def __init__(self, diary: Diary, weather: Weather) -> None:
        super().__init__()
        self._diary = diary
        self._weather = weather

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        """Answer, fail or hang, and write it down."""
        name, nth = request.correlation_id, len(self.calls) + 1
        self._diary.note("call", name)
        down = nth <= self._weather.down
        await anyio.sleep(0.02 if down else 0.002 if name.int % 5 else 0.05)
        if nth in self._weather.hanging:
            self.calls.append(name)
            await anyio.sleep_forever()
        if down:
            self.calls.append(name)
            self._diary.note("failed", name)
            raise JudgeError("unavailable", "The judge is down.", retryable=True, trips=True)
        verdict = await super().compare(request)
        self._diary.note("verdict", name)
        return verdict
