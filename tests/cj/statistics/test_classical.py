"""Tables that have been in print for years, found again to the printed digits without a prior."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.cj.judgements import read_judgements
from app.cj.own_fit import OwnFit, own_fit
from app.cj.statistics import FloatArray

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[3]


def fitted(name: str, *, position: bool) -> OwnFit:
    return own_fit(read_judgements((DATA / f"{name}.csv").read_bytes()), sigma=math.inf, position=position)


def scores(found: OwnFit) -> dict[str, float]:
    return {item.id: item.score for item in found.items if item.score is not None}


def against(found: OwnFit, reference: str) -> dict[str, float]:
    known = scores(found)
    return {name: value - known[reference] for name, value in known.items() if name != reference}


def covariance(name: str, found: OwnFit, *, position: bool) -> tuple[list[str], FloatArray]:
    """Inverse of the information matrix at the scores found, by the textbook: a row per verdict, dense."""
    judgements = read_judgements((DATA / f"{name}.csv").read_bytes())
    verdicts, items = judgements.verdicts, len(judgements.items)
    design = np.zeros((len(verdicts), items + position))
    rows = np.arange(len(verdicts))
    design[rows, verdicts.first], design[rows, verdicts.second] = 1.0, -1.0
    known = scores(found)
    values = [known[one] for one in judgements.items]
    if position:
        design[:, items] = 1.0
        values.append(found.judges[0].position or 0.0)
    chance = 1.0 / (1.0 + np.exp(-design @ np.array(values)))
    return list(judgements.items), np.linalg.pinv(design.T @ (design * (chance * (1 - chance))[:, None]))


def errors_against(name: str, found: OwnFit, reference: str, *, position: bool) -> dict[str, float]:
    items, matrix = covariance(name, found, position=position)
    r = items.index(reference)
    return {
        one: math.sqrt(matrix[k, k] + matrix[r, r] - 2.0 * matrix[k, r])
        for k, one in enumerate(items)
        if k != r
    }


CITATIONS = {
    "JASA": (-0.47957, 0.06059),
    "Comm. Statist.": (-2.94907, 0.10255),
    "JRSS-B": (0.26895, 0.07083),
}
BASEBALL = {
    "Boston": (1.1077, 0.3339),
    "Cleveland": (0.6839, 0.3319),
    "Detroit": (1.4364, 0.3396),
    "Milwaukee": (1.5814, 0.3433),
    "New York": (1.2476, 0.3359),
    "Toronto": (1.2945, 0.3367),
}
BASEBALL_AT_HOME = {
    "Boston": (1.1438, 0.3378),
    "Cleveland": (0.7047, 0.3350),
    "Detroit": (1.4754, 0.3446),
    "Milwaukee": (1.6196, 0.3474),
    "New York": (1.2813, 0.3404),
    "Toronto": (1.3271, 0.3403),
}
TENNIS = {
    "Djokovic": (1.176, 0.4995),
    "Federer": (1.136, 0.5109),
    "Murray": (-0.569, 0.5683),
    "Nadal": (-0.062, 0.5149),
}


@pytest.mark.parametrize(
    ("name", "reference", "position", "printed", "digits"),
    [
        ("citations", "Biometrika", False, CITATIONS, 5),
        ("baseball", "Baltimore", False, BASEBALL, 4),
        ("baseball", "Baltimore", True, BASEBALL_AT_HOME, 4),
        ("tennis", "Wawrinka", False, TENNIS, 3),
    ],
)
def test_the_printed_estimates_and_their_errors_come_out_again(
    name: str, reference: str, *, position: bool, printed: dict[str, tuple[float, float]], digits: int
) -> None:
    found = fitted(name, position=position)
    errors = errors_against(name, found, reference, position=position)
    assert {one: round(value, digits) for one, value in against(found, reference).items()} == {
        one: value for one, (value, _) in printed.items()
    }
    for one, (_, error) in printed.items():
        assert errors[one] == pytest.approx(error, abs=0.6 * 10.0 ** -min(len(str(error)) - 2, 5))


@pytest.mark.parametrize(
    ("name", "position"), [("citations", False), ("baseball", False), ("baseball", True), ("tennis", False)]
)
def test_the_errors_shown_are_those_of_a_score_against_the_mean(name: str, *, position: bool) -> None:
    found = fitted(name, position=position)
    items, matrix = covariance(name, found, position=position)
    shown = {item.id: item.se for item in found.items}
    for k, one in enumerate(items):
        assert shown[one] == pytest.approx(math.sqrt(matrix[k, k]), rel=1e-8)


def test_playing_at_home_in_1987_was_worth_a_third_more_odds() -> None:
    judge = fitted("baseball", position=True).judges[0]
    assert judge.position is not None
    assert judge.position_se is not None
    assert (round(judge.position, 4), round(judge.position_se, 4)) == (0.3023, 0.1309)


def test_the_shares_of_strength_in_agresti_s_table_come_out_again() -> None:
    strength = np.exp(np.sort(list(scores(fitted("baseball", position=True)).values())))
    assert np.round(strength / strength.sum(), 3).tolist() == [
        0.044,
        0.088,
        0.137,
        0.157,
        0.164,
        0.190,
        0.220,
    ]


def test_three_grandmasters_who_beat_each_other_in_a_circle_get_the_printed_strengths() -> None:
    strength = {one: math.exp(score) for one, score in scores(fitted("chess", position=False)).items()}
    total = sum(strength.values())
    assert {one: round(value / total, 4) for one, value in strength.items()} == {
        "Topalov": 0.4036,
        "Anand": 0.3405,
        "Karpov": 0.2559,
    }


def test_the_command_prints_the_same() -> None:
    options = ("--prior", "none", "--position-term", "off", "--json")
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", "fit", DATA / "citations.csv", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = {item["id"]: item["score"] for item in json.loads(done.stdout)["items"]}
    assert sum(shown.values()) == pytest.approx(0.0, abs=1e-12)
    for one, (value, _) in CITATIONS.items():
        assert round(shown[one] - shown["Biometrika"], 5) == value
