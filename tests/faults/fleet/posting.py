"""A client of the providers that is not cj, and writes down every answer that arrived."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid4, uuid5

import httpx2

from app.provider.judges.simulated import MODEL, PROVIDER
from tests.flow.house import QUESTION, essay

PRINCIPAL = "local"
"""Who asks, where nobody needs a key."""

HANDS = 8
TIMEOUT = 15.0
"""Longer than a provider's patience: whoever is not answered in time is not owed anything yet."""


class Answer(NamedTuple):
    """`status` 0: none arrived, `words` say why. `sent_at` is monotonic, `seconds` is how long it took."""

    sent_at: float
    url: str
    status: int
    seconds: float
    queue_id: UUID
    winner: str | None
    words: str

    @property
    def accepted(self) -> bool:
        return self.status in {200, 202}


class Poster:
    """Asks in turn, with eight hands; while all of them wait it asks for nothing more."""

    def __init__(
        self,
        urls: Sequence[str],
        topic: str,
        *,
        before: Sequence[Answer] = (),
        seed: int = 0,
        timeout: float = TIMEOUT,
        judge: tuple[str, str] = (PROVIDER, MODEL),
    ) -> None:
        self.answers: list[Answer] = list(before)
        self._urls = urls
        self._topic = topic
        self._random = Random(seed)
        self._timeout = timeout
        self._judge = {"provider": judge[0], "model": judge[1]}
        self._arrived = threading.Condition()

    @property
    def accepted(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.accepted]

    def slowest(self, share: float = 0.99, *, since: float = 0.0) -> float:
        """Seconds within which this share of the answers that arrived did."""
        seconds = sorted(
            answer.seconds for answer in self.answers if answer.status and answer.sent_at >= since
        )
        return seconds[min(len(seconds) - 1, int(share * len(seconds)))] if seconds else 0.0

    def wait_for(self, status: int, url: str, patience: float) -> bool:
        """Return as soon as a provider gives its next such answer; False when it gave none."""
        deadline = time.monotonic() + patience
        with self._arrived:
            seen = len(self.answers)
            while (left := deadline - time.monotonic()) > 0:
                self._arrived.wait(left)
                if any(one.status == status and one.url == url for one in self.answers[seen:]):
                    return True
        return False

    @contextmanager
    def posting(self, every: float) -> Iterator[None]:
        """Post meanwhile, and wait for the last answers."""
        over = threading.Event()
        thread = threading.Thread(target=self._keep_asking, args=(over, every), name="poster", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _keep_asking(self, over: threading.Event, every: float) -> None:
        asked: set[Future[None]] = set()
        with httpx2.Client(timeout=self._timeout) as client, ThreadPoolExecutor(HANDS) as hands:
            for turn in count():
                if over.wait(every):
                    return
                asked = {one for one in asked if not one.done()}
                if len(asked) < HANDS:
                    first, second = self._random.sample(range(40), 2)
                    url = self._urls[turn % len(self._urls)]
                    asked.add(hands.submit(self._ask, client, url, first, second))

    def _ask(self, client: httpx2.Client, url: str, first: int, second: int) -> None:
        correlation_id = uuid4()
        content = {
            "user_prompt": QUESTION,
            "essay_a": essay(first),
            "essay_b": essay(second),
            "correlation_id": str(correlation_id),
            "callback_topic": self._topic,
            "llm_config_overrides": self._judge,
        }
        status, winner, words, queue_id = 0, None, "", uuid5(correlation_id, PRINCIPAL)
        began = time.monotonic()
        try:
            answer = client.post(f"{url}/api/v1/comparison", json=content)
            status, words = answer.status_code, answer.text[:200]
            if status == 200:
                winner = answer.json()["winner"]
            elif status == 202:
                queue_id = UUID(answer.json()["queue_id"])
        except httpx2.HTTPError as error:
            words = f"{type(error).__name__}: {error}"
        with self._arrived:
            seconds = time.monotonic() - began
            self.answers.append(Answer(began, url, status, seconds, queue_id, winner, words))
            self._arrived.notify_all()
