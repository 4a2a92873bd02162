"""Rank steps by the seconds they put on the critical path, and say what making them faster would bring.

Of what is no time, such as money, there is no critical path: steps rank by their share of the sum.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from math import fsum
from statistics import fmean, median
from typing import Any

import numpy as np
import pandas as pd

from perfdb.analysis.measuring import session_values, step_values, together
from perfdb.analysis.replay import Schedule, Scheduled
from perfdb.analysis.rows import CostRow, columns, frame_from
from perfdb.analysis.runs import counted_sessions, seconds_of, spans_of
from perfdb.critical_path import ROUNDED_S, since
from perfdb.measures import DURATION, Measure
from perfdb.stopping import look, looking
from perfdb.vocabulary import OTHER

LEAST_FOR_VARIANCE = 10
REPLAYED = 200  # newest sessions of a pipeline and mode that are replayed
MOST_REPLAYED_NAMES = 200  # the costliest; a replay of each costs as much as all steps of its sessions

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
    chosen = steps[steps["session_id"].isin(set(counted["session_id"])) & steps["duration"].notna()]
    seconds = seconds_of(counted, chosen)
    rows: list[tuple[object, ...]] = []
    for (pipeline, mode), group in counted.groupby(["pipeline", "mode"], sort=True):
        rows += [(pipeline, mode, *row) for row in _of_one_mode(group, seconds, chosen)]
    return frame_from([(*row, measure.name, measure.unit, row[6]) for row in rows], CostRow)


def _shares(sessions: pd.DataFrame, steps: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return what each step has of a measure, the most first."""
    totals = dict(zip(sessions["session_id"], session_values(sessions, steps, measure), strict=True))
    spent: dict[tuple[str, str], list[tuple[float, int, float]]] = {}
    within = steps[steps["session_id"].isin(set(sessions["session_id"]))]
    values = step_values(within, measure)
    columns = (within[name].tolist() for name in ("session_id", "step_name", "start_time", "seq"))
    for session_id, name, start, seq, value in zip(*columns, values.tolist(), strict=True):
        if value == value:
            spent.setdefault((session_id, name), []).append((start, seq, value))
    of_sessions: dict[str, dict[str | None, float]] = {}
    for (session_id, name), each in spent.items():
        of_sessions.setdefault(session_id, {})[name] = together(measure, each)
    inside = _enclosing(within)
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
    counted = counted_sessions(sessions).tail(REPLAYED)
    chosen = steps[steps["session_id"].isin(set(counted["session_id"])) & steps["duration"].notna()]
    return [
        (wall, schedule.wall(seqs.get(step_name, set()), factor))
        for schedule, wall, seqs in _schedules(counted, chosen)
    ]


def _of_one_mode(
    sessions: pd.DataFrame, seconds: pd.DataFrame, steps: pd.DataFrame
) -> Iterable[tuple[object, ...]]:
    ids = sessions["session_id"].tolist()
    wall = sessions["total_duration"].to_numpy(dtype=float)
    own_seconds = seconds[seconds["session_id"].isin(set(ids))]
    own_steps = steps[steps["session_id"].isin(set(ids))]
    critical = _BySession(own_seconds, "critical_s", ids)
    busy = _BySession(own_seconds, "busy_s", ids)
    means = {name: float(critical[name].mean()) for name in looking(critical)}
    order = sorted(means, key=lambda name: (name is None, -means[name]))
    replayed = {name for name in order[:MOST_REPLAYED_NAMES] if name is not None}
    deviations = wall - wall.mean()
    varied = float(deviations @ deviations) if wall.size >= LEAST_FOR_VARIANCE else 0.0
    gains = _gains(sessions.tail(REPLAYED), own_steps, replayed)
    inside = _enclosing(own_steps)
    pools = _pools(own_steps)
    present = own_seconds[own_seconds["times"] > 0].groupby("step_name")["session_id"].nunique().to_dict()
    for name in looking(order):
        values = critical[name]
        yield (
            OTHER if name is None else name,
            inside.get(name),
            len(ids),
            len(ids) if name is None else int(present[name]),
            means[name],
            float(busy[name].mean()) if name is not None else None,
            100 * float(values.sum() / wall.sum()) if wall.sum() > 0 else None,
            100 * float(values @ deviations) / varied if varied > 0 else None,
            *gains.get(name, (None, None)),
            *pools.get(name, (None, None, None)),
            "other" if name is None else "step",
        )


class _BySession:
    """The values of each step name in the order of the sessions, 0 where it did not run.

    They are spread out when they are asked for: of thousands of names few run in each session.
    """

    def __init__(self, seconds: pd.DataFrame, column: str, ids: Sequence[str]) -> None:
        self._count = len(ids)
        self._values: dict[str | None, list[tuple[int, float]]] = {}
        place = {session_id: number for number, session_id in enumerate(ids)}
        for session_id, name, value in zip(
            seconds["session_id"].tolist(),
            seconds["step_name"].tolist(),
            seconds[column].tolist(),
            strict=True,
        ):
            key = name if isinstance(name, str) else None
            self._values.setdefault(key, []).append((place[session_id], value))

    def __iter__(self) -> Iterator[str | None]:
        return iter(self._values)

    def __getitem__(self, name: str | None) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        spread = np.zeros(self._count)
        for place, value in self._values[name]:
            spread[place] += value
        return spread


def _gains(
    sessions: pd.DataFrame, steps: pd.DataFrame, names: Collection[str]
) -> dict[str | None, tuple[float, float]]:
    """Return the mean seconds gained by each of the names at twice its speed, and when it takes no time."""
    gained: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for schedule, wall, seqs in _schedules(sessions, steps):
        changes = [
            (faster, factor) for name, faster in seqs.items() if name in names for factor in (0.5, 0.0)
        ]
        walls = iter(schedule.walls(changes))
        for name in seqs:
            if name in names:
                gained[name].append((wall - next(walls), wall - next(walls)))
    return {
        name: (
            sum(half for half, _ in values) / len(sessions),
            sum(most for _, most in values) / len(sessions),
        )
        for name, values in gained.items()
    }


def _schedules(
    sessions: pd.DataFrame, steps: pd.DataFrame
) -> Iterator[tuple[Schedule, float, dict[str, set[int]]]]:
    """Yield the schedule of each session, its wall seconds, and the ``seq`` of its steps by name."""
    spans = spans_of(steps)
    lanes = _by_step(steps, "lane")
    columns = (sessions[name].tolist() for name in ("session_id", "start_time", "total_duration"))
    for session_id, start, wall in zip(*columns, strict=True):
        look()
        names, of_session = spans.get(session_id, ([], []))
        schedule = Schedule(
            [
                Scheduled(span.seq, span.parent_seq, span.start, span.end, lanes[session_id, span.seq])
                for span in since(start, of_session)
                if span.end is not None
            ],
            0.0,
            wall,
        )
        seqs: defaultdict[str, set[int]] = defaultdict(set)
        for name, span in zip(names, of_session, strict=True):
            seqs[name].add(span.seq)
        yield schedule, wall, seqs


def _by_step(steps: pd.DataFrame, column: str) -> dict[tuple[str, int], Any]:
    """Return a column by session and ``seq``; as lists, because a column of texts is slow to walk."""
    session_ids, seqs, values = (steps[name].tolist() for name in ("session_id", "seq", column))
    return dict(zip(zip(session_ids, seqs, strict=True), values, strict=True))


def _enclosing(steps: pd.DataFrame) -> dict[str | None, str]:
    """Return the name of the step that each name runs in, for those that mostly run in one."""
    names = _by_step(steps, "step_name")
    parents: defaultdict[str, list[str | None]] = defaultdict(list)
    for session_id, name, parent in zip(
        steps["session_id"].tolist(),
        steps["step_name"].tolist(),
        steps["parent_seq"].astype(object).tolist(),
        strict=True,
    ):
        parents[name].append(None if parent is pd.NA else names.get((session_id, int(parent))))
    found: dict[str | None, str] = {}
    for name, all_of_them in parents.items():
        counts = Counter(all_of_them)
        most = max(counts, key=counts.__getitem__)
        if most is not None:
            found[name] = most
    return found


def _pools(steps: pd.DataFrame) -> dict[str | None, tuple[int, float, float]]:
    """Return (workers, efficiency in percent, slowest / median) of names that ran in parallel."""
    inner = steps[steps["duration"] > 0]
    groups: dict[tuple[str, int | None, str], list[tuple[float, float]]] = {}
    for session_id, parent, name, start, duration in zip(
        inner["session_id"].tolist(),
        inner["parent_seq"].astype(object).tolist(),
        inner["step_name"].tolist(),
        inner["start_time"].tolist(),
        inner["duration"].tolist(),
        strict=True,
    ):
        key = (session_id, None if parent is pd.NA else parent, name)
        groups.setdefault(key, []).append((start, duration))
    seen: defaultdict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for (_, _, name), group in looking(groups.items()):
        if len(group) < 2:
            continue
        starts, durations = [start for start, _ in group], [duration for _, duration in group]
        ends = [start + duration for start, duration in group]
        workers = most_at_once(starts, ends)
        if workers > 1:
            span = max(ends) - min(starts)
            seen[name].append(
                (workers, 100 * sum(durations) / (workers * span), max(durations) / median(durations))
            )
    return {
        name: (
            round(median(workers for workers, _, _ in pools)),
            fmean(efficiency for _, efficiency, _ in pools),
            median(ratio for _, _, ratio in pools),
        )
        for name, pools in seen.items()
    }


def most_at_once(starts: Sequence[float], ends: Sequence[float]) -> int:
    """Return how many intervals overlapped at most; one that ends when another starts does not."""
    running = most = 0
    over = [(max(start, end - ROUNDED_S), -1) for start, end in zip(starts, ends, strict=True)]
    for _, change in sorted([(start, 1) for start in starts] + over):
        running += change
        most = max(most, running)
    return most
