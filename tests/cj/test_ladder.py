"""Ladders and meetings, on a batch whose verdicts are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cj.ladder import SURPRISING, ladder
from app.cj.meetings import bands, meetings
from app.contracts import Winner
from tests.cj.conftest import ScriptedProvider, answer, batch_of, better, cj_on
from tests.cj.places import SqlitePlace

pytestmark = pytest.mark.anyio


async def test_a_ladder_holds_every_verdict_about_an_essay_and_the_chance_of_what_came_out(
    tmp_path: Path,
) -> None:
    provider = ScriptedProvider(
        lambda request: answer(request, Winner.TIE if request.essay_a.endswith("003") else better(request))
    )
    async with cj_on(SqlitePlace(tmp_path / "cj"), provider) as cj:
        batch = await cj.finish(await cj.workflow.create(batch_of(8, audit_share=0.2), start=True))
        analysis = await cj.analyses.analysis(batch.id)
        told = {one.sequence: one for one in await cj.views.comparisons(batch.id)}
        for essay in range(8):
            rungs = ladder(analysis, essay)
            mine = {n for n, one in told.items() if essay in {one.first, one.second} and not one.audit_of}
            assert {rung.sequence for rung in rungs} == mine
            scores = [analysis.fit.scores[rung.other] for rung in rungs]
            assert scores == sorted(scores, reverse=True)
            for rung in rungs:
                one = told[rung.sequence]
                first = one.first == essay
                expected = {Winner.TIE: 0.5, Winner.ESSAY_A: float(first), Winner.ESSAY_B: float(not first)}
                assert one.winner is not None
                assert rung.won == expected[one.winner]
                assert (rung.chance is None) == (rung.won == 0.5)
                assert rung.surprising == (rung.chance is not None and rung.chance < SURPRISING)
        # what is won with chance p from one side is lost with chance p from the other
        for rung in ladder(analysis, 7):
            (back,) = [each for each in ladder(analysis, rung.other) if each.sequence == rung.sequence]
            assert (back.won, back.chance) == (1.0 - rung.won, rung.chance)


async def test_meetings_of_essays_and_of_bands_count_each_verdict_once_from_either_side(
    tmp_path: Path,
) -> None:
    async with cj_on(SqlitePlace(tmp_path / "cj"), ScriptedProvider()) as cj:
        batch = await cj.finish(await cj.workflow.create(batch_of(8, audit_share=0.2), start=True))
        material = await cj.analyses.material(batch.id)
    met = meetings(material, list(range(8)))
    assert sum(one.verdicts for one in met.values()) == 2 * len(material.scored)
    for (row, column), one in met.items():
        assert one.wins + met[column, row].wins == one.verdicts
        assert one.wins == (one.verdicts if row > column else 0.0)  # the judge is never wrong
    halves = meetings(material, [0] * 4 + [1] * 4)
    assert set(halves) == {(0, 1), (1, 0)}
    assert halves[0, 1].wins == 0.0


def test_bands_are_neighbours_in_rank_and_nearly_equal() -> None:
    assert bands([3, 1, 2, 0], 2) == [[3, 1], [2, 0]]
    assert [len(band) for band in bands(list(range(45)), 12)] == [4, 4, 3, 4, 4, 3, 4, 4, 4, 4, 3, 4]
    assert bands([0, 1], 12) == [[0], [1]]
    assert bands([], 12) == []
