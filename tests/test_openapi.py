"""The OpenAPI document against the real application: thousands of requests made from it, good and bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, TypeAlias
from uuid import uuid4

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.contracts import COMPARISON_RESULT_TOPIC
from app.spec.cj import EXAMPLE as BATCH
from app.spec.openapi import openapi, operations
from app.spec.operation import Operation
from app.spec.provider import EXAMPLE as COMPARISON
from tests.flow.house import LANE, SCORES, essay
from tests.flow.process import until
from tests.spec.serving import house_served

Case: TypeAlias = schemathesis.Case[Any]

LEAST_CASES = 2000
DEADLINE = 10.0
WALKS = 40
SEEDED = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SCHEMA = schemathesis.openapi.from_dict(openapi())
UNSAYABLE = (positive_data_acceptance,)
"""A schema cannot say that two essays need two names, that no judge has this name, or that text holds no NUL."""
ESSAY = " ".join(f"word{n}" for n in range(60))
every_operation = pytest.mark.parametrize(
    "operation", operations("all"), ids=lambda one: f"{one.method} {one.path}"
)


@dataclass
class Server:
    """The application with something in it, and what it answered so far."""

    client: httpx2.Client
    ended: str = ""
    paused: str = ""
    known: dict[str, Iterator[str]] = field(default_factory=dict)
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    @property
    def options(self) -> dict[str, Any]:
        return {"base_url": str(self.client.base_url), "timeout": DEADLINE}

    def ask(self, case: Case) -> None:
        """Send a case and hold the answer to the document."""
        response = case.call(**self.options)
        self.count(case, response.status_code)
        case.validate_response(response, excluded_checks=list(UNSAYABLE))

    def count(self, case: Case, status: int) -> None:
        self.answers[case.method, case.operation.path, status] += 1

    def batch(self, **changes: Any) -> str:
        made = self.client.post("/api/v1/batches", json=BATCH | changes)
        return str(made.raise_for_status().json()["id"])

    def extensible(self) -> str:
        """A finished batch that has pairs left to ask."""
        some = [{"name": f"essay-{n}", "text": f"{ESSAY} {n}"} for n in range(20)]
        batch_id = self.batch(essays=some, settings={"comparisons_per_essay": 1})
        until(lambda: self.get(f"/api/v1/batches/{batch_id}")["state"] == "finished")
        return batch_id

    def pause(self) -> str:
        """A batch stopped in its middle."""
        many = [{"name": f"essay-{n}", "text": f"{ESSAY} {n}"} for n in range(40)]
        batch_id = self.batch(essays=many, settings={"comparisons_per_essay": 1000})
        self.client.post(f"/api/v1/batches/{batch_id}/pause").raise_for_status()
        return batch_id

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def compare(self) -> Any:
        """One comparison more, in a lane that no batch uses."""
        asked = COMPARISON | {
            "correlation_id": str(uuid4()),
            "callback_topic": COMPARISON_RESULT_TOPIC,
            "essay_a": essay(1),
            "essay_b": essay(2),
            "llm_config_overrides": {"provider": "simulated"},
        }
        return self.client.post("/api/v1/comparison", json=asked).raise_for_status().json()

    def by_hand(self, verb: str) -> None:
        change = {"lane": LANE, "reason": "a test"}
        self.client.post(f"/api/v1/breakers/{verb}", json=change).raise_for_status()

    def waiting(self) -> str:
        """A request that waits for a judge."""
        self.by_hand("trip")
        return str(self.compare()["queue_id"])

    def letter(self) -> str:
        """A dead letter: the callback of a comparison that cj did not ask for. One that is sent again dies again."""

        def found() -> Any:
            return self.get("/api/v1/dead-letters")["letters"]

        if not found():
            self.waiting()
            self.by_hand("reset")
        return str(until(found)[0]["id"])

    def queue_ids_for(self, operation: Operation) -> Iterator[str]:
        if operation.name in {"retryQueueEntry", "cancelQueueEntry"}:
            return iter(self.waiting, "")
        return cycle(row["queue_id"] for row in self.get("/api/v1/queue")["entries"])

    def batches_for(self, operation: Operation) -> Iterator[str]:
        """Batches in the states that make this operation answer with each of its words."""
        match operation.name:
            case "deleteBatch":
                return iter(lambda: self.batch(start=False), None)
            case "startBatch" | "cancelBatch":
                return cycle([self.batch(start=False), self.ended])
            case "resumeBatch":
                return cycle([self.pause(), self.ended])
            case "pauseBatch":
                return cycle([self.paused, self.ended])
            case "events":  # of any other batch it stays open
                return cycle([self.ended])
        return cycle([self.extensible() if operation.name == "addComparisons" else self.ended, self.paused])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("openapi")
    scores = folder / "scores.csv"
    scores.write_text("sha256,score\n" + "".join(f"{text},{score}\n" for text, score in SCORES.items()))
    with (
        house_served(folder, f"judges.simulated.scores={scores}") as url,
        httpx2.Client(base_url=url, timeout=30) as client,
    ):
        server = Server(client)
        server.ended = server.batch()
        until(lambda: server.get(f"/api/v1/batches/{server.ended}")["state"] == "finished")
        server.paused = server.pause()
        client.post("/api/v1/comparison", json=COMPARISON).raise_for_status()
        comparisons = server.get(f"/api/v1/batches/{server.ended}/comparisons")["comparisons"]
        server.compare()
        server.known = {
            "comparison_id": cycle(row["id"] for row in comparisons),
            "correlation_id": cycle([COMPARISON["correlation_id"]]),
            "provider": cycle(["rules"]),
            "letter_id": iter(server.letter, ""),
            "topic": cycle([COMPARISON_RESULT_TOPIC]),
        }
        yield server


WANTED: dict[str, dict[str, Any]] = {
    "/api/v1/judges/check": {"provider": "rules"},
    "/api/v1/dead-letters/redrive": {"topic": None, "where": [], "cursor": None},
    "/api/v1/batches/{batch_id}/add": {"comparisons": 1, "beyond": None},
    "/api/v1/batches/{batch_id}/what-if": {
        "without_judges": [],
        "without_essays": [],
        "without_anchors": [],
        "scale": None,
    },
}
"""Fields in which a schema cannot say what this server takes, by path."""


def acceptable(case: Case) -> Case:
    """Put in the place of what a schema cannot say something that this server takes."""
    if not isinstance(case.body, dict):
        return case
    path = case.operation.path
    if path == "/api/v1/comparison":
        case.body |= {"llm_config_overrides": {"provider": "rules"}}
        if case.body.get("callback_topic") is not None:
            case.body["callback_topic"] = COMPARISON_RESULT_TOPIC
        for name in ("essay_a", "essay_b"):
            if isinstance(case.body.get(name), str):
                case.body[name] = f"{case.body[name]} {ESSAY}"
    elif path.startswith("/api/v1/breakers/"):
        case.body |= {"lane": LANE}
    elif path == "/api/v1/judges/check":
        case.body = dict(WANTED[path])
    else:
        case.body |= WANTED.get(path) or {"essays": BATCH["essays"], "settings": {"comparisons_per_essay": 2}}
    return case


@every_operation
def test_what_the_document_allows_and_forbids_is_answered_as_it_says(
    server: Server, operation: Operation
) -> None:
    described = SCHEMA[operation.path][operation.method]
    modes = list(GenerationMode)
    for case in SCHEMA.iter_coverage_cases(
        described, generation_modes=modes, generation_config=SCHEMA.config.generation
    ):
        server.ask(case)
    if not operation.parameters and operation.body is None:
        modes.remove(GenerationMode.NEGATIVE)  # nothing to be wrong about
    for mode in modes:

        @SEEDED
        @given(case=described.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            server.ask(case)

        ask()


@every_operation
def test_what_exists_is_found_and_answered_as_documented(server: Server, operation: Operation) -> None:
    known = server.known | {
        "batch_id": server.batches_for(operation),
        "queue_id": server.queue_ids_for(operation),
    }

    @SEEDED
    @given(case=SCHEMA[operation.path][operation.method].as_strategy())
    def ask(case: Case) -> None:
        for name in case.path_parameters:
            case.path_parameters[name] = next(known[name])
        server.ask(acceptable(case))

    ask()
    first = operation.answers[0].status
    assert server.answers[operation.method, operation.path, first]


def test_every_answer_leads_where_its_links_say(server: Server) -> None:
    """The server goes on working between two steps, so that the same walk may meet other answers.

    Hypothesis ends a run in which it notices that; the next one begins with another seed, until all were walked.
    """
    walks, wrong = 0, []

    class Walk(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            nonlocal walks
            walks += 1

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return server.options

        def before_call(self, case: Case) -> None:
            acceptable(case)

        def after_call(self, response: Any, case: Case) -> None:
            server.count(case, response.status_code)

        def validate_response(self, response: Any, case: Case, **options: Any) -> None:
            try:
                super().validate_response(response, case, excluded_checks=list(UNSAYABLE), **options)
            except BaseException as error:
                wrong.append(error)
                raise

    for number in range(WALKS):
        with suppress(FlakyStrategyDefinition):
            left = settings(SEEDED, derandomize=False, max_examples=WALKS - walks, stateful_step_count=8)
            seed(number)(Walk).run(settings=left)
        if walks >= WALKS:
            break
    assert walks >= WALKS
    assert wrong == []


def test_these_were_thousands_of_cases_without_a_server_error(server: Server) -> None:
    assert sum(server.answers.values()) >= LEAST_CASES
    assert [key for key in server.answers if key[2] >= 500] == []
