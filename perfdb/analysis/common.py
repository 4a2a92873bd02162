"""What slow runs have in common: attribute values that are over-represented among them.

Each value is counted among the slow runs and among the rest; Wilson's interval says what chance leaves of the
difference. Pure and deterministic.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from perfdb.analysis.compare import FACTS
from perfdb.analysis.rows import CommonRow, frame_from
from perfdb.analysis.rules.failures import wilson_interval
from perfdb.analysis.runs import is_among
from perfdb.analysis.series import DAY_S, quantile
from perfdb.analysis.waves import find_wave
from perfdb.measures import DURATION, Measure
from perfdb.stopping import looking
from perfdb.text import counted, inert, shortened

LEAST_RUNS = 20  # of a pipeline and mode, before some are called its slowest
LEAST_SLOW = 3  # with a value, before it is told
MOST_VALUES = 10  # numbers of more values are told by quarters
MOST_ROWS = 100
HOUR, WEEKDAY = TIMES = ("hour (UTC)", "weekday (UTC)")
_NO_GROUPS = {"command"}  # texts that name single runs rather than what they share
_TEXTS = {str, type(None)}


@dataclass(frozen=True, slots=True)
class Common:
    """What slow runs have in common.

    Attributes:
        sentence: what is to be said first.
        frame: one row per attribute and value, the most over-represented first: ``attribute``, ``value``,
            ``slow_n`` of ``slow_of`` slow runs have it, which is ``slow_percent``, with its 95 % interval
            ``low_percent`` to ``high_percent``; ``rest_n``, ``rest_of``, ``rest_percent`` the same of the
            rest; ``lift``: how many times as frequent it is among the slow ones (missing where no other run
            has it); ``sure``: that is more than chance explains, however many values were looked at.
        slow: the ids of the slow runs; rest: how many others were looked at.
    """

    sentence: str
    frame: pd.DataFrame
    slow: Sequence[str] = field(repr=False)
    rest: int

    def __str__(self) -> str:
        return self.sentence


def common(
    sessions: pd.DataFrame,
    values: pd.Series[float],
    *,
    slow: Collection[str] | None,
    percent: float,
    measure: Measure = DURATION,
    of_time: bool = False,
) -> Common:
    """Return what the slow ones of these sessions have in common.

    Args:
        sessions: as ``History.sessions`` gives them, of runs that count.
        values: what each of them took, or is worth of the measure, by session id; those without are left out.
        slow: the ids of the slow ones; without, the slowest of each pipeline and mode.
        percent: how many of each pipeline and mode are its slowest.
        measure: what the values are of: slow are those that lie where it is worse.
        of_time: the slow ones are all runs of some time, however long they took, and are called so.

    Raises:
        ValueError: there are too few runs, or none is slow, or none is not.
    """
    took = values.reindex(sessions["session_id"]).to_numpy(dtype=float)
    known, took = sessions[~np.isnan(took)], took[~np.isnan(took)]
    took = -took if measure.direction == "down" else took
    is_slow = _slowest(known, took, percent) if slow is None else is_among(known["session_id"], slow)
    slow_of, rest_of = int(is_slow.sum()), int((~is_slow).sum())
    if slow is None and slow_of == 0:
        raise ValueError(
            f"too few runs to call some of them the slowest: {LEAST_RUNS} of one kind are needed"
        )
    if slow_of == 0 or rest_of == 0:
        are = "are slow" if measure.is_duration else "are among those"
        raise ValueError(f"{slow_of} of {slow_of + rest_of} runs {are}: there is nothing to compare")
    rows = sorted(_rows(known, is_slow), key=_rank)
    those = slow_runs(slow_of, measure, of_time=of_time)
    told_by_hours = bool(rows) and rows[0]["sure"] and rows[0]["attribute"] in TIMES
    return Common(
        _sentence(rows, those, rest_of, wave=told_by_hours and _have_wave(known, took)),
        frame_from(rows[:MOST_ROWS], CommonRow),
        list(known.loc[is_slow, "session_id"]),
        rest_of,
    )


def _slowest(known: pd.DataFrame, took: np.ndarray[Any, Any], percent: float) -> np.ndarray[Any, Any]:
    found = np.zeros(len(known), dtype=bool)
    for places in known.groupby(["pipeline", "mode"], sort=False).indices.values():
        if len(places) < LEAST_RUNS:
            continue
        values = took[places]
        count = max(1, math.floor(len(places) * percent / 100))
        limit = np.sort(values)[-count]
        found[places] = values >= limit if limit > values.min() else False
    return found


def facts_of_runs(known: pd.DataFrame, *, with_times: bool) -> list[dict[Any, Any]]:
    """Return what is recorded of each session that others may share; with hours and weekdays, or without."""
    names = [*(name for name in FACTS if name in known.columns and name not in _NO_GROUPS), "pipeline"]
    facts = {name: known[name].astype(object).where(known[name].notna(), None).tolist() for name in names}
    if with_times:
        moments = pd.to_datetime(known["start_time"], unit="s", utc=True).dt
        hours = [f"{hour:02}" for hour in moments.hour]
        facts.update(zip(TIMES, (hours, moments.day_name().tolist()), strict=True))
    own = zip(known["attributes"], *facts.values(), strict=True)
    return [{**attributes, **dict(zip(facts, each, strict=True))} for attributes, *each in own]


def _rows(known: pd.DataFrame, is_slow: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    starts = known["start_time"].to_numpy(dtype=float)
    first, last = starts[is_slow].min(), starts[is_slow].max()
    # of one stretch of time the hours are those of the slow runs, whatever made them slow
    is_stretch = bool(is_slow[(first <= starts) & (starts <= last)].all())
    of_runs = facts_of_runs(known, with_times=not is_stretch)
    slow_of, rest_of = int(is_slow.sum()), int((~is_slow).sum())
    sides = is_slow.tolist(), (~is_slow).tolist()
    dates = pd.to_datetime(pd.Series(np.unique(starts // DAY_S)) * DAY_S, unit="s").dt.day_name()
    once = {day for day, count in dates.value_counts().items() if count == 1}  # one date is no weekday
    found: list[dict[str, Any]] = []
    looked_at = 0
    for name in names_of(of_runs, LEAST_SLOW):
        values = groups_of([row.get(str(name)) for row in of_runs])
        slow, rest = (Counter(compress(values, side)) for side in sides)
        looked_at += sum(count >= LEAST_SLOW for value, count in (slow + rest).items() if value is not None)
        for value, count in slow.items():
            if value is None or count < LEAST_SLOW or count / slow_of <= rest[value] / rest_of:
                continue
            if name == WEEKDAY and value in once:
                continue
            low, high = wilson_interval(count, slow_of)
            found.append(
                {
                    "attribute": str(name),
                    "value": value,
                    "slow_n": count,
                    "slow_of": slow_of,
                    "slow_percent": 100 * count / slow_of,
                    "low_percent": 100 * low,
                    "high_percent": 100 * high,
                    "rest_n": rest[value],
                    "rest_of": rest_of,
                    "rest_percent": 100 * rest[value] / rest_of,
                    "lift": (count / slow_of) / (rest[value] / rest_of) if rest[value] else None,
                }
            )
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, looked_at))  # of many values some stand out by chance
    for each in found:
        low, _ = wilson_interval(each["slow_n"], slow_of, z)
        _, high = wilson_interval(each["rest_n"], rest_of, z)
        each |= {"sure": low > high, "excess": low - high}
    return found


def names_of(of_runs: Sequence[Mapping[str, Any]], least: int) -> Iterator[str]:
    """Yield the names that so many of the runs have a value of, while there is time.

    Others can say nothing, and there may be any number of them: a name that holds a number is another one in
    each run.
    """
    runs_with = Counter(name for row in looking(of_runs) for name, value in row.items() if value is not None)
    return looking(name for name, count in runs_with.items() if count >= least)


def groups_of(given: Sequence[Any]) -> list[str | None]:
    """Return the values of an attribute as texts; numbers of many values as the quarter that they are in."""
    if _TEXTS.issuperset(map(type, given)):
        return list(given)
    numbers = [
        float(value)
        for value in given
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]
    if len(set(numbers)) > MOST_VALUES:
        ordered = sorted(numbers)
        edges = [quantile(ordered, share) for share in (0.25, 0.5, 0.75)]
        words = [f"up to {edges[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(edges))]
        words.append(f"over {edges[2]:g}")
        return [
            words[bisect_left(edges, value)]
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            else None
            for value in given
        ]
    return [_text(value) for value in given]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list) or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Put what chance explains least first, of the sure and of the others: hours say when, and not why."""
    is_time = row["attribute"] in TIMES
    return (not row["sure"], is_time, -row["excess"], -row["slow_percent"], row["attribute"], row["value"])


def _have_wave(known: pd.DataFrame, took: np.ndarray[Any, Any]) -> bool:
    """Say whether some of these runs take longer at some hours or weekdays, whatever they are."""
    starts = known["start_time"].to_numpy(dtype=float)
    kinds = known.groupby(["pipeline", "mode"], sort=False).indices.values()
    return any(find_wave(starts[places], abs(took[places]).tolist()) is not None for places in kinds)


def slow_runs(count: int, measure: Measure = DURATION, *, of_time: bool = False) -> str:
    """Return so many slow runs in words, or runs of the highest cost, or all those of some time."""
    if of_time:
        return f"{counted(count, 'run')} of that time"
    if measure.is_duration:
        return counted(count, "slow run")
    most = "lowest" if measure.direction == "down" else "highest"
    return f"{counted(count, 'run')} of the {most} {shortened(inert(measure.words), 40)}"


def _sentence(rows: Sequence[Mapping[str, Any]], those: str, rest_of: int, *, wave: bool) -> str:
    sure = [row for row in rows if row["sure"]]
    if not sure:
        return (
            f"Nothing that is recorded tells the {those} from the other "
            f"{rest_of:,}: no value is more frequent among them than chance explains"
        )
    first = sure[0]
    return (
        f"{first['slow_percent']:.0f} % of {those} {_shared(first['attribute'], first['value'])}, "
        f"{first['rest_percent']:.0f} % of the other {rest_of:,}"
        f"{': it is their usual rhythm, and nothing else stands out' if wave else ''}"
    )


def _shared(attribute: str, value: str) -> str:
    """Return what runs share, as somebody says it."""
    if attribute == HOUR:
        return f"began between {value}:00 and {value}:59 UTC"
    if attribute == WEEKDAY:
        return f"began on a {value} (UTC)"
    return f"have {shortened(inert(attribute), 40)}={shortened(inert(value), 40)}"
