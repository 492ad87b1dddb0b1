"""A server that asks language models, against the fake one: its limits, its bill, what it tells of itself, and what not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.contracts import Pricing
from tests.fake_llm import FakeLLMProcess
from tests.prove_llm.stage import KEY, MODEL, assigned, create, fake_on, judge_options

from .installations import SHARED
from .process import Process, juxta, process_on, until

ESSAYS = 8


@contextmanager
def serving(
    folder: Path, server: FakeLLMProcess, *settings: str, model: str = MODEL, demo: str = "--no-demo"
) -> Iterator[Process]:
    judge = judge_options(folder, server, key=None, model=model)
    with process_on(folder / "data", demo, *judge, *assigned(*settings)) as process:
        yield process


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUXTA_JUDGES__OPENAI__KEY", KEY)


def usage(process: Process) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = process.client.get("/api/v1/usage").json()["rows"]
    return rows


def test_the_bill_is_the_provider_s_own_to_the_cent_and_stays_after_a_restart(tmp_path: Path) -> None:
    with fake_on(tmp_path, ESSAYS) as server:
        with serving(tmp_path, server) as process:
            server.misbehave("fenced_json", times=3)
            batch_id = create(process, ESSAYS, random_rounds=2)
            until(lambda: process.batch(batch_id)["state"] == "finished")
            spent, (row,), saw = process.batch(batch_id)["cost_usd"], usage(process), server.stats()
        tally = saw["models"][f"openai/{MODEL}"]
        assert spent == pytest.approx(float(saw["cost_usd"]), rel=1e-9)
        assert row["cost_usd"] == pytest.approx(spent, rel=1e-9)
        assert (row["calls"], row["prompt_tokens"]) == (saw["starts"], tally["input"])
        assert (row["cached_tokens"], row["completion_tokens"]) == (tally["cached"], tally["output"])
        assert (row["principal"], row["provider"], row["model"], row["unpriced"]) == (
            "local",
            "openai",
            MODEL,
            0,
        )
    assert json.loads(juxta("usage", "--json", "--data", tmp_path / "data").stdout)["rows"] == [row]


def test_a_model_whose_price_is_unknown_is_said_to_be_one(tmp_path: Path) -> None:
    with fake_on(tmp_path, ESSAYS) as server, serving(tmp_path, server, model="unheard-of") as process:
        models = {
            info["model"]: info["price"] for info in process.client.get("/api/v1/models").json()["models"]
        }
        assert models["unheard-of"] is None
        nothing = dict.fromkeys(Pricing.model_fields) | {"prompt": 0.0, "completion": 0.0}
        assert models["panel-v1/balanced"] == nothing
        assert "its price is unknown" in process.stderr
        batch_id = create(process, 3, model="unheard-of")
        until(lambda: process.batch(batch_id)["state"] == "finished")
        (row,) = usage(process)
        assert row["unpriced"] == row["calls"] > 0


def test_no_more_calls_start_than_the_limit_allows_repairs_included(tmp_path: Path) -> None:
    with (
        fake_on(tmp_path, ESSAYS, "--per-minute", "6") as server,
        serving(tmp_path, server, "judges.openai.requests_per_minute=6") as process,
    ):
        server.misbehave("fenced_json")
        create(process, ESSAYS)

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
    with fake_on(tmp_path, ESSAYS) as server:
        server.misbehave("fenced_json", times=2)
        with serving(tmp_path, server, f"judges.openai.{limit}") as process:
            create(process, ESSAYS)
            until(lambda: limited(process))
            process.kill()
        with serving(tmp_path, server, f"judges.openai.{limit}") as process:
            until(lambda: limited(process))
        saw = server.stats()
        tally = saw["models"][f"openai/{MODEL}"]
        if limit.startswith("requests"):
            assert 4 <= saw["busiest_minute"] <= 6
        else:
            assert tally["input"] + tally["output"] <= 4000


def test_several_providers_have_a_share_of_the_limit_each(tmp_path: Path) -> None:
    with (
        fake_on(tmp_path, ESSAYS) as server,
        serving(tmp_path, server, "judges.openai.requests_per_minute=9", "provider.processes=3") as process,
    ):
        create(process, ESSAYS)
        until(lambda: server.stats()["starts"] == 3)
        until(lambda: process.client.get("/api/v1/providers").json()["lanes"][0]["seconds_until_room"] > 30)
        assert server.stats()["starts"] == 3


@pytest.mark.parametrize("installation", SHARED)
def test_what_was_spent_is_known_whatever_the_queue_stands_on(tmp_path: Path, installation: str) -> None:
    engines = SHARED[installation]()
    with fake_on(tmp_path, ESSAYS) as server, serving(tmp_path, server, *engines) as process:
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
    assert json.loads(juxta("usage", "--json", "--data", tmp_path, *options).stdout)["rows"] == [row]


def test_the_example_essays_cost_nothing_whoever_judges_by_default(tmp_path: Path) -> None:
    with (
        fake_on(tmp_path, ESSAYS) as server,
        serving(tmp_path, server, "judges.rules.pace=0", demo="--demo") as process,
    ):
        (batch,) = process.client.get("/api/v1/batches").json()["batches"]
        until(lambda: process.batch(batch["id"])["state"] == "finished")
        assert server.stats()["starts"] == 0


def test_a_provider_is_tested_for_free_and_the_test_is_audited(tmp_path: Path) -> None:
    with fake_on(tmp_path, ESSAYS, "--model", "other") as server, serving(tmp_path, server) as process:
        told = process.client.post("/api/v1/providers/openai/test").json()
        assert (told["ok"], told["missing"]) == (True, [MODEL])
        assert process.client.post("/api/v1/providers/rules/test").json()["ok"]
        assert process.client.post("/api/v1/providers/nobody/test").status_code == 404
        assert server.stats()["starts"] == 0
        actions = [entry["action"] for entry in process.client.get("/api/v1/audit").json()["entries"]]
        assert actions.count("POST /api/v1/providers/{provider}/test") == 3
