"""What explains that a level moved: the sessions around the move, asked for parts and for switches.

In the caller's transaction; no pandas, because the worker asks when an alert opens.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from perfdb.analysis.cause import Cause, Part, Suspect, find_cause, suspects_of
from perfdb.measures import DURATION, Measure
from perfdb.store.dialects import is_shared
from perfdb.store.measuring import values_by_step
from perfdb.store.neighbours import Neighbour, read_neighbours
from perfdb.store.series import wave_of
from perfdb.store.together import together

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.analysis.waves import Wave

Key = TypeVar("Key")
_DAY_S, _FEW_DAYS = 86_400.0, 4
_MOST = 300  # sessions on either side of a move
REACH = 2  # sessions on either side of a move, where nobody knows more exactly


def cause_at(
    connection: Connection,
    pipeline: str,
    mode: str,
    moment: float,
    *,
    since: float | None = None,
    until: float | None = None,
    reach: tuple[float, float] | None = None,
    likely: tuple[float, float] | None = None,
    most: int = _MOST,
    among: Mapping[str, Any] | None = None,
    measure: Measure = DURATION,
) -> Cause | None:
    """Return what explains a move of the level; None when it has no two sides.

    Args:
        connection: of any role.
        pipeline: whose sessions.
        mode: of these sessions.
        moment: when the first session of the new level began (epoch s).
        since: when the level before began: nothing older is looked at.
        until: when the new level ended.
        reach: the earliest and the latest moment at which the move may have been.
        likely: the same as far as the data tell: what switched there is named where nothing did in ``reach``.
        most: sessions to look at on either side.
        among: only sessions that fit these filters, as ``store.neighbours`` takes them.
        measure: what moved: of another than the duration the parts are the values of the steps.
    """
    asked: dict[str, Any] = {"before": most, "after": most, "since": since, "until": until, **(among or {})}
    neighbours = partial(read_neighbours, connection, pipeline, mode, moment, **asked)
    of_days_before = cache(partial(wave_of, connection, pipeline, mode, moment))
    if measure.is_duration and is_shared(connection):  # asked beside them it takes no exchange of its own
        (found, at), _ = together(connection, neighbours, of_days_before)
    else:
        found, at = neighbours()
    if (sides := _sides(found, at)) is None:
        return None
    found, at, starts = sides
    within = (at - REACH, at + REACH) if reach is None else _places(starts, reach)
    facts = [each.facts for each in found]
    probable = None if likely is None else _places(starts, likely)
    if measure.is_duration:
        parts = [each.seconds for each in found]
        calm = _calm(starts, parts, of_days_before)
        inside = _times(calm, [each.inside for each in found])
        cause = find_cause(_times(calm, parts), facts, at, within, inside, probable)
    else:
        parts = values_by_step(connection, measure, [each.session_id for each in found])
        calm = _calm(starts, parts)
        having = {name for part in parts for name in part if name is not None}
        others = {name for each in found for name in each.seconds if name is not None}
        others |= {name for each in found for _, name in each.inside}
        known = [_without(each, measure.name, others - having if having else ()) for each in facts]
        cause = find_cause(_times(calm, parts), known, at, within, likely=probable)
    return replace(cause, without_wave=calm is not None, switched_at=_switched_at(cause.suspects, starts, at))


Beside = Callable[[str, str, float, float | None, float | None], tuple[list[Neighbour], int]]
"""Gives the sessions beside a moment as ``facts_beside`` does."""


def facts_beside(connection: Connection, among: Mapping[str, Any]) -> Beside:
    """Return what reads the sessions of a pipeline and mode beside a moment, with what is known of them.

    The series of one event ask for the same ones, one after the other: they are read once.
    """

    @lru_cache(maxsize=4)
    def read(
        pipeline: str, mode: str, moment: float, since: float | None, until: float | None
    ) -> tuple[list[Neighbour], int]:
        asked: dict[str, Any] = {"before": _MOST, "after": _MOST, "since": since, "until": until, **among}
        return read_neighbours(connection, pipeline, mode, moment, timed=False, **asked)

    return read


def switched_at(
    beside: Beside,
    pipeline: str,
    mode: str,
    moment: float,
    *,
    since: float | None,
    until: float | None,
    reach: tuple[float, float],
    likely: tuple[float, float],
) -> float | None:
    """Return when what explains a move of durations switched, as ``cause_at`` says, without its parts."""
    if (sides := _sides(*beside(pipeline, mode, moment, since, until))) is None:
        return None
    found, at, starts = sides
    facts = [each.facts for each in found]
    suspects = suspects_of(facts, at, _places(starts, reach), _places(starts, likely))
    return _switched_at(suspects, starts, at)


def _sides(found: list[Neighbour], at: int) -> tuple[list[Neighbour], int, list[float]] | None:
    """Return the sessions beside a move, its place, and when they began; None without two sides."""
    if not 0 < at < len(found):
        return None
    first, end = _whole_days([each.start_time for each in found], at)
    return found[first:end], at - first, [each.start_time for each in found[first:end]]


def _switched_at(suspects: Sequence[Suspect], starts: Sequence[float], at: int) -> float | None:
    return starts[at + suspects[0].offset] if suspects and suspects[0].is_switch else None


def _places(starts: Sequence[float], moments: tuple[float, float]) -> tuple[int, int]:
    return bisect_left(starts, moments[0]), bisect_right(starts, moments[1]) - 1


def _calm(
    starts: Sequence[float],
    parts: Sequence[Mapping[str | None, float]],
    of_days_before: Callable[[], Wave | None] = lambda: None,
) -> list[float] | None:
    """Return what each session's seconds are to be multiplied with to be without the wave of the total.

    Its hours would make the medians of both sides, and so the parts, a matter of chance: most of all where
    the sessions are of a few hours, whose wave only the days before them know.
    """
    from perfdb.analysis.waves import find_wave

    wave = find_wave(starts, [math.fsum(each.values()) for each in parts])
    if wave is None and starts[-1] - starts[0] < _FEW_DAYS * _DAY_S:
        wave = of_days_before()
    return None if wave is None else [math.exp(-above) for above in wave.at(starts).tolist()]


def _times(
    factors: Sequence[float] | None, parts: Sequence[Mapping[Key, float]]
) -> list[Mapping[Key, float]]:
    if factors is None:
        return list(parts)
    return [
        {name: factor * seconds for name, seconds in each.items()}
        for factor, each in zip(factors, parts, strict=True)
    ]


def _whole_days(starts: Sequence[float], at: int) -> tuple[int, int]:
    """Return from which place to which the sides of a move have whole days, where they have few.

    The hours of a broken day would be told as parts of the move wherever the level has a wave of the day.
    """
    moment = starts[at]
    spans = (moment - starts[0]) / _DAY_S, (starts[-1] - moment) / _DAY_S
    if min(spans) < 1 or min(spans) > _FEW_DAYS:
        return 0, len(starts)
    before, after = (math.floor(span) * _DAY_S if span <= _FEW_DAYS else math.inf for span in spans)
    return bisect_left(starts, moment - before), bisect_left(starts, moment + after)


def facts_before(
    connection: Connection, pipeline: str, mode: str, moment: float, most: int
) -> dict[str, Mapping[str, object]]:
    """Return what is known of the newest sessions that began up to a moment, so many, by their ids."""
    after = math.nextafter(moment, math.inf)
    found, _ = read_neighbours(connection, pipeline, mode, after, before=most, after=0, timed=False)
    return {each.session_id: each.facts for each in found}


def _without(facts: Mapping[str, object], name: str, others: Collection[str]) -> dict[str, object]:
    """Return the facts but for the measure itself, which moved, and those of steps that have none of it."""
    foreign = tuple(f" of {each}" for each in others)
    return {
        key: value
        for key, value in facts.items()
        if key != name and not key.startswith(f"{name} of ") and not key.endswith(foreign)
    }


def as_details(cause: Cause) -> dict[str, Any]:
    """Return a cause as an alert keeps it in its details."""
    return {
        "total_s": cause.total_s,
        "parts": [part.as_dict() for part in cause.parts],
        "suspects": [asdict(suspect) for suspect in cause.suspects],
        "sentence": cause.sentence,
        "sides": cause.sides,
        "without_wave": cause.without_wave,
    }


def parts_of(given: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Return the parts of a move that are kept as dictionaries, the rest last."""
    return tuple(Part.of_dict(part, last=part is given[-1]) for part in given)


def of_details(details: Mapping[str, Any]) -> Cause | None:
    """Return the cause that an alert's details hold; None when they hold none."""
    kept = details.get("cause")
    if not isinstance(kept, Mapping):
        return None
    return Cause(
        kept["total_s"],
        parts_of(kept["parts"]),
        tuple(Suspect(**suspect) for suspect in kept["suspects"]),
        sides=None if kept.get("sides") is None else (kept["sides"][0], kept["sides"][1]),
        without_wave=kept.get("without_wave", False),
    )
