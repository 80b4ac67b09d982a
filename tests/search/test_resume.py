"""Searches that are killed and go on."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.errors import SparksError
from sparks.runs.edit import edit, go_on
from sparks.runs.progress import Lines
from sparks.search.checkpoints import (
    FORMAT,
    Checkpoint,
    _digest,
    load_checkpoint,
    previous,
    save_checkpoint,
)
from sparks.search.history import batch_of
from sparks.search.journal import Journal
from sparks.solvers.adam import Adam
from tests.searches import (
    REGISTERED,
    Batches,
    history,
    make,
    result,
    rows,
    search,
    start,
    wait_for_rows,
)
from tests.toy import ToyEditor

SOLVERS = ["adam", "batches", "stateless"]


@pytest.mark.parametrize("name", [*REGISTERED, "batches"])
def test_killed_at_random_moments_a_search_ends_as_if_it_had_not_been(
    tmp_path: Path, name: str
) -> None:
    whole = search(tmp_path / "whole", make(name), "renders=24")
    moments = random.Random(name)
    for share in (0, 0.3, 0.6):
        process = start(tmp_path / "run", name, "renders=24", 0.03)
        wait_for_rows(tmp_path / "run", int(24 * share))
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.join()
    before = rows(tmp_path / "run")
    assert 14 <= before.count(b"\n") < 24
    process = start(tmp_path / "run", name, "renders=24", 0)
    process.join(60)
    assert process.exitcode == 0
    done = result(tmp_path / "run")
    assert rows(tmp_path / "run").startswith(before)
    assert done["renders"] == 24 - before.count(b"\n")
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert (done["stopped_by"], done["best"]) == (whole.stopped_by, whole.best.index)
    assert done["z"] == whole.best.z_sha256


class Kill(BaseException):
    """Nothing in the program catches it."""


class Mortal(ToyEditor):
    """Dies at one of its renders."""

    left = 0

    def render(self, *arguments: Any, **options: Any) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise Kill
        return super().render(*arguments, **options)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_search_goes_on_after_any_evaluation(tmp_path: Path, name: str, after: int) -> None:
    search(tmp_path / "whole", make(name))
    editor = Mortal()
    editor.left = after
    with pytest.raises(Kill):
        search(tmp_path / "run", make(name), editor=editor)
    before = rows(tmp_path / "run")
    editor = ToyEditor()
    outcome = search(tmp_path / "run", make(name), editor=editor)
    assert outcome.evaluations == 12
    assert rows(tmp_path / "run").startswith(before)
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    recalled = 0 if name == "stateless" else before.count(b"\n")  # it needs the gradients again
    assert sum(editor.renders) == 12 - recalled


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("cut", [1, 300, 900, 1400])
def test_torn_rows_are_dropped_and_the_rest_stays(
    tmp_path: Path, name: str, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    search(tmp_path / "whole", make(name), "renders=9")
    search(tmp_path / "run", make(name), "renders=9")
    path = tmp_path / "run" / "history.jsonl"
    data = path.read_bytes()[:-cut]
    path.write_bytes(data)
    search(tmp_path / "run", make(name), "renders=9")
    assert "is torn" in caplog.text
    assert rows(tmp_path / "run").startswith(data[: data.rindex(b"\n") + 1])
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_a_row_in_the_middle_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    search(tmp_path, make("adam"), "renders=4")
    path = tmp_path / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{}\n", *lines[2:]]))
    with pytest.raises(SparksError, match=r"row 2 of .*history.jsonl cannot be read"):
        Journal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        *({}, [], {"list": [3]}, {"dict": 3}, {"dict": [["z", 3]]}, {"tensor": "gone"}),
        {"dict": [[name, 1] for name in ("evaluations", "state", "z", "gradients", "best")]},
    ],
)
def test_a_state_of_something_else_is_none(tmp_path: Path, content: Any) -> None:
    from safetensors.torch import save

    text = json.dumps(content)
    texts = {"format": FORMAT, "content": text, "sha256": _digest(text, {})}
    (tmp_path / "state.safetensors").write_bytes(save({}, texts))
    assert load_checkpoint(tmp_path / "state.safetensors") is None


@pytest.mark.parametrize("damage", ["short", "empty", "garbage", "zeros"])
def test_a_torn_state_falls_back_to_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    search(tmp_path / "whole", Adam(), "renders=9")
    editor = Mortal()
    editor.left = 6
    with pytest.raises(Kill):
        search(tmp_path / "run", Adam(), "renders=9", editor)
    before = rows(tmp_path / "run")
    _damage(tmp_path / "run" / "state.safetensors", damage)
    editor = ToyEditor()
    outcome = search(tmp_path / "run", Adam(), "renders=9", editor)
    assert "state.safetensors is torn" in caplog.text
    assert rows(tmp_path / "run").startswith(before)
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert sum(editor.renders) == 4  # the last one again, for its gradient
    assert outcome.evaluations == 9


def _damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    torn = {"short": data[:-7], "empty": b"", "garbage": data[7:], "zeros": data[:-8] + bytes(8)}
    path.write_bytes(torn[kind])


def test_without_any_state_gradients_are_made_again(tmp_path: Path) -> None:
    search(tmp_path / "whole", Adam(), "renders=9")
    search(tmp_path / "run", Adam(), "renders=9")
    for path in (tmp_path / "run").glob("state*"):
        _damage(path, "empty")
    before = rows(tmp_path / "run")
    search(tmp_path / "run", Adam(), "renders=9")
    assert rows(tmp_path / "run") == before


def test_a_state_that_is_ahead_of_the_rows_is_left(tmp_path: Path) -> None:
    """A process may end between the two writes; the rows decide."""
    search(tmp_path / "whole", Adam(), "renders=9")
    search(tmp_path / "run", Adam(), "renders=9")
    for count in (8, 8, 8):
        path = tmp_path / "run" / "history.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:count]))
        editor = ToyEditor()
        search(tmp_path / "run", Adam(), "renders=9", editor)
        assert sum(editor.renders) == 1
        assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_the_search_of_other_settings_is_refused_by_row(tmp_path: Path) -> None:
    search(tmp_path, Batches())
    (tmp_path / "history.jsonl").write_bytes(b"".join(rows(tmp_path).splitlines(keepends=True)[:9]))

    class Others(Batches):
        def run(self, problem: Any, rng: Any) -> None:
            super().run(problem, type(rng)(type(rng.bit_generator)(77)))

    with pytest.raises(SparksError, match=r"row 2 of history.jsonl .* another candidate"):
        search(tmp_path, Others())

    class Lazy:
        def run(self, problem: Any, rng: Any) -> None:
            problem.evaluate(torch.zeros(problem.dim))

    with pytest.raises(SparksError, match=r"ends after 1 evaluations .* holds 9"):
        search(tmp_path, Lazy())


def test_a_run_in_use_is_refused_and_a_dead_ones_lock_is_none(tmp_path: Path) -> None:
    process = start(tmp_path, "batches", "renders=1000", 0.05)
    wait_for_rows(tmp_path, 1)
    with pytest.raises(SparksError, match="in use by another process"):
        Journal(tmp_path)
    process.kill()
    process.join()
    Journal(tmp_path).close()


def test_patience_is_not_forgotten(tmp_path: Path) -> None:
    class Hasty(Adam):
        """Goes the wrong way."""

        def tell(self, evaluations: Any, progress: float) -> None:
            super().tell([_turned(evaluation) for evaluation in evaluations], progress)

    whole = search(tmp_path / "whole", Hasty(patience=4))
    assert (whole.stopped_by, whole.evaluations) == ("patience", 5)
    for after in (3, 5):
        editor = Mortal()
        editor.left = after
        if after < 5:
            with pytest.raises(Kill):
                search(tmp_path / "run", Hasty(patience=4), editor=editor)
        editor = ToyEditor()
        outcome = search(tmp_path / "run", Hasty(patience=4), editor=editor)
        assert (outcome.stopped_by, outcome.best.index) == ("patience", 0)
        assert sum(editor.renders) == 5 - after
        assert history(tmp_path / "run") == history(tmp_path / "whole")


def _turned(evaluation: Any) -> Any:
    from dataclasses import replace

    return replace(evaluation, gradient=-evaluation.gradient)


def test_checkpoints_keep_plain_data_as_it_is(tmp_path: Path) -> None:
    state = {
        "state": {0: {"step": torch.tensor(3.0), "m": torch.arange(6.0)[::2]}, 1: {}},
        "groups": [{"betas": (0.9, 0.999), "lr": 1e-3, "amsgrad": False, "name": None}],
        "rng": {"bit_generator": "PCG64", "state": 2**127 + 1},
    }
    zeros = torch.zeros(1, 3)
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, Checkpoint(4, state, zeros, None, None, (2, 1)))
    save_checkpoint(path, Checkpoint(5, {}, zeros, zeros, zeros[0]))
    found = load_checkpoint(previous(path))
    assert found is not None
    assert (found.evaluations, found.before, found.skipped) == (4, 3, (2, 1))
    assert found.gradients is found.best is None
    assert torch.equal(found.state["state"][0].pop("m"), torch.tensor([0.0, 2, 4]))
    assert found.state["state"][0].pop("step") == 3
    assert found.state == state | {"state": {0: {}, 1: {}}}
    with pytest.raises(SparksError, match="holds a set"):
        save_checkpoint(path, Checkpoint(6, {"a": {1}}, zeros, None, None))
    newest = load_checkpoint(path)
    assert newest is not None
    assert newest.evaluations == 5


def test_a_killed_edit_of_the_bundled_task_goes_on(tmp_path: Path) -> None:
    arguments = ("--budget", "renders=3", "--output", "run")
    threads = str(torch.get_num_threads())  # they decide how sums are rounded
    process = subprocess.Popen(
        [sys.executable, "-m", "sparks.cli", "solve", *arguments],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": threads},
        stderr=subprocess.DEVNULL,
    )
    wait_for_rows(tmp_path / "run", 1)
    process.kill()
    process.wait()
    before = rows(tmp_path / "run")
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
        done = go_on(tmp_path / "run", Lines())
    assert done["spent"]["renders"] == 3
    assert shown.getvalue().count("/3  total") == 3 - before.count(b"\n")
    assert rows(tmp_path / "run").startswith(before)
    whole = edit({"budget": "renders=3"}, tmp_path / "whole")
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert whole["p_yes_edited"] == done["p_yes_edited"]
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("run", "whole")]
    assert names[0] == names[1]


def test_a_row_says_which_batch_it_was_of() -> None:
    recorded = [{"cost": {"renders": count}} for count in (1, 4, 4, 4, 5, 7, 7)]
    batches = [batch_of(recorded, row) for row in recorded]
    assert batches == [0, 1, 1, 1, 4, 5, 5]
