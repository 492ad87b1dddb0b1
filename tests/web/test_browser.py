"""The pages in a real Chromium: the policy lets our own script run, and keyboard and landmarks work."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.contracts import ProviderStatus
from tests.cj.conftest import queued
from tests.cli.test_cli import juxta
from tests.flow.process import process_on
from tests.web.conftest import Site, essay_text, lane, new_batch, served
from tests.web.test_money import PAID
from tests.web.test_provenance import by_an_ai
from tests.web.test_waits import OPEN

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
RULES_BANNER = (
    "Judged by rules, not by people or an AI. Use it to learn the tool; do not grade pupils with it."
)


@pytest.fixture
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing; run tests/install-chromium")
        pytest.skip("no Chromium here; tests/install-chromium gets one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


def watched(browser: Browser, **options: object) -> tuple[Page, list[str]]:
    """A page, and everything it complains about; leaving a page ends its requests, which is no complaint."""
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda r: None if r.failure == "net::ERR_ABORTED" else complaints.append(r.url))
    return page, complaints


def test_a_batch_is_watched_to_its_end_and_its_ranking_read(
    site: Site, browser: Browser, tmp_path: Path
) -> None:
    for n in range(4):
        (tmp_path / f"essay {n}.txt").write_text(essay_text(n))
    site.provider.verdict = queued
    with served(site) as url:
        page, complaints = watched(browser)

        page.goto(f"{url}/batches/new")
        page.get_by_label("Drop files here").set_input_files(sorted(tmp_path.glob("*.txt")))
        expect(page.get_by_role("status")).to_contain_text("4 chosen")
        page.get_by_label("Title").fill("In a browser")
        page.get_by_label("Question").fill("Which is better?")
        page.get_by_role("button", name="Look at the essays").click()
        page.get_by_role("button", name="Start: at most").click()

        page.wait_for_url("**/live")
        expect(page.get_by_role("status")).to_have_text("running")
        expect(page.get_by_text("None yet.")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("status")).to_have_text("paused")
        page.get_by_role("button", name="Resume").click()
        page.wait_for_function("document.querySelector('[data-show=queue]').textContent.includes('waiting')")

        answered = 0
        batch_id = site.call(site.cj.views.batches)[0].id
        deadline = time.monotonic() + 30
        while not page.get_by_role("link", name="See the ranking").is_visible():
            assert time.monotonic() < deadline
            waiting = site.provider.requests[answered:]
            for request in waiting:
                site.call(site.cj.deliver, request, batch_id)
            answered += len(waiting)
            page.wait_for_timeout(50)
        expect(page.get_by_role("status")).to_have_text("finished")
        expect(page.locator("#verdicts li").first).to_contain_text("rules/balanced · clear")
        assert page.locator("#ranking tr").first.locator("th").inner_text() == "essay 3"
        expect(page.locator("#ranking circle")).to_have_count(4)
        expect(page.get_by_role("button", name="Pause")).to_be_hidden()

        page.get_by_role("link", name="See the ranking").click()
        expect(page.get_by_role("note")).to_have_text(RULES_BANNER)
        expect(page.get_by_role("img", name="Scores with their uncertainty")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="ranking.csv").click()
        assert Path(download.value.path()).read_text().startswith("rank,essay,score")
        assert complaints == []


def test_the_keyboard_reaches_everything_and_landmarks_are_there(site: Site, browser: Browser) -> None:
    with served(site) as url:
        batch_id = site.finished()
        for path in (f"/batches/{batch_id}/live", f"/batches/{batch_id}/ranking"):
            page, complaints = watched(browser)
            page.goto(url + path)
            for role in ("banner", "navigation", "main", "contentinfo"):
                expect(page.get_by_role(role)).to_have_count(1)
            page.keyboard.press("Tab")
            expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
            page.keyboard.press("Enter")
            expect(page.get_by_role("main")).to_be_focused()
            names = []
            for _ in range(40):
                page.keyboard.press("Tab")
                name, outline = page.evaluate(
                    "() => [document.activeElement.innerText, getComputedStyle(document.activeElement).outlineStyle]"
                )
                if page.evaluate("document.activeElement === document.body"):
                    break
                names.append(name)
                assert outline == "solid", name
            assert any("See the ranking" in name or "ranking.csv" in name for name in names)
            assert complaints == []


def test_a_supposition_is_ticked_shown_and_passed_on_by_its_address(site: Site, browser: Browser) -> None:
    with served(site) as url:
        batch_id = site.finished()
        page, complaints = watched(browser, java_script_enabled=False)
        page.goto(f"{url}/batches/{batch_id}/ranking")
        page.get_by_role("link", name="What if").click()
        page.get_by_text("6 essays", exact=True).click()
        page.get_by_label("Essay 03").check()
        page.get_by_role("button", name="Show both rankings").click()
        expect(page).to_have_url(f"{url}/batches/{batch_id}/what-if?essay=3")
        expect(page.get_by_role("img", name="Ranks before and after").first).to_be_visible()
        expect(page.get_by_label("Essay 03")).to_be_checked()
        page.get_by_role("link", name="Essay 03").click()
        expect(page.get_by_role("heading", name="Ladder")).to_be_visible()
        page.get_by_role("link", name="Who beat whom").click()
        expect(page.get_by_role("img", name="Who beat whom")).to_be_visible()
        page.get_by_role("link", name="Reliability path").click()
        expect(page.get_by_role("img", name="Path of the reliability").first).to_be_visible()
        page.get_by_role("link", name="Judges").click()
        expect(page.get_by_role("img", name="Position bias of each judge").first).to_be_visible()
        assert complaints == []


def test_people_sign_in_with_a_key_hand_in_essays_and_sign_out(tmp_path: Path, browser: Browser) -> None:
    for n in range(3):
        (tmp_path / f"essay {n}.txt").write_text(essay_text(n))
    folder = tmp_path / "data"
    scopes = [word for scope in ("read", "submit", "operate") for word in ("--scope", scope)]
    key = juxta("key", "new", "--name", "ann", *scopes, "--data", folder).stdout.strip()
    with process_on(folder, "--no-demo", "--set", "auth.enabled=true") as process:
        page, complaints = watched(browser)
        page.goto(f"{process.url}/batches/new")
        expect(page).to_have_title("Sign in · Juxta")
        page.get_by_label("Your key").fill("juxta_guess")
        page.keyboard.press("Enter")
        expect(page.get_by_text("This key opens nothing here.")).to_be_visible()
        assert [c for c in complaints if "401" not in c] == []
        complaints.clear()
        page.get_by_label("Your key").fill(key)
        page.get_by_role("button", name="Sign in").click()

        page.get_by_label("Drop files here").set_input_files(sorted(tmp_path.glob("*.txt")))
        page.get_by_label("Title").fill("Behind a key")
        page.get_by_label("Question").fill("Which is better?")
        page.get_by_role("button", name="Look at the essays").click()
        page.get_by_role("button", name="Start: at most").click()
        expect(page.get_by_role("status")).to_have_text("finished", timeout=30_000)

        page.get_by_role("link", name="See the ranking").click()
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete the batch").click()
        expect(page.get_by_text("Behind a key")).to_have_count(0)
        assert page.context.cookies()[0]["httpOnly"]
        page.get_by_role("button", name="Sign out ann").click()
        page.goto(process.url)
        expect(page).to_have_title("Sign in · Juxta")
        assert page.context.cookies() == []
        assert complaints == []


def test_money_is_asked_for_said_on_the_button_and_watched(
    site: Site, browser: Browser, tmp_path: Path
) -> None:
    for n in range(8):
        (tmp_path / f"essay {n}.txt").write_text(essay_text(n))
    site.defaults = PAID
    site.provider.verdict = queued
    with served(site) as url:
        page, complaints = watched(browser)
        page.goto(f"{url}/batches/new")
        page.get_by_label("Drop files here").set_input_files(sorted(tmp_path.glob("*.txt")))
        page.get_by_label("Title").fill("With an AI")
        page.get_by_label("Question").fill("Which is better?")
        page.get_by_label("big, by openai").check()
        page.get_by_role("button", name="Look at the essays").click()
        page.get_by_role("link", name="Give a budget: this judge costs money.").click()
        expect(page.get_by_label("Budget in US dollars")).to_be_focused()
        page.get_by_label("Budget in US dollars").fill("0.50")
        page.get_by_label("Drop files here").set_input_files(sorted(tmp_path.glob("*.txt")))
        page.get_by_role("button", name="Look at the essays").click()
        page.get_by_role("button", name="Start: at most 16 comparisons, stops at 0.50 USD").click()

        expect(page.get_by_text("0.00 USD of 0.50 USD")).to_be_visible()
        site.status = ProviderStatus(lanes=(lane("openai/big", OPEN, seconds_until_room=12),))
        expect(page.get_by_text("Waiting for judge openai/big: breaker open")).to_be_visible(timeout=10_000)
        assert page.evaluate(FAINT) == []
        site.status = ProviderStatus(lanes=(lane("openai/big"),))
        expect(page.get_by_text("Waiting for judge openai/big")).to_be_hidden(timeout=10_000)
        assert [c for c in complaints if "422" not in c] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_its_window_and_text_has_contrast(
    site: Site, browser: Browser, width: int, scheme: str
) -> None:
    with served(site) as url:
        site.defaults = PAID
        site.provider.verdict = by_an_ai
        done = site.finished(new_batch(names=("b", "c", "A rather long name of an essay " * 4, *"def")))
        ready = site.start(start=False)
        page, complaints = watched(browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
        for path in ("/", "/batches/new", f"/batches/{ready}/check", f"/batches/{done}/live",
                     f"/batches/{done}/ranking", f"/batches/{done}/path", f"/batches/{done}/judges",
                     f"/batches/{done}/matrix", f"/batches/{done}/essays/2", f"/batches/{done}/what-if",
                     f"/batches/{done}/what-if?essay=2&position_term=off", f"/batches/{done}/delete"):  # fmt: skip
            page.goto(url + path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.evaluate(FAINT) == [], path
        assert complaints == []


FAINT = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter((element) => {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !element.checkVisibility() || element.closest("svg")) return false;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 4.5;
  }).map((element) => element.outerHTML.slice(0, 120));
}"""
