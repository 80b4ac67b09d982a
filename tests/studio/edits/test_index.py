"""Runs of a folder: all of them, none of elsewhere, and quickly."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sparks.studio.edits.index import Index


def make(folder: Path, prompt: str = "a red ball jumps", **result: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("model: pocket\n")
    facts = {"prompt": prompt, "source": {}, "cost": {"created": "2026-11-26T07:00:00+00:00"}}
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "history.jsonl").write_text("{}\n{}\n")
    if result:
        (folder / "result.json").write_text(json.dumps({"stopped_by": "renders", **result}))
    return folder


def index(root: Path) -> Index:
    return Index(root, root / ".studio" / "index.json")


def test_runs_of_every_kind_are_found(tmp_path: Path) -> None:
    make(tmp_path / "one", p_yes_baseline=0.1, p_yes_edited=0.9, solver="adam")
    make(tmp_path / "two")
    make(tmp_path / "bench" / "cells" / "a" / "task-42", "a blue star spins", solver="cma")
    (tmp_path / "bench" / "plan.json").write_text("{}")
    (tmp_path / "bench" / "index.html").write_text("")
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / "comparison.json").write_text('{"title": "Beside others"}')
    (tmp_path / "other" / "deep").mkdir(parents=True)
    (tmp_path / "other" / "config.yaml").write_text("of: another program")
    found = {entry.path: entry for entry in index(tmp_path).entries()}
    assert found.keys() == {"one", "two", "bench", "bench/cells/a/task-42", "side"}
    assert (found["one"].before, found["one"].after, found["one"].solver) == (0.1, 0.9, "adam")
    assert (found["one"].state, found["two"].state) == ("finished", "unfinished")
    assert found["two"].evaluations == 2
    assert (found["bench"].kind, found["bench"].has_page) == ("experiment", True)
    assert found["bench/cells/a/task-42"].inside == "bench"
    assert found["side"].title == "Beside others"


def test_what_is_searched_for_is_found(tmp_path: Path) -> None:
    make(tmp_path / "one", "a red ball jumps", solver="adam")
    make(tmp_path / "two", "a blue ball JUMPS", solver="cma")
    runs = index(tmp_path)
    assert [entry.path for entry in runs.entries("jumps cma")] == ["two"]
    assert len(runs.entries("ball")) == 2
    assert runs.entries("ball dragon") == []


def test_what_changes_is_seen_and_what_does_not_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(tmp_path / "one")
    make(tmp_path / "two")
    runs = index(tmp_path)
    assert len(runs.entries()) == 2
    read: list[str] = []
    original = Index._read
    monkeypatch.setattr(
        Index,
        "_read",
        lambda self, path, *more: (read.append(path), original(self, path, *more))[1],
    )
    (run / "result.json").write_text(json.dumps({"stopped_by": "interrupt", "p_yes_edited": 0.5}))
    runs.refresh(at_once=True)
    again = index(tmp_path)  # another process, with what the first one has stored
    again.refresh(at_once=True)
    assert read == ["one"]
    assert {entry.path: entry.state for entry in again.entries()} == {
        "one": "stopped",
        "two": "unfinished",
    }
    for name in ("config.yaml", "run.json", "history.jsonl", "result.json"):
        (run / name).unlink()
    again.refresh(at_once=True)
    assert [entry.path for entry in again.entries()] == ["two"]


@pytest.mark.parametrize("damage", ["", "{", "[[1]]", '[[[1], {"path": "/etc"}]]', "[" * 9999])
def test_a_damaged_store_and_damaged_runs_are_no_hindrance(tmp_path: Path, damage: str) -> None:
    run = make(tmp_path / "one")
    (tmp_path / ".studio").mkdir()
    (tmp_path / ".studio" / "index.json").write_text(damage)
    (run / "result.json").write_text(damage or "null")
    (run / "run.json").write_text('{"prompt": ["no text"], "cost": {"created": 7}}')
    (entry,) = index(tmp_path).entries()
    assert (entry.path, entry.title) == ("one", "one")


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere" / "secret")
    root = tmp_path / "runs"
    root.mkdir()
    os.symlink(tmp_path / "elsewhere", root / "link")
    os.symlink(root, root / "loop")
    assert index(root).entries() == []
