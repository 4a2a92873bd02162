"""Play a recorded schedule again with some steps faster: what would the session have gained?

Dependencies are inferred from what was recorded. A step waits for what released it: the sibling that
ended last before it began; a step that followed its predecessor in the same lane waits for that lane
and for its parent's lane only, because a worker takes its next piece as soon as it is free; any other
waits for all siblings that had ended, because it looks like a barrier. Gaps keep their length; a parent
ends when its last child has and its own remaining work is done. So ×1 gives the observed times.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from perfdb.critical_path import resolved_parents


class Scheduled(NamedTuple):
    """What a replay needs of a step; seconds on any one clock."""

    seq: int
    parent_seq: int | None
    start: float
    end: float
    lane: int


@dataclass(frozen=True, slots=True)
class _Node:
    """A step within its parent; ``released_by`` and ``waits_for`` are places among its siblings."""

    seq: int
    start: float
    end: float
    released_by: int | None
    waits_for: tuple[int, ...]


class Schedule:
    """The inferred schedule of one session, ready to be replayed many times.

    Args:
        steps: ended steps, in any order; one that reaches beyond its parent is cut there.
        start: begin of the session.
        end: its end.
    """

    def __init__(self, steps: Sequence[Scheduled], start: float, end: float) -> None:
        self._start, self._end = start, end
        lanes: dict[int | None, int] = {None: min((step.lane for step in steps), default=0)}
        self._children: dict[int | None, list[_Node]] = {}
        below: dict[int | None, list[Scheduled]] = {}
        parents = resolved_parents((step.seq, step.parent_seq, step.start, step.end) for step in steps)
        for step in {step.seq: step for step in reversed(steps)}.values():
            below.setdefault(parents[step.seq], []).append(step)
            lanes[step.seq] = step.lane
        waiting: list[tuple[int | None, float, float]] = [(None, start, end)]
        while waiting:
            seq, low, high = waiting.pop()
            siblings = [
                step._replace(start=max(step.start, low), end=min(step.end, high))
                for step in below.get(seq, ())
                if step.start < high and step.end > low
            ]
            siblings.sort(key=lambda step: (step.start, step.end, step.seq))
            self._children[seq] = _linked(siblings, lanes[seq])
            waiting.extend((step.seq, step.start, step.end) for step in siblings)

    def wall(self, faster: Collection[int] = (), factor: float = 1.0) -> float:
        """Return the session's seconds if steps ``faster``, with what is inside, took ``factor`` of it."""
        return self._length(None, self._start, self._end, frozenset(faster), factor, 1.0)

    def _length(
        self,
        seq: int | None,
        start: float,
        end: float,
        faster: frozenset[int],
        factor: float,
        scale: float,
    ) -> float:
        """Return the replayed seconds of one step; recursion is as deep as steps nest."""
        scale = factor if seq in faster else scale
        children = self._children[seq]
        ends: list[float] = []  # replayed, in seconds since the replayed start of this step
        for child in children:
            if child.released_by is None:
                began = (child.start - start) * scale
            else:
                gap = child.start - children[child.released_by].end
                began = ends[child.released_by] + gap * scale
            began = max([began, *(ends[place] for place in child.waits_for)])
            length = self._length(child.seq, child.start, child.end, faster, factor, scale)
            ends.append(began + length)
        if not children:
            return (end - start) * scale
        tail = (end - max(child.end for child in children)) * scale
        return max(ends) + tail


def _linked(siblings: list[Scheduled], parent_lane: int) -> list[_Node]:
    nodes = []
    for place, step in enumerate(siblings):
        ended = [other for other in range(place) if siblings[other].end <= step.start]
        released_by = max(ended, key=lambda other: (siblings[other].end, other), default=None)
        if released_by is not None and step.lane != parent_lane:
            same = [other for other in ended if siblings[other].lane == step.lane]
            if released_by in same:
                ended = [other for other in ended if siblings[other].lane in (step.lane, parent_lane)]
        nodes.append(_Node(step.seq, step.start, step.end, released_by, tuple(ended)))
    return nodes
