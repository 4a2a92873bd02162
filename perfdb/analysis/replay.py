"""Play a recorded schedule again with some steps faster: what would the session have gained?

Dependencies are inferred from what was recorded. A step waits for what released it: the sibling that
ended last before it began, of several at once the one in its own lane; a step that followed its
predecessor in the same lane waits for that lane and for its parent's lane only, because a worker takes its
next piece as soon as it is free; any other waits for all siblings that had ended, because it looks like a
barrier. Gaps keep their length; a parent ends when its last child has and its own remaining work is done.
So ×1 gives the observed times.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfdb.critical_path import ROUNDED_S, resolved_parents
from perfdb.stopping import look

_MOST_NUMBERS = 1_000_000  # that are held at a time: 8 MB
_LOOK_EVERY = 256  # steps

Floats = npt.NDArray[np.float64]
Change = tuple[Collection[int], float]


class Scheduled(NamedTuple):
    """What a replay needs of a step; seconds on any one clock."""

    seq: int
    parent_seq: int | None
    start: float
    end: float
    lane: int


class _Node(NamedTuple):
    """A step, or the session itself; places are those in the list of all, where parents come first.

    Attributes:
        seq: None for the session.
        parent: its place.
        released_by: the sibling that ended last before this one began.
        ended: the siblings that ended between the start of the one before and this one's.
        in_lanes: it waits for its own lane and its parent's only.
    """

    seq: int | None
    start: float
    end: float
    lane: int
    parent: int
    released_by: int | None = None
    ended: tuple[int, ...] = ()
    in_lanes: bool = False


class Schedule:
    """The inferred schedule of one session, ready to be replayed many times.

    Args:
        steps: ended steps, in any order; one that reaches beyond its parent is cut there.
        start: begin of the session.
        end: its end.
    """

    def __init__(self, steps: Sequence[Scheduled], start: float, end: float) -> None:
        first_lane = min((step.lane for step in steps), default=0)
        below: dict[int | None, list[Scheduled]] = {}
        parents = resolved_parents((step.seq, step.parent_seq, step.start, step.end) for step in steps)
        for step in {step.seq: step for step in reversed(steps)}.values():
            below.setdefault(parents[step.seq], []).append(step)
        self._nodes = [_Node(None, start, end, first_lane, -1)]
        self._children: list[range] = []
        for place, parent in enumerate(self._nodes):  # grows while it is walked: parents before children
            siblings = [
                step
                if parent.start <= step.start and step.end <= parent.end
                else step._replace(start=max(step.start, parent.start), end=min(step.end, parent.end))
                for step in below.get(parent.seq, ())
                if step.start < parent.end and step.end > parent.start
            ]
            siblings.sort(key=lambda step: (step.start, step.end, step.seq))
            first = len(self._nodes)
            self._children.append(range(first, first + len(siblings)))
            self._nodes.extend(_linked(siblings, place, parent.lane, first))

    def wall(self, faster: Collection[int] = (), factor: float = 1.0) -> float:
        """Return the session's seconds if steps ``faster``, with what is inside, took ``factor`` of it."""
        return self.walls([(faster, factor)])[0]

    def walls(self, changes: Sequence[Change]) -> list[float]:
        """Return the session's seconds after each change: steps, and the factor of their time.

        Raises:
            TimeLimitError: the time of this answer is over.
        """
        at_once = max(1, _MOST_NUMBERS // len(self._nodes))
        found: list[float] = []
        for first in range(0, len(changes), at_once):
            found += self._replayed(changes[first : first + at_once])
        return found

    def _replayed(self, changes: Sequence[Change]) -> list[float]:
        """Replay all changes side by side, a column each: children before their parents."""
        scales = self._scales(changes)
        seconds = np.empty_like(scales)  # of a step how long it took, then when it ended in its parent
        for place in range(len(self._nodes) - 1, -1, -1):
            if place % _LOOK_EVERY == 0:
                look()
            node, scale, children = self._nodes[place], scales[place], self._children[place]
            if not children:
                seconds[place] = (node.end - node.start) * scale
                continue
            self._place_in_time(children, node, scale, seconds)
            tail = (node.end - max(self._nodes[child].end for child in children)) * scale
            seconds[place] = seconds[children.start : children.stop].max(axis=0) + tail
        walls: list[float] = seconds[0].tolist()
        return walls

    def _place_in_time(self, children: range, parent: _Node, scale: Floats, seconds: Floats) -> None:
        """Turn how long the children took into when they ended, since the replayed start of their parent."""
        latest = np.full_like(scale, -np.inf)  # end of all that ended so far
        in_lane: dict[int, Floats] = {}
        lanes = {self._nodes[child].lane for child in children if self._nodes[child].in_lanes}
        if lanes:
            in_lane = {lane: latest.copy() for lane in (*lanes, parent.lane)}
        for child in children:
            node = self._nodes[child]
            for other in node.ended:
                np.maximum(latest, seconds[other], out=latest)
                if (own := in_lane.get(self._nodes[other].lane)) is not None:
                    np.maximum(own, seconds[other], out=own)
            if node.released_by is None:
                began = (node.start - parent.start) * scale
            else:
                gap = node.start - self._nodes[node.released_by].end
                began = seconds[node.released_by] + gap * scale
            if node.in_lanes:
                began = np.maximum(np.maximum(began, in_lane[node.lane]), in_lane[parent.lane])
            else:
                began = np.maximum(began, latest)
            seconds[child] += began

    def _scales(self, changes: Sequence[Change]) -> Floats:
        """Return by place and change which part of its time a step takes; what is inside takes the same."""
        changed: dict[int | None, list[tuple[int, float]]] = {}
        for column, (faster, factor) in enumerate(changes):
            for seq in faster:
                changed.setdefault(seq, []).append((column, factor))
        scales = np.ones((len(self._nodes), len(changes)))
        for place, node in enumerate(self._nodes):
            if place:
                scales[place] = scales[node.parent]
                for column, factor in changed.get(node.seq, ()):
                    scales[place, column] = factor
        return scales


def _linked(siblings: Sequence[Scheduled], parent: int, parent_lane: int, first: int) -> Iterator[_Node]:
    """Yield the nodes of one step's children, in the order of their starts; ``first`` is the first place."""
    running: list[tuple[float, int]] = []  # end and place
    last_end = -math.inf
    at_last_end: dict[int, int] = {}  # by lane: those that ended then
    for place, step in enumerate(siblings, first):
        ended, began = [], step.start
        while running and running[0][0] <= step.start:
            end, other = heapq.heappop(running)
            ended.append(other)
            began = max(began, min(siblings[other - first].end, step.end))
            if end > last_end:
                last_end, at_last_end = end, {}
            at_last_end[siblings[other - first].lane] = other
        released_by = at_last_end.get(step.lane, max(at_last_end.values(), default=None))
        in_lanes = (
            released_by is not None
            and step.lane != parent_lane
            and siblings[released_by - first].lane == step.lane
        )
        yield _Node(
            step.seq, began, step.end, step.lane, parent, released_by, tuple(ended), in_lanes=in_lanes
        )
        heapq.heappush(running, (step.end - min(ROUNDED_S, (step.end - step.start) / 2), place))
