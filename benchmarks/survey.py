"""A survey under load, and killed in the middle of it.

    python benchmarks/survey.py [--participants 200] [--seconds 60] [--every 2] [--kills 3] [--json]

Every participant opens a page, makes a choice (which is stored) and sends the answer once in
`--every` seconds. Server and participants share two cores. `--kills` times the server is ended by
SIGKILL while they vote and started again; who was not answered sends the same once more. Exit code
1 if an answer that was acknowledged is not in the file, one is there twice or is another one, or
95 % of the answers of the time without kills took 300 ms or more.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import torch

from sparks.media.clip import Clip, write_clip
from sparks.studio.survey.ballots import FILE, Ballots
from sparks.studio.survey.study import LETTERS, Scenario, Study, video_path

LIMIT = 0.300  # seconds
CORES = 2
SERVE = "import sys; from sparks.cli import main; sys.exit(main())"
Vote = tuple[tuple[int, int, int], tuple[int, ...]]  # places, achieved


def make_study(folder: Path, participants: int, pages: int) -> None:
    """Eight candidates on every page; one video serves for all."""
    names = [f"{number:016x}" for number in range(9)]
    video_path(folder, names[0]).parent.mkdir(parents=True)
    for name in names:
        write_clip(video_path(folder, name), Clip(torch.rand(5, 3, 64, 64), Fraction(12)))
    scenarios = [
        Scenario(
            name=f"scenario {number}",
            prompt="a red ball jumps",
            source=names[0],
            edits={f"method {k}": name for k, name in enumerate(names[1:])},
            width=64,
            height=64,
        )
        for number in range(pages)
    ]
    study = Study(title="Load", scenarios=tuple(scenarios), per_participant=pages, attention=False)
    with Ballots(folder) as ballots:
        ballots.add_links(1, 2 * participants)  # who is not answered joins again
    study.save(folder)


@dataclass
class Server:
    """`sparks survey serve`, started as often as it is ended."""

    folder: Path
    port: int
    process: subprocess.Popen[str] | None = None
    link: str = ""

    def start(self) -> None:
        """Until it answers."""
        words = ["survey", "serve", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *words], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        told = [self.process.stdout.readline() for _ in range(3)]
        if not told[2]:
            raise SystemExit("the server did not start")
        self.link = told[2].strip()

    def kill(self) -> None:
        """Without a warning."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@dataclass
class Told:
    """What participants were told, and how long each kind of request took in seconds."""

    acknowledged: dict[tuple[int, int], Vote] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    again: int = 0  # requests that were not answered and sent once more


class Participant:
    """Someone who votes at a steady pace, whatever becomes of the server."""

    def __init__(self, server: Server, told: Told, number: int, every: float) -> None:
        self.server, self.told, self.every = server, told, every
        self.rng = random.Random(number)
        origin = f"http://127.0.0.1:{server.port}"
        self.client = httpx.AsyncClient(base_url=origin, headers={"origin": origin}, timeout=30)

    async def take_part(self, until: float) -> None:
        """Votes, from joining to the end of the time."""
        await asyncio.sleep(self.rng.random() * self.every)
        await self._request("join", "POST", self.server.link)
        [cookie] = self.client.cookies.values()
        number, page = int(cookie.split(".")[0]), 1
        due = time.perf_counter()
        while time.perf_counter() < until:
            await self._vote(number, page)
            page, due = page + 1, due + self.every
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await self.client.aclose()

    async def _vote(self, number: int, page: int) -> None:
        first, second, third = self.rng.sample(range(8), 3)
        achieved = tuple(sorted(self.rng.sample(range(8), self.rng.randrange(4))))
        places = {"first": first, "second": second, "third": third}
        form: dict[str, Any] = {name: LETTERS[place] for name, place in places.items()}
        form["achieved"] = [LETTERS[each] for each in achieved]
        await self._request("page", "GET", f"/page/{page}")
        await self._request("choice", "POST", f"/page/{page}/choice", form)
        await self._request("answer", "POST", f"/page/{page}", form)
        self.told.acknowledged[number, page - 1] = ((first, second, third), achieved)

    async def _request(self, kind: str, method: str, path: str, form: Any = None) -> None:
        """Until it is answered; a choice that came after its answer is of no use any more."""
        while True:
            began = time.perf_counter()
            try:
                answer = await self.client.request(method, path, data=form)
            except httpx.TransportError:
                self.told.again += 1
                await asyncio.sleep(0.2)
                continue
            if answer.status_code not in (200, 204, 303):
                raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            self.told.times.setdefault(kind, []).append(time.perf_counter() - began)
            return


async def vote(server: Server, participants: int, seconds: float, every: float, kills: int) -> Told:
    """All participants at once; the server is killed at random moments of the time."""
    told, until = Told(), time.perf_counter() + seconds
    people = [Participant(server, told, number, every) for number in range(participants)]
    tasks = [asyncio.create_task(one.take_part(until)) for one in people]
    for at in sorted(random.Random(0).uniform(0.1, 0.8) * seconds for _ in range(kills)):
        await asyncio.sleep(max(0.0, until - seconds + at - time.perf_counter()))
        server.kill()
        await asyncio.to_thread(server.start)
    await asyncio.gather(*tasks)
    return told


def check(folder: Path, told: Told) -> list[str]:
    """What is wrong with the file."""
    with Ballots(folder) as ballots:
        there = {
            (one.participant, one.page): (one.choice.places, one.choice.achieved)
            for one in ballots.answers()
        }
    lost = [key for key, said in told.acknowledged.items() if there.get(key) != said]
    more = len(there.keys() - told.acknowledged.keys())
    wrong = [f"{len(lost)} acknowledged answers are not there: {lost[:3]}"] if lost else []
    wrong += [f"{more} answers that nobody was told of"] if more else []
    with sqlite3.connect(folder / FILE) as database:
        [state] = database.execute("PRAGMA integrity_check").fetchone()
    return wrong + ([f"SQLite: {state}"] if state != "ok" else [])


def measure(participants: int, seconds: float, every: float, kills: int) -> dict[str, Any]:
    """One study from the first participant to the last answer."""
    with tempfile.TemporaryDirectory() as place, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        folder = Path(place) / "study"
        make_study(folder, participants, pages=int(seconds / every) + 3)
        server = Server(folder, port)
        server.start()
        try:
            told = asyncio.run(vote(server, participants, seconds, every, kills))
        finally:
            server.kill()
        return {
            "participants": participants,
            "seconds": seconds,
            "kills": kills,
            "answers": len(told.acknowledged),
            "sent_again": told.again,
            "milliseconds": {kind: _quantiles(times) for kind, times in told.times.items()},
            "wrong": check(folder, told),
        }


def _quantiles(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "most": 1.0}
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        for name, share in shares.items()
    }


def main() -> None:
    """Both studies: one undisturbed, one with kills."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--participants", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    told = [
        measure(asked.participants, asked.seconds, asked.every, kills)
        for kills in dict.fromkeys((0, asked.kills))
    ]
    slow = told[0]["milliseconds"]["answer"]["p95"] >= 1000 * LIMIT
    if asked.json:
        print(json.dumps(told))
    else:
        for one in told:
            print("\n".join(f"{name}: {value}" for name, value in one.items()), end="\n\n")
    sys.exit(1 if slow or any(one["wrong"] for one in told) else 0)


if __name__ == "__main__":
    main()
