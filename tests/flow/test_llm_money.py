"""Nothing is spent with a key that is missing or wrong, and never more than the budget and what was under way."""

from __future__ import annotations

import csv
import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from app.settings import VENDORS
from tests.fake_llm import FakeLLMProcess
from tests.prove_llm.stage import (
    BASE,
    KEY,
    MODEL,
    PRICES,
    QUESTION,
    create,
    essay,
    fake_on,
    house_on,
    judge_options,
    rank,
    write_essays,
)

from .process import ROOT, run, until

ESSAYS, PER_ESSAY = 20, 18
BUDGET = Decimal("0.05")
DEAR = {kind: str(10 * Decimal(dollars)) for kind, dollars in PRICES.items()}
EXACT = Decimal("0.000001")
WRONG = "sk-wrong-canary"


def known_model(name: str) -> str:
    """One that the catalogue lists."""
    catalogue = tomllib.loads((ROOT / "config" / "models.toml").read_text(encoding="utf-8"))
    return str(next(iter(catalogue[name])))


def assert_one_fault(stderr: str, named: str) -> None:
    """One line says what is wrong, and at most one more what to do."""
    said = [line for line in stderr.splitlines() if line.strip() and " essays; " not in line]
    assert said[0].startswith("juxta: "), stderr
    assert named in said[0]
    assert len(said) <= 2, stderr


@pytest.fixture(autouse=True)
def _no_keys_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, variable in VENDORS.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("name", BASE)
def test_a_missing_key_is_one_clear_line_that_says_where_it_goes(tmp_path: Path, name: str) -> None:
    write_essays(tmp_path / "essays", 4)
    asked = ("--judge", name, "--model", known_model(name))
    for done in (rank(tmp_path, *asked), run(tmp_path / "house", *asked)):
        assert done.returncode != 0
        assert done.stdout == ""
        assert_one_fault(done.stderr, VENDORS[name].key_variable)


@pytest.mark.parametrize("name", BASE)
def test_a_wrong_key_is_one_clear_line_before_anything_is_spent(tmp_path: Path, name: str) -> None:
    write_essays(tmp_path / "essays", 4)
    with fake_on(tmp_path, 4) as server:
        done = rank(tmp_path, *judge_options(tmp_path, server, name=name, key=WRONG))
        assert server.stats()["starts"] == 0
    assert (done.returncode, done.stdout) == (5, "")
    assert_one_fault(done.stderr, f"The judge '{name}' cannot be asked: The provider does not accept the key")
    assert WRONG not in done.stderr


def test_a_batch_with_a_wrong_key_is_refused_when_it_is_handed_in(tmp_path: Path) -> None:
    content = {
        "title": "Proof",
        "question": QUESTION,
        "essays": [{"name": f"e{number}", "text": essay(number)} for number in range(4)],
        "settings": {"judges": [{"provider": "openai", "model": MODEL}]},
    }
    with (
        fake_on(tmp_path, 4) as server,
        house_on(tmp_path, *judge_options(tmp_path, server, key=WRONG)) as house,
    ):
        answer = house.client.post("/api/v1/batches", json=content)
        assert not house.client.post("/api/v1/providers/openai/test").json()["ok"]
        assert server.stats()["starts"] == 0
    assert answer.status_code == 422
    assert "does not accept the key" in answer.json()["detail"]
    assert WRONG not in answer.text


def assert_within(spent: Decimal, server: FakeLLMProcess, dearest: Decimal) -> None:
    """Beyond the budget goes at most what was under way when it was reached; and what is said was billed."""
    seen = server.stats()
    assert spent == pytest.approx(Decimal(seen["cost_usd"]), abs=EXACT)
    assert seen["starts"] < ESSAYS * PER_ESSAY // 2
    assert BUDGET <= spent <= BUDGET + seen["most_running"] * dearest


def test_a_budget_of_five_cents_stops_rank_with_that_reason(tmp_path: Path) -> None:
    write_essays(tmp_path / "essays", ESSAYS)
    options = {"budget": BUDGET, "per-essay": PER_ESSAY, "reliability": 0.999, "out": tmp_path / "out"}
    with fake_on(tmp_path, ESSAYS, "--latency", "0.05", prices=DEAR) as server:
        asked = (f"--{name}={value}" for name, value in options.items())
        done = rank(tmp_path, *asked, *judge_options(tmp_path, server, prices=DEAR))
        assert done.returncode == 0, done.stderr
        ranking = json.loads(done.stdout)
        with (tmp_path / "out" / "judgements.csv").open(newline="", encoding="utf-8") as stream:
            dearest = max(Decimal(row["cost_usd"] or 0) for row in csv.DictReader(stream))
        assert_within(Decimal(str(ranking["cost_usd"])), server, dearest)
    assert ranking["stop_reason"] == "budget_spent"
    assert KEY not in done.stderr


def test_a_budget_of_five_cents_stops_a_batch_and_its_page_says_so(tmp_path: Path) -> None:
    with (
        fake_on(tmp_path, ESSAYS, "--latency", "0.05", prices=DEAR) as server,
        house_on(tmp_path, *judge_options(tmp_path, server, prices=DEAR)) as house,
    ):
        batch_id = create(house, ESSAYS, comparisons_per_essay=PER_ESSAY, budget_usd=float(BUDGET))
        until(lambda: house.batch(batch_id)["state"] != "running")
        until(lambda: not server.stats()["running"])
        batch = house.batch(batch_id)
        rows = house.client.get(f"/api/v1/batches/{batch_id}/comparisons").json()["comparisons"]
        dearest = max(Decimal(str(row["cost_usd"] or 0)) for row in rows)
        assert_within(Decimal(str(batch["cost_usd"])), server, dearest)
        page = house.client.get(f"/batches/{batch_id}/live").text
    assert (batch["state"], batch["stop_reason"]) == ("finished", "budget_spent")
    assert "the budget is spent" in page


def test_rank_says_that_the_cost_is_unknown_where_the_price_is(tmp_path: Path) -> None:
    write_essays(tmp_path / "essays", 3)
    out = tmp_path / "out"
    with fake_on(tmp_path / "fake", 3) as server:
        options = judge_options(tmp_path / "fake", server)
        options[options.index("--model") + 1] = "unheard-of"
        done = rank(tmp_path, "--out", str(out), *options)
    assert done.returncode == 0, done.stderr
    assert "cost unknown" in done.stderr
    assert "0.00 USD" not in done.stderr + (out / "report.html").read_text(encoding="utf-8")
    assert json.loads(done.stdout)["cost_usd"] is None
    with (out / "judgements.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["cost_usd"] for row in csv.DictReader(stream)} == {""}


def test_rank_that_fails_says_why_and_what_to_do(tmp_path: Path) -> None:
    write_essays(tmp_path / "essays", 3)
    with fake_on(tmp_path / "fake", 3) as server:
        server.misbehave("unknown_model")
        done = rank(tmp_path, *judge_options(tmp_path / "fake", server))
    assert done.returncode != 0
    assert "rejected" in done.stderr
    assert "look at the model's name and the base URL" in done.stderr
    assert "paused" not in done.stderr
