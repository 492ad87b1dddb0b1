"""Pages as a browser without JavaScript sees them."""

import re
from html.parser import HTMLParser
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from app.cj.batch import BatchState
from app.cj.planner import IN_FLIGHT
from app.contracts import ProviderStatus
from tests.cj.conftest import queued
from tests.web.conftest import Site, lane, new_batch

RULES_BANNER = (
    "Judged by rules, not by people or an AI. Use it to learn the tool; do not grade pupils with it."
)


class Outline(HTMLParser):
    """Tags in order, to look at the bones of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_an_empty_house_explains_itself_and_takes_files(client: TestClient) -> None:
    page = client.get("/").text
    assert "Rank essays by comparing them" in page
    assert 'type="file"' in page
    assert 'action="/batches"' in page


def test_the_list_shows_progress_judge_reliability_cost_and_state(site: Site, client: TestClient) -> None:
    batch_id = site.finished()
    page = client.get("/").text
    batch = site.batch(batch_id)
    for shown in (
        "Year 9",
        "finished",
        "rules",
        f"{batch.decided} of {batch.planned}",
        "of 0.99",
        "0.00 USD",
    ):
        assert shown in page or "USD" in shown
    assert f"{batch.cost_usd:.2f} USD" in page


def test_a_batch_leads_to_the_page_of_its_state(site: Site, client: TestClient) -> None:
    site.provider.verdict = queued
    ready, running = site.start(start=False), site.start()
    for batch_id, name in ((ready, "check"), (running, "live")):
        assert client.get(f"/batches/{batch_id}").headers["location"] == f"/batches/{batch_id}/{name}"
    assert client.get(f"/batches/{ready}/live").headers["location"].endswith("/check")
    assert client.get(f"/batches/{running}/check").headers["location"] == f"/batches/{running}"
    client.post(f"/batches/{running}/cancel", data={"confirm": "yes"})
    assert client.get(f"/batches/{running}").headers["location"].endswith("/ranking")


def test_a_finished_batch_offers_more_comparisons_and_a_double_click_adds_them_once(
    site: Site, client: TestClient
) -> None:
    batch_id = site.finished()
    page = client.get(f"/batches/{batch_id}/ranking").text
    assert "Add 3 comparisons" in page
    assert f"python run.py batch add {batch_id} 3" in page
    typed = {"comparisons": "3", "beyond": "12"}
    for _ in range(2):
        answer = client.post(f"/batches/{batch_id}/add", data=typed)
        assert answer.headers["location"] == f"/batches/{batch_id}/live"
    site.call(site.cj.finish, batch_id)
    assert site.batch(batch_id).decided == 15
    after = client.get(f"/batches/{batch_id}/ranking").text
    assert "Stopped because" in after
    assert "Add " not in after
    assert client.post(f"/batches/{batch_id}/add", data={"comparisons": "x"}).status_code == 422


def test_audits_take_nothing_from_the_pairs_that_are_left_to_add(site: Site, client: TestClient) -> None:
    batch_id = site.finished(new_batch(audit_share=0.3))
    summary = site.call(site.cj.views.summary, batch_id)
    asked = site.call(site.cj.views.pairs, batch_id)
    assert asked < summary.batch.planned
    left = 15 - asked
    assert f"Add {left} comparisons" in client.get(f"/batches/{batch_id}/ranking").text


def test_the_live_page_speaks_without_javascript(site: Site, client: TestClient) -> None:
    site.provider.verdict = queued
    site.status = ProviderStatus(lanes=(lane("rules/panel-v1"), lane("rules/other"), lane("openai/m")))
    batch_id = site.start()
    site.call(site.cj.deliver, site.asked(), batch_id)
    page = client.get(f"/batches/{batch_id}/live").text
    assert "rules/balanced · clear · 0 ms" in page
    assert " beat " in page
    assert "rules/panel-v1: judge free" in page
    assert "rules/other" not in page
    assert "openai" not in page
    assert "running" in page
    assert "of <span" in page
    assert f"curl -X POST http://juxta.test/api/v1/batches/{batch_id}/pause" in page


def test_pause_and_resume_redirect_so_that_a_reload_repeats_nothing(site: Site, client: TestClient) -> None:
    site.provider.verdict = queued
    batch_id = site.start()
    for action, state in (("pause", BatchState.PAUSED), ("resume", BatchState.RUNNING)):
        answer = client.post(f"/batches/{batch_id}/{action}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/batches/{batch_id}/live")
        assert site.batch(batch_id).state is state
    assert client.get(f"/batches/{batch_id}/pause").status_code == 405


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_what_cannot_be_undone_is_asked_first_with_a_count(
    site: Site, client: TestClient, action: str
) -> None:
    site.provider.verdict = queued
    batch_id = site.start()
    site.until(batch_id, lambda batch: batch.waves == IN_FLIGHT)
    for ask in (client.get(f"/batches/{batch_id}/{action}"), client.post(f"/batches/{batch_id}/{action}")):
        assert ask.status_code == 200
        assert f"{site.batch(batch_id).open} open comparisons" in ask.text
        assert site.batch(batch_id).state is BatchState.RUNNING
    assert client.post(f"/batches/{batch_id}/{action}", data={"confirm": "yes"}).status_code == 303
    if action == "cancel":
        assert site.batch(batch_id).state is BatchState.CANCELLED
    else:
        assert client.get(f"/batches/{batch_id}/live").status_code == 404


def test_an_action_that_does_not_fit_the_state_says_so(site: Site, client: TestClient) -> None:
    batch_id = site.finished()
    answer = client.post(f"/batches/{batch_id}/pause")
    assert answer.status_code == 409
    assert "The batch is finished" in answer.text
    assert "<h1>" in answer.text


def test_the_ranking_says_who_judged_how_sure_it_is_and_why_it_stopped(
    site: Site, client: TestClient
) -> None:
    batch_id = site.finished()
    page = client.get(f"/batches/{batch_id}/ranking").text
    assert RULES_BANNER in page
    assert "empirical-Bayes" in page
    assert "Stopped because the comparisons per essay asked for are used up." in page
    assert "at once (200)" in page
    assert "by callback (202)" in page
    assert page.count("<svg xmlns=") == 2
    assert 'class="mark anchor"' in page
    for name in ("ranking.csv", "ranking.json", "judgements.csv", "report.html"):
        assert f"/batches/{batch_id}/{name}" in page


def test_the_table_sorts_by_address(site: Site, client: TestClient) -> None:
    batch_id = site.finished()

    def order(query: str) -> list[str]:
        page = client.get(f"/batches/{batch_id}/ranking{query}").text
        return re.findall(r'<th scope="row"><a href=".*?/essays/\d+">(.*?)</a></th>', page)

    best_first = order("")
    assert best_first[0] == "Essay 05"
    assert best_first[-1] == "Essay 00"
    assert order("?sort=essay") == sorted(best_first)
    assert order("?sort=essay&order=desc") == sorted(best_first, reverse=True)
    assert order("?sort=score") == best_first[::-1]
    assert order("?sort=__class__") == best_first
    assert 'aria-sort="descending"' in client.get(f"/batches/{batch_id}/ranking?sort=se&order=desc").text


def test_names_are_text_and_never_markup(site: Site, client: TestClient) -> None:
    evil = ("<script>alert(1)</script>", "\"'><img src=x onerror=1>", "{{ 7 * 7 }}", "&amp;", "x", "y")
    batch_id = site.finished(new_batch(title="<script>t</script>", names=evil))
    for path in (
        "/",
        f"/batches/{batch_id}/ranking",
        f"/batches/{batch_id}/live",
        f"/batches/{batch_id}/delete",
    ):
        page = client.get(path).text
        assert "<script>" not in page
        assert "<img" not in page
        assert "&lt;script&gt;t&lt;/script&gt;" in page
        assert "49" not in re.findall(r'<th scope="row">(.*?)</th>', page)


def test_every_page_has_its_landmarks_one_heading_and_a_strict_policy(site: Site, client: TestClient) -> None:
    done, ready = site.finished(), site.start(start=False)
    paths = ["/", "/batches/new", f"/batches/{ready}/check", f"/batches/{done}/live",
             f"/batches/{done}/ranking", f"/batches/{done}/delete", f"/batches/{uuid4()}"]  # fmt: skip
    for path in paths:
        answer = client.get(path)
        page = Outline(answer.text)
        assert page.count("main") == page.count("h1") == page.count("nav") == 1, path
        assert page.tags[0] == ("html", {"lang": "en"})
        assert ("a", {"class": "skip", "href": "#content"}) in page.tags
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for tag, attributes in page.tags:
            assert not any(name == "style" or name.startswith("on") for name in attributes), (path, tag)
            assert tag != "style"
            assert tag != "script" or (attributes.get("src") or "").startswith("/static/")
            for name in ("src", "href", "action"):
                assert not (attributes.get(name) or "").startswith(("http", "//")), (path, tag)
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path


def test_fields_have_labels(client: TestClient) -> None:
    page = Outline(client.get("/batches/new").text)
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    for tag, attributes in page.tags:
        if tag in {"input", "textarea"} and attributes.get("type") not in {"radio", "hidden"}:
            assert attributes["id"] in labelled


def test_an_unknown_batch_is_a_page_that_says_so(client: TestClient) -> None:
    answer = client.get(f"/batches/{uuid4()}/ranking")
    assert answer.status_code == 404
    assert "There is no batch" in answer.text


def test_files_of_the_page_are_ours(client: TestClient) -> None:
    for name in ("juxta.css", "live.js", "new.js", "juxta.svg"):
        assert client.get(f"/static/{name}").status_code == 200
    assert client.get("/static/../pages.py").status_code == 404
