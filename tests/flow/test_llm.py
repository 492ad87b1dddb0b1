"""A server that asks language models, against the fake one: its limits, its bill, what it tells of itself, and what not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.contracts import Pricing
from tests.fake_llm import FakeLLMProcess

from .house import QUESTION
from .installations import SHARED
from .process import ROOT, Process, process_on, until

KEY = "sk-canary-4417"
SENTENCE = "The canary sings before dawn in the old quarry."
PRICES = ("0.4", "1.6", "0.1", "0.4")
CATALOGUE = """
[openai.priced]
price = { prompt = 0.4, completion = 1.6, cached = 0.1, cache_written = 0.4, on = 2026-11-25 }
"""


@contextmanager
def fake(*options: str) -> Iterator[FakeLLMProcess]:
    server = FakeLLMProcess("--key", KEY, *options)
    server.start()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def serving(
    folder: Path, server: FakeLLMProcess, *settings: str, model: str = "priced", demo: str = "--no-demo"
) -> Iterator[Process]:
    folder.mkdir(exist_ok=True)
    (folder / "models.toml").write_text(CATALOGUE)
    assigned = (f'judges.catalogue=["{folder / "models.toml"}"]', *settings)
    options = [word for one in assigned for word in ("--set", one)]
    judge = ("--judge", "openai", "--model", model, "--base-url", f"{server.url}/v1")
    with process_on(folder / "data", demo, *judge, *options) as process:
        yield process


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUXTA_JUDGES__OPENAI__KEY", KEY)


def juxta(*arguments: str | Path) -> str:
    """What a command prints, on stdout and stderr."""
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def essays(count: int) -> list[dict[str, str]]:
    return [
        {"name": f"e{n:02}", "text": f"{SENTENCE} {'It is a long song. ' * (n + 3)}"} for n in range(count)
    ]


def create(process: Process, count: int = 8, **settings: Any) -> str:
    content = {
        "title": "Canaries",
        "question": QUESTION,
        "essays": essays(count),
        "settings": {"random_rounds": 2, **settings},
    }
    answer = process.client.post("/api/v1/batches", json=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def usage(process: Process) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = process.client.get("/api/v1/usage").json()["rows"]
    return rows


def test_the_bill_is_the_provider_s_own_to_the_cent_and_stays_after_a_restart(tmp_path: Path) -> None:
    with fake("--prices", *PRICES, "--cache-minimum", "64") as server:
        with serving(tmp_path, server) as process:
            server.misbehave("fenced_json", times=3)
            batch_id = create(process, target_reliability=0.999)
            until(lambda: process.batch(batch_id)["state"] == "finished")
            spent, (row,), saw = process.batch(batch_id)["cost_usd"], usage(process), server.stats()
        tally = saw["models"]["openai/priced"]
        assert spent == pytest.approx(float(saw["cost_usd"]), rel=1e-9)
        assert row["cost_usd"] == pytest.approx(spent, rel=1e-9)
        assert (row["calls"], row["prompt_tokens"]) == (saw["starts"], tally["input"])
        assert (row["cached_tokens"], row["completion_tokens"]) == (tally["cached"], tally["output"])
        assert (row["principal"], row["provider"], row["model"], row["unpriced"]) == (
            "local",
            "openai",
            "priced",
            0,
        )
    assert json.loads(juxta("usage", "--json", "--data", tmp_path / "data"))["rows"] == [row]


def test_a_model_whose_price_is_unknown_is_said_to_be_one(tmp_path: Path) -> None:
    with fake() as server, serving(tmp_path, server, model="unheard-of") as process:
        models = {
            info["model"]: info["price"] for info in process.client.get("/api/v1/models").json()["models"]
        }
        assert models["unheard-of"] is None
        nothing = dict.fromkeys(Pricing.model_fields) | {"prompt": 0.0, "completion": 0.0}
        assert models["panel-v1/balanced"] == nothing
        assert "its price is unknown" in process.stderr
        batch_id = create(process, 3)
        until(lambda: process.batch(batch_id)["state"] == "finished")
        (row,) = usage(process)
        assert row["unpriced"] == row["calls"] > 0


def test_no_more_calls_start_than_the_limit_allows_repairs_included(tmp_path: Path) -> None:
    with (
        fake("--per-minute", "6") as server,
        serving(tmp_path, server, "judges.openai.requests_per_minute=6") as process,
    ):
        server.misbehave("fenced_json")
        create(process)

        def limited() -> bool:
            lanes: list[dict[str, Any]] = process.client.get("/api/v1/providers").json()["lanes"]
            return any(
                lane["waiting"] and "rate limit" in lane["words"] and lane["seconds_until_room"] > 30
                for lane in lanes
            )

        until(lambda: server.stats()["starts"] >= 6)
        until(limited)
        saw = server.stats()
        assert saw["starts"] == saw["busiest_minute"] == 6
        assert saw["refusals"] == {}


def limited(process: Process) -> bool:
    """Whether the judge's lane waits for its limit, and not just for a moment."""
    lanes: list[dict[str, Any]] = process.client.get("/api/v1/providers").json()["lanes"]
    return any(
        lane["waiting"] and "rate limit" in lane["words"] and lane["seconds_until_room"] > 20
        for lane in lanes
    )


@pytest.mark.parametrize("limit", ["requests_per_minute=6", "tokens_per_minute=4000"])
def test_the_limits_hold_over_a_restart_in_the_middle_of_a_minute(tmp_path: Path, limit: str) -> None:
    with fake() as server:
        server.misbehave("fenced_json", times=2)
        with serving(tmp_path, server, f"judges.openai.{limit}") as process:
            create(process)
            until(lambda: limited(process))
            process.kill()
        with serving(tmp_path, server, f"judges.openai.{limit}") as process:
            until(lambda: limited(process))
        saw = server.stats()
        tally = saw["models"]["openai/priced"]
        if limit.startswith("requests"):
            assert 4 <= saw["busiest_minute"] <= 6
        else:
            assert tally["input"] + tally["output"] <= 4000


def test_several_providers_have_a_share_of_the_limit_each(tmp_path: Path) -> None:
    with (
        fake() as server,
        serving(tmp_path, server, "judges.openai.requests_per_minute=9", "provider.processes=3") as process,
    ):
        create(process)
        until(lambda: server.stats()["starts"] == 3)
        until(lambda: process.client.get("/api/v1/providers").json()["lanes"][0]["seconds_until_room"] > 30)
        assert server.stats()["starts"] == 3


@pytest.mark.parametrize("installation", SHARED)
def test_what_was_spent_is_known_whatever_the_queue_stands_on(tmp_path: Path, installation: str) -> None:
    engines = SHARED[installation]()
    with fake() as server, serving(tmp_path, server, *engines) as process:
        asked = {
            "user_prompt": "?",
            "essay_a": "One.",
            "essay_b": "Two, longer.",
            "correlation_id": str(uuid4()),
        }
        answer = process.client.post("/api/v1/comparison", json=asked)
        assert answer.status_code == 200, answer.text
        (row,) = usage(process)
        assert (row["calls"], row["verdicts"]) == (1, 1)
        assert row["cost_usd"] == answer.json()["cost_usd"] > 0
        parts = process.client.get("/readyz").json()["parts"]
        assert parts.get("usage") == ("ok" if "redis" in installation else None)
    options = [word for one in engines for word in ("--set", one)]
    assert json.loads(juxta("usage", "--json", "--data", tmp_path, *options))["rows"] == [row]


def test_the_example_essays_cost_nothing_whoever_judges_by_default(tmp_path: Path) -> None:
    with fake() as server, serving(tmp_path, server, "judges.rules.pace=0", demo="--demo") as process:
        (batch,) = process.client.get("/api/v1/batches").json()["batches"]
        until(lambda: process.batch(batch["id"])["state"] == "finished")
        assert server.stats()["starts"] == 0


def test_a_provider_is_tested_for_free_and_the_test_is_audited(tmp_path: Path) -> None:
    with fake("--model", "other") as server, serving(tmp_path, server) as process:
        told = process.client.post("/api/v1/providers/openai/test").json()
        assert (told["ok"], told["missing"]) == (True, ["priced"])
        assert process.client.post("/api/v1/providers/rules/test").json()["ok"]
        assert process.client.post("/api/v1/providers/nobody/test").status_code == 404
        assert server.stats()["starts"] == 0
        actions = [entry["action"] for entry in process.client.get("/api/v1/audit").json()["entries"]]
        assert actions.count("POST /api/v1/providers/{provider}/test") == 3


def test_a_wrong_key_is_found_out_when_a_batch_is_made_and_nothing_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUXTA_JUDGES__OPENAI__KEY", "sk-wrong")
    with fake() as server, serving(tmp_path, server) as process:
        content = {"title": "T", "question": QUESTION, "essays": essays(3), "settings": {}}
        answer = process.client.post("/api/v1/batches", json=content)
        assert answer.status_code == 422
        assert "does not accept the key" in answer.json()["detail"]
        assert not process.client.post("/api/v1/providers/openai/test").json()["ok"]
        assert server.stats()["starts"] == 0


def test_no_key_and_no_essay_is_told_to_anybody(tmp_path: Path) -> None:
    told = ["log.level=debug", "log.format=json", "breaker.failures=2"]
    with fake() as server, serving(tmp_path, server, *told) as process:
        for name in ("server_error", "wrong_key", "truncated_json"):
            server.misbehave(name, times=2)
        batch_id = create(process, 4)
        asked = {
            "user_prompt": "?",
            "essay_a": SENTENCE,
            "essay_b": f"{SENTENCE} Twice.",
            "correlation_id": str(uuid4()),
        }
        process.client.post("/api/v1/comparison", json=asked)
        process.client.post("/api/v1/providers/openai/test")
        until(lambda: process.batch(batch_id)["state"] in {"finished", "paused"})
        paths = (
            "readyz",
            "healthz",
            "api/v1/usage",
            "api/v1/models",
            "api/v1/providers",
            "api/v1/queue",
            "api/v1/audit",
        )
        answers = {path: process.client.get(f"/{path}").text for path in paths}
        for command in ("usage", "audit ls", "queue ls"):
            answers[command] = juxta(*command.split(), "--json", "--data", tmp_path / "data")
    for command in ("config show", "config show --json", "models", "doctor"):
        answers[command] = juxta(*command.split(), "--set", f"judges.openai.base_url={server.url}/v1")
    answers["log"] = process.stderr
    for place, text in answers.items():
        assert KEY not in text, place
        assert "canary sings" not in text, place
    for file in (tmp_path / "data").iterdir():
        assert KEY.encode() not in file.read_bytes(), file
