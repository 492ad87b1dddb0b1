"""What the statistics say of a batch in the store, what it would be otherwise, and the evidence that one can keep."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pytest

from app.cj import reports, what_if
from app.cj.analyses import Analyses
from app.cj.batch import Batch, NewBatch
from app.cj.bundle import CLOSE, Bundle, origin, read_bundle, write_bundle
from app.cj.grade_scales import load_scales
from app.cj.material import Material
from app.cj.reproduction import reproduce
from app.cj.statistics.bradley_terry import Verdicts
from app.cj.views import Views
from app.cj.what_if import Question, suppose
from app.contracts import LLMComparisonRequest, LLMComparisonResponse, Winner
from app.errors import InvalidRequest, NotFound
from app.settings import ROOT

from .conftest import RULES, ScriptedProvider, answer, batch_of, better, cj_on
from .places import Place, SqlitePlace

pytestmark = pytest.mark.anyio
SCALES = load_scales(ROOT / "config" / "grade_scales")
JUDGES = tuple(RULES.model_copy(update={"model": f"panel-v1/{name}"}) for name in ("balanced", "language"))
HERE = origin(juxta="test", lock=None)


def erring(request: LLMComparisonRequest) -> LLMComparisonResponse:
    """Neighbours are hard to tell apart: whoever is shown first wins. So the scale stays finite, and is biased."""
    numbers = int(request.essay_a[-3:]), int(request.essay_b[-3:])
    near = abs(numbers[0] - numbers[1]) <= 2
    return answer(request, Winner.ESSAY_A if near else better(request))


def graded_batch() -> NewBatch:
    """Twenty essays, the first to the last better and better; six of them are anchors, so that letters carry."""
    new = batch_of(20, comparisons_per_essay=9, judges=JUDGES)
    levels = {1: "F", 5: "D", 9: "C", 13: "B", 17: "B", 18: "A"}
    essays = [e.model_copy(update={"level": levels.get(n)}) for n, e in enumerate(new.essays)]
    return new.model_copy(update={"essays": tuple(essays)})


@dataclass
class Judged:
    """A finished batch, and what reads it."""

    batch: Batch
    views: Views
    analyses: Analyses


@asynccontextmanager
async def judged(place: Place, new: NewBatch | None = None) -> AsyncIterator[Judged]:
    async with cj_on(place, ScriptedProvider(erring)) as cj:
        batch = await cj.finish(await cj.workflow.create(new or graded_batch(), start=True))
    async with place.database() as database:
        yield Judged(batch, Views(database), Analyses(database, SCALES))


async def test_judges_are_shown_with_bias_agreement_and_consistency(place: Place) -> None:
    async with judged(place) as it:
        analysis = await it.analyses.analysis(it.batch.id)
        assert await it.analyses.analysis(it.batch.id) is analysis
        rows = await it.views.ranking(it.batch.id)
    report = json.loads(reports.JUDGES.dump_json(reports.judges_report(analysis)))
    names = [judge["name"] for judge in report["judges"]]
    assert names == ["rules/panel-v1/balanced", "rules/panel-v1/language"]
    audits = sum(judge["audits"] for judge in report["judges"])
    assert audits == 3
    assert sum(judge["verdicts"] for judge in report["judges"]) == it.batch.decided - audits
    assert all(
        j["position"]["low"] < j["position"]["value"] < j["position"]["high"] for j in report["judges"]
    )
    assert all(judge["position"]["value"] > 0 for judge in report["judges"])  # the first is favoured
    assert [row.score for row in sorted(rows, key=lambda row: row.position)] == pytest.approx(
        analysis.fit.scores.tolist(), abs=CLOSE
    )


async def test_diagnostics_tell_reliability_by_several_methods_and_over_time(place: Place) -> None:
    async with judged(place) as it:
        analysis = await it.analyses.analysis(it.batch.id)
        path, looks = await it.views.fits(it.batch.id), await it.analyses.worklist(it.batch.id)
    report = json.loads(reports.DIAGNOSTICS.dump_json(reports.diagnostics_report(analysis, path, looks)))
    assert report["reliability"]["empirical_bayes"] == pytest.approx(it.batch.reliability, abs=1e-6)
    assert report["reliability"]["split_half_by_verdicts"]["splits"] > 0
    assert report["path"][-1]["wave"] == it.batch.waves
    assert len(report["essays"]) == 20
    assert report["triads"]["triads"] > 0
    assert {look["essay"] for look in report["needs_a_human_look"]} <= {f"e{n}" for n in range(20)}


async def test_anchors_carry_grades_and_without_them_the_reason_is_said(place: Place) -> None:
    async with judged(place) as it:
        report = reports.grades_report(*await it.analyses.graded(it.batch.id))
        with pytest.raises(NotFound, match="no grade scale"):
            await it.analyses.graded(it.batch.id, "stars")
        with pytest.raises(InvalidRequest, match="not on the scale"):
            await it.analyses.graded(it.batch.id, "england-1-9")
    assert (report.scale, report.reason) == ("letters", None)
    assert all(sum(essay.probabilities or ()) == pytest.approx(1.0) for essay in report.essays)
    assert report.severity is not None
    assert report.severity_se is not None
    assert report.severity_se > 0.0
    levels = {essay.level for essay in report.essays}
    assert list(report.unanchored) == [grade for grade in report.grades if grade not in levels]
    assert report.ungraded == []
    async with judged(place.beside("bare"), batch_of(6)) as it:
        bare = reports.grades_report(*await it.analyses.graded(it.batch.id))
    assert bare.reason == "Ranking, not grades: no essay has a known grade."
    assert {essay.grade for essay in bare.essays} == {None}
    assert (bare.severity, bare.unanchored, bare.ungraded) == (None, [], [])


async def test_a_batch_without_one_verdict_has_no_figures_and_no_fault(place: Place) -> None:
    async with cj_on(place, ScriptedProvider(), run=False) as cj:
        batch_id = await cj.workflow.create(graded_batch(), start=False)
    async with place.database() as database:
        analyses, views = Analyses(database, SCALES), Views(database)
        analysis = await analyses.analysis(batch_id)
        reports.JUDGES.dump_json(reports.judges_report(analysis))
        looks = await analyses.worklist(batch_id)
        found = reports.diagnostics_report(analysis, await views.fits(batch_id), looks)
        grades = reports.grades_report(*await analyses.graded(batch_id))
        with pytest.raises(NotFound):
            await analyses.analysis(UUID(int=1))
    assert found.reliability.empirical_bayes in {None, 0.0}
    assert found.essays[0].infit is None
    assert grades.reason is not None


async def test_what_if_leaves_out_what_is_asked_and_changes_nothing(place: Place) -> None:
    async with judged(place) as it:
        before = await it.views.ranking(it.batch.id)
        material = await it.analyses.material(it.batch.id)
        same = suppose(material, Question(), SCALES)
        assert all(row.rise == 0 and row.score_change == pytest.approx(0.0, abs=CLOSE) for row in same.essays)
        assert {row.before.island for row in same.essays} == {0}
        one_judge = suppose(material, Question(without_judges=(1,)), SCALES)
        assert one_judge.after.verdicts == int((material.scored.judge == 0).sum())
        no_best = suppose(material, Question(without_essays=("e19",)), SCALES)
        gone = next(row for row in no_best.essays if row.essay == "e19")
        assert (gone.after, gone.rise, gone.score_change) == (None, None, None)
        assert sum(row.after is not None for row in no_best.essays) == 19
        no_term = suppose(material, Question(position_term=False), SCALES)
        assert any(abs(row.score_change or 0.0) > 1e-3 for row in no_term.essays)
        no_anchors = Question(without_anchors=("e1", "e5", "e9", "e13", "e17", "e18"))
        ungraded = suppose(material, no_anchors, SCALES)
        assert any(row.before.grade for row in ungraded.essays)
        assert not any(row.after.grade for row in ungraded.essays if row.after)
        assert await it.views.ranking(it.batch.id) == before
    what_if.ANSWER.dump_json(no_best)


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        ({"without_judges": (7,)}, {"without_judges"}),
        (
            {"without_essays": ("nobody",), "without_anchors": ("e0",)},
            {"without_essays", "without_anchors"},
        ),
        ({"without_judges": (0, 1)}, set()),
        ({"without_essays": tuple(f"e{n}" for n in range(19))}, set()),
    ],
)
async def test_what_cannot_be_left_out_is_named(
    tmp_path: Path, question: dict[str, object], fields: set[str]
) -> None:
    material = await _unjudged(tmp_path)
    with pytest.raises(InvalidRequest) as refused:
        suppose(material, Question.model_validate(question), SCALES)
    assert {field for field, _ in refused.value.errors} == fields


async def _unjudged(folder: Path) -> Material:
    async with cj_on(SqlitePlace(folder / "cj"), ScriptedProvider(), run=False) as cj:
        batch_id = await cj.workflow.create(graded_batch(), start=False)
    async with SqlitePlace(folder / "cj").database() as database:
        return await Analyses(database, SCALES).material(batch_id)


async def bundle_of(it: Judged) -> bytes:
    material = await it.analyses.material(it.batch.id)
    rows, comparisons = await it.views.ranking(it.batch.id), await it.views.comparisons(it.batch.id)
    return write_bundle(material, rows, comparisons, HERE)


async def test_a_bundle_has_the_same_bytes_each_time_and_its_scores_come_out_again(
    place: Place, tmp_path: Path
) -> None:
    async with judged(place) as it:
        content = await bundle_of(it)
        assert content == await bundle_of(it)
        rows = await it.views.ranking(it.batch.id)
    file = tmp_path / "b.zip"
    file.write_bytes(content)
    bundle = read_bundle(file)
    found = reproduce(bundle, HERE)
    assert (found.exact, found.differing) == (True, ())
    assert "byte for byte" in found.words
    shown = [row.score for row in sorted(rows, key=lambda row: row.position)]
    assert found.fit.scores.tolist() == pytest.approx(shown, abs=CLOSE)
    elsewhere = reproduce(bundle, replace(HERE, lock_sha256="other"))
    assert elsewhere.differing == ("lock_sha256",)
    for exact in (True, False):
        as_told = bundle if exact else replace(bundle, scores=bundle.scores + b"\n")
        assert reproduce(as_told, HERE).close is exact
        assert reproduce(as_told, replace(HERE, lock_sha256="other")).close
    assert b"essay number" not in content
    with zipfile.ZipFile(file) as archive:
        assert b"essay number" not in b"".join(archive.read(name) for name in archive.namelist())
        assert len(archive.read("comparisons.jsonl").splitlines()) == it.batch.planned


async def test_what_a_bundle_is_made_of_is_read_in_one_moment(place: Place) -> None:
    async with judged(place) as it:
        kept = await it.views.record(it.batch.id)
        assert kept.material == await it.analyses.material(it.batch.id)
        assert kept.ranking == await it.views.ranking(it.batch.id)
        assert kept.comparisons == await it.views.comparisons(it.batch.id)
        assert len(kept.comparisons) == it.batch.planned


def with_scores(bundle: Bundle, **changed: object) -> Bundle:
    return replace(bundle, scores=json.dumps(json.loads(bundle.scores) | changed).encode())


async def test_no_figure_of_a_bundle_that_its_verdicts_do_not_give_is_called_its_own(tmp_path: Path) -> None:
    """Somebody who writes the hashes anew as well can write any number: all of them are made again."""
    async with judged(SqlitePlace(tmp_path / "cj"), batch_of(5)) as it:
        (tmp_path / "b.zip").write_bytes(await bundle_of(it))
    bundle, elsewhere = read_bundle(tmp_path / "b.zip"), replace(HERE, lock_sha256="other")
    told, essays = json.loads(bundle.scores), bundle.batch["essays"]
    for name, value in (("reliability", 0.99), ("sigma", 1.0), ("positions", [0.3]), ("slopes", [2])):
        found = reproduce(with_scores(bundle, **{name: value}), elsewhere)
        assert not found.close
        assert found.unlike[0].startswith(f"scores.json {name}")
        assert "did NOT come out" in found.words
    for changed in ({"essay": "another"}, {"comparisons": 99}, {"se": 0.0}, {"se": None}):
        items = [told["items"][0] | changed, *told["items"][1:]]
        assert len(reproduce(with_scores(bundle, items=items), elsewhere).unlike) == 1
    for changed in ({"score": 9.0}, {"se": 0.0}, {"rank": 7}, {"score": None}):
        shown = [essays[0] | {"shown": essays[0]["shown"] | changed}, *essays[1:]]
        assert reproduce(replace(bundle, batch={**bundle.batch, "essays": shown}), elsewhere).unlike
    flattered = replace(bundle, batch={**bundle.batch, "reliability": 0.99})
    assert reproduce(flattered, HERE).unlike == ("batch.json reliability",)
    assert not reproduce(flattered, HERE).close


async def test_a_bundle_without_verdicts_or_of_another_form_is_refused_in_words(tmp_path: Path) -> None:
    async with judged(SqlitePlace(tmp_path / "cj"), batch_of(5)) as it:
        (tmp_path / "b.zip").write_bytes(await bundle_of(it))
    bundle = read_bundle(tmp_path / "b.zip")
    for broken in (
        with_scores(bundle, items=json.loads(bundle.scores)["items"][1:]),
        with_scores(bundle, more=1),
        replace(bundle, scores=b"{"),
        replace(bundle, batch={**bundle.batch, "essays": [{} for _ in bundle.names]}),
        replace(bundle, verdicts=Verdicts.empty()),
    ):
        with pytest.raises(InvalidRequest, match=r"form|shown|nothing to make again"):
            reproduce(broken, HERE)


async def test_a_bundle_that_was_changed_is_refused_and_the_member_named(tmp_path: Path) -> None:
    async with judged(SqlitePlace(tmp_path / "cj"), batch_of(5)) as it:
        content = await bundle_of(it)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in ("comparisons.jsonl", "scores.json", "batch.json"):
        changed = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(changed, "w") as archive:
            for member, held in members.items():
                archive.writestr(member, held.replace(b"1", b"2", 1) if member == name else held)
        with pytest.raises(InvalidRequest, match=f"not as it was written: {name}"):
            read_bundle(changed)
    for name, held in (("empty.zip", b""), ("no.zip", b"PK nothing")):
        (tmp_path / name).write_bytes(held)
        with pytest.raises(InvalidRequest, match="no bundle"):
            read_bundle(tmp_path / name)
    with pytest.raises(NotFound, match="There is no file"):
        read_bundle(tmp_path / "missing.zip")


async def test_who_cannot_wait_is_told_so_and_the_next_one_finds_the_analysis_done(place: Place) -> None:
    async with judged(place) as it:
        assert await it.analyses.soon(it.batch.id, 0.0) is None
        found = await it.analyses.analysis(it.batch.id)
        assert await it.analyses.soon(it.batch.id, 0.0) is found
        with pytest.raises(NotFound):
            await it.analyses.soon(UUID(int=1), 0.0)


async def test_who_can_wait_gets_it_also_while_it_is_made_for_somebody_else(place: Place) -> None:
    async with judged(place) as it:
        it.analyses._at_work_on = it.batch.id
        assert await it.analyses.soon(it.batch.id, 5.0) is None
        assert await it.analyses.soon(it.batch.id, math.inf) is not None
