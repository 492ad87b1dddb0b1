"""Money on the pages: asked for before, shown during, explained after."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from app.cj.batch import BatchState, NewBatch
from app.contracts import JudgeKind, LLMConfigOverrides, ModelInfo, ModelList, Pricing
from app.web import words
from app.web.defaults import JudgeChoice
from tests.web.conftest import DEFAULTS, Site, essay_text, new_batch
from tests.web.test_new_batch import submit, two


def ai(model: str) -> JudgeChoice:
    return JudgeChoice(
        name=f"openai/{model}",
        label=f"{model}, by openai",
        description="An AI reads both essays.",
        kind=JudgeKind.LLM,
        settings=(LLMConfigOverrides(provider="openai", model=model),),
        pace="",
    )


BIG = ModelInfo(
    provider="openai",
    model="big",
    kind=JudgeKind.LLM,
    price=Pricing(prompt=2.5, completion=10.0, on=date(2026, 11, 1)),
    bytes_per_token=3.0,
    answer_tokens=8000,
)
STRANGE = ModelInfo(provider="openai", model="strange", kind=JudgeKind.LLM, price=None, bytes_per_token=3.0)
PAID = replace(
    DEFAULTS,
    judges=(*DEFAULTS.judges, ai("big"), ai("strange")),
    known=ModelList(models=(*DEFAULTS.known.models, BIG, STRANGE)),
)


@pytest.fixture
def paid(site: Site) -> Site:
    site.defaults = PAID
    return site


def test_a_judge_that_costs_money_needs_a_budget(paid: Site, client: TestClient) -> None:
    status, page = submit(client, two(), judge="openai/big")
    assert status == 422
    assert "Give a budget: this judge costs money." in page
    assert 'id="budget_usd"' in page
    status, page = submit(client, two(), judge="openai/big", budget_usd="none")
    assert status == 422
    assert "Give a sum in US dollars above 0" in page
    assert 'value="none"' in page
    for sum_ in ("0", "-1", "nan"):
        assert submit(client, two(), judge="openai/big", budget_usd=sum_)[0] == 422
    assert paid.call(paid.cj.views.batches) == []


def test_the_button_says_the_most_it_costs_or_where_it_stops(paid: Site, client: TestClient) -> None:
    status, location = submit(client, two(), judge="openai/big", budget_usd="2,50")
    assert status == 303
    page = client.get(location).text
    assert "Start: at most 1 comparison, at most 0.09 USD" in page
    assert "<b>2.50 USD</b> spent" in page
    batch_id = UUID(location.split("/")[2])
    assert paid.batch(batch_id).settings.budget_usd == 2.5
    _, location = submit(client, two(), judge="openai/big", budget_usd="0.01")
    assert "Start: at most 1 comparison, stops at 0.01 USD" in client.get(location).text


def test_where_nobody_knows_the_price_no_budget_is_promised(paid: Site, client: TestClient) -> None:
    assert paid.defaults is PAID
    status, page = submit(client, two(), judge="openai/strange", budget_usd="1")
    assert status == 422
    assert "nobody here knows what this judge costs" in page
    status, location = submit(client, two(), judge="openai/strange")
    page = client.get(location).text
    assert "Start: at most 1 comparison, cost unknown" in page
    assert "Nobody here knows what openai/strange costs" in page


def test_judges_that_take_nothing_need_no_budget_and_may_have_one(paid: Site, client: TestClient) -> None:
    assert paid.defaults is PAID
    assert submit(client, two(), budget_usd="1")[0] == 303
    status, location = submit(client, two())
    assert status == 303
    assert "USD" not in client.get(location).text


def test_a_batch_that_spent_its_budget_says_so(site: Site, client: TestClient) -> None:
    batch_id = site.finished(new_batch(names=tuple(f"e{n}" for n in range(30)), budget_usd=0.05))
    batch = site.batch(batch_id)
    assert (batch.state, batch.stop_reason) == (BatchState.FINISHED, "budget_spent")
    page = client.get(f"/batches/{batch_id}/ranking").text
    assert "Stopped because the budget is spent." in page
    assert "of a budget of 0.05 USD" in page
    assert f"Without a verdict: not sent, for want of money ({batch.failed:,})." in page
    document = client.get(f"/batches/{batch_id}/ranking.json").json()
    assert (document["stop_reason"], document["budget_usd"]) == ("budget_spent", 0.05)
    assert document["cost_usd"] == pytest.approx(batch.decided * 0.01)
    assert f"{words.usd(batch.cost_usd)} of 0.05 USD" in client.get(f"/batches/{batch_id}/live").text


@pytest.mark.parametrize(
    ("cost", "budget", "said"),
    [
        (0.0, None, ""),
        (0.0, 1.0, ""),
        (None, None, "cost unknown"),
        (0.4101, None, "at most 0.42 USD"),
        (0.42, None, "at most 0.42 USD"),
        (0.00011, None, "at most 0.0002 USD"),
        (0.42, 0.5, "at most 0.42 USD"),
        (0.6, 0.5, "stops at 0.50 USD"),
    ],
)
def test_what_a_start_costs_is_never_rounded_down(
    cost: float | None, budget: float | None, said: str
) -> None:
    assert words.most(cost, budget) == said


ASKED: dict[str, Any] = {
    "title": "Year 9",
    "question": "Which is better?",
    "essays": [{"name": f"e{n}", "text": essay_text(n)} for n in range(4)],
    "settings": {"judges": [{"provider": "openai", "model": "big"}], "comparisons_per_essay": 3},
}


def test_a_program_is_told_what_a_batch_would_come_to(paid: Site, client: TestClient) -> None:
    answer = client.post("/api/v1/estimate", json=ASKED)
    found = answer.json()
    assert answer.status_code == 200
    assert (found["comparisons"], found["budget_usd"], found["unpriced"]) == (6, None, [])
    assert 0.48 < found["cost_usd"] < 0.52  # six answers of 8,000 tokens, and what is read
    assert paid.call(paid.cj.views.batches) == []
    strange = ASKED | {"settings": {"judges": [{"provider": "openai", "model": "strange"}]}}
    found = client.post("/api/v1/estimate", json=strange).json()
    assert (found["cost_usd"], found["unpriced"]) == (None, ["openai/strange"])


def test_a_budget_that_cannot_be_kept_is_refused(paid: Site, client: TestClient) -> None:
    settings = {"judges": [{"provider": "openai", "model": "strange"}], "budget_usd": 1.0}
    answer = client.post("/api/v1/batches", json=ASKED | {"settings": settings})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["settings.budget_usd"]
    assert "openai/strange" in answer.json()["detail"]
    assert paid.call(paid.cj.views.batches) == []
    settings["judges"] = [{"provider": "openai", "model": "big"}]
    assert (
        client.post("/api/v1/batches", json=ASKED | {"settings": settings, "start": False}).status_code == 201
    )


def test_what_nobody_knows_the_price_of_did_not_cost_nothing(paid: Site, client: TestClient) -> None:
    batch_id = paid.finished(replace_judges(new_batch(), "strange"))
    for page in ("live", "ranking", "report.html"):
        shown = client.get(f"/batches/{batch_id}/{page}").text
        assert "unknown" in shown.split("<dt>Cost</dt>")[1].split("</div>")[0], page
        assert "0.00 USD" not in shown, page
    assert client.get(f"/batches/{batch_id}/ranking.json").json()["cost_usd"] is None
    assert "0.00 USD" not in client.get("/").text


def replace_judges(new: NewBatch, model: str) -> NewBatch:
    judges = (LLMConfigOverrides(provider="openai", model=model),)
    return new.model_copy(update={"settings": new.settings.model_copy(update={"judges": judges})})


def test_a_judge_that_cannot_be_asked_is_a_fault_on_the_form_and_nothing_is_stored(
    paid: Site, client: TestClient
) -> None:
    paid.provider.unfit = "The provider does not accept the key."
    status, page = submit(client, two(), judge="openai/big", budget_usd="1")
    assert status == 422
    assert "The provider does not accept the key." in page
    assert paid.call(paid.cj.views.batches) == []
