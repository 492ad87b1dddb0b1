"""A model that is paid for what cannot be read, and then asks for fewer requests: the budget holds all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from app.settings import ROOT

PRICE = "price = { prompt = 0.4, completion = 1.6, on = 2026-11-25 }"
COST = (1500 * 0.4 + 60 * 1.6) / 1e6
FENCED = {
    "model": "priced",
    "choices": [{"finish_reason": "stop", "message": {"content": "```json\n{}\n```"}}],
    "usage": {"prompt_tokens": 1500, "completion_tokens": 60},
}


class Till(ThreadingHTTPServer):
    """Takes money for each first turn, and has no time for a second."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.paid: list[float] = []


class _Answer(BaseHTTPRequestHandler):
    server: Till

    def do_GET(self) -> None:
        self._say(404, {}, {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if len(asked["messages"]) > 2:
            self._say(429, {}, {"retry-after": "1"})
            return
        self.server.paid.append(COST)
        self._say(200, FENCED, {})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the class above
        """Say nothing."""

    def _say(self, status: int, body: object, headers: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def till() -> Iterator[Till]:
    with Till() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_is_spent_on_answers_that_cannot_be_mended_stays_within_the_budget_and_the_calls_under_way(
    tmp_path: Path, till: Till
) -> None:
    (tmp_path / "models.toml").write_text(f"[openai.priced]\n{PRICE}\n")
    (tmp_path / "essays").mkdir()
    for number in range(60):
        (tmp_path / "essays" / f"e{number}.txt").write_text(f"Essay {number} is about school. " * 20)
    settings = (f'judges.catalogue=["{tmp_path / "models.toml"}"]', "breaker.failures=1000")
    judge = ("--judge", "openai", "--model", "priced", "--base-url")
    command = [sys.executable, str(ROOT / "run.py"), "rank", str(tmp_path / "essays"), *judge]
    command += [
        f"http://127.0.0.1:{till.server_port}/v1",
        "--budget",
        "0.004",
        "--json",
        "--question",
        "Which?",
    ]
    done = subprocess.run(
        command + [word for one in settings for word in ("--set", one)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.endswith("API_KEY")},
    )
    found = json.loads(done.stdout)
    assert found["stop_reason"] == "budget_spent"
    assert found["cost_usd"] == pytest.approx(sum(till.paid))
    assert sum(till.paid) <= 0.004 + 8 * COST
