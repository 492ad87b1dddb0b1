"""The pages of the statistics as a browser without JavaScript sees them: their figures are those of the analysis."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from app.cj.analysis import Analysis
from app.cj.batch import NewBatch
from app.cj.reports import grades_report, judges_report
from app.cj.store import Milestone
from app.contracts import LLMComparisonRequest, LLMComparisonResponse, Winner
from app.web import pages, statistics_pages, words
from app.web.quality import strongest_bias
from tests.cj.conftest import RULES, answer, better, queued
from tests.web.conftest import Site, new_batch
from tests.web.test_pages import Outline

PAGES = ("ranking", "path", "judges", "matrix", "essays/4", "what-if", "what-if?essay=4&position_term=off")
JUDGES = tuple(RULES.model_copy(update={"model": f"panel-v1/{name}"}) for name in ("balanced", "language"))
LEVELS = {1: "F", 5: "D", 9: "C", 13: "B", 17: "B", 18: "A"}


def erring(request: LLMComparisonRequest) -> LLMComparisonResponse:
    """Near neighbours are won by whoever is shown first, so that scores stay finite; number 4 speaks to its judge."""
    a, b = (int(text[7:10]) for text in (request.essay_a, request.essay_b))
    flags = [f"essay_{side}:addresses-judge" for side, number in (("a", a), ("b", b)) if number == 4]
    said = answer(request, Winner.ESSAY_A if abs(a - b) <= 2 else better(request))
    return said.model_copy(
        update={"flags": tuple(flags), "response_time_ms": 250, "justification": "It <b>argues</b>."}
    )


def graded(essays: int = 20, **settings: Any) -> NewBatch:
    names = tuple(f"Essay {n:02}" for n in range(essays))
    chosen: dict[str, Any] = {"judges": JUDGES, "comparisons_per_essay": 9, "audit_share": 0.1} | settings
    new = new_batch(names=names, **chosen)
    changed = [e.model_copy(update={"level": LEVELS.get(n)}) for n, e in enumerate(new.essays)]
    return new.model_copy(update={"essays": tuple(changed)})


@dataclass
class Judged:
    """A finished batch behind a browser."""

    site: Site
    client: TestClient
    id: UUID

    def page(self, name: str) -> str:
        found = self.client.get(f"/batches/{self.id}/{name}")
        assert found.status_code == 200, found.text
        return html.unescape(found.text).replace(words.SPACE, " ")

    @property
    def analysis(self) -> Analysis:
        found: Analysis = self.site.call(self.site.cj.analyses.analysis, self.id)
        return found


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    site = Site(tmp_path_factory.mktemp("statistics"))
    site.provider.verdict = erring
    with TestClient(site.app(), base_url="http://juxta.test", follow_redirects=False) as client:
        yield Judged(site, client, site.finished(graded()))


def cells(page: str) -> list[list[str]]:
    """The text of every row of every table."""
    rows = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    plain = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in plain]


@pytest.mark.parametrize("name", PAGES)
def test_each_page_has_its_landmarks_plots_with_words_and_nothing_from_elsewhere(
    judged: Judged, name: str
) -> None:
    answer_ = judged.client.get(f"/batches/{judged.id}/{name}")
    page = Outline(answer_.text)
    assert page.count("main") == page.count("h1") == page.count("nav") == 1
    assert "unsafe" not in answer_.headers["content-security-policy"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert (
        answer_.text.count("<svg xmlns=") == answer_.text.count("<desc ") == answer_.text.count("<title id=")
    )
    assert "<b>argues" not in answer_.text
    assert all("style" not in attributes for _, attributes in page.tags)
    assert "the same from a terminal" in answer_.text
    assert "Judged by rules, not by people or an AI." in answer_.text


def test_the_ranking_names_every_reliability_with_its_method(judged: Judged) -> None:
    page, found = judged.page("ranking"), judged.analysis
    for label, value in (
        ("empirical-Bayes estimate", found.fit.reliability),
        ("Split-half reliability, random halves", found.halves_of_verdicts.reliability),
        ("Split-half reliability, halves by judge", found.halves_of_judges.reliability),
        ("SSR, a legacy figure", found.separation.of_true_spread),
    ):
        assert label in page
        assert words.reliability(value) in page
    strongest = max(found.quality.positions, key=lambda bias: abs(bias.estimate))
    assert f"95 % interval {words.figure(strongest.low)} to {words.figure(strongest.high)}" in page
    assert "Stopped because the comparisons per essay asked for are used up." in page
    assert f"/api/v1/batches/{judged.id}/export?format=bundle" in page


def test_grades_come_with_all_their_chances_and_as_an_illustration_when_rules_judged(judged: Judged) -> None:
    page = judged.page("ranking")
    analysis, graded_ = judged.site.call(judged.site.cj.analyses.graded, judged.id)
    report = grades_report(analysis, graded_)
    assert "Grade (illustration)" in page
    assert page.count('class="chances"') == 20
    assert page.count('class="boundary"') == 2 * len(report.boundaries or ())
    severity, reach = report.severity or 0.0, 1.96 * (report.severity_se or 0.0)
    how = "more strictly" if severity > 0 else "more leniently"
    assert f"The anchors were graded {how} than the shares of the grades" in page
    low, high = (words.figure(abs(severity) + sign * reach) for sign in (-1, 1))
    assert f"by {words.figure(abs(severity))} logits (95 % interval {low} to {high})" in page
    assert (", which may be chance." in page) == (reach > abs(severity))
    assert not report.unanchored
    assert "No anchor has" not in page
    by_name = {row[1]: row for row in cells(page) if len(row) == 9}
    for essay in report.essays:
        row = by_name[essay.essay]
        assert row[7] == essay.grade
        best = max(essay.probabilities or ())
        assert row[8].startswith(f"{essay.grade} {words.share(best)}".replace(words.SPACE, " "))


def test_a_grade_that_no_anchor_has_is_said_to_come_from_the_shares(site: Site, client: TestClient) -> None:
    site.provider.verdict = erring
    given = sorted(set(LEVELS.values()))
    new = graded()
    essays = [e.model_copy(update={"level": None}) if e.level == given[1] else e for e in new.essays]
    batch_id = site.finished(new.model_copy(update={"essays": tuple(essays)}))
    page = html.unescape(client.get(f"/batches/{batch_id}/ranking").text)
    assert f"No anchor has the grade {given[1]}: its place comes from the shares" in page


def test_without_anchors_it_is_a_ranking_and_the_page_says_why(site: Site, client: TestClient) -> None:
    bare = new_batch()
    bare = bare.model_copy(
        update={"essays": tuple(e.model_copy(update={"level": None}) for e in bare.essays)}
    )
    page = client.get(f"/batches/{site.finished(bare)}/ranking").text
    assert "Ranking, not grades: no essay has a known grade." in page
    assert 'class="chances"' not in page
    assert 'class="boundary"' not in page


def test_the_files_to_keep_carry_grades_and_what_needs_a_look_as_the_page_does(judged: Judged) -> None:
    analysis, graded_ = judged.site.call(judged.site.cj.analyses.graded, judged.id)
    wanted = {one.essay: one.grade for one in grades_report(analysis, graded_).essays}
    looks = [
        analysis.material.names[one.essay]
        for one in judged.site.call(judged.site.cj.analyses.looks, analysis)
    ]
    document = judged.client.get(f"/batches/{judged.id}/ranking.json").json()
    assert document["grades"]["illustration"]
    assert {one["essay"]: one["grade"] for one in document["grades"]["essays"]} == wanted
    assert [one["essay"] for one in document["needs_a_human_look"]] == looks
    rows = csv.DictReader(io.StringIO(judged.client.get(f"/batches/{judged.id}/ranking.csv").text))
    assert {row["essay"]: row["grade"] for row in rows} == wanted
    report = judged.page("report.html")
    assert "Grade (illustration)" in report
    assert report.count("<li><b>") == len(looks)
    assert "href=" not in report


def test_what_needs_a_human_look_is_listed_with_reasons_and_leads_to_the_essay(judged: Judged) -> None:
    looks = judged.site.call(judged.site.cj.analyses.worklist, judged.id)
    page = judged.page("ranking")
    section = page[page.index('id="look"') : page.index("<h2>Scores</h2>")]
    assert "It seems to speak to its judge." in section
    assert len(looks) == section.count("<li>")
    for look in looks:
        assert f'href="/batches/{judged.id}/essays/{look.essay}"' in section
        assert all(concern.words in section for concern in look.concerns)


def test_the_path_has_a_row_for_each_wave_and_ends_at_the_reliability_of_the_batch(judged: Judged) -> None:
    fits = judged.site.call(judged.site.cj.views.fits, judged.id)
    rows = [row for row in cells(judged.page("path")) if row[0].isdecimal()]
    assert [row[0] for row in rows] == [str(one.wave) for one in fits]
    assert [row[3] for row in rows] == [words.reliability(one.reliability) for one in fits]
    assert rows[-1][3] == words.reliability(judged.site.batch(judged.id).reliability)
    assert all(" to " in row[5] for row in rows)


def test_judges_are_shown_with_intervals_time_and_cost(judged: Judged) -> None:
    page, report = judged.page("judges"), judges_report(judged.analysis)
    assert len(report.judges) == 2
    rows = cells(page)
    for one in report.judges:
        mine = [row for row in rows if row[0].startswith(one.name)]
        scale, sides, cost = mine[:3]
        assert scale[1:3] == [str(one.verdicts), words.share(one.agreement).replace(words.SPACE, " ")]
        assert scale[4] == words.figure(one.infit)
        assert sides[1].startswith(words.share(one.first_wins).replace(words.SPACE, " "))
        assert sides[2] == words.between(one.position.value, one.position.low, one.position.high)
        assert sides[4] == words.share(one.expected_consistency).replace(words.SPACE, " ")
        assert sides[5] == str(one.audits)
        assert cost[3] == "250 ms"
        assert cost[4] == f"{0.01 * int(cost[1]):.2f} USD"
    assert "Disagreements by size" in page


def test_the_matrix_tells_who_beat_whom_and_its_verdicts_add_up(judged: Judged) -> None:
    page = judged.page("matrix")
    rows = [row for row in cells(page) if row[0].isdecimal()]
    ranked = judged.site.call(judged.site.cj.views.ranking, judged.id)
    assert [row[1] for row in rows] == [row.essay for row in ranked]
    won = sum(len(row[2].split(", ")) for row in rows if row[2])
    lost = sum(len(row[3].split(", ")) for row in rows if row[3])
    assert won == lost == len(judged.analysis.material.scored)
    assert page.count('class="met"') == 2 * won


def test_many_essays_meet_in_bands_and_the_page_says_so(site: Site, client: TestClient) -> None:
    new = new_batch(names=tuple(f"Essay {n:02}" for n in range(45)), comparisons_per_essay=3)
    page = client.get(f"/batches/{site.finished(new)}/matrix").text
    assert "45 essays are too many for a row each" in page
    assert "ranks 1 to 4" in page
    assert page.count('class="self"') == 12


def test_the_ladder_has_every_verdict_in_order_and_marks_what_was_not_to_be_expected(judged: Judged) -> None:
    name = "Essay 04"
    page = judged.page("essays/4")
    rows = cells(page[page.index('id="ladder"') :])
    told = judged.site.call(judged.site.cj.views.comparisons_of, judged.id, 4)
    counted = [one for one in told if one.audit_of is None]
    assert len([row for row in rows if len(row) == 6 and row[0] != "Score"]) == len(counted)
    scores = [float(row[0].split(" ")[0].replace(words.MINUS, "-")) for row in rows if row[0] != "Score"]
    assert scores == sorted(scores, reverse=True)
    assert [row[1] for row in rows if row[2] == "this essay"] == [name]
    assert "It <b>argues</b>." in page
    for row in rows:
        if len(row) == 6 and "surprise" in row[2]:
            assert int(row[3].removesuffix(" %")) <= 20
    assert "number 004 word" in page
    assert judged.client.get(f"/batches/{judged.id}/essays/20").status_code == 404


def test_an_audit_is_told_on_the_page_of_its_essay_and_counts_nowhere(judged: Judged) -> None:
    told = judged.site.call(judged.site.cj.views.comparisons, judged.id)
    audit = next(one for one in told if one.audit_of is not None)
    page = judged.page(f"essays/{audit.first}")
    assert "Asked again with the sides swapped" in page
    assert f"<b>{judged.analysis.quality.essays.verdicts[audit.first]}</b>" in page


def test_a_supposition_is_an_address_and_changes_nothing(judged: Judged) -> None:
    before = judged.site.call(judged.site.cj.views.ranking, judged.id)
    page = judged.page("what-if?judge=1&essay=19&position_term=off")
    rows = {row[1]: row for row in cells(page) if row[0].isdecimal()}
    assert rows["Essay 19"][3] == "left out"
    assert len(rows) == 20
    left = judged.analysis.material.scored.judge == 0
    assert f">{len(judged.analysis.material.scored)}<" in page
    assert int(left.sum()) > 0
    assert (
        f"python run.py what-if {judged.id} --without-judge 1 --without-essay 'Essay 19' --position-term off"
        in page
    )
    assert page.count(" checked") == 3
    assert judged.site.call(judged.site.cj.views.ranking, judged.id) == before
    asked = judged.page("what-if")
    assert "Both rankings" not in asked
    assert "as it would be" not in asked


@pytest.mark.parametrize(
    "query", ["essay=99", "judge=9", "judge=0&judge=1", "essay=x", "position_term=maybe", "drop=1"]
)
def test_a_supposition_that_cannot_be_is_refused_by_a_page(judged: Judged, query: str) -> None:
    refused = judged.client.get(f"/batches/{judged.id}/what-if?{query}")
    assert refused.status_code == 422
    assert "<h1>" in refused.text


def test_islands_are_said_on_the_page(site: Site, client: TestClient) -> None:
    """One round of pairs leaves as many groups as there are pairs."""
    batch_id = site.finished(new_batch(comparisons_per_essay=1, random_rounds=1))
    page = client.get(f"/batches/{batch_id}/ranking").text
    assert "The comparisons leave 3 groups of essays apart." in page
    assert '<th scope="col" class="n">Group</th>' in page


def test_a_running_batch_and_one_without_verdicts_have_pages_that_say_so(
    site: Site, client: TestClient
) -> None:
    site.provider.verdict = queued
    for batch_id in (site.start(start=False), site.start()):
        for name in PAGES:
            assert client.get(f"/batches/{batch_id}/{name}").status_code == 200, name
    for name in PAGES[1:]:
        assert client.get(f"/batches/{uuid4()}/{name}").status_code == 404


def test_whoever_comes_before_the_statistics_are_worked_out_is_told_to_come_again(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_pages, "PATIENCE", 0.0)
    monkeypatch.setattr(pages, "PATIENCE", 0.0)
    batch_id = judged.site.finished(new_batch())
    for name in ("judges", "essays/1"):
        early = judged.client.get(f"/batches/{batch_id}/{name}")
        assert (early.status_code, early.headers["retry-after"]) == (503, "0")
        assert "are still being worked out" in early.text
    ranking = judged.client.get(f"/batches/{batch_id}/ranking")
    assert ranking.status_code == 200
    assert "are still being worked out: load this page again" in ranking.text
    judged.site.call(judged.site.cj.analyses.analysis, batch_id)
    assert judged.client.get(f"/batches/{batch_id}/judges").status_code == 200


def test_every_figure_of_an_analysis_is_finite_or_a_dash(judged: Judged) -> None:
    for name in PAGES:
        assert not re.search(r"\bnan\b|\binf\b|None", judged.page(name)), name
    assert math.isfinite(judged.analysis.fit.reliability)


def test_the_bias_that_is_shown_is_one_that_alarms_before_one_that_is_larger() -> None:
    fitted = Milestone(
        wave=3,
        verdicts=90,
        reliability=0.8,
        sigma=1.5,
        positions=(1.5, 1.2, 0.1),
        position_errors=(0.8, 0.1, 0.1),
        islands=1,
        cost_usd=0.0,
        fitted_at=0.0,
    )
    shown = strongest_bias(fitted)
    assert shown is not None
    assert (shown.judge, shown.judges, shown.alarming) == (1, 3, True)
    assert strongest_bias(replace(fitted, positions=(), position_errors=())) is None
