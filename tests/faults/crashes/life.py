"""One life of the house, from opening to the end of its task; it runs in a fork of its own and is mostly cut short."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import punq
from sqlalchemy import Connection, text

from app.bus.protocol import Bus, Record, dead_letter_topic
from app.cj.batch import BatchState, NewBatch
from app.cj.provider_client import ProviderClient
from app.container import bootstrap, running
from app.contracts import COMPARISON_RESULT_TOPIC
from app.engines import Databases
from app.errors import Conflict
from app.provider.judges.simulated import PROVIDER
from app.provider.queue.protocol import Lease, RequestQueue, StoredOutcome
from tests.flow.house import House, batch_of, essay, settings_in

from .diary import Diary
from .failpoints import NOTHING, Arm, Death, Phase
from .weather import FAIR, Weather, Witness

ESSAYS = 12
PAIRS = ESSAYS * (ESSAYS - 1) // 2


def sound(_: punq.Container) -> None:
    """No defect."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a fork is told. `defect` breaks the house on purpose, before anything else is put in."""

    number: int
    folder: Path
    death: Death = NOTHING
    weather: Weather = FAIR
    defect: Arm = sound
    phase: Phase = Phase.WORK


def the_batch(weather: Weather) -> NewBatch:
    """Every pair of a few essays: few, so that beginnings and ends of batches are many."""
    return batch_of(ESSAYS, comparisons_per_essay=ESSAYS - 1, expires_in=weather.expires_in)


async def live(life: Life, opened: int) -> None:
    """Open the house on the folder, tell `opened`, and go on to the end of the task."""
    diary = Diary(life.folder, life.number)
    container = bootstrap(settings_in(life.folder, *life.weather.settings))
    container.register("judges", instance={PROVIDER: Witness(diary, life.weather)})
    life.defect(container)
    watch(container, diary)
    life.weather.install(container)
    life.death.arm(container)
    house = House(container)
    async with running(container):
        os.write(opened, b"!")
        if life.phase is Phase.ERASE:
            await erase(house, life.folder)
        else:
            await finish(house, life.weather)


async def finish(house: House, weather: Weather) -> None:
    """To the end of the one batch and of everything the provider owes."""
    known = await house.views.batches()
    batch_id = known[0].id if known else await house.workflow.create(the_batch(weather), start=True)
    ended = (BatchState.FINISHED, BatchState.PAUSED)
    while (await house.until(batch_id, lambda batch: batch.state in ended)).state is BatchState.PAUSED:
        await house.workflow.resume(batch_id)  # a whole wave had no verdict
    while await house.queue.stats():  # noqa: ASYNC110 - the last marks follow the last verdict
        await anyio.sleep(0.01)


async def erase(house: House, folder: Path) -> None:
    """Until nothing of the batch is left, on the disk either. What a former life began, the sweeper ends."""
    container = house.container
    for batch in await house.views.batches():
        try:
            await house.workflow.delete(batch.id)
        except Conflict:  # it is being deleted already
            continue
    cj = container.resolve(Databases).cj
    while await cj.read(_count_batches) or words_of_essays_in(folder):  # noqa: ASYNC110 - as above
        await anyio.sleep(0.02)


def _count_batches(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM batches")).scalar_one())


def words_of_essays_in(folder: Path) -> bool:
    """Whether a file of cj's database, its log included, holds the text of an essay."""
    held = b"".join(file.read_bytes() for file in folder.glob("cj.db*"))
    return any(essay(n).encode() in held for n in range(ESSAYS))


def watch(container: punq.Container, diary: Diary) -> None:
    """Write down what the house did, at the seams: answers, outcomes, publishes, dead letters."""
    client: Any = container.resolve(ProviderClient)
    queue: Any = container.resolve(RequestQueue)
    bus: Any = container.resolve(Bus)
    generate, store, publish = client.generate_comparison, queue.store, bus.publish

    async def watched_generate(request: Any) -> object:
        answer = await generate(request)
        diary.note("answered", request.correlation_id, type(answer).__name__)
        return answer

    async def watched_store(lease: Lease, outcome: StoredOutcome) -> object:
        result = await store(lease, outcome)
        diary.note("stored", lease.request.correlation_id)
        return result

    async def watched_publish(record: Record) -> None:
        await publish(record)
        diary.note("published", record.id, hashlib.sha256(record.body).hexdigest())

    async def bury(records: Sequence[Record]) -> None:
        for record in records:
            diary.note("buried", record.id)

    client.generate_comparison, queue.store, bus.publish = watched_generate, watched_store, watched_publish
    bus.subscribe(dead_letter_topic(COMPARISON_RESULT_TOPIC), "campaign", bury)
