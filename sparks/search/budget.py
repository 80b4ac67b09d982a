"""One meter for every solver: what was spent, and the exact moment to stop."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields

from sparks.errors import SparksError

_SECONDS = {"s": 1, "m": 60, "h": 3600}


class BudgetExhausted(Exception):
    """The next evaluation would exceed `counter`'s limit; nothing of it was spent."""

    def __init__(self, counter: str, limit: float) -> None:
        super().__init__(f"{counter}={limit:g} is spent")
        self.counter = counter


@dataclass(frozen=True)
class Budget:
    """Limits on the meter; None is no limit.

    Attributes:
        qwen_calls: videos scored on one question over one window of frames.
        renders: videos rendered.
        wall_clock: seconds from the first evaluation to the last.
    """

    qwen_calls: int | None = None
    renders: int | None = None
    wall_clock: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read `qwen_calls=30,wall_clock=600s`; seconds may be written as s, m or h.

        Raises:
            SparksError: an unknown counter, one given twice, or a limit that is no positive number.

        Examples:
            >>> Budget.parse("qwen_calls=30,wall_clock=10m")
            Budget(qwen_calls=30, renders=None, wall_clock=600.0)
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in COUNTERS or name in limits:
                problem = "is given twice" if name in limits else "is unknown"
                raise SparksError(
                    f"budget {text!r}: {name!r} {problem}; write "
                    f"e.g. qwen_calls=30,wall_clock=600s with any of {', '.join(COUNTERS)}"
                )
            limits[name] = _limit(name, value)
        return cls(**limits)  # type: ignore[arg-type]

    def limits(self) -> dict[str, float]:
        """The limits that are set."""
        pairs = {name: getattr(self, name) for name in COUNTERS}
        return {name: limit for name, limit in pairs.items() if limit is not None}

    def __str__(self) -> str:
        units = {"wall_clock": "s"}
        return ",".join(
            f"{name}={v:.15g}{units.get(name, '')}" for name, v in self.limits().items()
        )


COUNTERS = tuple(field.name for field in fields(Budget))


def _limit(name: str, value: str) -> float:
    unit = _SECONDS.get(value[-1:], 0) if name == "wall_clock" else 0
    try:
        number = (
            float(value[:-1]) * unit
            if unit
            else (float(value) if name == "wall_clock" else int(value))
        )
        if not 0 < number < float("inf"):
            raise ValueError
    except ValueError:
        kind = "a positive time such as 600s" if name == "wall_clock" else "a positive whole number"
        raise SparksError(f"budget {name}={value!r} must be {kind}") from None
    return number


@dataclass
class Meter:
    """Counters of one search, spent by the problem alone.

    Seconds run from the first evaluation to the end of the last one, solver included; whatever
    happens inside `paused` does not count.

    Examples:
        >>> meter = Meter(Budget(qwen_calls=30, renders=10))
        >>> meter.admit(qwen_calls=9, renders=3)
        >>> meter.progress
        0.3
        >>> meter.affordable(calls_per_render=3)
        7
    """

    budget: Budget = Budget()
    qwen_calls: int = 0
    renders: int = 0
    denoiser_forwards: int = 0
    denoiser_backwards: int = 0
    wall_clock: float = 0.0
    _origin: float | None = None

    def admit(self, *, qwen_calls: int, renders: int) -> None:
        """Charge one batch, or refuse it whole.

        Raises:
            BudgetExhausted: a count would pass its limit, or the seconds are over.
        """
        if self._origin is None:
            self._origin = time.perf_counter()
        self.check(qwen_calls=qwen_calls, renders=renders)
        limit = self.budget.wall_clock
        if limit is not None and self._elapsed() >= limit:
            raise BudgetExhausted("wall_clock", limit)
        self.qwen_calls += qwen_calls
        self.renders += renders

    def check(self, *, qwen_calls: int, renders: int) -> None:
        """Refuse a batch whose counts would pass a limit, whatever the clock says.

        Raises:
            BudgetExhausted: a count would pass its limit.
        """
        limits = self.budget.limits()
        after = {"qwen_calls": self.qwen_calls + qwen_calls, "renders": self.renders + renders}
        for counter, value in after.items():
            if value > limits.get(counter, value):
                raise BudgetExhausted(counter, limits[counter])

    def restore(self, spent: Mapping[str, float]) -> None:
        """Go on from what `spent` gave, as if no time had passed since.

        Raises:
            SparksError: a counter is missing.
        """
        if missing := self.spent().keys() - spent.keys():
            raise SparksError(
                f"the last row of history.jsonl does not say its {', '.join(sorted(missing))}; "
                "start a new run"
            )
        self.qwen_calls, self.renders = int(spent["qwen_calls"]), int(spent["renders"])
        self.denoiser_forwards = int(spent["denoiser_forwards"])
        self.denoiser_backwards = int(spent["denoiser_backwards"])
        self.wall_clock = spent["wall_clock"]
        self._origin = time.perf_counter() - self.wall_clock

    def finish(self, *, forwards: int, backwards: int) -> None:
        """Close the batch last admitted; the device must have been synchronised."""
        self.denoiser_forwards += forwards
        self.denoiser_backwards += backwards
        self.wall_clock = self._elapsed()

    @property
    def late(self) -> bool:
        """Whether the last evaluation ended after the seconds were over."""
        limit = self.budget.wall_clock
        return limit is not None and self.wall_clock > limit

    @property
    def progress(self) -> float:
        """Share of the budget spent, by the counter closest to its limit; 0 without limits."""
        shares = [getattr(self, name) / limit for name, limit in self.budget.limits().items()]
        return min(1.0, max(shares, default=0.0))

    def position(self, batch: int, calls_per_render: int = 1) -> float:
        """Where the last of the next `batch` stands in the search: the first at 0, the last at 1.

        By counts, i of T is at (i - 1) / (T - 1). Where seconds are farther along, or nothing is
        counted, it is the share of them spent before the batch; 0 without limits.
        """
        clock = self.wall_clock / self.budget.wall_clock if self.budget.wall_clock else 0.0
        left = self.affordable(calls_per_render)
        after_first = 0 if left is None else self.renders + left - 1
        counted = (self.renders + batch - 1) / after_first if after_first > 0 else 0.0
        return min(1.0, max(clock, counted))

    def affordable(self, calls_per_render: int = 1) -> int | None:
        """How many more single renders the counts allow; None if only time or nothing limits."""
        left = []
        if self.budget.renders is not None:
            left.append(self.budget.renders - self.renders)
        if self.budget.qwen_calls is not None:
            left.append((self.budget.qwen_calls - self.qwen_calls) // calls_per_render)
        return min(left, default=None)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock, e.g. for a preview."""
        before = time.perf_counter()
        try:
            yield
        finally:
            if self._origin is not None:
                self._origin += time.perf_counter() - before

    def spent(self) -> dict[str, float]:
        """All counters by name."""
        return {
            "qwen_calls": self.qwen_calls,
            "renders": self.renders,
            "denoiser_forwards": self.denoiser_forwards,
            "denoiser_backwards": self.denoiser_backwards,
            "wall_clock": self.wall_clock,
        }

    def _elapsed(self) -> float:
        return 0.0 if self._origin is None else time.perf_counter() - self._origin
