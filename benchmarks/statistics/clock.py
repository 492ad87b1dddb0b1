"""Seconds of the processor that a call takes: the least of several, since others use the machine too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def least(call: Callable[[], T], *, times: int = 5) -> tuple[float, T]:
    """Seconds of the fastest call, and its result."""
    best = float("inf")
    for _ in range(times):
        began = time.process_time()
        found = call()
        best = min(best, time.process_time() - began)
    return best, found
