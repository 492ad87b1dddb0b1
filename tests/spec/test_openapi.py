"""The document is about the routes that there are, and real answers are what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jsonschema_rs
import pytest
import schemathesis
from starlette.routing import BaseRoute, Route

from app import errors
from app.application import house_routes
from app.container import bootstrap
from app.documents import openapi_of, text
from app.spec.cj import EXAMPLE as BATCH
from app.spec.openapi import openapi, operations
from app.spec.operation import Role
from app.spec.provider import EXAMPLE as COMPARISON
from tests.flow.house import settings_in
from tests.flow.process import until
from tests.spec.serving import house_served

DOCS = Path(__file__).parents[2] / "docs"
ROLES: tuple[Role, ...] = ("all", "provider", "cj")


def served(routes: list[BaseRoute]) -> set[tuple[str, str]]:
    """Every method and path for programs, HEAD aside: it goes with GET."""
    found = [route for route in routes if isinstance(route, Route)]
    return {
        (method, path.replace(":uuid", ""))
        for route in found
        for path in [route.path]
        for method in route.methods or ("GET",)
        if path.startswith(("/api/", "/healthz", "/readyz")) and method != "HEAD"
    }


def described(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, entry in document["paths"].items() for method in entry}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(document: Mapping[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


APART = ("bus.kind=kafka", "kafka.servers=127.0.0.1:9092")


@pytest.mark.parametrize(
    ("role", "settings"),
    [("all", ()), ("provider", APART), ("cj", (*APART, 'cj.provider_urls=["http://127.0.0.1:1"]'))],
)
def test_every_route_is_described_and_every_description_is_a_route(
    tmp_path: Path, role: Role, settings: tuple[str, ...]
) -> None:
    container = bootstrap(settings_in(tmp_path, f"role={role}", *settings))
    assert served(house_routes(container, anyio.Event())) == described(openapi(role))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_describes_what_it_serves_and_nothing_else(role: Role) -> None:
    document = openapi(role)
    assert described(document) == {(one.method, one.path) for one in operations(role)}
    tags = {one.module for one in operations(role)}
    assert tags == {"platform"} | ({"provider", "cj"} if role == "all" else {role})
    schemathesis.openapi.from_dict(document).validate()


@pytest.mark.parametrize("role", ROLES)
def test_every_reference_leads_somewhere_and_every_component_is_used(role: Role) -> None:
    document = openapi(role)
    used = set(references(document))
    for reference in used:
        resolve(document, reference)
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert schemas <= used


def test_operations_have_names_of_their_own_and_links_lead_to_them() -> None:
    names = [one.name for one in operations("all")]
    assert len(set(names)) == len(names)
    for operation in operations("all"):
        for answer in operation.answers:
            for link in answer.links:
                target = next(one for one in operations("all") if one.name == link.operation)
                assert link.parameter in {parameter.name for parameter in target.parameters}


def test_every_id_in_a_path_is_a_parameter() -> None:
    for operation in operations("all"):
        in_path = {one.name for one in operation.parameters if one.where == "path"}
        assert in_path == {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}


@pytest.mark.parametrize("keys", [True, False])
def test_each_operation_names_its_scopes_and_keys_are_asked_for_where_they_are_on(*, keys: bool) -> None:
    document = openapi(keys=keys)
    assert document["paths"]["/healthz"]["get"]["security"] == []
    cancel = document["paths"]["/api/v1/comparison/{correlation_id}/cancel"]["post"]
    open_to_all: list[dict[str, Any]] = [] if keys else [{}]
    assert cancel["security"] == [*open_to_all, {"key": ["submit"]}, {"key": ["operate"]}]


def test_whoever_is_sent_away_for_now_is_told_for_how_long() -> None:
    document = openapi()
    for entry in document["paths"].values():
        for operation in entry.values():
            for status, response in operation["responses"].items():
                found = resolve(document, response["$ref"]) if "$ref" in response else response
                if status in {"429", "503"} and "application/problem+json" in found["content"]:
                    assert found["headers"]["Retry-After"]["required"]


def test_every_problem_of_an_operation_is_a_leaf_of_the_tree_of_errors() -> None:
    for operation in operations("all"):
        for kind in operation.problems:
            assert getattr(errors, kind.__name__) is kind
            assert kind.code != errors.JuxtaError.code


def test_the_committed_copy_is_the_document_in_force(tmp_path: Path) -> None:
    committed = (DOCS / "openapi.json").read_text(encoding="utf-8")
    assert committed == text(openapi_of(settings_in(tmp_path))), (
        "run: python run.py spec openapi > docs/openapi.json"
    )


class Checked:
    """A client that holds every answer to the document, whatever its status."""

    def __init__(self, client: httpx2.Client) -> None:
        self.document = openapi()
        self._client = client

    def __call__(self, method: str, path: str, *, as_: str | None = None, **options: Any) -> Any:
        answer = self._client.request(method, path, **options)
        operation = self.document["paths"][as_ or path][method.lower()]
        response = operation["responses"][str(answer.status_code)]
        response = resolve(self.document, response["$ref"]) if "$ref" in response else response
        if "content" not in response:
            assert answer.content == b""
            return None
        media_type = answer.headers["content-type"].split(";")[0]
        if media_type == "application/zip":
            assert answer.content.startswith(b"PK")
            return None
        schema = response["content"][media_type]["schema"] | {"components": self.document["components"]}
        jsonschema_rs.validator_for(schema, validate_formats=True).validate(answer.json())
        return answer.json()


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Checked]:
    with (
        house_served(tmp_path, "judges.rules.direct_concurrency=0") as url,
        httpx2.Client(base_url=url, timeout=30) as client,
    ):
        yield Checked(client)


def test_the_answers_of_a_whole_batch_are_as_described(ask: Checked) -> None:
    one = "/api/v1/batches/{batch_id}"
    here = f"/api/v1/batches/{ask('POST', '/api/v1/batches', json=BATCH)['id']}"
    until(lambda: ask("GET", here, as_=one)["state"] == "finished")
    batch = ask("GET", here, as_=one)
    assert batch["open"] == 0
    assert batch["created_at"].endswith("+00:00")
    assert batch["roads"] == {"callback": 1}
    assert ask("GET", "/api/v1/batches")["batches"][0]["id"] == batch["id"]
    ranking = ask("GET", f"{here}/ranking", as_=f"{one}/ranking")["ranking"]
    assert [row["rank"] for row in ranking] == [1, 2]
    (comparison,) = ask("GET", f"{here}/comparisons", as_=f"{one}/comparisons")["comparisons"]
    found = ask("GET", f"/api/v1/comparisons/{comparison['id']}", as_="/api/v1/comparisons/{comparison_id}")
    assert found == comparison
    (judge,) = [
        each for each in ask("GET", f"{here}/judges", as_=f"{one}/judges")["judges"] if each["verdicts"]
    ]
    assert judge["verdicts"] == 1
    assert ask("GET", f"{here}/diagnostics", as_=f"{one}/diagnostics")["path"][0]["verdicts"] == 1
    assert "Ranking, not grades" in ask("GET", f"{here}/grades", as_=f"{one}/grades")["reason"]
    supposed = ask("POST", f"{here}/what-if", as_=f"{one}/what-if", json={"position_term": False})
    assert [row["rise"] for row in supposed["essays"]] == [0, 0]
    assert (
        ask("POST", f"{here}/what-if", as_=f"{one}/what-if", json={"without_essays": ["x"]})["status"] == 422
    )
    assert ask("GET", f"{here}/export", as_=f"{one}/export") is None
    assert ask("GET", f"{here}/export?format=docx", as_=f"{one}/export")["status"] == 422
    added = ask("POST", f"{here}/add", as_=f"{one}/add", json={"comparisons": 5})
    assert "Every pair" in added["detail"]
    for verb in ("start", "resume", "pause", "cancel"):
        assert ask("POST", f"{here}/{verb}", as_=f"{one}/{verb}")["status"] == 409
    assert ask("DELETE", here, as_=one) is None
    for verb in ("start", "resume", "pause", "cancel"):
        assert ask("POST", f"{here}/{verb}", as_=f"{one}/{verb}")["status"] == 404


def test_the_answers_about_a_comparison_are_as_described(ask: Checked) -> None:
    queued = ask("POST", "/api/v1/comparison", json=COMPARISON)
    entry = "/api/v1/queue/{queue_id}"
    at = f"/api/v1/queue/{queued['queue_id']}"
    until(lambda: ask("GET", at, as_=entry)["state"] == "published")
    row = ask("GET", at, as_=entry)
    assert row["answered_at"].endswith("+00:00")
    assert ask("GET", "/api/v1/queue", params={"state": "published"})["entries"] == [row]
    assert set(ask("GET", "/api/v1/queue/stats")) == {"lanes"}
    assert ask("GET", "/api/v1/providers")["lanes"][0]["running"] == 0
    cancel = "/api/v1/comparison/{correlation_id}/cancel"
    assert ask("POST", cancel.format(**COMPARISON), as_=cancel)["queue_id"] == queued["queue_id"]
    assert ask("POST", "/api/v1/comparison", json=COMPARISON)["winner"] == "essay_a"
    assert ask("POST", "/api/v1/comparison", json=COMPARISON | {"essay_a": "Other."})["status"] == 422
    without_topic = {key: value for key, value in COMPARISON.items() if key != "callback_topic"}
    anew = without_topic | {"correlation_id": "0b7e3f0c-6a5d-4a59-9c27-0d2f5f6b8a12"}
    assert ask("POST", "/api/v1/comparison", json=anew)["status"] == 503
    assert ask("GET", "/healthz") == {"status": "alive"}
    assert ask("GET", "/readyz")["status"] == "ready"


def test_an_essay_that_the_judge_cannot_read_is_named_and_nothing_is_stored(tmp_path: Path) -> None:
    with house_served(tmp_path) as url, httpx2.Client(base_url=url) as client:
        problem = Checked(client)("POST", "/api/v1/comparison", json=COMPARISON | {"essay_a": "Too short."})
        assert client.get("/api/v1/queue").json()["entries"] == []
    assert (problem["status"], problem["type"]) == (422, "urn:juxta:problem:invalid-request")
    assert [fault["field"] for fault in problem["errors"]] == ["essay_a"]


def test_the_documents_are_served_as_they_are_printed(tmp_path: Path) -> None:
    with house_served(tmp_path) as url, httpx2.Client(base_url=url) as client:
        assert client.get("/openapi.json").json() == json.loads(text(openapi()))
        assert client.get("/asyncapi.json").json()["asyncapi"] == "3.0.0"
        wrong = client.post("/openapi.json")
        assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")
        assert client.post("/readyz").headers["content-type"] == "application/problem+json"
