"""A judge that tosses coins, through the whole product: its batch is shown as unreliable, not as a ranking to trust.

All true scores are equal, so that the simulated judge names either essay with chance one half. Pairs and verdicts are
drawn by seeds, and the figure scatters with them: in 20 rehearsals of this size it was .13 on average and above .15 in 7
(`rehearse` with sharpness 0). None comes near a reliability that would stop a batch.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.provider.judges.digests import text_sha256
from tests.flow.process import PATIENT, process_on, until

ESSAYS = 40
PER_ESSAY = 12
MOST = 0.15


def essay(number: int) -> str:
    return f"Essay number {number:03}, neither better nor worse than any other of these."


def test_a_coin_is_reported_as_unreliable_on_the_page(tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    rows = [f"{text_sha256(essay(n))},0.0" for n in range(ESSAYS)]
    scores.write_text("\n".join(("sha256,score", *rows)), encoding="utf-8")
    options = ("--no-demo", "--set", f"judges.simulated.scores={scores}", "--judge", "simulated")
    with process_on(tmp_path / "data", *options) as process:
        asked = {
            "title": "Coins",
            "question": "Which is better?",
            "essays": [{"name": f"e{n:02}", "text": essay(n)} for n in range(ESSAYS)],
            "settings": {"comparisons_per_essay": PER_ESSAY, "target_reliability": 0.8, "seed": 5},
        }
        made = process.client.post("/api/v1/batches", json=asked)
        assert made.status_code == 201, made.text
        batch_id = made.json()["id"]
        until(lambda: process.batch(batch_id)["state"] == "finished", patience=2 * PATIENT, every=0.1)
        page = process.client.get(f"/batches/{batch_id}/ranking").text
        path = process.client.get(f"/batches/{batch_id}/path").text
    (shown,) = re.findall(r"<dt>Reliability</dt><dd><b>(\d\.\d\d)</b> of 0\.80 asked for", page)
    assert float(shown) <= MOST
    assert "Judged by a simulation that was told the scores." in page
    assert "Stopped because the comparisons per essay asked for are used up." in page
    halves = re.findall(r"<dt>Split-half reliability, random halves</dt><dd><b>(\d\.\d\d)</b>", page)
    ssr = re.search(r"<dt>SSR, a legacy figure</dt><dd>(\d\.\d\d) or (\d\.\d\d)", page)
    assert halves
    assert ssr is not None
    assert "it was not reached" in path
