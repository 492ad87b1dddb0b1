"""From dropped files to a batch that may start."""

import re
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from app.cj.batch import BatchState
from app.cj.statistics.stopping import most_comparisons
from app.web.new_batch import pasted_files
from tests.web.conftest import Site, essay_text, new_batch

FIELDS = {
    "title": "Year 9",
    "question": "Which is better?",
    "judge": "rules",
    "comparisons_per_essay": "4",
    "target_reliability": "0.8",
    "pasted": "",
}
Files = list[tuple[str, tuple[str, bytes, str]]]


def files(**contents: bytes) -> Files:
    return [("files", (name.replace("_", "."), content, "text/plain")) for name, content in contents.items()]


def submit(client: TestClient, given: Files, **changed: str) -> tuple[int, str]:
    answer = client.post("/batches", data=FIELDS | changed, files=given or None)
    return answer.status_code, answer.headers.get("location", answer.text)


def two() -> Files:
    return files(one_txt=essay_text(1).encode(), two_txt=essay_text(2).encode())


def test_dropped_files_are_looked_at_before_anything_is_spent(site: Site, client: TestClient) -> None:
    given = files(one_txt=essay_text(1).encode(), two_txt=essay_text(2).encode())
    status, location = submit(client, given, pasted=f"# Three\n{essay_text(3)}\n---\n{essay_text(4)}")
    assert status == 303
    page = client.get(location).text
    for shown in (
        "one",
        "two",
        "Three",
        "pasted-02",
        "Start: at most 6 comparisons, less than",
    ):
        assert shown in page
    assert site.provider.requests == []
    batch_id = location.split("/")[2]
    assert site.batch(UUID(batch_id)).state is BatchState.READY
    assert site.batch(UUID(batch_id)).settings.seed == 11
    started = client.post(f"/batches/{batch_id}/start")
    assert (started.status_code, started.headers["location"]) == (303, f"/batches/{batch_id}/live")
    site.until(UUID(batch_id), lambda batch: batch.state is BatchState.FINISHED)
    assert site.provider.requests


def test_an_essay_too_short_for_the_judge_is_refused_by_name(client: TestClient) -> None:
    status, page = submit(client, files(one_txt=essay_text(1).encode(), two_txt=essay_text(2, 20).encode()))
    assert status == 422
    assert "has only" in page


def test_every_fault_is_named_per_file_and_what_was_typed_is_kept(site: Site, client: TestClient) -> None:
    given = files(
        good_txt=essay_text(1).encode(),
        same_txt=essay_text(1).encode(),
        empty_txt=b"",
        word_docx=b"PK",
        binary_txt=b"\x00\x01",
    )
    status, page = submit(client, given, title="<b>kept</b>", question="kept too", pasted="")
    assert status == 422
    for name, fault in (
        ("same", "has the same text as good"),
        ("empty.txt", "is empty"),
        ("word.docx", "is of kind .docx"),
        ("binary.txt", "is a binary file"),
    ):
        assert re.search(rf"<b>{re.escape(name)}</b> {re.escape(fault)}", page)
    assert "&lt;b&gt;kept&lt;/b&gt;" in page
    assert "kept too" in page
    assert site.call(site.cj.views.batches) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("title", "  ", "Give the batch a title"),
        ("question", "", "Write the question"),
        ("comparisons_per_essay", "ten", "whole number from 1 to 1000"),
        ("comparisons_per_essay", "0", "whole number from 1 to 1000"),
        ("target_reliability", "1.5", "between 0 and 1"),
        ("target_reliability", "nan", "between 0 and 1"),
        ("judge", "oracle", "Choose who judges"),
    ],
)
def test_a_field_that_cannot_be_is_marked(
    site: Site, client: TestClient, name: str, value: str, said: str
) -> None:
    status, page = submit(client, two(), **{name: value})
    assert status == 422
    assert said in page
    if name != "judge":
        assert f'aria-describedby="{name}-fault"' in page
    assert site.call(site.cj.views.batches) == []


def test_fewer_than_two_essays_are_refused(client: TestClient) -> None:
    for given in ([], files(one_txt=essay_text(1).encode())):
        status, page = submit(client, given)
        assert status == 422
        assert "Hand in at least two essays." in page


def test_a_comma_is_a_decimal_point_too(client: TestClient) -> None:
    assert submit(client, two(), target_reliability="0,75")[0] == 303


def test_a_body_over_the_limit_is_refused(client: TestClient) -> None:
    status, page = submit(client, files(big_txt=b"x" * 1_100_000))
    assert status == 413
    assert "at most 1000000 bytes" in page


def test_a_body_that_is_no_form_is_refused_kindly(client: TestClient) -> None:
    answer = client.post(
        "/batches", content=b"--x\r\nrubbish", headers={"content-type": "multipart/form-data"}
    )
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"].startswith("text/html")


def test_pasted_essays_are_parted_by_dashes_and_named_by_a_heading() -> None:
    assert pasted_files("# Ann/Bo\r\ntext one\r\n---\n\n---\ntext two\n") == [
        ("Ann-Bo.txt", b"text one"),
        ("pasted-02.txt", b"text two"),
    ]
    assert pasted_files(" \n") == []


def test_a_real_batch_comes_to_what_the_button_said(site: Site, client: TestClient) -> None:
    for essays, each in ((5, 3), (8, 5), (9, 4)):
        batch = site.batch(
            site.finished(new_batch(names=tuple("abcdefghi"[:essays]), comparisons_per_essay=each))
        )
        assert batch.planned == most_comparisons(essays, each)
