"""Whether callbacks flow: counted by those who take them."""

from __future__ import annotations

import time
from uuid import UUID, uuid5

import httpx2

from tests.faults import topics
from tests.faults.fleet import Fleet
from tests.faults.fleet.books import read_topic
from tests.faults.fleet.posting import PRINCIPAL

PATIENCE = 60.0
"""Seconds after which whoever waits for a callback goes on without."""

LOOK_EVERY = 0.05


def taken(fleet: Fleet) -> int:
    """How many callbacks the cj processes have applied since they started."""
    total = 0
    for cj in fleet.cjs:
        try:
            total += cj.client.get("/readyz").json()["recorded"].get("callback", 0)
        except httpx2.HTTPError:
            fleet.complaints.append(f"{cj.folder.name} did not answer /readyz")
    return total


def until_the_next(fleet: Fleet, what: str) -> float:
    """Seconds until one more callback is taken; a complaint that names `what` when none comes."""
    began, before = time.monotonic(), taken(fleet)
    while taken(fleet) <= before:
        if time.monotonic() - began > PATIENCE:
            fleet.complaints.append(f"no callback within {PATIENCE:g} s after {what}")
            break
        time.sleep(LOOK_EVERY)
    return time.monotonic() - began


def until_one_published_after(fleet: Fleet, moment: float, what: str) -> float:
    """Seconds from a moment (since 1970) until a callback counted that was published after it; a complaint when none does.

    What cj had fetched before the moment may count after it, and shows nothing.
    """
    servers, topic = fleet.deployment.settings["kafka.servers"], fleet.callback_topic
    while time.time() < moment + PATIENCE:
        if topics.exists(servers, topic):  # who reads a topic that is not there makes it
            published = {copy.request_id for copy in read_topic(servers, topic) if copy.at > moment}
            ended = fleet.books.cj("SELECT id, ended_at FROM comparisons WHERE road = 'callback'")
            late = [at for name, at in ended if at > moment and uuid5(UUID(name), PRINCIPAL) in published]
            if late:
                return float(min(late) - moment)
        time.sleep(LOOK_EVERY)
    fleet.complaints.append(f"no callback within {PATIENCE:g} s after {what}")
    return PATIENCE
