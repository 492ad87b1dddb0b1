"""Runs tellers of stories in processes of their own: they fork, so they may not have threads, as tests do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT = 900.0
"""Seconds after which a teller has hung; each ends its own lives long before."""


def stories(*arguments: Sequence[str]) -> list[list[dict[str, Any]]]:
    """What each teller told, all at once; one for each list of arguments."""
    with ThreadPoolExecutor(len(arguments)) as watchers:
        return list(watchers.map(_tell, arguments))


def _tell(arguments: Sequence[str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.crashes.story", *arguments],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # no threads before the forks
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"a teller of stories ended with {done.returncode}: {done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]
