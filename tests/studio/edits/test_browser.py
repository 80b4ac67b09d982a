"""The studio as people use it, in a browser: from an upload to a picked and saved edit."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparks.media.clip import read_clip
from sparks.pocket.tasks import default_task
from sparks.runs.recipes import read_recipe
from tests.studio.browser import until

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


Begin = Callable[[Path], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a server on a folder of runs, and says its address; all are ended afterwards."""
    servers: list[subprocess.Popen[str]] = []

    def start(root: Path) -> tuple[subprocess.Popen[str], str]:
        servers.append(started := _start(root))
        assert started.stdout is not None
        return started, started.stdout.readline().split()[-1]

    yield start
    for server in servers:
        server.terminate()
        server.wait()


def _start(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sparks.cli", "studio", str(root), "--devices", "cpu"]
    return subprocess.Popen(
        [*command, "--port", str(free_port())],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def page() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.problems = []  # of scripts, and of what the policy forbids
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "console",
            lambda said: page.problems.append(said.text) if said.type == "error" else None,
        )
        yield page
        browser.close()


def test_from_an_upload_to_an_edit_that_was_picked_and_saved(
    begin: Begin, page: Any, tmp_path: Path
) -> None:
    root, clip = tmp_path / "runs", tmp_path / "<img src=x onerror=alert(1)>.mp4"
    task = default_task()
    task.source.write(clip)
    server, url = begin(root)
    page.goto(url)
    page.get_by_role("link", name="Make an edit").click()
    page.set_input_files("#file", clip)
    page.wait_for_selector(".choice[aria-pressed=true]")
    assert page.locator(".choice img").count() == 1  # the strip: its name is text
    assert "2.00 s, 12.5 fps, with sound" in page.locator("#clip-facts").inner_text()
    page.fill("#prompt", "a yellow dragon grows")
    page.wait_for_selector("text=The model does not know dragon")
    page.fill("#prompt", task.prompt)
    page.fill("#static_prompt", task.static_prompt)
    page.fill("#calls", "6")
    page.get_by_text("More", exact=True).click()
    page.fill("#more", "sampling.num_inference_steps=4\nsampling.grad_steps=2")
    page.locator("#prefix_frames").fill("5")
    assert "2 latent, 5 frames or 0.40 s stay" in page.locator("#k-told").inner_text()
    page.wait_for_selector("text=fits cpu")
    page.get_by_role("button", name="Start the edit").click()
    page.wait_for_url("**/runs/*")
    page.wait_for_selector(".evaluation")  # it is live
    server.kill()  # without a word
    server.wait()
    server, url = begin(root)
    page.goto(url)
    page.get_by_role("link", name=task.prompt).first.click()
    page.wait_for_selector(".chip.good:has-text('finished')")
    page.wait_for_selector("text=Held-out judge")
    assert page.locator("#videos figure:not([hidden])").count() == 3
    until(
        page,
        "[...document.querySelectorAll('#videos figure:not([hidden]) video')]"
        ".every(v => v.readyState >= 2 && v.currentTime > 0.2)",
    )
    times = page.evaluate("[...document.querySelectorAll('#videos video')].map(v => v.currentTime)")
    assert max(times[:3]) - min(times[:3]) < 0.15  # in step
    best = page.locator(".evaluation:has-text('best by score')").get_attribute("data-evaluation")
    other = "3" if best != "3" else "2"
    page.locator(f".evaluation[data-evaluation='{other}'] .star").click()
    page.wait_for_selector(f".evaluation[data-evaluation='{other}'] .star[aria-pressed=true]")
    page.locator(f".evaluation[data-evaluation='{other}'] input").check()
    page.get_by_role("button", name="Render", exact=True).click()
    page.wait_for_selector(
        f"#videos figure:not([hidden]):has-text('Evaluation {other}') video[src]"
    )
    page.locator(f".evaluation[data-evaluation='{other}'] input").check()
    page.get_by_role("button", name="Make it the edit").click()
    page.wait_for_selector(f"#videos figure:has-text('Picked, evaluation {other}')")
    with page.expect_download() as saving:
        page.get_by_role("link", name="Picked edit", exact=True).click()
    saved = tmp_path / "saved.mp4"
    saving.value.save_as(saved)
    (run,) = [path.parent for path in root.glob("*/result.json")]
    assert read_clip(saved).frames.shape == read_clip(run / "edited.mp4").frames.shape
    assert read_recipe(saved)["index"] == int(other) - 1
    assert json.loads((run / "picks" / "stars.json").read_text()) == {"stars": [int(other)]}
    page.goto(url)
    done = page.locator(".queue .chip.good:has-text('done')")
    playwright.expect(done).to_have_count(3, timeout=30_000)  # edit, render, pick
    page.goto(f"{url}?q=grows%20hybrid")
    assert page.locator(".run").count() == 1
    page.goto(f"{url}?q=nothing")
    assert page.locator(".run").count() == 0
    assert [said for said in page.problems if not re.search("ERR_|Failed to load", said)] == []
