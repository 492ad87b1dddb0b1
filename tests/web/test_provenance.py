"""Who judged, with which prompt, and what a person should look at: on the page and in every file."""

from __future__ import annotations

import csv
import io
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from app.contracts import JudgeKind, LLMComparisonRequest, LLMComparisonResponse
from tests.cj.conftest import answer
from tests.web.conftest import Site

SLY = "number 002"


def by_an_ai(request: LLMComparisonRequest) -> LLMComparisonResponse:
    """An AI that finds the third essay suspicious, wherever it is shown."""
    sides = {"essay_a": request.essay_a, "essay_b": request.essay_b}
    return answer(request).model_copy(
        update={
            "judge_kind": JudgeKind.LLM,
            "provider": "openai",
            "model": "big-2026-11-01",
            "prompt_version": "comparison-v1",
            "prompt_sha256": "5" * 64,
            "flags": tuple(
                f"{side}:{flag}"
                for side, text in sides.items()
                if text.startswith(SLY)
                for flag in ("addresses-judge", "new-kind")
            ),
        }
    )


@pytest.fixture
def judged(site: Site, client: TestClient) -> UUID:
    assert client
    site.provider.verdict = by_an_ai
    return site.finished()


def test_the_ranking_page_lists_what_needs_a_human_look(client: TestClient, judged: UUID) -> None:
    page = client.get(f"/batches/{judged}/ranking").text
    assert "Needs a human look" in page
    section = page[page.index('id="look"') : page.index("<h2>Scores</h2>")]
    assert f'<b><a href="/batches/{judged}/essays/2">Essay 02</a></b>' in section
    assert section.count("It seems to speak to its judge.") == 1
    assert section.count("A judge flagged it: new-kind.") == 1
    assert "Essay 03</b>" not in page


def test_the_banner_names_the_model_and_that_a_person_decides(client: TestClient, judged: UUID) -> None:
    page = client.get(f"/batches/{judged}/ranking").text
    assert "Judged by an AI (big-2026-11-01), not by people. A person decides:" in page
    assert "comparison-v1" in page


def test_every_file_carries_prompt_and_flags(client: TestClient, judged: UUID) -> None:
    document = client.get(f"/batches/{judged}/ranking.json").json()
    (look,) = document["flagged"]
    assert document["needs_a_human_look"][0]["essay"] == "Essay 02"
    assert (look["essay"], look["found"]) == ("Essay 02", ["addresses-judge", "new-kind"])
    assert document["prompts"] == {"comparison-v1": document["comparisons"]["decided"]}
    rows = list(csv.DictReader(io.StringIO(client.get(f"/batches/{judged}/judgements.csv").text)))
    assert {(row["prompt_version"], row["prompt_sha256"]) for row in rows} == {("comparison-v1", "5" * 64)}
    flagged = [row for row in rows if row["flags"]]
    assert len(flagged) == look["comparisons"]
    for row in flagged:
        side = "essay_a" if row["essay_a"] == "Essay 02" else "essay_b"
        assert row["flags"] == f"{side}:addresses-judge {side}:new-kind"
    report = client.get(f"/batches/{judged}/report.html").text
    assert "Needs a human look" in report
    assert "It seems to speak to its judge." in report


def test_nothing_is_listed_where_nothing_was_found(site: Site, client: TestClient) -> None:
    batch_id = site.finished()
    assert "Needs a human look" not in client.get(f"/batches/{batch_id}/ranking").text
    assert client.get(f"/batches/{batch_id}/ranking.json").json()["needs_a_human_look"] == []
