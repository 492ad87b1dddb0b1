"""What the command line does with the batches of a running server."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.errors import Conflict, InvalidRequest
from tests.flow.process import until
from tests.spec.serving import house_served

WORDS = "The river rose in the night and nobody in the village had thought to move the boats. "
runner = CliRunner()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server, and a finished batch on it."""
    essays = [{"name": f"e{n}", "text": WORDS * (4 + 2 * n)} for n in range(6)]
    body = {
        "question": "Which is better?",
        "essays": essays,
        "settings": {"comparisons_per_essay": 2, "seed": 3, "target_reliability": 0.99},
    }
    with (
        house_served(tmp_path_factory.mktemp("house")) as url,
        httpx2.Client(base_url=url, timeout=30) as client,
    ):
        batch = client.post("/api/v1/batches", json=body).json()["id"]
        until(lambda: client.get(f"/api/v1/batches/{batch}").json()["state"] == "finished")
        yield url, batch


def told(house: tuple[str, str], *words: str) -> str:
    url, _ = house
    found = runner.invoke(app, [*words, "--url", url], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_what_if_shows_both_rankings(house: tuple[str, str]) -> None:
    _, batch = house
    found = json.loads(told(house, "what-if", batch, "--without-essay", "e5", "--json"))
    assert [row["after"] is None for row in found["essays"] if row["essay"] == "e5"] == [True]
    assert "What it would be".lower() in told(house, "what-if", batch, "--position-term", "off").lower()
    with pytest.raises(InvalidRequest, match="Nothing is left out"):
        told(house, "what-if", batch)
    with pytest.raises(InvalidRequest, match="no judge 7; there are 0 rules"):
        told(house, "what-if", batch, "--without-judge", "7")
    with pytest.raises(InvalidRequest, match="not there"):
        told(house, "what-if", batch, "--without-essay", "nobody")


def test_a_bundle_is_kept_and_its_scores_are_made_again(house: tuple[str, str], tmp_path: Path) -> None:
    _, batch = house
    file = tmp_path / "kept.zip"
    told(house, "export", batch, "--out", str(file))
    with zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == {"manifest.json", "batch.json", "comparisons.jsonl", "scores.json"}
    found = runner.invoke(app, ["fit", "--bundle", str(file), "--json"], catch_exceptions=False)
    assert found.exit_code == 0
    told_again = json.loads(found.stdout)["bundle"]
    assert (
        told_again.pop("largest_difference") <= 1e-9
    )  # of what was shown, which came of one fit after the other
    assert told_again == {
        "byte_for_byte": True,
        "same_scores": True,
        "differing": [],
        "unlike": [],
    }
    with pytest.raises(InvalidRequest, match="Name either"):
        runner.invoke(app, ["fit"], catch_exceptions=False)


def test_comparisons_are_added_to_a_finished_batch_once(house: tuple[str, str]) -> None:
    url, batch = house
    with httpx2.Client(base_url=url, timeout=30) as client:
        planned = client.get(f"/api/v1/batches/{batch}").json()["planned"]
        for _ in range(2):
            found = json.loads(told(house, "batch", "add", batch, "3", "--beyond", str(planned), "--json"))
            assert found["extended_to"] == planned + 3
        until(lambda: client.get(f"/api/v1/batches/{batch}").json()["state"] == "finished")
    repeat = runner.invoke(app, ["batch", "add", batch, "3", "--beyond", str(planned), "--url", url])
    assert "nothing added" in repeat.stderr
    with pytest.raises(Conflict, match="3 were added already, not 100000"):
        told(house, "batch", "add", batch, "100000", "--beyond", str(planned))
    with pytest.raises(Conflict, match="by now"):
        told(house, "batch", "add", batch, "3", "--beyond", "1")
