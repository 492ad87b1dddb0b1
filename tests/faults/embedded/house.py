"""A house of one process in a folder: how it is started, asked, filled with batches, and read afterwards."""

from __future__ import annotations

import csv
import json
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from app.provider.judges.simulated import MODEL, PROVIDER
from tests.faults.recount import COUNTS, VERDICT, refitted
from tests.flow.house import QUESTION, SCORES, essay, furnish, rows
from tests.flow.process import ROOT, Process, process_on, until

CLOSE = 1e-6
START = 120.0
"""Seconds to start in at the most: on a quiet machine it takes two, beside other campaigns twenty."""

UNREAD = "load.comparison_result.v1"
"""A topic for requests that no batch made: nobody reads it, so that nothing of theirs is a dead letter."""


class Held(NamedTuple):
    """What a process holds in memory after the collector went through it; `ours` counts objects by class."""

    resident: int
    objects: int
    ours: Mapping[str, int]


@contextmanager
def house(
    folder: Path, *settings: str, defect: str = "", environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Process]:
    """Start the process on `folder`, with the simulated judge; it serves from here on."""
    folder.mkdir(parents=True, exist_ok=True)
    furnish(folder)
    scores = folder / "scores.csv"
    if not scores.exists():
        with scores.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("sha256", "score"), *SCORES.items()])
    common = (
        "judges.default=simulated",
        f"judges.simulated.scores={scores}",
        "judges.simulated.seed=3",
        f'provider.topics=["huleedu.llm_provider.comparison_result.v1","{UNREAD}"]',
        "cj.sweep_every=1",
    )
    assigned = chain(*(("--set", one) for one in (*common, *settings)))
    said = {"PYTHONPATH": str(ROOT), "FAULTS_ACCOUNT": str(account_of(folder)), "FAULTS_DEFECT": defect}
    program = ("-m", "tests.faults.embedded.start")
    with process_on(
        folder, "--no-demo", *assigned, program=program, environment={**said, **environment}, patience=START
    ) as process:
        yield process


def account_of(folder: Path) -> Path:
    return folder / "account.json"


def held(process: Process) -> Held:
    """Ask it to collect its garbage, and what is left."""
    account = account_of(process.folder)
    account.unlink(missing_ok=True)
    process.child.send_signal(signal.SIGUSR1)
    until(account.exists)
    return Held(**json.loads(account.read_text(encoding="utf-8")))


def resident(process: Process) -> int:
    """Bytes, as they are just now."""
    lines = Path(f"/proc/{process.child.pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def ready(process: Process) -> bool:
    return process.client.get("/readyz").status_code == 200


def create(process: Process, *, seed: int, essays: int = 25, each: int = 6) -> str:
    """A batch of essays that the judge knows, with `each` comparisons of every essay on average."""
    content = {
        "title": f"Seed {seed}",
        "question": QUESTION,
        "essays": [{"name": f"e{n:02}", "text": essay(n)} for n in range(essays)],
        "settings": {
            "judges": [{"provider": PROVIDER, "model": MODEL}],
            "comparisons_per_essay": each,
            "target_reliability": 0.999,
            "random_rounds": 2,
            "seed": seed,
        },
    }
    answer = process.client.post("/api/v1/batches", json=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def open_requests(folder: Path) -> int:
    (found,) = rows(folder / "provider.db", "SELECT count(*) FROM requests WHERE published_at IS NULL")
    return int(found[0])


def unfinished(folder: Path) -> list[str]:
    return [name for (name,) in rows(folder / "cj.db", "SELECT id FROM batches WHERE state <> 'finished'")]


def miscounts(folder: Path) -> list[str]:
    """What is wrong with the finished batches of a folder, read without any code of the house, but for the fit."""
    said = []
    for (batch_id,) in rows(folder / "cj.db", "SELECT id FROM batches"):
        name = f"'{batch_id}'"
        ended = rows(
            folder / "cj.db",
            f"SELECT ended_order, state FROM comparisons WHERE batch_id = {name} ORDER BY sequence",
        )
        if sorted(row[0] or 0 for row in ended) != list(range(1, len(ended) + 1)):
            said.append(f"double: endings of batch {batch_id} have gaps or doubles")
        if strange := {row[1] for row in ended} - {"decided"}:
            said.append(f"lost: comparisons of batch {batch_id} are {strange}")
            continue
        shown = rows(
            folder / "cj.db",
            f"SELECT position, score, verdicts FROM essays WHERE batch_id = {name} ORDER BY 1",
        )
        counts = rows(
            folder / "cj.db",
            f"SELECT {VERDICT} FROM comparisons WHERE batch_id = {name} AND {COUNTS} ORDER BY sequence",
        )
        fitted = refitted(counts, len(shown))
        counted = Counter(n for first, second, *_ in counts for n in (first, second))
        if any(abs(found - fitted[n]) > CLOSE or verdicts != counted[n] for n, found, verdicts in shown):
            said.append(f"recount: the scores of batch {batch_id} are not those of a recount")
    return said
