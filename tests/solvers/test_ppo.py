import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparks.errors import SparksError
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.search.journal import Journal
from sparks.search.objective import Objective, Weights
from sparks.search.problem import EditProblem
from sparks.settings.yaml import read_settings
from sparks.solvers.ppo import PPO, affordable, divergence, even_batch
from sparks.solvers.sampling import RandomSearch
from tests.solvers.quadratic import left, median_left, quadratic
from tests.workplace import make_workplace, run_sparks


def test_it_beats_random_search_clearly_and_its_mean_is_better_than_its_draws() -> None:
    assert median_left(PPO, seeds=3) < median_left(RandomSearch, seeds=3) / 4
    outcome = solve(quadratic("qwen_calls=200", seed=1), PPO(), seed=1)
    assert left(outcome) < 0.1


def test_the_policy_moves_towards_the_target_and_narrows() -> None:
    solver, kept = PPO(), []
    original = solver._agent

    def agent(*arguments: Any) -> Any:
        kept.append(original(*arguments))
        return kept[0]

    solver._agent = agent  # type: ignore[method-assign]
    task = quadratic("qwen_calls=200")
    solve(task, solver)
    mean, log_std = kept[0].policy.parameters_now()
    target = task.space.encode(task.objective.start)[0]
    assert torch.cosine_similarity(mean, target, dim=0) > 0.95
    assert log_std.exp().mean() < 0.4
    assert solver.report["batch"] == 6
    assert len(solver.report["kl"]) == 33
    assert all(0 < nats < 4 for nats in solver.report["kl"])


@pytest.mark.parametrize("calls", [1, 2, 3, 5, 12, 30, 31])
def test_the_budget_is_spent_to_the_last_call(calls: int) -> None:
    sizes: list[int] = []
    task = quadratic(f"qwen_calls={calls}")
    task.observers.append(lambda scored: sizes.append(len(scored)))
    solver = PPO()
    outcome = solve(task, solver)
    assert (outcome.stopped_by, outcome.evaluations) == ("qwen_calls", calls)
    assert not outcome.start.z.any()
    batch, updates = solver.report["batch"], len(solver.report["kl"])
    assert sizes[1 : 1 + updates] == [batch] * updates
    assert calls == 1 + batch * updates + sum(sizes[1 + updates :])
    if calls == 30:
        assert sizes == [1, *[4] * 7, 1]


def history(solver: PPO, disturb: bool = False, seed: int = 4) -> list[tuple[str, float]]:
    """Of a short search; a disturbed one has a critic that draws from the global generators."""
    rows: list[tuple[str, float]] = []

    def listen(evaluation: Evaluation, best: Evaluation) -> None:
        rows.append((evaluation.z_sha256, evaluation.total))
        if disturb:
            torch.rand(3)
            np.random.rand(2)  # noqa: NPY002

    solve(quadratic("qwen_calls=20"), solver, seed=seed, listeners=[listen])
    return rows


def test_the_search_depends_on_its_seed_and_on_what_was_found_alone() -> None:
    first = history(PPO())
    solver = PPO()
    assert history(solver) == history(solver, disturb=True) == first
    assert history(PPO(), seed=5) != first


def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    def search(folder: Path, calls: int) -> tuple[str, dict[str, Any]]:
        task, solver = quadratic("qwen_calls=30"), PPO()

        def cut_off() -> None:
            if task.meter.qwen_calls >= calls:
                raise KeyboardInterrupt

        task.guards.append(cut_off)
        with contextlib.closing(Journal(folder)) as journal, contextlib.suppress(KeyboardInterrupt):
            solve(task, solver, seed=4, journal=journal)
        rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        return json.dumps([row | {"cost": None} for row in rows]), solver.report

    whole = search(tmp_path / "whole", 99)
    part = search(tmp_path / "part", 13)
    assert part[0].count("z_sha256") == 13
    assert search(tmp_path / "part", 99) == whole
    assert whole[0].count("z_sha256") == 30


def test_the_last_candidates_are_the_mean_and_draws_around_it() -> None:
    seen: list[list[Evaluation]] = []
    task = quadratic("qwen_calls=24")
    task.observers.append(seen.append)
    solve(task, PPO(batch=10))
    last = torch.stack([evaluation.z for evaluation in seen[-1]])
    assert [len(scored) for scored in seen] == [1, 10, 10, 3]
    assert last[0].norm() < last[1:].norm(dim=1).min() / 2


def test_seconds_are_foreseen_at_the_pace_so_far_and_end_it() -> None:
    task = quadratic("wall_clock=5s,qwen_calls=100")
    assert affordable(task) == 100
    task.meter.renders = task.meter.qwen_calls = 10
    task.meter.wall_clock = 2.0
    assert affordable(task) == pytest.approx(15)
    assert affordable(quadratic()) == math.inf
    solver = PPO(batch=4)
    outcome = solve(quadratic("wall_clock=1s"), solver)
    assert outcome.stopped_by == "wall_clock"
    assert len(solver.report["kl"]) > 3


def test_a_loss_that_is_no_number_is_survived() -> None:
    class Flaky(PPO):
        def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
            inner = problem.objective.latent

            def latent(controls: Any, progress: float = 0.0) -> dict[str, torch.Tensor]:
                terms = inner(controls, progress)
                if controls.batch > 1:
                    terms["latent_alpha"][0] = math.nan
                return terms

            problem.objective.latent = latent  # type: ignore[method-assign]
            super().run(problem, rng)

    outcome = solve(quadratic("qwen_calls=41"), Flaky(batch=4))
    assert outcome.skipped == 10
    assert outcome.stopped_by == "qwen_calls"
    assert left(outcome) < 1


def test_steps_too_long_for_the_number_of_coordinates_are_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    solver = PPO(lr=1.0, target_kl=0)
    outcome = solve(quadratic("qwen_calls=30", dim=None), solver)
    assert outcome.evaluations == 30
    assert min(solver.report["kl"]) > 20
    assert all(map(math.isfinite, solver.report["kl"]))
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "nats over 30 coordinates: what it learns is chance" in warnings[0]


def test_patience_ends_it_when_nothing_better_comes() -> None:
    task = quadratic("qwen_calls=60")
    task.objective = Objective(Weights(0, 0, 0, 0, 0), task.objective.start)
    outcome = solve(task, PPO(batch=4, patience=9))
    assert (outcome.stopped_by, outcome.evaluations, outcome.best.index) == ("patience", 13, 0)


def test_the_divergence_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_std, other, other_log_std = torch.randn(4, 7, generator=generator)
    normals = [
        torch.distributions.Normal(m, s.exp()) for m, s in ((mean, log_std), (other, other_log_std))
    ]
    expected = float(torch.distributions.kl_divergence(*normals).sum())
    assert divergence((mean, log_std), (other, other_log_std)) == pytest.approx(expected, rel=1e-5)


def test_batches_leave_little_over() -> None:
    assert [even_batch(calls) for calls in (None, 29, 199, 999)] == [8, 4, 6, 12]
    assert all(2 <= even_batch(calls) <= 32 for calls in range(1, 2000, 7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 1}, "batch is 1"),
        ({"batch": 0}, "batch is 0"),
        ({"sigma": 0.0}, "sigma is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"lr": -1.0}, "lr is -1"),
        ({"clip_range": math.inf}, "clip_range is inf"),
        ({"target_kl": 0}, "target_kl is 0"),
        ({"target_kl": math.inf, "lr": 1.0}, "target_kl is inf"),
    ],
)
def test_unusable_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SparksError, match=message):
        PPO(**options)


def test_an_edit_searches_few_coordinates_unless_a_space_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(make_workplace(tmp_path))

    def solved(*more: str) -> dict[str, Any]:
        given = ["solve", "own.mp4", "--prompt", "a blue ball grows", "--config", "settings.yaml"]
        given += ["--solver", "ppo", "--budget", "qwen_calls=6"]
        given += ["--critic", "plugins.py:Redness", "--json", *more]
        code, out, err = run_sparks(monkeypatch, capsys, *given)
        assert code == 0, err
        return json.loads(out)  # type: ignore[no-any-return]

    few = solved("--set", "space.mode=text")
    assert (few["space"], few["spent"]["qwen_calls"], few["stopped_by"]) == (
        "temporal",
        6,
        "qwen_calls",
    )
    assert few["solver_report"]["target_kl"] == 1  # of 16 coordinates
    settings = read_settings(Path(few["run_dir"]) / "config.yaml")
    assert settings["space"] == {"name": "temporal", "mode": "text"}
    theirs = solved("--config", "reference-ppo")
    assert theirs["space"] == "full"
    assert (theirs["solver_report"]["lr"], theirs["solver_report"]["batch"]) == (1e-3, 4)
    assert len(theirs["solver_report"]["kl"]) == 1
