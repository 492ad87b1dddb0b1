"""The page that shows the documents: complete, and readable without anything from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.documents import document_routes
from app.spec.openapi import openapi, operations
from app.spec.page import prose
from tests.flow.house import settings_in


@pytest.fixture
def page(tmp_path: Path) -> str:
    with TestClient(Starlette(routes=document_routes(settings_in(tmp_path)))) as client:
        answer = client.get("/docs")
    assert answer.status_code == 200
    return answer.text


def test_every_operation_and_every_model_is_on_the_page(page: str) -> None:
    for operation in operations("all"):
        assert f'id="{operation.name}"' in page
        assert operation.path in page
    for name in openapi()["components"]["schemas"]:
        assert f'id="model-{name}"' in page


def test_every_link_inside_the_page_has_a_target_and_no_target_is_there_twice(page: str) -> None:
    targets = re.findall(r'id="([^"]+)"', page)
    assert len(set(targets)) == len(targets)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(targets)


def test_it_loads_nothing_from_elsewhere_and_needs_no_script(page: str) -> None:
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []


def test_words_are_escaped() -> None:
    assert prose("`a<b>` & c\n\nd") == "<code>a&lt;b&gt;</code> &amp; c<br>d"


def test_a_provider_alone_serves_the_sheet_of_its_page(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, "role=provider", "bus.kind=kafka")
    with TestClient(Starlette(routes=document_routes(settings))) as client:
        page = client.get("/docs").text
        assert "/api/v1/comparison" in page
        assert "/api/v1/batches" not in page
        assert 'href="/"' not in page
        assert client.get("/static/juxta.css").status_code == 200
