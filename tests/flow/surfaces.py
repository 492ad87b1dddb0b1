"""All that a house said, by place, after a batch whose judge, a language model, did everything wrong."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fake_llm import MISBEHAVIOURS
from tests.prove_llm.stage import (
    KEY,
    MODEL,
    QUESTION,
    assigned,
    create,
    essay,
    fake_on,
    house_on,
    judge_options,
)

from .process import Process, juxta, until

ESSAYS = 12
LATER = {"rate_limited_for_days", "rate_limited_bare", "rate_limited_nonsense", "connection_refused"}
"""What would keep everybody waiting, or needs no answer."""
SENTENCES = tuple(
    sentence.strip()
    for number in range(ESSAYS)
    for sentence in essay(number).split(".")
    if len(sentence.strip()) > 20
)
PATHS = (
    "/healthz",
    "/readyz",
    "/api/v1/audit",
    "/api/v1/providers",
    "/api/v1/queue",
    "/api/v1/queue/stats",
    "/api/v1/models",
    "/api/v1/usage",
    "/api/v1/batches",
)
FILE = "file "
COMMANDS = (
    "config show",
    "config show --json",
    "doctor",
    "audit ls",
    "audit ls --json",
    "queue ls",
    "queue ls --json",
    "models",
    "usage",
    "usage --json",
)


def surfaces(folder: Path) -> dict[str, str]:
    """What was said at the level debug, in answers, events, files and by commands."""
    with pytest.MonkeyPatch.context() as patch, fake_on(folder, ESSAYS) as server:
        patch.setenv("JUXTA_JUDGES__OPENAI__KEY", KEY)
        settings = assigned("log.level=debug", "breaker.failures=1000", "judges.openai.timeout=3")
        for name in [each for each in MISBEHAVIOURS if each not in LATER]:
            server.misbehave(name, times=1, wait=0.1)
        with house_on(folder, *judge_options(folder, server, key=None), *settings) as house:
            batch_id = create(house, ESSAYS, comparisons_per_essay=10)
            until(lambda: _ended(house, batch_id), patience=60)
            assert server.stats()["essays_missing"] == 0
            said = {path: house.client.get(path).raise_for_status().text for path in PATHS}
            said["test"] = house.client.post("/api/v1/providers/openai/test").raise_for_status().text
            said["comparisons"] = house.client.get(f"/api/v1/batches/{batch_id}/comparisons").text
            said["batch"] = json.dumps(house.batch(batch_id))
            said["problems"] = "".join(
                house.client.post("/api/v1/comparison", json=body).text for body in unfit()
            )
            said["events"] = events(house.folder / "provider.db")
            said["log"] = house.stderr
            assert house.stop() == 0
            said["log after the end"] = house.stderr
        place = ("--set", f"data={house.folder}", "--set", f"judges.openai.base_url={server.url}/v1")
        for command in COMMANDS:
            done = juxta(*command.split(), *place)
            said[command] = done.stdout + done.stderr
        for file in house.folder.iterdir():
            said[FILE + file.name] = file.read_bytes().decode("utf-8", "replace")
        return said


def _ended(house: Process, batch_id: str) -> bool:
    """It pauses itself when the misbehaviours happen to hit every comparison of one wave."""
    state = house.batch(batch_id)["state"]
    if state == "paused":
        house.client.post(f"/api/v1/batches/{batch_id}/resume").raise_for_status()
    return bool(state == "finished")


def unfit() -> Iterator[dict[str, object]]:
    """Requests that are refused with both essays in hand."""
    good = {"user_prompt": QUESTION, "essay_a": essay(0), "essay_b": essay(1), "correlation_id": str(uuid4())}
    judge = {"provider": "openai", "model": MODEL}
    yield good | {"llm_config_overrides": judge | {"model": "nobody"}}
    yield good | {"llm_config_overrides": judge | {"temperature": 9}}
    yield good | {"essay_b": essay(1) + "\x00", "llm_config_overrides": judge}
    yield good | {"essay_a": essay(0) * 5_000, "llm_config_overrides": judge}
    yield good | {"unknown": essay(2), "llm_config_overrides": judge}


def events(ledger: Path) -> str:
    """The bodies of all events, as they went to the bus."""
    with closing(sqlite3.connect(ledger)) as connection:
        found = connection.execute("SELECT event FROM payloads WHERE event IS NOT NULL").fetchall()
    return "\n".join(str(event, "utf-8") if isinstance(event, bytes) else str(event) for (event,) in found)


def keys_seen(said: Mapping[str, str]) -> list[str]:
    """Places that show the key."""
    return [place for place, text in said.items() if KEY in text]


def essays_seen(said: Mapping[str, str]) -> list[str]:
    """Places, but for the files of the databases, that show a sentence of an essay."""
    return [
        place
        for place, text in said.items()
        if not place.startswith(FILE) and any(sentence in text for sentence in SENTENCES)
    ]
