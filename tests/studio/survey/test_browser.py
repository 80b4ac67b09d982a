"""A study as people meet it: Chromium by mouse, on a phone and by keyboard, and a killed server."""

import csv
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import httpx
import pytest

from sparks.evaluation.statistics.report import as_markdown, report
from sparks.studio.survey.ballots import Ballots
from sparks.studio.survey.export import export
from sparks.studio.survey.making import make
from sparks.studio.survey.orders import PLACES
from sparks.studio.survey.study import read_study
from tests.studio.browser import until
from tests.studio.survey.conftest import Server
from tests.studio.survey.test_making import RANKS

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
needs_browser = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="no Chromium: apt install chromium"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    with playwright.sync_playwright() as start:
        browser = start.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def wanted(page, folder: Path) -> tuple[list[str], list[str]]:
    """The letters that one who likes RANKS gives places to and ticks, on the page that is open."""
    asked = page.locator("h1").inner_text()
    if asked.startswith("Place "):
        return [asked.split(f" {place}")[0][-1] for place in PLACES], []
    scenario = next(each for each in read_study(folder).scenarios if each.prompt in asked)
    sources = [video.get_attribute("src") for video in page.locator(".candidates video").all()]
    letters = {source.removeprefix("/video/"): "ABCD"[i] for i, source in enumerate(sources)}
    places = [letters[scenario.edits[method]] for method in RANKS[:3]]
    return places, places[:1]


def by_mouse(page, places: list[str], achieved: list[str]) -> None:
    for name, letter in zip(PLACES, places, strict=True):
        page.locator(f"label:has([name={name}][value={letter}])").click()
    for letter in achieved:
        page.locator(f"#candidate-{letter} .achieved").click()
    page.get_by_role("button", name="Send").click()


def by_touch(page, places: list[str], achieved: list[str]) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name, letter in zip(PLACES, places, strict=True):
        page.locator(f"label:has([name={name}][value={letter}])").tap()
    for letter in achieved:
        page.locator(f"#candidate-{letter} .achieved").tap()
    page.get_by_role("button", name="Send").tap()


def by_keyboard(page, places: list[str], achieved: list[str]) -> None:
    for number, letter in enumerate(places, 1):
        page.keyboard.press(letter.lower())
        page.keyboard.press(str(number))
    for letter in achieved:
        page.keyboard.press(letter.lower())
        page.keyboard.press("x")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.send button')"):
            break
    page.keyboard.press("Enter")


def watched(page) -> list[str]:
    """Whatever goes wrong on it from now on."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    return errors


def take_part(browser, folder: Path, link: str, act, **more: object) -> None:
    context = browser.new_context(**more)
    page = context.new_page()
    errors = watched(page)
    page.goto(link)
    page.get_by_role("button").press("Enter")
    page.wait_for_url("**/page/1")
    while "/page/" in page.url:
        before = page.url
        act(page, *wanted(page, folder))
        page.wait_for_url(lambda url, before=before: url != before)
    assert page.url.endswith("/done")
    assert errors == []
    context.close()


@needs_browser
def test_three_people_come_to_figures(study: Path, server: Server, chromium) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    take_part(chromium, study, server.links[0], by_mouse)
    take_part(chromium, study, server.links[1], by_touch, **phone)
    take_part(chromium, study, server.links[2], by_keyboard, reduced_motion="reduce")
    context = chromium.new_context(accept_downloads=True)
    mine = context.new_page()
    mine.goto(server.mine)  # which leaves its token at the door
    mine.get_by_text("Taking part").wait_for()
    errors = watched(mine)
    mine.reload()
    mine.get_by_text("End the study").click()
    mine.get_by_role("button", name="End it for good").click()
    mine.get_by_role("heading", name="Figures").wait_for()
    assert errors == []
    with mine.expect_download() as download:
        mine.get_by_role("link", name="votes.csv").click()
    votes = study / "downloaded.csv"
    download.value.save_as(votes)
    context.close()
    with votes.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * 2 * 4
    figures = as_markdown(report(str(votes)))
    assert "6 ballots over 2 scenarios; Achieved of 6 that tick anything" in figures
    assert "| ours | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] | 3.00 [3.00, 3.00] |" in figures
    export(study, attentive=True)
    with (study / "participants.csv").open(newline="") as file:
        assert [row["attentive"] for row in csv.DictReader(file)] == ["1", "1", "1"]


@needs_browser
def test_choices_are_kept_as_they_are_made(study: Path, server: Server, chromium) -> None:
    page = chromium.new_page()
    page.goto(server.links[0])
    page.get_by_role("button").click()
    page.wait_for_url("**/page/1")
    for keys in ("b1", "a1", "b2", "bx", "c3", "c3"):  # A takes the first place from B
        for key in keys:
            page.keyboard.press(key)
    assert page.locator("#chosen").inner_text().split() == ["1st", "A", "2nd", "B", "3rd", "–"]
    page.get_by_role("link", name="Later").click()  # at once
    page.wait_for_url("**/page/2")
    page.get_by_role("link", name="Back").click()
    page.wait_for_url("**/page/1")
    assert page.locator("#chosen").inner_text().split() == ["1st", "A", "2nd", "B", "3rd", "–"]
    assert page.locator("#candidate-B .achieved input").is_checked()
    page.get_by_role("button", name="Send").click()  # the browser itself says what is missing
    assert page.url.endswith("/page/1")
    until(page, "[...document.forms[0].querySelectorAll('video')].every(v => v.readyState > 2)")
    page.locator("#candidate-C .larger").click()
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    page.close()


@needs_browser
def test_it_works_without_scripts(study: Path, server: Server, chromium) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.links[0])
    page.get_by_role("button").click()
    by_mouse(page, ["C", "A", "D"], ["A"])
    assert page.url.endswith("/page/2")
    context.close()


def test_whoever_was_thanked_is_there_after_a_kill(comparison: Path, tmp_path: Path) -> None:
    make(comparison, tmp_path / "study", limit=10_000, attention=False)
    server = Server(tmp_path / "study")
    acknowledged: list[int] = []

    def votes() -> None:
        origin = {"origin": f"http://127.0.0.1:{server.port}"}
        with httpx.Client(headers=origin, timeout=20) as browser:
            while True:
                browser.cookies.clear()
                page = browser.post(server.links[0], follow_redirects=True)
                number = int(next(iter(browser.cookies.values())).split(".")[0])
                answer = {"first": "A", "second": "B", "third": "C"}
                if browser.post(str(page.url), data=answer).status_code == 303:
                    acknowledged.append(number)

    def until_the_end() -> None:
        with pytest.raises((httpx.TransportError, URLError)):
            votes()

    threads = [threading.Thread(target=until_the_end) for _ in range(4)]
    [thread.start() for thread in threads]
    while len(acknowledged) < 40:
        threads[0].join(0.01)
    server.kill()
    [thread.join() for thread in threads]
    with Ballots(tmp_path / "study") as ballots:
        there = {answer.participant for answer in ballots.answers()}
        assert len(set(acknowledged)) == len(acknowledged)
        assert set(acknowledged) <= there
        assert len(there - set(acknowledged)) <= 4
    again = Server(tmp_path / "study")  # and it goes on
    assert httpx.get(again.links[0]).status_code == 200
    again.kill()
