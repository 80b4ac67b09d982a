"""The documentation keeps its word: examples run, links lead somewhere, settings are all there."""

import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

from sparks.pocket.tasks import default_task
from sparks.settings.schema import Config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FRONT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(name), flags=re.DOTALL | re.MULTILINE)


def test_examples_in_the_docstrings_of_the_reference_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for page in sorted((DOCS / "reference").glob("*.md")):
        for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            described: Any = resolve_name(name)
            names = vars(sys.modules[described.__module__])
            for example in doctest.DocTestFinder().find(described, name, globs=dict(names)):
                runner.run(example)
    failed, tried = runner.summarize()
    assert failed == 0
    assert tried > 15


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_the_python_of_the_first_pages_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks(name, "python")
    code = block.replace("qwen_calls=12", "qwen_calls=2")
    assert code != block
    monkeypatch.chdir(tmp_path)
    video = Path(re.findall(r'"(\S+\.mp4)"', code)[0])
    video.parent.mkdir(exist_ok=True)
    task = default_task()
    task.source.write(video, task.static_prompt)
    exec(compile(code, name, "exec"), {"__name__": "docs"})
    start, best, run = re.findall(r"(\S+) -> (\S+) (\S+)\n", capsys.readouterr().out)[0]
    assert 0 < float(start) <= float(best) < 1
    assert (Path(run) / "edited.mp4").exists()


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("name", FRONT)
def test_links_of_the_pages_at_the_root_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        path, _, fragment = link.partition("#")
        assert (ROOT / path).exists(), link
        if fragment:
            headings = re.findall(r"^#+ (.*)$", text(path or name), flags=re.MULTILINE)
            assert fragment in map(anchor, headings), link


def test_every_page_is_in_the_navigation_and_links_stay_in_the_site() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", text("mkdocs.yml").split("\nnav:")[1]))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    made = {"contributing.md", "changelog.md", "reference/command.md"}
    assert listed == there | made
    for page in DOCS.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#:\s]+)[^):\s]*\)", page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            assert target.is_relative_to(DOCS), f"{page.name} links to {link}"
            assert target.exists() or str(target.relative_to(DOCS)) in made, link


def test_the_readme_is_short_lines_and_shows_python_at_once() -> None:
    lines = text("README.md").splitlines()
    assert max(map(len, lines)) <= 120
    assert lines.index("```python") < 50


def keys(settings: dict[str, Any], before: str = "") -> Iterator[str]:
    """All settings in a tree of them; what is said of one guidance is said of every."""
    for name, value in settings.items():
        key = re.sub(r"guidance\.\w+", "guidance.*", before + name)
        inner = isinstance(value, dict) and not key.startswith("guidance.*.")
        yield from keys(value, f"{key}.") if inner else [key]


def test_every_setting_is_in_the_reference() -> None:
    page = text("docs/reference/settings.md")
    missing = {key for key in keys(Config().model_dump()) if f"`{key}`" not in page}
    assert not missing


def test_the_settings_file_of_the_reference_can_be_used() -> None:
    (block,) = blocks("docs/reference/settings.md", "yaml")
    assert Config.resolve(yaml.safe_load(block)).solver.name == "hybrid"


def test_pre_commit_runs_what_ci_checks() -> None:
    (local,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    ci = text(".ci/run")
    assert len(local["hooks"]) == 4
    for hook in local["hooks"]:
        assert hook["entry"] in ci
