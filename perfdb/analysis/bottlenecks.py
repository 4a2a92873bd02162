"""Rank steps by the seconds they put on the critical path, and say what making them faster would bring.

Of what is no time, such as money, there is no critical path: steps rank by their share of the sum.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from math import fsum
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
import pandas as pd

from perfdb.analysis.measuring import columns_of, session_values, step_values, together
from perfdb.analysis.memo import Memo, digest
from perfdb.analysis.replay import Schedule, Scheduled
from perfdb.analysis.rows import CostRow, columns, frame_from
from perfdb.analysis.runs import Floats, counted_sessions, is_among
from perfdb.critical_path import ROUNDED_S, Span, name_seconds, since
from perfdb.measures import DURATION, Measure
from perfdb.stopping import look, looking
from perfdb.text import is_nothing
from perfdb.vocabulary import OTHER

LEAST_FOR_VARIANCE = 10
REPLAYED = 200  # newest sessions of a pipeline and mode that are replayed
MOST_REPLAYED_NAMES = 200  # the costliest; a replay of each costs as much as all steps of its sessions

MOST_KEPT = 100_000  # steps of sessions of which the costs are known: 25 MB

COLUMNS = columns(CostRow)


def bottlenecks(sessions: pd.DataFrame, steps: pd.DataFrame, measure: Measure = DURATION) -> pd.DataFrame:
    """Return what each step costs the sessions, per pipeline and mode, the costliest first.

    Args:
        sessions: as ``History.sessions`` gives them; only those that count are looked at.
        steps: as ``History.steps`` gives them for the same sessions.
        measure: what the steps cost.

    Returns:
        One row per step name, and one of the ``kind`` ``other``, called ``Other``, for the time of no step:

        * ``pipeline``, ``mode``, ``step_name``, ``inside`` (the step it mostly runs in, None at top level);
        * ``sessions`` that were looked at, ``n`` of them with this step;
        * ``critical_s``: mean seconds on the critical path. At each instant the deepest step holds it,
          so that they add up to the mean wall time; ``share_percent`` of that adds up to 100;
        * ``busy_s``: mean seconds of all its runs, parallel ones added up;
        * ``variance_percent``: Cov(critical, wall) / Var(wall), which adds up to 100: who makes the
          duration vary. Missing with fewer than 10 sessions, or when wall never varies;
        * ``gain_x2_s``, ``gain_max_s``: mean seconds that the session would gain if this step, with all
          inside it, took half its time, or none: a replay of the newest 200 schedules (see ``replay``);
          missing but for the 200 costliest names;
        * ``workers``, ``pool_percent``, ``straggler_ratio``: of steps that run in parallel, medians over
          the sessions: how many ran at once, busy / (workers x span), slowest / median duration;
        * ``kind``: ``step`` or ``other``; a step may be called Other too;
        * ``measure`` and its ``unit``; ``value``: of the duration ``critical_s``.

        Of another measure ``value`` is the mean per session, ``share_percent`` its share of the sum of all
        sessions, and ``Other`` what sessions have beyond their steps; what is of seconds and schedules is
        missing. Of measures that are no sums there are no shares.
    """
    if not measure.is_duration:
        return _shares(counted_sessions(sessions), steps, measure)
    counted = counted_sessions(sessions)
    of_sessions = _recorded(counted, _ended(steps))
    rows: list[tuple[object, ...]] = []
    for (pipeline, mode), group in counted.groupby(["pipeline", "mode"], sort=True):
        own = [of_sessions[session_id] for session_id in group["session_id"].tolist()]
        rows += [(pipeline, mode, *row) for row in _of_one_mode(own)]
    return frame_from([(*row, measure.name, measure.unit, row[6]) for row in rows], CostRow)


OF_SESSIONS = frozenset({"session_id", "pipeline", "mode", "start_time", "total_duration", "counted"})
"""The columns of sessions that ``bottlenecks`` of the duration needs, and ``replayed_walls``."""


def columns_for(measure: Measure) -> set[str]:
    """Return the columns of steps that ``bottlenecks`` needs."""
    return {*columns_of(measure), "step_name", "parent_seq", "lane", "duration"}


def _shares(sessions: pd.DataFrame, steps: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return what each step has of a measure, the most first."""
    totals = dict(zip(sessions["session_id"], session_values(sessions, steps, measure), strict=True))
    spent: dict[tuple[str, str], list[tuple[float, int, float]]] = {}
    within = steps[is_among(steps["session_id"], sessions["session_id"])]
    values = step_values(within, measure)
    columns = (within[name].tolist() for name in ("session_id", "step_name", "start_time", "seq"))
    for session_id, name, start, seq, value in zip(*columns, values.tolist(), strict=True):
        if value == value:
            spent.setdefault((session_id, name), []).append((start, seq, value))
    of_sessions: dict[str, dict[str | None, float]] = {}
    for (session_id, name), each in spent.items():
        of_sessions.setdefault(session_id, {})[name] = together(measure, each)
    inside = _enclosing(pair for each in _recorded(sessions, within).values() for pair in each.inside())
    rows: list[dict[str, object]] = []
    for (pipeline, mode), group in sessions.groupby(["pipeline", "mode"], sort=True):
        ids = [each for each in group["session_id"] if totals[each] == totals[each]]
        wall = np.array([totals[each] for each in ids], dtype=float)
        parts = [of_sessions.get(each, {}) for each in ids]
        names: dict[str | None, None] = dict.fromkeys(name for part in parts for name in part)
        if measure.adds_up and ids:
            names[None] = None
            for part, total in zip(parts, wall.tolist(), strict=True):
                rest = total - fsum(part.values())
                part[None] = 0.0 if abs(rest) <= 1e-9 * abs(total) else rest
        made = []
        for name in looking(names):
            had = np.array([part.get(name, 0.0) for part in parts])
            times = sum(name in part for part in parts)
            if name is None and not had.any():
                continue
            deviations = wall - wall.mean()
            varied = float(deviations @ deviations) if wall.size >= LEAST_FOR_VARIANCE else 0.0
            adds_up = measure.adds_up
            row: dict[str, object] = dict.fromkeys(COLUMNS)
            row |= {"pipeline": pipeline, "mode": mode, "sessions": len(ids), "n": times}
            row |= {"step_name": OTHER if name is None else name, "kind": "other" if name is None else "step"}
            row |= {"measure": measure.name, "unit": measure.unit, "inside": inside.get(name)}
            row["value"] = float(had.mean()) if adds_up else float(had.sum()) / times
            if adds_up:
                row["share_percent"] = 100 * float(had.sum() / wall.sum()) if wall.sum() else None
                row["variance_percent"] = 100 * float(had @ deviations) / varied if varied > 0 else None
            made.append(row)
        made.sort(key=lambda row: (row["kind"] == "other", -row["value"]))  # type: ignore[operator]
        rows += made
    return frame_from(rows, CostRow)


def replayed_walls(
    sessions: pd.DataFrame, steps: pd.DataFrame, step_name: str, factor: float
) -> list[tuple[float, float]]:
    """Return (wall, replayed wall) in seconds of each session if a step had taken ``factor`` of its time.

    Args:
        sessions: as ``History.sessions`` gives them, of one pipeline and mode; those that do not count are
            left out, and of the others the newest 200 are replayed.
        steps: as ``History.steps`` gives them for these sessions or more.
        step_name: with all that runs inside it.
        factor: 1 gives the recorded times, 0.5 is twice as fast, 0 takes no time.
    """
    recorded = _recorded(counted_sessions(sessions).tail(REPLAYED), _ended(steps))
    return [(each.wall, each.replayed_wall(step_name, factor)) for each in looking(recorded.values())]


class _Costs(NamedTuple):
    """What of a session is needed of each of its names.

    Attributes:
        seconds: by name (None: of no step) those on the critical path, and those of all its runs.
        inside: of each step its name, and that of the step it runs in.
        pools: of names that ran in parallel (name, workers, efficiency in percent, slowest / median).
    """

    seconds: dict[str | None, tuple[float, float]]
    inside: list[tuple[str, str | None]]
    pools: list[tuple[str, int, float, float]]


_costs = Memo[_Costs](MOST_KEPT)
_gains = Memo[list[tuple[str, float, float]]](MOST_KEPT)
_walls = Memo[float](MOST_KEPT // 10)


class _Recorded:
    """The steps of a session, a list per column, and what follows from them alone."""

    def __init__(self, start: float, wall: float) -> None:
        self.start, self.wall = start, wall
        self.names: list[str] = []
        self.seqs: list[int] = []
        self.parents: list[int | None] = []
        self.starts: list[float] = []
        self.durations: list[float] = []
        self.lanes: list[int] = []

    @cached_property
    def _key(self) -> bytes:
        columns = self.names, self.seqs, self.parents, self.starts, self.durations, self.lanes
        return digest(self.start, self.wall, *columns)

    def costs(self) -> _Costs:
        """Return what of it is needed of each of its names."""
        return _costs.of(self._key, 1 + len(self.seqs), self._costs)

    def inside(self) -> list[tuple[str, str | None]]:
        """Return of each step its name, and that of the step it runs in."""
        names = dict(zip(self.seqs, self.names, strict=True))
        parents = (None if parent is None else names.get(parent) for parent in self.parents)
        return list(zip(self.names, parents, strict=True))

    def gains(self, names: Collection[str]) -> list[tuple[str, float, float]]:
        """Return the seconds gained by each of the names at twice its speed, and when it takes no time."""
        wanted = [name for name in dict.fromkeys(self.names) if name in names]
        key = digest(self._key, wanted)
        return _gains.of(key, 1 + len(self.seqs), lambda: self._gains(wanted))

    def replayed_wall(self, name: str, factor: float) -> float:
        """Return its seconds if the steps of a name, with all that is inside, took ``factor`` of theirs."""
        key = digest(self._key, name, factor)
        return _walls.of(key, 1, lambda: self._schedule().wall(self._seqs()[name], factor))

    def _spans(self) -> list[Span]:
        ends = (start + duration for start, duration in zip(self.starts, self.durations, strict=True))
        return list(map(Span, self.seqs, self.parents, self.starts, ends))

    def _seqs(self) -> defaultdict[str, set[int]]:
        found: defaultdict[str, set[int]] = defaultdict(set)
        for name, seq in zip(self.names, self.seqs, strict=True):
            found[name].add(seq)
        return found

    def _costs(self) -> _Costs:
        look()
        seconds = name_seconds(self.names, self._spans(), self.start, self.wall)
        return _Costs(
            {name: (critical, busy) for name, critical, busy, _ in seconds},
            self.inside(),
            list(self._pools()),
        )

    def _schedule(self) -> Schedule:
        look()
        lanes = zip(since(self.start, self._spans()), self.lanes, strict=True)
        steps = [
            Scheduled(span.seq, span.parent_seq, span.start, span.end, lane)
            for span, lane in lanes
            if span.end is not None
        ]
        return Schedule(steps, 0.0, self.wall)

    def _gains(self, wanted: Sequence[str]) -> list[tuple[str, float, float]]:
        seqs = self._seqs()
        changes = [(seqs[name], factor) for name in wanted for factor in (0.5, 0.0)]
        walls = iter(self._schedule().walls(changes))
        return [(name, self.wall - next(walls), self.wall - next(walls)) for name in wanted]

    def _pools(self) -> Iterator[tuple[str, int, float, float]]:
        groups: dict[tuple[int | None, str], list[tuple[float, float]]] = {}
        for parent, name, start, duration in zip(
            self.parents, self.names, self.starts, self.durations, strict=True
        ):
            if duration > 0:
                groups.setdefault((parent, name), []).append((start, duration))
        for (_, name), group in looking(groups.items()):
            if len(group) < 2:
                continue
            starts, durations = [start for start, _ in group], [duration for _, duration in group]
            ends = [start + duration for start, duration in group]
            workers = most_at_once(starts, ends)
            if workers > 1:
                span = max(ends) - min(starts)
                efficiency = 100 * sum(durations) / (workers * span)
                yield name, workers, efficiency, max(durations) / median(durations)


def _ended(steps: pd.DataFrame) -> pd.DataFrame:
    return steps[steps["duration"].notna()]


def _recorded(sessions: pd.DataFrame, steps: pd.DataFrame) -> dict[str, _Recorded]:
    """Return the sessions with their steps, by id."""
    columns = (sessions[name].tolist() for name in ("session_id", "start_time", "total_duration"))
    found = {session_id: _Recorded(start, wall) for session_id, start, wall in zip(*columns, strict=True)}
    names, seqs, starts, durations, lanes = (
        steps[name].tolist() for name in ("step_name", "seq", "start_time", "duration", "lane")
    )
    parents = [None if each is pd.NA else each for each in steps["parent_seq"].tolist()]
    session, known = pd.factorize(steps["session_id"])
    ids = known.tolist()
    bounds = np.flatnonzero(np.diff(session, prepend=-1, append=-1)).tolist()
    for first, end in pairwise(bounds):  # the steps of a session follow each other
        own = found.get(ids[session[first]])
        if own is not None:
            own.names += names[first:end]
            own.seqs += seqs[first:end]
            own.parents += parents[first:end]
            own.starts += starts[first:end]
            own.durations += durations[first:end]
            own.lanes += lanes[first:end]
    return found


def _of_one_mode(sessions: Sequence[_Recorded]) -> Iterable[tuple[object, ...]]:
    wall = np.array([each.wall for each in sessions])
    costs = [each.costs() for each in looking(sessions)]
    seconds: dict[str | None, list[tuple[int, float, float]]] = {}  # of thousands of names few run in each
    for place, each in enumerate(costs):
        for key, (on_path, in_all) in each.seconds.items():
            seconds.setdefault(key, []).append((place, on_path, in_all))

    def spread(name: str | None, part: int) -> Floats:
        values = np.zeros(len(sessions))
        for each in seconds[name]:
            values[each[0]] = each[part]
        return values

    means = {name: float(spread(name, 1).mean()) for name in looking(seconds)}
    means = {name: 0.0 if is_nothing(mean) else mean for name, mean in means.items()}
    order = sorted(means, key=lambda name: (name is None, -means[name]))
    deviations = wall - wall.mean()
    varied = float(deviations @ deviations) if wall.size >= LEAST_FOR_VARIANCE else 0.0
    gains = _mean_gains(
        sessions[-REPLAYED:], {name for name in order[:MOST_REPLAYED_NAMES] if name is not None}
    )
    inside = _enclosing(pair for each in costs for pair in each.inside)
    pools = _medians_of_pools(pool for each in costs for pool in each.pools)
    for name in looking(order):
        values = spread(name, 1)
        yield (
            OTHER if name is None else name,
            inside.get(name),
            len(sessions),
            len(seconds[name]),
            means[name],
            float(spread(name, 2).mean()) if name is not None else None,
            100 * float(values.sum() / wall.sum()) if wall.sum() > 0 else None,
            100 * float(values @ deviations) / varied if varied > 0 else None,
            *gains.get(name, (None, None)),
            *pools.get(name, (None, None, None)),
            "other" if name is None else "step",
        )


def _mean_gains(
    sessions: Sequence[_Recorded], names: Collection[str]
) -> dict[str | None, tuple[float, float]]:
    """Return the mean seconds gained by each of the names at twice its speed, and when it takes no time."""
    gained: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for session in looking(sessions):
        for name, half, most in session.gains(names):
            gained[name].append((half, most))
    return {
        name: (
            sum(half for half, _ in values) / len(sessions),
            sum(most for _, most in values) / len(sessions),
        )
        for name, values in gained.items()
    }


def _enclosing(pairs: Iterable[tuple[str, str | None]]) -> dict[str | None, str]:
    """Return the name of the step that each name runs in, for those that mostly run in one."""
    parents: dict[str, dict[str | None, int]] = {}
    for (name, parent), count in Counter(pairs).items():
        parents.setdefault(name, {})[parent] = count
    found: dict[str | None, str] = {}
    for name, counts in parents.items():
        most = max(counts, key=counts.__getitem__)
        if most is not None:
            found[name] = most
    return found


def _medians_of_pools(
    pools: Iterable[tuple[str, int, float, float]],
) -> dict[str | None, tuple[int, float, float]]:
    """Return (workers, efficiency in percent, slowest / median) of names that ran in parallel."""
    seen: defaultdict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for name, workers, efficiency, ratio in pools:
        seen[name].append((workers, efficiency, ratio))
    return {
        name: (
            round(median(workers for workers, _, _ in those)),
            fmean(efficiency for _, efficiency, _ in those),
            median(ratio for _, _, ratio in those),
        )
        for name, those in seen.items()
    }


def most_at_once(starts: Sequence[float], ends: Sequence[float]) -> int:
    """Return how many intervals overlapped at most; one that ends when another starts does not."""
    running = most = 0
    over = [(max(start, end - ROUNDED_S), -1) for start, end in zip(starts, ends, strict=True)]
    for _, change in sorted([(start, 1) for start in starts] + over):
        running += change
        most = max(most, running)
    return most
