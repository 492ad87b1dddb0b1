import csv
import io
import json
from dataclasses import replace
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from app.cj.views import Comparison, Summary
from app.web.report import (
    JUDGEMENT_COLUMNS,
    RANKING_COLUMNS,
    Ranked,
    judgements_csv,
    neutral,
    report_html,
)
from tests.web.conftest import Site, new_batch

NAMES = (
    '=HYPERLINK("http://evil")',
    "+1",
    "-1",
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "Ünïcode, “quoted”",
)
RULES_BANNER = (
    "Judged by rules, not by people or an AI. Use it to learn the tool; do not grade pupils with it."
)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def evil(site: Site, client: TestClient) -> UUID:
    return site.finished(new_batch(names=NAMES))


def test_the_ranking_file_has_its_columns_and_every_essay(client: TestClient, evil: UUID) -> None:
    answer = client.get(f"/batches/{evil}/ranking.csv")
    rows = read(answer.text)
    assert tuple(rows[0])[-2:] == ("judged_by", "grade")
    assert tuple(rows[0])[:-2] == RANKING_COLUMNS == (
        "rank", "essay", "score", "se", "low", "high", "comparisons", "level",
    )  # fmt: skip
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, 7)]
    assert all(float(row["low"]) < float(row["score"]) < float(row["high"]) for row in rows)
    assert answer.headers["content-disposition"] == 'attachment; filename="ranking.csv"'


def test_text_that_a_spreadsheet_would_run_is_neutralised_and_numbers_are_not(
    client: TestClient, evil: UUID
) -> None:
    rows = read(client.get(f"/batches/{evil}/ranking.csv").text)
    essays = {row["essay"] for row in rows}
    assert {'\'=HYPERLINK("http://evil")', "'+1", "'-1", "'@SUM(A1)"} < essays
    assert any(row["score"].startswith("-") for row in rows)
    judgements = read(client.get(f"/batches/{evil}/judgements.csv").text)
    for row in judgements:
        for cell in (row["essay_a"], row["essay_b"], row["justification"]):
            assert cell[0] not in "=+-@"


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", "\n=1", "\N{FULLWIDTH EQUALS SIGN}1"])
def test_every_dangerous_beginning_is_neutralised(cell: str) -> None:
    assert neutral(cell) == f"'{cell}"


def test_harmless_cells_stay_as_they_are() -> None:
    for cell in ("Essay 1", "a=b", "", -1.5, 3, None):
        assert neutral(cell) == cell


def test_every_judgement_is_in_the_file_with_order_time_and_judge(
    site: Site, client: TestClient, evil: UUID
) -> None:
    rows = read(client.get(f"/batches/{evil}/judgements.csv").text)
    assert tuple(rows[0]) == JUDGEMENT_COLUMNS
    assert len(rows) == site.batch(evil).decided
    assert sorted(int(row["order"]) for row in rows) == list(range(1, len(rows) + 1))
    for row in rows:
        assert row["judge_kind"] == "rules"
        assert row["provider"] == "rules"
        assert row["road"] == "response"
        assert row["ended_at"].endswith("Z")
        assert "T" in row["ended_at"]
        assert row["planned_at"] <= row["submitted_at"] <= row["ended_at"]
        UUID(row["correlation_id"])


def test_the_json_carries_what_the_ranking_stands_on(site: Site, client: TestClient, evil: UUID) -> None:
    document = json.loads(client.get(f"/batches/{evil}/ranking.json").text)
    batch = site.batch(evil)
    assert document["judge_kinds"] == {"rules": batch.decided}
    assert document["notice"] == [RULES_BANNER]
    assert document["seed"] == 7
    assert document["settings"]["comparisons_per_essay"] == 4
    assert document["stop_reason"] == batch.stop_reason
    assert document["reliability"]["value"] == batch.reliability
    assert "empirical-Bayes" in document["reliability"]["method"]
    assert {row["essay"] for row in document["ranking"]} == set(NAMES)


def test_the_report_stands_alone_with_banner_plot_and_judgements(client: TestClient, evil: UUID) -> None:
    report = client.get(f"/batches/{evil}/report.html").text
    assert RULES_BANNER in report
    assert "<svg" in report
    assert "empirical-Bayes" in report
    assert "<script" not in report
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in report
    for outside in ('src="', "<link", "@import", "url("):
        assert outside not in report


def parts(site: Site, batch_id: UUID) -> tuple[Summary, list[Comparison]]:
    return site.call(site.cj.views.summary, batch_id), list(site.call(site.cj.views.comparisons, batch_id))


def test_a_batch_of_two_kinds_of_judges_names_both_with_counts(
    site: Site, client: TestClient, evil: UUID
) -> None:
    summary, comparisons = parts(site, evil)
    mixed = replace(summary, judge_kinds={"rules": 8, "human": 4})
    rows = site.call(site.cj.views.ranking, evil)
    report = report_html(Ranked(summary=mixed, rows=rows, comparisons=comparisons, quality=None))
    assert f"8 verdicts: {RULES_BANNER}" in report
    assert "4 verdicts: Judged by people." in report


def test_a_batch_that_has_not_begun_makes_empty_but_sound_files(site: Site, client: TestClient) -> None:
    batch_id = site.start(start=False)
    rows = read(client.get(f"/batches/{batch_id}/ranking.csv").text)
    assert [row["score"] for row in rows] == [""] * 6
    assert read(client.get(f"/batches/{batch_id}/judgements.csv").text) == []
    assert json.loads(client.get(f"/batches/{batch_id}/ranking.json").text)["reliability"]["value"] is None
    assert "It has not started yet." in client.get(f"/batches/{batch_id}/report.html").text


def test_the_functions_need_no_server() -> None:
    assert judgements_csv([]).strip() == ",".join(JUDGEMENT_COLUMNS)
