"""Orders: balanced over participants, drawn for each."""

from collections import Counter
from itertools import pairwise

import pytest

from sparks.studio.survey.orders import SOURCE, balanced, draw
from sparks.studio.survey.study import Study

SIZE = {"width": 96, "height": 64}


def a_study(scenarios: int = 5, methods: int = 4, **more: object) -> Study:
    edits = {f"m{number}": f"{number:016x}" for number in range(methods)}
    made = [
        {"name": f"s{number}", "prompt": "it jumps", "source": "f" * 16, "edits": edits, **SIZE}
        for number in range(scenarios)
    ]
    given = {"title": "A", "scenarios": made, "per_participant": scenarios} | more
    return Study.model_validate(given)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 12])
def test_everything_stands_everywhere_and_follows_everything_equally_often(count: int) -> None:
    block = count * (1 + count % 2)
    for first in (0, block, 5 * block):
        rows = [balanced(count, number, "seed") for number in range(first, first + block)]
        assert all(sorted(row) == list(range(count)) for row in rows)
        stands = Counter((place, thing) for row in rows for place, thing in enumerate(row))
        follows = Counter(pair for row in rows for pair in pairwise(row))
        assert (len(stands), set(stands.values())) == (count**2, {block // count})
        assert (len(follows), set(follows.values())) == (count * (count - 1), {block // count})


def test_orders_are_drawn_anew_for_every_seed_scenario_and_block() -> None:
    study = a_study(methods=8)
    pages = draw(study, 3)
    assert pages == draw(study, 3)
    assert len({page.candidates for page in pages if not page.told}) > 2
    assert pages != draw(a_study(methods=8, seed=1), 3)
    assert len({tuple(balanced(8, 8 * block, "")) for block in range(20)}) > 15


def test_of_many_scenarios_and_methods_each_is_shown_to_equally_many() -> None:
    study = a_study(scenarios=6, methods=10, per_participant=2, candidates=8, attention=False)
    pages = [page for number in range(60) for page in draw(study, number)]
    assert all(len(page.candidates) == 8 for page in pages)
    scenarios = Counter(page.scenario for page in pages)
    assert set(scenarios.values()) == {20}
    seen = Counter(method for page in pages for method in page.candidates)
    assert max(seen.values()) - min(seen.values()) <= 24  # of 96


def test_an_attention_check_is_one_page_of_the_source_and_not_among_the_first() -> None:
    study = a_study(scenarios=6)
    places = Counter()
    for number in range(60):
        pages = draw(study, number)
        [at] = [index for index, page in enumerate(pages) if page.told]
        places[at] += 1
        assert set(pages[at].candidates) == {SOURCE}
        assert len(set(pages[at].told)) == 3
        assert sorted(page.scenario for page in pages if not page.told) == [
            f"s{number}" for number in range(6)
        ]
    assert set(places) == {2, 3, 4}
    assert not any(page.told for page in draw(a_study(attention=False), 0))


def test_two_candidates_have_two_places() -> None:
    page = draw(a_study(methods=2), 0)[0]
    assert (page.letters, page.places) == ("AB", ("first", "second"))
