"""The past of one series, in the one shape that every question about it starts from.

Pure, and standard library only: ``store.series`` reads one, ``analysis.runs`` makes one of frames, and the
rules, the changes, the trends and the pages look at it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ordered: TypeAlias = Sequence[float] | npt.NDArray[np.float64]


DAY_S = 86_400


class SeriesName(NamedTuple):
    """Whose past it is; ``step_name`` None is the session's total."""

    pipeline: str
    step_name: str | None
    mode: str


Percentile: TypeAlias = tuple[float, int]
"""Share, and the least n for which it is given."""

PERCENTILES = {"p50": (0.50, 1), "p90": (0.90, 10), "p95": (0.95, 20), "p99": (0.99, 100)}
"""Column: (share, least n). With fewer runs the percentile would be little more than the slowest run."""


def percentile(ordered: Ordered, name: str) -> float | None:
    """Return a percentile of sorted values; None with too few for it."""
    share, least = PERCENTILES[name]
    return quantile(ordered, share) if len(ordered) >= least else None


def quantile(ordered: Ordered, share: float) -> float:
    """Return the value below which a share of sorted values lies, between two of them as far as need be."""
    low, part = neighbours(len(ordered), share)
    above = ordered[min(low + 1, len(ordered) - 1)]
    return float(ordered[low] + (above - ordered[low]) * part)


def quantiles(rows: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """Return the ``quantile`` of each of many rows of sorted values."""
    low, part = neighbours(rows.shape[1], share)
    below, above = rows[:, low], rows[:, min(low + 1, rows.shape[1] - 1)]
    return below + (above - below) * part


class Statistics(NamedTuple):
    """How long the runs of one series took: all of them, or those of one period."""

    name: SeriesName
    first_day: int | None  # of the period, since 1970; None: of all
    n: int
    failures: int
    mean: float | None  # s
    percentiles: Sequence[float | None]  # s, as they were asked for; None with too few runs

    @classmethod
    def of(
        cls,
        name: SeriesName,
        first_day: int | None,
        values: Iterable[float],
        failures: int,
        percentiles: Iterable[Percentile],
    ) -> Statistics:
        """Return the statistics of runs that count, and of those that failed."""
        ordered = sorted(values)
        n = len(ordered)
        found = [quantile(ordered, share) if n >= max(least, 1) else None for share, least in percentiles]
        return cls(name, first_day, n, failures, math.fsum(ordered) / n if n else None, found)


def monday(day: int) -> int:
    """Return the Monday of a day; both count days since 1970, which began on a Thursday."""
    return day - (day + 3) % 7


def neighbours(n: int, share: float) -> tuple[int, float]:
    """Return the place of the value just below a quantile of n values, and how far it is to the next."""
    place = share * (n - 1)
    low = math.floor(place)
    return low, place - low


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one series, oldest first, in sequences of one length.

    Attributes:
        pipeline: of the sessions; step_name: None is the session's total; mode: canonical JSON.
        metric: what the values are of; ``duration`` in s.
        session_ids: of the runs; start_times: of the sessions (epoch s).
        values: what a run took, in the metric's unit.
        counted: whether the value counts, which is NaN where there is none; failed: whether the run failed.
        highest: where the values are means of a session's runs, the highest of these; lowest: the lowest.
        calm: the values without what the machine added, see ``calm``; empty where nobody knows.
        of_day: what the day of a run had come to when it ended, see ``day_sums``; empty where nobody asked.
        began: when the runs themselves began (epoch s), by which they are of a day; empty where nobody asked,
            and of totals, which begin with their session.
    """

    pipeline: str
    step_name: str | None
    mode: str
    metric: str = "duration"
    session_ids: Sequence[str] = field(default=(), repr=False)
    start_times: Sequence[float] = field(default=(), repr=False)
    values: Sequence[float] = field(default=(), repr=False)
    counted: Sequence[bool] = field(default=(), repr=False)
    failed: Sequence[bool] = field(default=(), repr=False)
    highest: Sequence[float] = field(default=(), repr=False)
    lowest: Sequence[float] = field(default=(), repr=False)
    calm: Sequence[float] = field(default=(), repr=False)
    of_day: Sequence[float] = field(default=(), repr=False)
    began: Sequence[float] = field(default=(), repr=False)

    @property
    def name(self) -> SeriesName:
        """Whose past it is."""
        return SeriesName(self.pipeline, self.step_name, self.mode)

    def __len__(self) -> int:
        return len(self.values)

    def place_of(self, moment: float) -> int:
        """Return how many runs began before a moment."""
        return bisect_left(self.start_times, moment)

    def between(self, first: int, end: int | None = None) -> Series:
        """Return the runs from one place on, and before another."""
        part = slice(first, end)
        return Series(
            *self.name,
            self.metric,
            self.session_ids[part],
            self.start_times[part],
            self.values[part],
            self.counted[part],
            self.failed[part],
            self.highest[part],
            self.lowest[part],
            self.calm[part],
            self.of_day[part],
            self.began[part],
        )

    def at(self, places: Iterable[int]) -> Series:
        """Return the runs at these places."""
        chosen = list(places)

        def kept(given: Sequence[Any]) -> list[Any]:
            return [given[place] for place in chosen] if given else []

        return Series(
            *self.name,
            self.metric,
            *map(kept, (self.session_ids, self.start_times, self.values, self.counted, self.failed)),
            *map(kept, (self.highest, self.lowest, self.calm, self.of_day, self.began)),
        )

    def per_session(self) -> tuple[Series, Sequence[int]]:
        """Return the runs with one for each session, the mean of its own, and the place of its first.

        The mean, as for rules and `regressions`: one move has one number wherever it is told.
        """
        if len(set(self.session_ids)) == len(self):
            return self, range(len(self))
        of_session: dict[str, list[int]] = {}
        for place, session_id in enumerate(self.session_ids):
            of_session.setdefault(session_id, []).append(place)
        firsts = [places[0] for places in of_session.values()]
        means = [fmean([self.values[place] for place in places]) for places in of_session.values()]
        return replace(self.at(firsts), values=means), firsts

    def joined(self, later: Series) -> Series:
        """Return these runs and later ones of the same series, without what is known of either beside."""
        return Series(
            *self.name,
            self.metric,
            [*self.session_ids, *later.session_ids],
            [*self.start_times, *later.start_times],
            [*self.values, *later.values],
            [*self.counted, *later.counted],
            [*self.failed, *later.failed],
        )

    @property
    def good(self) -> Series:
        """The runs that count."""

        def kept(given: Sequence[Any]) -> list[Any]:
            return list(compress(given, self.counted))

        return Series(
            *self.name,
            self.metric,
            *map(kept, (self.session_ids, self.start_times, self.values, self.counted, self.failed)),
            *map(kept, (self.highest, self.lowest, self.calm, self.of_day, self.began)),
        )

    @property
    def measured(self) -> Series:
        """The runs that have a value."""
        places = [place for place, value in enumerate(self.values) if not math.isnan(value)]
        return self if len(places) == len(self) else self.at(places)

    def by_own_start(self) -> Series:
        """Return the runs by when they themselves began, which says of which day they are."""
        if not self.began:
            return self
        order = sorted(range(len(self)), key=self.began.__getitem__)
        found = self.at(order)
        return replace(found, start_times=found.began)


WAVE_DAYS = 45.0  # whose runs tell the wave of a day; a shorter window is asked with those before it
Past: TypeAlias = Callable[[SeriesName, float], Series]
"""Gives runs of a series from ``WAVE_DAYS`` before a moment on, thinned: they tell the wave of the day."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one session adds to the sum of its day."""

    session_id: str
    start_time: float  # epoch s
    end_time: float
    utc_offset: int  # of the writer's local time: whose day it is (s)
    value: float

    @property
    def day(self) -> int:
        """Its day, counted since 1970."""
        return math.floor((self.start_time + self.utc_offset) / DAY_S)


def day_sums(spent: Iterable[Spent]) -> dict[str, float]:
    """Return, by session, what the day that it began in had come to when it ended, itself included."""
    sums: dict[int, float] = {}
    found: dict[str, float] = {}
    for each in sorted(spent, key=lambda each: (each.end_time, each.session_id)):
        found[each.session_id] = sums[each.day] = sums.get(each.day, 0.0) + each.value
    return found


LEAST_WAIT = 0.01  # of a run: what waited for less was not disturbed
MOST_WAIT_S = 0.1  # who waits longer for a CPU shares the machine, and that is a finding


def calm(duration: float, wait: float | None) -> float:
    """Return what a run took without the moments in which it was ready and the machine ran something else.

    A busy machine adds milliseconds to a run, now and then for minutes: to one of milliseconds that is all,
    and says nothing about the pipeline.
    """
    if wait is None or wait < LEAST_WAIT * duration:
        return duration
    return max(duration - min(wait, MOST_WAIT_S), LEAST_WAIT * duration)
