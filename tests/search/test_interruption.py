"""Searches that are interrupted, or run out of disk, memory or numbers."""

import functools
import math
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.files import write_text
from sparks.models.memory import OutOfMemory, is_out_of_memory
from sparks.runs.folder import Run
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.search.journal import Journal
from sparks.search.problem import EditProblem
from sparks.solvers.adam import Adam
from tests.searches import (
    LIGHT,
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
from tests.toy import Brightness, ToyEditor, problem


@pytest.mark.parametrize(("name", "number"), [("adam", signal.SIGINT), ("batches", signal.SIGTERM)])
def test_the_first_signal_ends_after_the_evaluation_and_the_search_can_go_on(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    whole = search(tmp_path / "whole", make(name), "renders=20")
    process = start(tmp_path / "run", name, "renders=20", 0.1)
    wait_for_rows(tmp_path / "run", 6)
    time.sleep(0.02)
    before = len(history(tmp_path / "run"))
    _send(process, number)
    process.join(30)
    done = result(tmp_path / "run")
    assert done["stopped_by"] == "interrupt"
    kept = history(tmp_path / "run")
    assert len(kept) == done["renders"] == before + (4 if name == "batches" else 1)
    assert kept == history(tmp_path / "whole")[: len(kept)]
    outcome = search(tmp_path / "run", make(name), "renders=20")
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert outcome.best.z_sha256 == whole.best.z_sha256


def test_the_second_signal_stops_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "adam", "renders=9", 1.5)
    wait_for_rows(tmp_path, 1)
    for _ in range(2):
        time.sleep(0.3)  # well into the second evaluation
        _send(process, signal.SIGTERM)
    process.join(30)
    assert len(history(tmp_path)) == 1
    assert process.exitcode
    assert not (tmp_path / "found.json").exists()
    assert search(tmp_path, make("adam"), "renders=3").evaluations == 3


def _send(process: Any, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def test_handlers_are_as_they_were_after_a_search(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    search(tmp_path, make("adam"), "renders=2")
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert before == after


def test_an_interruption_before_there_is_anything_is_one(tmp_path: Path) -> None:
    class Early(Adam):
        def setup(self, problem: EditProblem, rng: Any) -> None:
            super().setup(problem, rng)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, Early())


def _small_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(("name", "size"), [("batches", 3000), ("adam", 3000), ("adam", 1000)])
def test_on_a_full_disk_what_was_recorded_stays_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, size: int
) -> None:
    search(tmp_path / "whole", make(name))
    limit = functools.partial(_small_files, size)
    process = start(tmp_path / "run", name, "renders=12", prepare=limit)
    process.join(30)
    assert process.exitcode == 2
    before = rows(tmp_path / "run")
    assert before == b"".join(before.splitlines(keepends=True))
    assert before.endswith(b"\n") or not before
    search(tmp_path / "run", make(name))
    assert rows(tmp_path / "run").startswith(before)
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_the_message_of_a_full_disk_names_file_and_way_out(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    journal = Journal(tmp_path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._file.fileno())
    os.close(full)
    with pytest.raises(SparksError, match=r"history.jsonl: No space left .*; make room"):
        solve(problem("renders=3"), Batches(), journal=journal)
    journal.close()


def test_a_folder_that_is_removed_or_no_folder_is_said(tmp_path: Path) -> None:
    class Remover(Batches):
        def run(self, problem: EditProblem, rng: Any) -> None:
            problem.evaluate(torch.zeros(problem.dim))
            (tmp_path / "gone" / "history.jsonl").unlink()
            super().run(problem, rng)

    with pytest.raises(SparksError, match="was removed while it was in use"):
        search(tmp_path / "gone", Remover())
    (tmp_path / "file").touch()
    with pytest.raises(SparksError, match=r"cannot write .*choose another output folder"):
        Journal(tmp_path / "file")
    with pytest.raises(SparksError, match=r"cannot write .*choose another output folder"):
        write_text(tmp_path / "file" / "config.yaml", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SparksError, match="cannot write"):
        Run(tmp_path / "run")


class Hungry(ToyEditor):
    """Needs memory for every candidate, far more than a thread that starts meanwhile."""

    elements = 2**27

    def render(self, conditioning: Any, controls: Controls, **options: Any) -> Tensor:
        room = torch.empty(controls.batch * self.elements)
        frames = super().render(conditioning, controls, **options)
        del room
        return frames


def _starved(candidates: float) -> Callable[[], None]:
    """Leave this process memory for so many candidates of `Hungry`; gives what ends that."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + int(candidates * Hungry.elements * 4)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, before)


linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")


@linux
def test_batches_are_halved_until_they_fit_into_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = search(tmp_path / "whole", make("batches"), "renders=13")
    editor = Hungry()
    end = _starved(2.5)
    try:
        outcome = search(tmp_path / "run", make("batches"), "renders=13", editor)
    finally:
        end()
    assert editor.renders == [1] + [2] * 6
    assert caplog.messages == ["out of memory: from here on 2 candidates at a time"]
    assert (outcome.evaluations, outcome.stopped_by) == (13, "renders")
    assert outcome.best.total == pytest.approx(whole.best.total, rel=1e-4)
    assert [row["index"] for row in history(tmp_path / "run")] == list(range(13))


@linux
def test_without_memory_for_one_candidate_the_best_so_far_is_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Growing(Hungry):
        def render(self, conditioning: Any, controls: Controls, **options: Any) -> Tensor:
            self.elements = 2**10 if len(self.renders) < 3 else 2**40
            return super().render(conditioning, controls, **options)

    outcome = search(tmp_path / "run", Adam(), editor=Growing())
    assert (outcome.evaluations, outcome.stopped_by) == (3, "memory")
    assert "out of memory while rendering one candidate; free some, or start anew" in caplog.text
    search(tmp_path / "run", Adam())
    search(tmp_path / "whole", Adam())
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    hopeless = Hungry()
    hopeless.elements = 2**40
    with pytest.raises(OutOfMemory, match=r"clip\.size"):
        search(tmp_path / "other", Adam(), editor=hopeless)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_torch_raises_is_recognised(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, device=device)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))  # oneDNN's
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2) @ torch.zeros(3)
    assert not is_out_of_memory(caught.value)


class Flaky(Brightness):
    """No number at the given calls: neither the answer nor, at negative ones, its gradient."""

    def __init__(self, *bad: int) -> None:
        super().__init__()
        self.bad = bad

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        odds = super().log_odds(frames, prompt, indices)
        call = len(self.asked)
        if call in self.bad:
            return odds * float("inf") * 0
        if -call in self.bad:
            frames.register_hook(lambda gradient: gradient * float("nan"))
        return odds


class Spotty(Brightness):
    """No number for the first candidate of most batches."""

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        odds = super().log_odds(frames, prompt, indices)
        if len(self.asked) % 3 == 1:
            return odds
        return torch.where(torch.arange(len(odds)) == 0, float("nan"), odds)


@pytest.mark.parametrize("name", REGISTERED)
def test_every_solver_survives_candidates_that_are_no_number(name: str) -> None:
    task = problem("renders=30", critic=Spotty(), weights=LIGHT)
    seen: list[Evaluation] = []
    task.observers.append(seen.extend)
    outcome = solve(task, make(name), seed=4)
    assert (outcome.evaluations, outcome.stopped_by) == (30, "renders")
    assert outcome.skipped >= 2
    assert outcome.best.total == min(each.total for each in seen if math.isfinite(each.total))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_loss_or_gradient_that_is_no_number_is_skipped_and_counted(
    tmp_path: Path, sign: int, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [sign * call for call in (3, 6, 7, 10, 11, 12)]
    journal = Journal(tmp_path)
    task = problem("renders=20", critic=Flaky(*bad), weights=LIGHT)
    outcome = solve(task, Adam(lr=0.1), journal=journal)
    journal.close()
    assert (outcome.evaluations, outcome.skipped, outcome.stopped_by) == (12, 6, "diverged")
    assert caplog.messages[0].startswith("evaluation 3: loss or gradient is no number; skipped")
    kept = history(tmp_path)
    assert kept[2]["z_sha256"] == kept[3]["z_sha256"] != kept[4]["z_sha256"]
    assert (kept[2]["total"] is None) == (sign > 0)
    assert outcome.best.p_yes > outcome.start.p_yes


def test_how_many_were_skipped_in_a_row_is_not_forgotten(tmp_path: Path) -> None:
    for budget in ("renders=4", "renders=5", "renders=9"):
        journal = Journal(tmp_path)
        calls = range(-9, -3 + len(journal.rows))  # from the fourth evaluation on
        task = problem(budget, critic=Flaky(*calls), weights=LIGHT)
        outcome = solve(task, Adam(lr_schedule="constant"), journal=journal)
        journal.close()
    assert (outcome.evaluations, outcome.skipped, outcome.stopped_by) == (6, 3, "diverged")
