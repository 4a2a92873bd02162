"""Which step held up the session at each instant: the critical path.

The segments partition the session's interval exactly: they share their boundaries,
so the seconds of all steps and of "no step" add up to wall time, however steps
nest, overlap or run in parallel. Pure, iterative and n log n.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from perfdb.stopping import look, looking

ROUNDED_S = 2e-6  # a start, and the seconds that make an end, are rounded: steps in a row overlap by less
MOST_PARTS = 2_000  # of the path in one step; more are joined over the narrowest gaps
_LOOK_EVERY = 512  # segments


class Span(NamedTuple):
    """What the path needs of a step; a plain tuple in this order will do. ``end`` None: still running."""

    seq: int
    parent_seq: int | None
    start: float
    end: float | None


class Segment(NamedTuple):
    """A part of the path, in the clock of the spans; ``seq`` is the deepest step on it, None for no step."""

    start: float
    end: float
    seq: int | None


SpanLike = Span | tuple[int, int | None, float, float | None]


@dataclass(slots=True)
class _Visit:
    """A step (None: the session) being walked backwards from ``time`` to ``start``."""

    seq: int | None
    start: float
    time: float
    children: Sequence[Span]  # latest end first
    position: int = 0


def critical_path(
    steps: Iterable[SpanLike], start: float, end: float, parents: Mapping[int, int | None] | None = None
) -> list[Segment]:
    """Return the segments of the critical path from ``start`` to ``end``, in the order of time.

    The walk goes back from the end. At each instant the sibling that is still running takes
    over (the one that started first, when there are several), else the one that finished
    last; gaps belong to the parent. A step counts only within its parent's interval; a step
    without an end runs to ``end``; an unknown or cyclic parent makes a step top-level; of several
    steps with one ``seq`` the first counts. ``parents``: of ``resolved_parents``, if they are known.
    """
    spans = [step if type(step) is Span else Span(*step) for step in steps]
    parents = resolved_parents(spans) if parents is None else parents
    children: dict[int | None, list[Span]] = {}
    first: dict[int, Span] = {}
    for span in spans:
        first.setdefault(span.seq, span)
    for span in first.values():
        finished = end if span.end is None else min(span.end, end)
        if span.start < finished:  # false for NaN too
            children.setdefault(parents[span.seq], []).append(
                span if span.end == finished else span._replace(end=finished)
            )
    for siblings in children.values():
        look()
        siblings.sort(key=_latest_end_first)
    path: list[Segment] = []
    visits = [_Visit(None, start, end, children.get(None, ()))]
    while visits:
        if len(path) % _LOOK_EVERY == 0:
            look()
        visit = visits[-1]
        child = _holding_up(visit)
        if child is None:
            if visit.start < visit.time:
                path.append(Segment(visit.start, visit.time, visit.seq))
            visits.pop()
            continue
        child_end = min(_end(child), visit.time)
        if child_end < visit.time:
            path.append(Segment(child_end, visit.time, visit.seq))
        visit.time = max(child.start, visit.start)
        inside = children.get(child.seq)
        if inside is not None:
            visits.append(_Visit(child.seq, visit.time, child_end, inside))
        elif visit.time < child_end:
            path.append(Segment(visit.time, child_end, child.seq))
    path.reverse()
    return path


def critical_seconds(
    steps: Iterable[SpanLike],
    start: float,
    end: float,
    *,
    inclusive: bool = False,
    parents: dict[int, int | None] | None = None,
) -> dict[int | None, float]:
    """Return the seconds of each step on the critical path by ``seq``; None holds the time of no step.

    Args:
        steps: as for ``critical_path``.
        start: begin of the session.
        end: its end.
        inclusive: count the seconds of a step to all its ancestors too, so that those of the
            top-level steps and of None add up to wall time. Without it all entries do.
        parents: of ``resolved_parents``, if they are known.
    """
    spans = [step if type(step) is Span else Span(*step) for step in steps]
    parents = resolved_parents(spans) if parents is None else parents
    seconds = seconds_on(critical_path(spans, start, end, parents), parents)
    return with_inside(seconds, parents) if inclusive else seconds


def seconds_on(path: Iterable[Segment], parents: Mapping[int, int | None]) -> dict[int | None, float]:
    """Return the seconds of each step alone on a path, as ``critical_seconds`` does."""
    seconds: dict[int | None, float] = dict.fromkeys(parents, 0.0)
    seconds[None] = 0.0
    for segment in path:
        seconds[segment.seq] += segment.end - segment.start
    return seconds


def with_inside(
    seconds: Mapping[int | None, float], parents: dict[int, int | None]
) -> dict[int | None, float]:
    """Return the seconds of each step with those of the steps inside it.

    Args:
        seconds: of each step alone, by ``seq``.
        parents: of ``resolved_parents``.
    """
    found = dict(seconds)
    for seq in deepest_first(parents):
        parent = parents[seq]
        if parent is not None:
            found[parent] += found[seq]
    return found


def parts_of_path(
    segments: Iterable[Segment], parents: dict[int, int | None]
) -> dict[int, tuple[tuple[float, float], ...]]:
    """Return per step when it, or a step inside it, was on the path, joined where parts touch.

    Args:
        segments: of ``critical_path``, in the order of time.
        parents: of ``resolved_parents``.
    """
    sources: dict[int, list[Sequence[tuple[float, float]]]] = {}
    for segment in segments:
        if segment.seq is not None:
            sources.setdefault(segment.seq, [[]])[0].append((segment.start, segment.end))  # type: ignore[attr-defined]
    found: dict[int, tuple[tuple[float, float], ...]] = {}
    for seq in looking(deepest_first(parents)):
        inside = sources.pop(seq, None)
        if inside is None:
            continue
        # what comes from one step inside alone is one object for a whole chain of steps
        only = inside[0] if len(inside) == 1 else None
        found[seq] = (
            only if isinstance(only, tuple) else _joined(sorted(part for each in inside for part in each))
        )
        parent = parents[seq]
        if parent is not None:
            sources.setdefault(parent, []).append(found[seq])
    return found


def _joined(parts: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    gaps = [after[0] - before[1] for before, after in pairwise(parts)]
    least = 0.0
    if sum(gap != 0 for gap in gaps) >= MOST_PARTS:
        least = sorted(gaps)[-MOST_PARTS]
    joined = [parts[0]]
    for part, gap in zip(parts[1:], gaps, strict=True):
        if part[0] == joined[-1][1] or 0 < gap <= least:
            joined[-1] = (joined[-1][0], part[1])
        else:
            joined.append(part)
    return tuple(joined)


def since(start: float, spans: Iterable[Span]) -> list[Span]:
    """Return the spans in seconds since ``start``: epoch seconds hold no more than 0.2 µs."""
    return [
        Span(seq, parent_seq, begun - start, None if end is None else end - start)
        for seq, parent_seq, begun, end in spans
    ]


def name_seconds(
    names: list[str], spans: list[Span], start: float, wall: float
) -> list[tuple[str | None, float, float, int]]:
    """Return (name, critical s, busy s, times) of one session; the last row, without a name, is no step."""
    spans = since(start, spans)
    critical = critical_seconds(spans, 0.0, wall)
    rest = critical.pop(None)
    totals: dict[str, list[float]] = {}
    for name, span in zip(names, spans, strict=True):
        total = totals.setdefault(name, [0.0, 0.0, 0])
        total[0] += critical.pop(span.seq, 0.0)
        total[1] += (wall if span.end is None else span.end) - span.start
        total[2] += 1
    rows: list[tuple[str | None, float, float, int]] = [
        (name, seconds, busy, int(times)) for name, (seconds, busy, times) in totals.items()
    ]
    rows.append((None, rest, 0.0, 0))
    return rows


def resolved_parents(steps: Iterable[SpanLike]) -> dict[int, int | None]:
    """Return the parent of each ``seq``; None for none, an unknown one, or one that would close a circle."""
    parents: dict[int, int | None] = {}
    for seq, parent_seq, *_ in steps:
        parents.setdefault(seq, parent_seq)
    safe: set[int | None] = {None}
    for seq in parents:
        lineage: dict[int | None, None] = {}
        current: int | None = seq
        while current not in safe:
            lineage[current] = None
            parent = parents[current]  # type: ignore[index]  # None is in safe
            if parent is not None and (parent not in parents or parent in lineage):
                parents[current] = parent = None  # type: ignore[index]
            current = parent
        safe.update(lineage)
    return parents


def _holding_up(visit: _Visit) -> Span | None:
    """Return the child that holds up the visited step just before ``visit.time``.

    Children that ended at or after that time and do not win can never win later: the winner
    started first, and the walk goes on from its start. So each child is looked at once.
    """
    holding: Span | None = None
    if visit.time <= visit.start:
        return None
    while visit.position < len(visit.children):
        child = visit.children[visit.position]
        limit = visit.time if holding is None else min(visit.time, _end(holding))
        if _end(child) <= visit.start or (holding is not None and _end(child) < limit):
            break
        visit.position += 1
        if child.start < visit.time and (holding is None or child.start < holding.start):
            holding = child
    return holding


def _end(span: Span) -> float:
    assert span.end is not None  # noqa: S101  # critical_path has filled it in
    return span.end


def _latest_end_first(span: Span) -> tuple[float, float, int]:
    return (-_end(span), span.start, span.seq)


def deepest_first(parents: dict[int, int | None]) -> list[int]:
    """Return the steps so that none comes before one inside it."""
    children: dict[int | None, list[int]] = {}
    for seq, parent in parents.items():
        children.setdefault(parent, []).append(seq)
    order = list(children.get(None, ()))
    for seq in order:  # grows while it is walked: parents before children
        order.extend(children.get(seq, ()))
    order.reverse()
    return order
