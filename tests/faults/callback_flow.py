"""Whether callbacks flow: counted by those who take them."""

from __future__ import annotations

import time

import httpx2

from tests.faults.fleet import Fleet

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
