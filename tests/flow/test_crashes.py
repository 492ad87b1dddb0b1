"""kill -9 at random moments and at every failpoint: the batch goes on, and each comparison counts exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from .house import HeldJudge, furnish, house_in, rows
from .mortal import CONCURRENCY, PAIRS, the_batch

SEED = 20_261_123
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Remains:
    """What is left of a house after its batch has ended."""

    folder: Path
    deaths: Sequence[str]

    def cj(self, sql: str) -> list[tuple[Any, ...]]:
        return rows(self.folder / "cj.db", sql)

    def provider(self, sql: str) -> list[tuple[Any, ...]]:
        return rows(self.folder / "provider.db", sql)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()


def live_and_die(folder: Path) -> Remains:
    furnish(folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.flow.mortal", str(folder), str(SEED)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # no threads before the forks
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return Remains(folder, json.loads(done.stdout))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Remains:
    return live_and_die(tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Remains:
    """The same batch in one life."""
    folder = tmp_path_factory.mktemp("unharmed")

    async def run() -> None:
        async with house_in(folder, HeldJudge()) as house:
            await house.finish(await house.workflow.create(the_batch(), start=True))

    anyio.run(run)
    return Remains(folder, [])


def test_it_was_killed_in_every_way_and_ended_all_the_same(killed: Remains) -> None:
    assert len(killed.deaths) >= 20
    assert sum(death.startswith("while open") for death in killed.deaths) >= 5
    assert killed.cj("SELECT state, stop_reason, problem FROM batches") == [
        ("finished", "comparisons_spent", None)
    ]


def test_every_comparison_ended_once_and_the_counts_are_those_of_the_rows(killed: Remains) -> None:
    (counts,) = killed.cj("SELECT planned, decided, failed FROM batches")
    assert counts == (PAIRS, PAIRS, 0)
    assert killed.cj("SELECT state, count(*) FROM comparisons GROUP BY state") == [("decided", PAIRS)]
    assert killed.cj("SELECT count(*) FROM comparisons WHERE winner IS NULL OR road IS NULL") == [(0,)]
    order = [n for (n,) in killed.cj("SELECT ended_order FROM comparisons ORDER BY ended_order")]
    assert order == list(range(1, PAIRS + 1))
    assert killed.cj("SELECT count(*) FROM waves WHERE open <> 0") == [(0,)]
    assert killed.cj("SELECT count(*) FROM comparisons WHERE due_at IS NOT NULL OR body IS NOT NULL") == [
        (0,)
    ]


def test_no_pair_was_planned_twice(killed: Remains) -> None:
    pairs = Counter(frozenset(pair) for pair in killed.cj("SELECT first, second FROM comparisons"))
    assert len(pairs) == PAIRS


def test_the_verdicts_of_each_essay_are_those_of_a_recount(killed: Remains) -> None:
    recount = Counter(essay for pair in killed.cj("SELECT first, second FROM comparisons") for essay in pair)
    assert dict(killed.cj("SELECT position, verdicts FROM essays")) == recount


def test_every_request_has_one_outcome_and_nothing_is_owed(killed: Remains) -> None:
    assert killed.provider("SELECT state, outcome, count(*) FROM requests GROUP BY state, outcome") == [
        ("published", "succeeded", PAIRS)
    ]
    assert killed.provider("SELECT sum(queued), sum(leased), sum(answered) FROM lanes") == [(0, 0, 0)]
    assert killed.provider("SELECT count(DISTINCT correlation_id) FROM requests") == [(PAIRS,)]


def test_both_roads_were_taken(killed: Remains) -> None:
    roads = {road for (road,) in killed.cj("SELECT DISTINCT road FROM comparisons")}
    assert roads == {"response", "callback"}


def test_the_judge_is_asked_again_only_for_calls_that_a_kill_cut_off(killed: Remains) -> None:
    assert set(killed.calls) == {str(c) for (c,) in killed.cj("SELECT id FROM comparisons")}
    assert len(killed.calls) <= PAIRS + len(killed.deaths) * CONCURRENCY
    tries = sum(n for (n,) in killed.provider("SELECT tries FROM requests"))
    assert len(killed.calls) <= tries


def test_the_scores_are_those_of_a_batch_that_nobody_disturbed(killed: Remains, unharmed: Remains) -> None:
    def scores(remains: Remains) -> Mapping[object, float]:
        return dict(remains.cj("SELECT position, score FROM essays"))

    assert scores(killed) == pytest.approx(scores(unharmed), abs=1e-9)
    assert killed.cj("SELECT first, second, winner FROM comparisons ORDER BY sequence") == unharmed.cj(
        "SELECT first, second, winner FROM comparisons ORDER BY sequence"
    )


def test_the_databases_are_sound(killed: Remains) -> None:
    assert killed.cj("PRAGMA integrity_check") == killed.provider("PRAGMA integrity_check") == [("ok",)]
