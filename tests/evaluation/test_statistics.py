"""Votes to figures, with values known from the paper, from the literature, or by construction."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from sparks.errors import SparksError
from sparks.evaluation.statistics.agreement import fleiss, krippendorff
from sparks.evaluation.statistics.bootstrap import intervals
from sparks.evaluation.statistics.counts import Standing, counts_from_shares
from sparks.evaluation.statistics.paper import overalls, read_shares, table_2
from sparks.evaluation.statistics.reading import read_table
from sparks.evaluation.statistics.report import Asked, report
from sparks.evaluation.statistics.robustness import leave_one_out
from sparks.evaluation.statistics.scores import read_scores
from sparks.evaluation.statistics.significance import friedman, holm, pairs, wilcoxon
from sparks.evaluation.statistics.strength import strengths
from sparks.evaluation.statistics.votes import Votes, read_votes, without_hasty
from tests.workplace import Sparks

METHODS = ("ours", "theirs", "plain", "worst")


def ballot(person: str, scenario: str, order: str, ticks: str, seconds: str = "") -> list[dict]:
    """Methods by their first letters: those placed in their order, and those ticked."""
    return [
        {
            "participant": person,
            "scenario": scenario,
            "method": method,
            "place": str(order.index(method[0]) + 1) if method[0] in order else "",
            "achieved": str(int(method[0] in ticks)),
            "seconds": seconds,
        }
        for method in METHODS
    ]


def survey() -> list[dict]:
    """Three participants, two scenarios; one ballot is missing."""
    return [
        *ballot("a", "dog", "otp", "ot", "40"),
        *ballot("a", "car", "otw", "o", "50"),
        *ballot("b", "dog", "top", "ot", "30"),
        *ballot("b", "car", "opt", "", "35"),
        *ballot("c", "dog", "wpt", "", "2"),
    ]


def drawn_survey(strength: np.ndarray, people: int, scenarios: int) -> Votes:
    """Ballots of people who choose as Plackett and Luce say."""
    rng = np.random.default_rng(5)
    place = np.zeros((people, scenarios, len(strength)))
    for cell in place.reshape(-1, len(strength)):
        order = np.argsort(-(strength + rng.gumbel(size=len(strength))))
        cell[order[:3]] = (1, 2, 3)
    names = tuple(f"m{i}" for i in range(len(strength)))
    ticks = (place == 1).astype(float)
    times = np.full((people, scenarios), np.nan)
    return Votes(
        tuple(map(str, range(people))),
        tuple(map(str, range(scenarios))),
        names,
        place,
        ticks,
        times,
    )


def test_table_2_follows_from_table_s2_in_all_32_figures() -> None:
    again, said = table_2()
    assert again == said
    assert sum(map(len, said.values())) == 32
    counts = read_shares(read_table("table_s2"))
    assert counts.answered.tolist() == [14, 14, 14, 11, 14, 14, 12, 12, 14, 13, 12, 14]
    assert (counts.places.sum(1) == 21).all()  # every ballot has one first, second and third


def test_achieved_of_all_ballots_is_another_figure() -> None:
    counts = read_shares(read_table("table_s2"))
    ours = counts.methods.index("Sound Sparks Motion")
    assert counts.standing().achieved[ours] == pytest.approx(125 / 158)
    assert counts.standing(None, "all").achieved[ours] == pytest.approx(125 / 252)


def test_of_table_s1_one_overall_is_not_what_its_parts_give() -> None:
    found = overalls(read_table("table_s1"))
    assert [(name, round(again, 2), said) for name, again, said, same in found if not same] == [
        ("LTX2.3 Retake", 5.80, 5.77)
    ]


def test_shares_that_nobody_can_have_counted_are_refused() -> None:
    shares = Standing(*(np.array([[value, 0.0]]) for value in (0.5, 0.5, 1.5, 0.5)))
    with pytest.raises(SparksError, match="not those of 21 participants"):
        counts_from_shares(["dog"], ["a", "b"], shares, 21)
    with pytest.raises(SparksError, match=r"Achieved may be of \[2, 4\]"):
        counts_from_shares(["dog"], ["a", "b"], shares, 4)
    shares = Standing(*(np.array([[value]]) for value in (1.0, 0.5, 1.5, 0.5)))
    with pytest.raises(SparksError, match="no ballots have its Win"):
        counts_from_shares(["dog"], ["a"], shares, 2)


def test_ballots_are_counted() -> None:
    votes = read_votes(survey(), "t")
    standing = votes.counts().standing()
    assert standing.win.tolist() == [3 / 5, 1 / 5, 0, 1 / 5]
    assert standing.top3.tolist() == [4 / 5, 5 / 5, 4 / 5, 2 / 5]
    assert standing.score.tolist() == [11 / 5, 9 / 5, 6 / 5, 4 / 5]
    assert standing.achieved.tolist() == [1, 2 / 3, 0, 0]  # of the three that tick anything
    assert votes.counts().standing(None, "all").achieved.tolist() == [3 / 5, 2 / 5, 0, 0]
    assert votes.choices()[0] == (0, 0, [(0, [1, 2, 3]), (1, [2, 3]), (2, [3])])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": "4"}, "line 3: place is '4'; write 0 to 3"),
        ({"place": "1"}, "line 3: a method or place twice"),
        ({"method": "ours"}, "line 3: a method or place twice"),
        ({"achieved": "perhaps"}, "achieved is 'perhaps'"),
    ],
)
def test_a_ballot_that_cannot_be_is_refused(change: dict, message: str) -> None:
    rows = survey()
    rows[1] |= change
    with pytest.raises(SparksError, match=message):
        read_votes(rows, "t")


def test_who_was_hasty_is_left_out() -> None:
    votes, gone = without_hasty(read_votes(survey(), "t"), 10)
    assert (gone, votes.participants) == (["c"], ("a", "b"))
    assert votes.counts().standing().win.tolist() == [3 / 4, 1 / 4, 0, 0]
    with pytest.raises(SparksError, match="all 3 participants are below 100 s"):
        without_hasty(read_votes(survey(), "t"), 100)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        strength = rng.normal(size=12)[:, None] + np.zeros(3)  # scenarios differ, not methods
        place = np.stack([rng.permutation([1.0, 2, 3]) for _ in range(12 * 12)])
        votes = Votes(
            *(tuple(map(str, range(n))) for n in (12, 12, 3)),
            place.reshape(12, 12, 3),
            np.zeros((12, 12, 3)),
            np.full((12, 12), np.nan),
        )
        assert strength.shape == (12, 3)
        low, high = intervals(votes, resamples=200)
        covered += int(low.win[0] <= 1 / 3 <= high.win[0])
    assert covered >= 53
    again = intervals(votes, resamples=200)
    assert (again[0].win == low.win).all()


def test_strengths_are_those_the_ballots_were_drawn_with() -> None:
    truth = np.array([1.5, 0.5, 0.0, -0.5, -1.5])
    found = strengths(drawn_survey(truth, 21, 12), resamples=40)
    assert np.abs(found.mean - truth).max() < 0.3
    assert ((found.low < truth) & (truth < found.high)).sum() >= 4
    assert found.best_rank[0] == found.worst_rank[0] == 1


def test_leaving_one_out_shows_who_decides() -> None:
    found = leave_one_out(read_votes(survey(), "t"))
    assert (found.same_best, found.participants) == (3, 3)
    assert found.high.win[3] == 1 / 3  # without a, only c's ballot and two of b
    assert found.low.win[3] == 0


def test_krippendorff_on_his_own_example() -> None:
    nan = np.nan
    ratings = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
            [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
        ]
    )
    assert krippendorff(ratings, "nominal") == pytest.approx(0.743, abs=1e-3)
    assert krippendorff(ratings, "ordinal") == pytest.approx(0.815, abs=1e-3)
    assert krippendorff(ratings, "interval") == pytest.approx(0.849, abs=1e-3)
    assert krippendorff(np.ones((3, 4))) is None


def test_fleiss_on_his_own_example() -> None:
    given = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    assert fleiss(np.array(given, dtype=float)) == pytest.approx(0.210, abs=1e-3)
    assert fleiss(np.array([[2.0, 0], [1, 0]])) is None


def test_holm_and_the_tests_of_pairs() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    rng = np.random.default_rng(0)
    scores = np.stack([rng.normal(mean, 1, 30) for mean in (0, 0, 3)], 1)
    assert friedman(scores) < 1e-6
    found = pairs(("a", "b", "c"), scores)
    assert [(each.first, each.second) for each in found if each.p_holm < 0.05] == [
        ("c", "a"),
        ("c", "b"),
    ]
    assert all(each.difference >= 0 for each in found)
    against = pairs(("a", "b", "c"), scores, "b")
    assert [(each.first, each.second) for each in against] == [("b", "a"), ("b", "c")]
    assert friedman(np.ones((4, 3))) == 1
    assert pairs(("a", "b"), np.ones((4, 2)))[0].p == 1
    with pytest.raises(SparksError, match="no method 'd'; choose from a, b, c"):
        pairs(("a", "b", "c"), scores, "d")


def test_signed_ranks_are_those_of_scipy_and_exact_with_ties() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        difference = rng.normal(0.5, 1, 12)
        assert wilcoxon(difference) == pytest.approx(scipy.stats.wilcoxon(difference).pvalue)
    # Signs of three equal differences: all positive once in eight, all negative once.
    assert wilcoxon(np.array([0.2, 0.2, 0.2, 0.0])) == 2 / 8
    assert wilcoxon(np.zeros(3)) == 1


def test_scores_of_an_experiment_are_paired_by_task() -> None:
    rows = [
        {"setting": s, "task": t, "seed": "42", "happened": h}
        for s, t, h in [
            *(("adam", "x", "True"), ("adam", "x", "False"), ("adam", "y", "True")),
            *(("cma", "x", "False"), ("cma", "y", "True"), ("cma", "z", "True")),
        ]
    ]
    scores = read_scores(rows, "happened", "t")
    assert (scores.scenarios, scores.methods) == (("x", "y"), ("adam", "cma"))
    assert scores.values.tolist() == [[0.5, 0], [1, 1]]
    assert scores.ranks.tolist() == [1.25, 1.75]
    with pytest.raises(SparksError, match="no numbers 'seed'; it has happened"):
        read_scores(rows, "seed", "t")


def write(path: Path, rows: list[dict]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_the_command_on_the_papers_table(sparks: Sparks) -> None:
    code, out, err = sparks("stats", "table_s2")
    assert code == 0, err
    assert "32 of 32 figures are as printed" in out
    assert "Achieved of 158 that tick anything" in out
    assert "| Sound Sparks Motion | 56.3 | 95.2 | 2.37 | 79.1 |" in out
    code, out, _ = sparks("stats", "table_s1")
    assert "| LTX2.3 Retake | 5.80 | 5.77 | differs by more than rounding |" in out


def test_the_command_on_ballots(sparks: Sparks, tmp_path: Path) -> None:
    table = write(tmp_path / "ballots.csv", survey())
    code, out, err = sparks("stats", table, "--hasty", "10", "--json")
    assert code == 0, err
    parts = {part["title"]: part for part in json.loads(out)}
    assert "below 10 s: 1 participants left out (c)" in parts["Hasty participants"]["note"]
    assert parts["Figures"]["rows"][0]["method"] == "ours"
    assert parts["Figures"]["rows"][0]["Win %"].startswith("75.0 [")
    assert {"Strengths", "Agreement", "Without any one participant"} < parts.keys()


def test_the_command_refuses_what_it_cannot_use(sparks: Sparks, tmp_path: Path) -> None:
    for arguments, message in [
        (("gone.csv",), "no table at gone.csv; give a CSV file, or one of table_1"),
        (("table_s2", "--hasty", "3"), "has no ballots"),
        (("table_s2", "--achieved-of", "some"), "say any_tick or all"),
        (("table_1",), "see sparks stats --help"),
        ((write(tmp_path / "x.csv", [{"a": "1"}]),), "has the columns a"),
    ]:
        code, out, err = sparks("stats", *arguments)
        assert (code, out) == (2, "")
        assert message in err
    (tmp_path / "ragged.csv").write_text("scenario,method\na\n")
    with pytest.raises(SparksError, match="line 2 has not as many cells"):
        report(str(tmp_path / "ragged.csv"), Asked())


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_ballots_of_one_person_are_counted(tmp_path: Path) -> None:
    alone = [row for row in survey() if row["participant"] == survey()[0]["participant"]]
    titles = [section.title for section in report(write(tmp_path / "one.csv", alone), Asked())]
    assert "Without any one participant" not in titles
    assert "Without any one participant" in [
        section.title for section in report(write(tmp_path / "all.csv", survey()), Asked())
    ]
