"""A search on disk: what is written, what is read again, and who may."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.errors import SparksError
from sparks.search.checkpoints import Checkpoint, previous, save_checkpoint
from sparks.search.journal import Journal


def row(index: int) -> dict[str, Any]:
    known = {"seed": 1, "z_sha256": "0" * 64, "losses": {"vlm": 2.5}, "total": 2.5, "p_yes": 0.25}
    return {"index": index, **known, "best": index == 0, "cost": {"renders": index + 1}}


def checkpoint(evaluations: int) -> Checkpoint:
    return Checkpoint(evaluations, {"step": evaluations}, torch.zeros(1, 3), None, None)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three evaluations, each with a state."""
    journal = Journal(tmp_path / "runs" / "run")
    assert (journal.rows, journal.checkpoint) == ([], None)
    for index in range(3):
        journal.record([row(index)], checkpoint(index + 1))
    journal.close()
    return journal.folder


def test_what_was_recorded_is_read_again(run: Path) -> None:
    lines = (run / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [row(0), row(1), row(2)]
    journal = Journal(run)
    assert journal.rows == [row(0), row(1), row(2)]
    assert journal.checkpoint is not None
    assert journal.checkpoint.state == {"step": 3}
    journal.record([row(3), row(4)])
    assert journal.rows[-1] == row(4)
    journal.close()
    assert (run / "history.jsonl").read_text().splitlines()[:3] == lines
    assert {path.name for path in run.iterdir()} == {
        *("history.jsonl", "state.safetensors", "state.previous.safetensors"),
    }


def test_a_torn_row_is_dropped_and_any_other_is_refused(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = run / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"index": 3, "se')
    journal = Journal(run)
    journal.close()
    assert journal.rows == [row(0), row(1), row(2)]
    assert path.read_bytes() == whole
    assert "is torn: its 16 bytes are dropped" in caplog.text
    path.write_bytes(whole.replace(b'"index": 1', b'"index": 7'))
    with pytest.raises(SparksError, match=r"row 2 of .*history\.jsonl cannot be read"):
        Journal(run)
    path.write_bytes(whole)
    Journal(run).close()  # what was refused has let go of the folder


DEEP = b"[" * 300_000


@pytest.mark.parametrize(
    "change",
    [
        *({"losses": None}, {"losses": {"vlm": "x"}}, {"cost": "x"}, {"cost": {"renders": None}}),
        *({"p_yes": "x"}, {"total": [1]}, {"total": True}, {"seed": 1.5}, {"z_sha256": 3}),
        *(
            {"p_yes": 7},
            {"p_yes": -1},
            {"total": -100.0},
            {"total": None},
            {"losses": {"vlm": 1e999}},
        ),
        *({"cost": {"renders": -1}}, {"cost": {"renders": 1.5}}, {"cost": {"wall_clock": 1e999}}),
        *({"best": 1}, {"index": "1"}, {"index": True}, DEEP, b"3", b"null", b"[]", b"\xff"),
    ],
)
def test_a_row_of_other_types_is_refused(run: Path, change: dict[str, Any] | bytes) -> None:
    path = run / "history.jsonl"
    first, second, *others = path.read_bytes().splitlines()
    if isinstance(change, dict):
        change = json.dumps(json.loads(second) | change).encode()
    path.write_bytes(b"\n".join([first, change, *others]) + b"\n")
    with pytest.raises(SparksError, match=r"row 2 of .*history\.jsonl cannot be read"):
        Journal(run)


def test_the_state_that_fits_the_rows_is_gone_on_from(run: Path) -> None:
    def found() -> Any:
        journal = Journal(run)
        journal.close()
        return journal.checkpoint and journal.checkpoint.state["step"]

    path, state = run / "history.jsonl", run / "state.safetensors"
    save_checkpoint(state, checkpoint(4))  # a process ended before it wrote the row
    assert found() == 3
    assert not previous(state).exists()
    assert found() == 3
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    assert found() is None


def test_a_finished_search_keeps_its_rows_alone(run: Path) -> None:
    journal = Journal(run)
    journal.finish()
    journal.finish()
    journal.close()
    assert [path.name for path in run.iterdir()] == ["history.jsonl"]


def test_one_journal_at_a_time(run: Path) -> None:
    first = Journal(run)
    before = (run / "history.jsonl").read_bytes()
    with pytest.raises(SparksError, match=rf"run {run} is in use by another process; wait for it"):
        Journal(run)
    assert (run / "history.jsonl").read_bytes() == before
    first.record([row(3)])
    first.close()
    second = Journal(run)
    assert len(second.rows) == 4
    second.close()


def test_where_nothing_can_be_written_is_said(tmp_path: Path, run: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        SparksError, match=r"cannot write .*file.history\.jsonl: .*; choose another"
    ):
        Journal(tmp_path / "file")
    (run / "history.jsonl").unlink()
    (run / "history.jsonl").mkdir()
    with pytest.raises(SparksError, match=r"cannot write .*: Is a directory; choose another"):
        Journal(run)


def test_what_is_no_plain_file_is_refused_and_never_waited_for(run: Path) -> None:
    (run / "state.safetensors").unlink()
    (run / "state.safetensors").mkdir()
    with pytest.raises(SparksError, match=r"state\.safetensors is no file; move it away"):
        Journal(run)
    (run / "history.jsonl").unlink()
    os.mkfifo(run / "history.jsonl")
    with pytest.raises(SparksError, match=r"history\.jsonl: it is no plain file"):
        Journal(run)


def test_a_history_that_is_removed_takes_no_more_rows(run: Path) -> None:
    journal = Journal(run)
    (run / "history.jsonl").unlink()
    with pytest.raises(SparksError, match="was removed while it was in use"):
        journal.record([row(3)])
    assert len(journal.rows) == 3
    journal.close()
