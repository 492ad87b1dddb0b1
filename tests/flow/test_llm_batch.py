"""A batch judged by a language model with latency, errors and a limit: the short form of `python -m tests.prove_llm`."""

from __future__ import annotations

import pytest

from tests.prove_llm.batch import Found, Weather, checks, run, table

WEATHER = Weather(essays=24, per_essay=6, latency=0.5, per_minute=60, concurrency=16)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run(WEATHER, tmp_path_factory.mktemp("weather"))


def test_the_batch_ends_within_the_limit_and_every_cent_is_known(found: Found) -> None:
    broken = [check for check in checks(found) if not check.holds]
    assert not broken, table(found)
