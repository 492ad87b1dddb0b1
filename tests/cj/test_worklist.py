import numpy as np
import pytest

from app.cj.statistics.agreement import Disagreement
from app.cj.statistics.favours import favours
from app.cj.statistics.fit_statistics import essay_fit
from app.cj.statistics.grades import NO_GRADE, Grading, grade
from app.cj.worklist import Evidence, NeedsLook, Reason, worklist
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import said

NAMES = ("Ann", "Ben", "Cem", "Dora")


def evidence(**known: object) -> Evidence:
    return Evidence(**({"names": NAMES, "words": (300,) * 4} | known))  # type: ignore[arg-type]


def reasons(rows: list[NeedsLook]) -> dict[str, list[Reason]]:
    return {NAMES[row.essay]: [concern.reason for concern in row.concerns] for row in rows}


def words_of(rows: list[NeedsLook]) -> str:
    return " ".join(concern.words for row in rows for concern in row.concerns)


def graded(scores: list[float], anchors: list[int], errors: float = 0.3) -> Grading:
    found = grade(fit_of(scores, errors=errors), np.array(anchors), grades=3)
    assert isinstance(found, Grading)
    return found


def test_where_nothing_is_known_nobody_needs_to_look() -> None:
    assert worklist(evidence()) == []
    assert worklist(Evidence(names=(), words=())) == []


def test_an_essay_that_is_too_short_says_how_short() -> None:
    rows = worklist(evidence(words=(300, 49, 50, 0)))
    assert reasons(rows) == {"Ben": [Reason.SHORT], "Dora": [Reason.SHORT]}
    assert "only 49 words" in words_of(rows)


def test_an_essay_that_straddles_a_boundary_says_between_which_grades() -> None:
    chances = np.array([[0.9, 0.1, 0.0], [0.55, 0.35, 0.1], [0.3, 0.3, 0.4], [0.04, 0.5, 0.46]])
    grading = Grading(chances, {}, {}, (True, True, True), ())
    rows = worklist(evidence(grading=grading, grades=("low", "middle", "high"), anchors=frozenset({2})))
    assert reasons(rows) == {"Dora": [Reason.BOUNDARY]}
    assert words_of(rows) == "It straddles a boundary: middle or high (50 and 46 of 100)."


def test_an_anchor_does_not_straddle_and_an_essay_without_grade_neither() -> None:
    grading = graded([-1.0, 1.0, 0.0, 0.0], [0, 2, 1, NO_GRADE], errors=2.0)
    grading.probabilities[3] = np.nan
    everyone = frozenset({0, 1, 2})
    assert worklist(evidence(grading=grading, grades=("a", "b", "c"), anchors=everyone)) == []


def test_anchors_that_contradict_each_other_name_each_other() -> None:
    grading = graded([3.0, -1.0, 4.0, -4.0], [0, 1, 2, 0])
    rows = worklist(
        evidence(inversions=grading.inversions, grades=("a", "b", "c"), anchors=frozenset(range(4)))
    )
    assert reasons(rows) == {"Ann": [Reason.ANCHOR], "Ben": [Reason.ANCHOR]}
    assert "above that of Ann" in words_of(rows)
    assert "below that of Ben" in words_of(rows)


def test_flags_of_the_provider_become_sentences() -> None:
    rows = worklist(evidence(flags={2: ("addresses-judge",), 0: ("off-topic",)}))
    assert reasons(rows) == {"Cem": [Reason.INSTRUCTION], "Ann": [Reason.FLAGGED]}
    assert words_of(rows) == "It seems to speak to its judge. A judge flagged it: off-topic."


def test_a_misfit_says_how_often_verdicts_go_against_it() -> None:
    upsets, usual = [(0, k, 0.0) for k in (1, 2, 3)], [(1, 2, 1.0), (2, 3, 1.0), (1, 3, 1.0)]
    fit = essay_fit(said(*upsets, *usual * 10), fit_of([2.0, 0.0, -0.5, -1.0], errors=0.1))
    assert fit.misfits.tolist() == [0]
    found = worklist(evidence(fit=fit))
    assert reasons(found) == {"Ann": [Reason.MISFIT]}
    assert "100 of 100 go against it" in words_of(found)


@pytest.mark.parametrize(("won", "reason"), [(1.0, Reason.INSTRUCTION), (0.0, Reason.SPLIT)])
def test_a_judge_who_stands_alone_is_named_with_what_was_expected(won: float, reason: Reason) -> None:
    others = [(0, k, 1.0 - won, 0) for k in (1, 2, 3)] * 6
    alone = [(0, k, won, 1) for k in (1, 2, 3)] * 3
    among_themselves = [(1, 2, 1.0, 0), (2, 3, 1.0, 0), (1, 3, 0.0, 0)]
    known = fit_of([0.0] * 4, positions=(0.0, 0.0), sigma=2.0)
    tests = favours(said(*others, *alone, *among_themselves), known)
    rows = worklist(evidence(favours=tests, judges=("left", "right")))
    (row,) = [row for row in rows if row.essay == 0]
    (concern,) = [concern for concern in row.concerns if "right" in concern.words]
    assert concern.reason is reason
    assert f"{9 * won:g} of 9" in concern.words


def test_judges_who_differ_over_a_clear_pair_are_split_and_over_a_close_one_are_not() -> None:
    wide, close = Disagreement(0, 1, 0, 1, 2.5), Disagreement(2, 3, 0, 1, 0.4)
    rows = worklist(evidence(disagreements=(wide, close)))
    assert reasons(rows) == {"Ann": [Reason.SPLIT], "Ben": [Reason.SPLIT]}
    assert "judge 1 and judge 2 name different winners of it and Ben, 2.5 logits apart" in words_of(rows)


def test_the_most_pressing_reason_comes_first_and_then_who_has_more() -> None:
    rows = worklist(
        evidence(
            words=(10, 10, 300, 10),
            flags={1: ("invisible-characters",), 3: ("off-topic",)},
            disagreements=(Disagreement(0, 2, 0, 1, 3.0),),
        )
    )
    assert list(reasons(rows)) == ["Ben", "Dora", "Ann", "Cem"]
    assert reasons(rows)["Ann"] == [Reason.SPLIT, Reason.SHORT]
