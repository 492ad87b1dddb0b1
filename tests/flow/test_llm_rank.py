"""`rank` with a language model that knows the true order: the ranking recovers it as the statistics predict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cj.statistics.correlation import kendall_tau_b
from tests.prove_llm.stage import (
    BASE,
    assigned,
    fake_on,
    judge_options,
    rank,
    truth,
    write_essays,
    write_truth,
)

ESSAYS, PER_ESSAY = 20, 9
PREDICTED = 0.80
"""r² with the truth after 9 verdicts an essay of a judge with scores of sd 1.8 logits: the bar of the statistics."""
TAU = 0.705
"""What that r² comes to as Kendall's tau of two normal variables: 2 / pi * asin(sqrt(.80))."""
R2_NOISE, TAU_NOISE = 0.055, 0.048
"""How both vary from judge to judge at 20 essays: standard deviations of 40 batches of the simulated judge.

Their means were r² .829 and tau .753.
"""
SEEDS: Mapping[str, int] = {"openai": 1, "anthropic": 2, "google": 3}


@dataclass(frozen=True, slots=True)
class Recovered:
    """A ranking by a language model, the same by the simulated judge with the same draws, and what the server saw."""

    ranking: dict[str, Any]
    simulated: dict[str, Any]
    server: dict[str, Any]

    @property
    def scores(self) -> dict[str, float]:
        return scores(self.ranking)

    @property
    def r2(self) -> float:
        return float(np.corrcoef(self._in_order(), truth(ESSAYS))[0, 1] ** 2)

    @property
    def tau(self) -> float:
        return kendall_tau_b(self._in_order(), np.array(truth(ESSAYS)))

    def _in_order(self) -> np.ndarray[Any, Any]:
        return np.array([self.scores[f"e{number:03}"] for number in range(ESSAYS)])


def scores(ranking: dict[str, Any]) -> dict[str, float]:
    return {row["essay"]: row["score"] for row in ranking["ranking"]}


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recovered]:
    folder = tmp_path_factory.mktemp("rank")
    write_essays(folder / "essays", ESSAYS)
    write_truth(folder / "truth.csv", ESSAYS)
    return {name: recover(folder, name, seed) for name, seed in SEEDS.items()}


def recover(folder: Path, name: str, seed: int) -> Recovered:
    common = ("--per-essay", str(PER_ESSAY), "--reliability", "0.999", "--seed", "4")
    with fake_on(folder / name, ESSAYS, "--seed", str(seed)) as server:
        done = rank(folder, *common, *judge_options(folder / name, server, name=name))
        seen = server.stats()
    assert done.returncode == 0, done.stderr
    drawn = assigned(f"judges.simulated.scores={folder / 'truth.csv'}", f"judges.simulated.seed={seed}")
    simulated = rank(folder, *common, "--judge", "simulated", *drawn)
    assert simulated.returncode == 0, simulated.stderr
    return Recovered(json.loads(done.stdout), json.loads(simulated.stdout), seen)


@pytest.mark.parametrize("name", BASE)
def test_the_true_order_is_recovered_as_predicted(recovered: dict[str, Recovered], name: str) -> None:
    found = recovered[name]
    assert found.ranking["comparisons"]["decided"] == ESSAYS * PER_ESSAY // 2
    assert found.r2 >= PREDICTED - 3 * R2_NOISE
    assert found.tau >= TAU - 3 * TAU_NOISE


def test_on_average_too(recovered: dict[str, Recovered]) -> None:
    noise = 3 / len(recovered) ** 0.5
    assert np.mean([found.r2 for found in recovered.values()]) >= PREDICTED - noise * R2_NOISE
    assert np.mean([found.tau for found in recovered.values()]) >= TAU - noise * TAU_NOISE


@pytest.mark.parametrize("name", BASE)
def test_the_road_over_a_vendors_format_changes_no_score(recovered: dict[str, Recovered], name: str) -> None:
    """The fake draws as the simulated judge does, so the same seeds must come to the same ranking."""
    assert recovered[name].scores == pytest.approx(scores(recovered[name].simulated), abs=1e-9)


@pytest.mark.parametrize("name", BASE)
def test_the_model_read_both_essays_of_each_pair_and_was_paid_what_it_counted(
    recovered: dict[str, Recovered], name: str
) -> None:
    found = recovered[name]
    assert found.server["essays_missing"] == found.server["scores_missing"] == 0
    assert found.server["formats"] == {name: ESSAYS * PER_ESSAY // 2}
    assert found.ranking["cost_usd"] == pytest.approx(float(found.server["cost_usd"]), abs=1e-9)
    assert found.ranking["judge_kinds"] == {"llm": ESSAYS * PER_ESSAY // 2}
