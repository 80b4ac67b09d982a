"""Who takes part, what each was shown, and what was answered."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from sparks.studio.survey.choices import Choice, Refused
from sparks.studio.survey.database import Database
from sparks.studio.survey.orders import Page

FILE = "votes.sqlite"
_WHOSE = "participant INTEGER NOT NULL REFERENCES participants, page INTEGER NOT NULL"
_TABLES = {
    "secrets": "value TEXT NOT NULL",
    "links": "code TEXT PRIMARY KEY, uses INTEGER NOT NULL, time REAL NOT NULL",
    "participants": "number INTEGER PRIMARY KEY, code TEXT NOT NULL REFERENCES links, "
    "time REAL NOT NULL, pages TEXT NOT NULL, UNIQUE (code, number)",
    "shown": f"{_WHOSE}, time REAL NOT NULL, PRIMARY KEY (participant, page)",
    "choices": f"{_WHOSE}, time REAL NOT NULL, choice TEXT NOT NULL",  # until it is sent
    "answers": f"{_WHOSE}, time REAL NOT NULL, seconds REAL NOT NULL, shown TEXT NOT NULL, "
    "choice TEXT NOT NULL, PRIMARY KEY (participant, page)",
    "ended": "time REAL NOT NULL",
}
_LINKS = (
    "SELECT code, uses, (SELECT count(*) FROM participants WHERE participants.code = links.code) "
    "FROM links"
)


@dataclass(frozen=True)
class Link:
    """An invitation, or the one link of an open study: `joined` of at most `uses` participants."""

    code: str
    uses: int
    joined: int


@dataclass(frozen=True)
class Answer:
    """A page as it was sent.

    Attributes:
        participant, page: numbers from 0.
        time: when, in seconds since 1970.
        seconds: since the page was first shown.
        shown: the page, its order included.
    """

    participant: int
    page: int
    time: float
    seconds: float
    shown: Page
    choice: Choice


class Ballots:
    """The store of the study in `folder`.

    Raises:
        SparksError: its file cannot be opened, or is something else.
    """

    def __init__(self, folder: Path) -> None:
        self._db = Database(folder / FILE, _TABLES)
        self._pages: dict[int, list[Page]] = {}
        with self._db.writing() as db:
            if not db.execute("SELECT 1 FROM secrets").fetchone():
                db.execute("INSERT INTO secrets VALUES (?)", (secrets.token_hex(32),))
        self._secret = bytes.fromhex(self._db.rows("SELECT value FROM secrets")[0][0])

    def __enter__(self) -> Ballots:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    # Who may take part

    def add_links(self, count: int, uses: int = 1) -> list[str]:
        """Codes of `count` new links, each for `uses` participants."""
        codes = [secrets.token_urlsafe(12) for _ in range(count)]
        with self._db.writing() as db:
            rows = [(code, uses, time.time()) for code in codes]
            db.executemany("INSERT INTO links VALUES (?, ?, ?)", rows)
        return codes

    def links(self) -> list[Link]:
        """All, in the order in which they were made."""
        return [Link(*row) for row in self._db.rows(f"{_LINKS} ORDER BY links.rowid")]

    def token(self, who: object) -> str:
        """What proves to be `who`: a participant's number, or any other name."""
        return hmac.new(self._secret, str(who).encode(), hashlib.sha256).hexdigest()[:32]

    def is_token(self, who: object, token: str) -> bool:
        """Whether it proves that."""
        return hmac.compare_digest(self.token(who).encode(), token.encode())

    def joined_by(self, code: str) -> int | None:
        """The participant of an invitation, if it has been used.

        Raises:
            Refused: no such link, or one that is used up.
        """
        rows = self._db.rows(f"{_LINKS} WHERE code = ?", code)
        if not rows:
            raise Refused(403, "this is no link of this study; take the one that you were given")
        link = Link(*rows[0])
        if link.joined < link.uses:
            return None
        if link.uses > 1:
            raise Refused(410, "this study has all its participants; thank you for coming")
        [[number]] = self._db.rows("SELECT number FROM participants WHERE code = ?", code)
        return int(number)

    def join(self, code: str, draw: Callable[[int], list[Page]]) -> int:
        """The number of a new participant, who is to see what `draw` gives for it.

        An invitation that was used before gives the same participant again.

        Raises:
            Refused: no such link, one that is used up, or a study that has ended.
        """
        with self._db.writing() as db:
            _check_open(db)
            if (number := self.joined_by(code)) is not None:
                return number
            [number] = db.execute("SELECT count(*) FROM participants").fetchone()
            pages = json.dumps([asdict(page) for page in draw(number)])
            row = (number, code, time.time(), pages)
            db.execute("INSERT INTO participants VALUES (?, ?, ?, ?)", row)
        return number

    def code_of(self, participant: int) -> str:
        """The link by which one came."""
        rows = self._db.rows("SELECT code FROM participants WHERE number = ?", participant)
        return str(rows[0][0])

    # What they do

    def pages(self, participant: int) -> list[Page]:
        """What a participant is shown, from the first page to the last."""
        if participant not in self._pages:  # they never change, and every request needs them
            query = "SELECT pages FROM participants WHERE number = ?"
            [[text]] = self._db.rows(query, participant)
            self._pages[participant] = [_page(page) for page in json.loads(text)]
        return self._pages[participant]

    def sent(self, participant: int) -> set[int]:
        """The pages that have been answered for good."""
        rows = self._db.rows("SELECT page FROM answers WHERE participant = ?", participant)
        return {page for (page,) in rows}

    def show(self, participant: int, page: int) -> Choice | None:
        """Note when a page was first shown; the last choice that was made there."""
        whose = (participant, page)
        query = "SELECT 1 FROM shown WHERE participant = ? AND page = ?"
        if not self._db.rows(query, *whose):
            with self._db.writing() as db:
                db.execute("INSERT OR IGNORE INTO shown VALUES (?, ?, ?)", (*whose, time.time()))
        rows = self._db.rows(
            "SELECT choice FROM choices WHERE participant = ? AND page = ? "
            "ORDER BY json_extract(choice, '$.made') DESC, rowid DESC LIMIT 1",
            *whose,
        )
        return _choice(rows[0][0]) if rows else None

    def choose(self, participant: int, page: int, choice: Choice, made: float = 0) -> None:
        """Keep what was chosen so far; of several the last `made` counts, whenever it arrived.

        Raises:
            Refused: the page has been sent, or the study has ended.
        """
        with self._db.writing() as db:
            _check_open(db)
            if _sent(db, participant, page) is not None:
                raise Refused(409, "this page has been sent; it can no longer be changed")
            row = (participant, page, time.time(), json.dumps(asdict(choice) | {"made": made}))
            db.execute("INSERT INTO choices VALUES (?, ?, ?, ?)", row)

    def answer(self, participant: int, page: int, choice: Choice) -> None:
        """Keep an answer for good: there is one for each participant and page.

        The same answer once more, as of a browser that has not heard of the first, is no error.

        Raises:
            Refused: another one has been sent, the page was never shown, or the study has ended.
        """
        with self._db.writing() as db:
            before = _sent(db, participant, page)
            if before == choice:
                return
            if before is not None:
                raise Refused(409, "this page has been sent; it can no longer be changed")
            _check_open(db)
            query = "SELECT time FROM shown WHERE participant = ? AND page = ?"
            began = db.execute(query, (participant, page)).fetchone()
            if began is None:
                raise Refused(409, "this page has not been shown; open it first")
            now, shown = time.time(), json.dumps(asdict(self.pages(participant)[page]))
            row = (participant, page, now, now - began[0], shown, _text(choice))
            db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)

    # What there is

    def participants(self) -> list[tuple[float, list[Page]]]:
        """When each joined, in seconds since 1970, and what each is shown."""
        rows = self._db.rows("SELECT time, pages FROM participants ORDER BY number")
        return [(when, [_page(page) for page in json.loads(text)]) for when, text in rows]

    def answers(self) -> list[Answer]:
        """All that were sent, as they came."""
        rows = self._db.rows("SELECT * FROM answers ORDER BY rowid")
        return [
            Answer(who, page, when, seconds, _page(json.loads(shown)), _choice(choice))
            for who, page, when, seconds, shown, choice in rows
        ]

    @property
    def ended(self) -> float | None:
        """When the study was ended, if it was."""
        rows = self._db.rows("SELECT min(time) FROM ended")
        return None if rows[0][0] is None else float(rows[0][0])

    def end(self) -> None:
        """Take no more answers, ever."""
        with self._db.writing() as db:
            db.execute("INSERT INTO ended VALUES (?)", (time.time(),))


def _check_open(db: sqlite3.Connection) -> None:
    if db.execute("SELECT 1 FROM ended").fetchone():
        raise Refused(410, "this study has ended; thank you for coming")


def _sent(db: sqlite3.Connection, participant: int, page: int) -> Choice | None:
    query = "SELECT choice FROM answers WHERE participant = ? AND page = ?"
    row = db.execute(query, (participant, page)).fetchone()
    return None if row is None else _choice(row[0])


def _page(content: dict[str, object]) -> Page:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
    return Page(**values)  # type: ignore[arg-type]


def _text(choice: Choice) -> str:
    return json.dumps(asdict(choice))


def _choice(text: str) -> Choice:
    content = json.loads(text)
    return Choice(tuple(content["places"]), tuple(content["achieved"]))
