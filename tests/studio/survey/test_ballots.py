"""The store: what is in it stays as it is, and nobody answers twice."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparks.errors import SparksError
from sparks.studio.survey.ballots import FILE, Ballots
from sparks.studio.survey.choices import Choice, Refused, read_choice
from sparks.studio.survey.orders import Page

PAGES = [Page("s", ("a", "b", "c", "d")), Page("t", ("d", "c", "b", "a"))]
CHOICE = Choice((1, 0, 2), (1,))


@pytest.fixture
def ballots(tmp_path: Path) -> Iterator[Ballots]:
    with Ballots(tmp_path) as opened:
        yield opened


def joined(ballots: Ballots) -> int:
    return ballots.join(ballots.add_links(1)[0], lambda _: PAGES)


def status(call: object, *arguments: object) -> int:
    with pytest.raises(Refused) as refused:
        call(*arguments)  # type: ignore[operator]
    return refused.value.status


def test_an_answer_is_kept_with_its_time_and_the_order_that_was_shown(ballots: Ballots) -> None:
    number = joined(ballots)
    assert ballots.show(number, 1) is None
    ballots.choose(number, 1, Choice((3, None, None)))
    assert ballots.show(number, 1) == Choice((3, None, None))
    ballots.answer(number, 1, CHOICE)
    [answer] = ballots.answers()
    assert (answer.shown, answer.choice, answer.page) == (PAGES[1], CHOICE, 1)
    assert 0 <= answer.seconds < 5
    assert ballots.sent(number) == {1}


def test_there_is_one_answer_for_each_participant_and_page(ballots: Ballots) -> None:
    number = joined(ballots)
    assert status(ballots.answer, number, 0, CHOICE) == 409  # never shown
    ballots.show(number, 0)
    ballots.answer(number, 0, CHOICE)
    ballots.answer(number, 0, CHOICE)  # the browser has not heard of the first
    assert status(ballots.answer, number, 0, Choice((0, 1, 2))) == 409
    assert status(ballots.choose, number, 0, CHOICE) == 409
    assert len(ballots.answers()) == 1


def test_rows_can_only_be_added(ballots: Ballots, tmp_path: Path) -> None:
    number = joined(ballots)
    ballots.show(number, 0)
    ballots.answer(number, 0, CHOICE)
    other = sqlite3.connect(tmp_path / FILE)
    for change in ("DELETE FROM answers", "UPDATE answers SET choice = '{}'"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            other.execute(change)
    other.close()
    assert os.stat(tmp_path / FILE).st_mode & 0o077 == 0


def test_a_link_lets_in_as_many_as_it_is_for(ballots: Ballots) -> None:
    invited, code = ballots.add_links(1)[0], ballots.add_links(1, 2)[0]
    first = ballots.join(invited, lambda _: PAGES)
    assert ballots.join(invited, lambda _: PAGES) == first == ballots.joined_by(invited)
    assert [ballots.join(code, lambda _: PAGES) for _ in range(2)] == [1, 2]
    assert status(ballots.join, code, lambda _: PAGES) == 410
    assert status(ballots.join, "another", lambda _: PAGES) == 403
    assert [link.joined for link in ballots.links()] == [1, 2]


def test_nothing_is_taken_after_the_end(ballots: Ballots) -> None:
    number = joined(ballots)
    ballots.show(number, 0)
    ballots.show(number, 1)
    ballots.answer(number, 0, CHOICE)
    ballots.end()
    ballots.answer(number, 0, CHOICE)  # was acknowledged before
    assert status(ballots.answer, number, 1, CHOICE) == 410
    assert status(ballots.choose, number, 1, CHOICE) == 410
    assert status(ballots.join, ballots.add_links(1)[0], lambda _: PAGES) == 410


def test_many_at_once_get_numbers_of_their_own(ballots: Ballots) -> None:
    codes, numbers = ballots.add_links(40), []

    def take_part(code: str) -> None:
        number = ballots.join(code, lambda _: PAGES)
        ballots.show(number, 0)
        ballots.answer(number, 0, CHOICE)
        numbers.append(number)

    threads = [threading.Thread(target=take_part, args=(code,)) for code in codes]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(numbers) == list(range(40))
    assert len(ballots.answers()) == 40


def test_a_token_is_of_one_participant_and_one_study(ballots: Ballots, tmp_path: Path) -> None:
    assert ballots.is_token(3, ballots.token(3))
    assert not ballots.is_token(4, ballots.token(3))
    assert not ballots.is_token(3, "")
    assert not ballots.is_token(3, "é")
    with Ballots(tmp_path / "other") as other:
        assert not other.is_token(3, ballots.token(3))
    with Ballots(tmp_path) as again:
        assert again.is_token(3, ballots.token(3))


def test_something_else_is_no_store(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("votes " * 1000)
    with pytest.raises(SparksError, match=r"votes.sqlite cannot be opened"):
        Ballots(tmp_path)


VOTER = """
import json, sys
from pathlib import Path
from sparks.studio.survey.ballots import Ballots
from sparks.studio.survey.choices import Choice
from sparks.studio.survey.orders import Page
ballots = Ballots(Path(sys.argv[1]))
[code] = ballots.add_links(1, 10**6)
while True:
    number = ballots.join(code, lambda _: [Page("s", ("a", "b", "c"))])
    ballots.show(number, 0)
    ballots.answer(number, 0, Choice((2, 1, 0)))
    print(number, flush=True)
"""


def test_whoever_was_told_is_there_after_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", VOTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(30)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    acknowledged = {int(line) for line in told if line.endswith("\n")}
    with Ballots(tmp_path) as ballots:
        there = {answer.participant for answer in ballots.answers()}
    assert acknowledged <= there
    assert len(there) <= len(acknowledged) + 1


def fields(text: str) -> list[tuple[str, str]]:
    return [tuple(each.split("=")) for each in text.split()]  # type: ignore[misc]


def test_a_form_is_read_by_its_letters() -> None:
    said = fields("first=B second=A third=C achieved=B achieved=B other=x")
    assert read_choice(said, PAGES[0]) == CHOICE
    assert read_choice(fields("third=A"), PAGES[0], whole=False) == Choice((None, None, 0))


@pytest.mark.parametrize(
    "said",
    [
        "first=B second=A",
        "first=B second=A third=B",
        "first=B second=A third=E",
        "first=B second=A third=",
        "first=B second=A third=CD",
        "first=B second=A third=C first=D",
        "first=B second=A third=C achieved=Z",
        "first=B second=A third=a",
    ],
)
def test_a_form_that_is_no_answer(said: str) -> None:
    assert status(read_choice, fields(said), PAGES[0]) == 422
