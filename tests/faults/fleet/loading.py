"""Keeps batches going, whichever cj answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import httpx2

from tests.flow.deployment import content_of

if TYPE_CHECKING:
    from .fleet import Fleet

LOOK_EVERY = 0.2
TIMEOUT = 5.0


class Load:
    """A thread that makes a new batch for each one that has finished."""

    def __init__(self, fleet: Fleet, seed: int, judge: tuple[str, str]) -> None:
        self.batches: list[str] = []
        self._fleet = fleet
        self._judge = judge
        self._random = Random(seed)
        self._finished: set[str] = set()

    @contextmanager
    def kept(self, batches: int, essays: int) -> Iterator[None]:
        """Keep so many unfinished."""
        over = threading.Event()
        thread = threading.Thread(target=self._keep, args=(over, batches, essays), name="load", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _keep(self, over: threading.Event, batches: int, essays: int) -> None:
        with httpx2.Client(timeout=TIMEOUT) as client:
            while not over.wait(LOOK_EVERY):
                url = self._random.choice(self._fleet.cjs).url
                try:
                    unfinished = [one for one in self.batches if not self._is_finished(client, url, one)]
                    for _ in range(batches - len(unfinished)):
                        self.make(client, url, essays)
                except httpx2.HTTPError:
                    continue  # another one may answer

    def make(self, client: httpx2.Client, url: str, essays: int) -> None:
        """Ask for a batch; it is one of ours when it was promised."""
        content = content_of(seed=self._random.randrange(10**6), essays=essays, judge=self._judge)
        answer = client.post(f"{url}/api/v1/batches", json=content)
        if answer.status_code == 201:
            self.batches.append(str(answer.json()["id"]))

    def _is_finished(self, client: httpx2.Client, url: str, batch_id: str) -> bool:
        if batch_id not in self._finished:
            answer = client.get(f"{url}/api/v1/batches/{batch_id}")
            if answer.status_code == 200 and answer.json()["state"] == "finished":
                self._finished.add(batch_id)
        return batch_id in self._finished
