"""Runs held against others: two sessions, two groups, two periods, the slow ones and the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Unpack

from perfdb.errors import UsageError
from perfdb.filters import Chosen, step_of
from perfdb.history.queries.limits import (
    check_extent,
    note_what_is_cut,
    past_within,
    sessions_and_steps,
)
from perfdb.history.queries.measured import with_measure
from perfdb.measures import DURATION, Measure
from perfdb.records import Session
from perfdb.stopping import most_steps
from perfdb.store import extent, frames, reading, series
from perfdb.store.database import garbage_collected_later
from perfdb.store.dialects import is_shared
from perfdb.store.together import for_each, together
from perfdb.text import inert, mode_text
from perfdb.vocabulary import COMPLETED, FAILED

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from perfdb.analysis.common import Common
    from perfdb.analysis.compare import GroupComparison, SessionComparison
    from perfdb.analysis.explain import Explanation
    from perfdb.analysis.hits import Hits

_MOST_CANDIDATES = 20  # that are looked at for the newest that has one before it


def usual_pair(connection: Connection, a: str | None, b: str | None) -> tuple[str, str]:
    """Return the two sessions to compare where not both are named: of one pipeline and mode.

    Raises:
        UsageError: there is no other session of that kind.
    """
    from perfdb.store.browsing import neighbours
    from perfdb.store.windows import SessionRef, newest_sessions, series_with_several

    if a is not None and b is not None:
        return a, b
    if a is not None or b is not None:
        named = reading.read_session(connection, reading.find_session_id(connection, str(a or b)))
        kind = named.pipeline, named.mode
        latest_of_kind = next(
            (each for each in newest_sessions(connection, named.pipeline) if each.mode == named.mode), None
        )
        latest_id = named.session_id if latest_of_kind is None else latest_of_kind.session_id
        if a is not None and latest_id != named.session_id:
            return named.session_id, latest_id
        candidates: list[Session | SessionRef] = [named]
    else:
        newest, repeated = for_each(
            connection, lambda read: read(connection), (newest_sessions, series_with_several)
        )
        newest_first = sorted(newest, key=lambda place: -place.start_time)
        several = [place for place in newest_first if place.total_series in repeated]
        candidates = [*several[:_MOST_CANDIDATES]] or newest_first[:1]
        candidates = candidates or [reading.find_session(connection, "last")]
        kind = candidates[0].pipeline, candidates[0].mode
    if is_shared(connection):
        befores: Iterable[str | None] = for_each(
            connection,
            lambda each: neighbours(connection, each.session_id, each.start_time)[0],
            candidates,
        )
    else:
        befores = (neighbours(connection, each.session_id, each.start_time)[0] for each in candidates)
    for session, before in zip(candidates, befores, strict=True):
        if before is not None:
            return before, session.session_id
    named_kind = ", ".join(part for part in (inert(kind[0]), mode_text(kind[1])) if part)
    raise UsageError(
        f"no session of {named_kind} ended before {candidates[0].session_id}: name two to compare"
    )


def compare_sessions(
    connection: Connection, a: str, b: str, measure: Measure = DURATION
) -> SessionComparison:
    """Return how session ``b`` compares with ``a``; ids as in ``History.session``.

    Raises:
        UsageError: one of them has no total yet, or not this measure.
    """
    from perfdb.analysis.compare import compare_sessions as compare

    if is_shared(connection):  # whole ids are looked up and counted at once
        *ids, _ = together(
            connection,
            lambda: reading.find_session_id(connection, a),
            lambda: reading.find_session_id(connection, b),
            lambda: check_extent(connection, a, b),
        )
    else:
        ids = [reading.find_session_id(connection, each) for each in (a, b)]
    if not is_shared(connection) or ids != [a, b]:
        check_extent(connection, *ids)
    sessions = for_each(connection, partial(reading.read_session, connection), ids)
    try:
        return compare(sessions[0], sessions[1], measure)
    except ValueError as error:
        raise UsageError(str(error)) from None


@garbage_collected_later()
def compare_groups(
    connection: Connection | None,
    *,
    by: str,
    a: object,
    b: object,
    mode_attributes: Sequence[str],
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> GroupComparison:
    """Return how the sessions with one value of an attribute compare with those of another.

    Raises:
        UsageError: there are not two such groups.
    """
    from perfdb.analysis.compare import compare_groups as compare
    from perfdb.analysis.compare import with_seconds
    from perfdb.analysis.measuring import columns_of, measured
    from perfdb.analysis.runs import OF_STEPS

    columns = {*OF_STEPS, "additional_data", *columns_of(DURATION), *columns_of(measure)}
    sessions, steps = sessions_and_steps(connection, of_steps=columns, **filters)
    groups = partial(compare, by=by, mode_attributes=mode_attributes)
    try:
        found = groups(*measured(sessions, steps, measure), a=a, b=b, measure=measure)
        if measure.is_duration:
            return found
        return with_seconds(found, groups(sessions, steps, a=found.a, b=found.b))
    except ValueError as error:
        raise UsageError(str(error)) from None


@garbage_collected_later()
def choices(
    connection: Connection | None,
    *,
    by: str,
    step: str | None,
    measure: Measure,
    mode_attributes: Sequence[str],
    **filters: Unpack[Chosen],
) -> pd.DataFrame:
    """Return what ``analysis.pareto`` finds: seconds against a measure, per value of an attribute.

    Raises:
        UsageError: nothing has the attribute, or the measure is the duration itself.
    """
    from perfdb.analysis.measuring import columns_of
    from perfdb.analysis.pareto import choices as find
    from perfdb.analysis.rows import ChoiceRow, frame_from
    from perfdb.analysis.runs import OF_STEPS

    if measure.is_duration:
        raise UsageError("seconds are held against another measure, such as cost_usd or tokens: name one")
    if connection is None:
        return frame_from([], ChoiceRow)
    try:
        columns = {*OF_STEPS, "additional_data", *columns_of(measure)}
        read = sessions_and_steps(connection, of_steps=columns, **filters)
        modes = tuple(mode_attributes)
        return find(*read, by=by, step=step_of(step), measure=measure, mode_attributes=modes)
    except ValueError as error:
        raise UsageError(str(error)) from None


@garbage_collected_later()
def compare_periods(
    connection: Connection | None,
    *,
    split: float,
    resume: float | None = None,
    mode_attributes: Sequence[str],
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> GroupComparison:
    """Return how the sessions before a moment compare with those since then, or since ``resume``.

    Raises:
        UsageError: there are none on one of its sides.
    """
    import pandas as pd

    from perfdb.analysis.compare import PERIOD
    from perfdb.analysis.compare import compare_groups as compare
    from perfdb.analysis.runs import OF_STEPS

    parts = _periods(filters, split, resume)
    if connection is not None and (last := filters.get("last")) is not None:
        parts = _shared_out(connection, last, *parts)
    read = partial(with_measure, connection, measure, of_steps=OF_STEPS, times=len(parts))
    found = [] if connection is None else for_each(connection, lambda chosen: read(**chosen), parts)
    found = [frames for frames in found if len(frames[0])] or [read(**filters)]
    sessions, steps = (pd.concat(frames, ignore_index=True) for frames in zip(*found, strict=True))
    sides = ["before" if start < split else "after" for start in sessions["start_time"]]
    counting = {side for side, counts in zip(sides, sessions["counted"], strict=True) if counts}
    if len(counting) < 2:
        where = "before" if "before" not in counting else "since"
        raise UsageError(
            f"no session that fits and counts began {where} then: choose a longer time, or another moment"
        )
    attributes = [{**own, PERIOD: side} for own, side in zip(sessions["attributes"], sides, strict=True)]
    return compare(
        sessions.assign(attributes=pd.Series(attributes, index=sessions.index, dtype=object)),
        steps,
        by=PERIOD,
        a="before",
        b="after",
        mode_attributes=mode_attributes,
        measure=measure,
    )


def _periods(filters: Chosen, split: float, resume: float | None = None) -> list[Chosen]:
    """Return the filters of sessions before a moment and since: those since may be more than looked at."""
    since, until = filters.get("since"), filters.get("until")
    begin = split if resume is None else max(split, resume)
    return [
        {**filters, "until": split if until is None else min(split, until)},
        {**filters, "since": begin if since is None else max(begin, since)},
    ]


def _shared_out(connection: Connection, last: int, before: Chosen, after: Chosen) -> list[Chosen]:
    """Return two periods with the newest sessions of each, ``last`` together: one alone may have more."""
    earlier, later = for_each(
        connection,
        lambda chosen: extent.count_sessions(connection, **{**chosen, "last": None}),
        (before, after),
    )
    of_after = min(later, max(last - earlier, last - last // 2))
    return [{**before, "last": max(1, last - of_after)}, {**after, "last": max(1, of_after)}]


@garbage_collected_later()
def common(
    connection: Connection | None,
    *,
    slow: Collection[str] | None,
    slowest: float,
    over: float | None,
    between: tuple[float, float] | None,
    step: str | None,
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> Common:
    """Return what ``analysis.common`` finds among the sessions that fit and count.

    Raises:
        UsageError: they are too few, or all or none of them are slow.
    """
    from perfdb.analysis.common import common as find

    if not 0 < slowest <= 50:
        raise UsageError(f"slowest={slowest!r} is a percentage of up to 50")
    sessions, values = _values_of(connection, step, measure, **filters)
    if slow is None and (over is not None or between is not None):
        fits = values == values
        if over is not None:
            fits &= (values < over) if measure.direction == "down" else (values > over)
        if between is not None:
            starts = sessions.set_index("session_id")["start_time"].reindex(values.index)
            fits &= (starts >= between[0]) & (starts < between[1])
        slow = set(values.index[fits])
    try:
        of_time = between is not None and over is None
        return find(sessions, values, slow=slow, percent=slowest, measure=measure, of_time=of_time)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _values_of(
    connection: Connection | None, step: str | None, measure: Measure, **filters: Unpack[Chosen]
) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Return the sessions that count, and by id what each is worth, or the mean of its runs of a step."""
    from perfdb.analysis.measuring import columns_of, measured
    from perfdb.analysis.runs import OF_STEPS

    sessions = frames.empty_sessions_frame()
    if connection is not None:
        note_what_is_cut(connection, filters)
        sessions = frames.sessions_frame(connection, **filters)
    sessions = sessions[sessions["counted"]]
    of_step = frames.empty_steps_frame()
    if connection is not None and not (step is None and measure.is_duration):
        name = step_of(step) if measure.is_duration else None  # steps may make the session's value
        columns = {*OF_STEPS, *columns_of(measure)}
        of_step = frames.steps_frame(connection, step=name, columns=columns, **filters)
    sessions, of_step = measured(sessions, of_step, measure)
    if step is None:
        counting = sessions[sessions["counted"]]
        values = counting.set_index("session_id")["total_duration"]
    else:
        counting = of_step[of_step["counted"] & (of_step["step_name"] == step_of(step))]
        values = counting.groupby("session_id")["duration"].mean()
    return sessions, values.dropna()


def _failures_of(
    connection: Connection | None, step: str | None, **filters: Unpack[Chosen]
) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Return the sessions, and by id whether each that ended failed, or a run of a step in it."""
    from perfdb.analysis.runs import OF_STEPS, is_among, untagged

    runs = sessions = frames.empty_sessions_frame()
    if connection is not None:
        runs = sessions = frames.sessions_frame(connection, **filters)
        if step is not None:
            runs = frames.steps_frame(connection, step=step_of(step), columns=OF_STEPS, **filters)
    kept = untagged(sessions)
    runs = runs[is_among(runs["session_id"], kept["session_id"]) & runs["status"].isin([FAILED, COMPLETED])]
    return kept, (runs["status"] == FAILED).astype(float).groupby(runs["session_id"]).max()


@garbage_collected_later()
def hits(
    connection: Connection | None,
    *,
    at: float,
    step: str | None,
    measure: Measure = DURATION,
    failures: bool = False,
    **filters: Unpack[Chosen],
) -> Hits:
    """Return what ``analysis.hits`` finds among the sessions that fit.

    Raises:
        UsageError: they are too few on a side, or failures have no measure.
    """
    import pandas as pd

    from perfdb.analysis.hits import find_hits

    if failures and not measure.is_duration:
        raise UsageError(f"failures are counted, not measured: leave measure={measure.name!r} out")
    read = (
        partial(_failures_of, connection, step)
        if failures
        else partial(_values_of, connection, step, measure)
    )
    parts = _periods(filters, at)
    found = [read()] if connection is None else for_each(connection, lambda part: read(**part), parts)
    sessions = pd.concat([each for each, _ in found], ignore_index=True)
    values = pd.concat([each for _, each in found])
    try:
        return find_hits(sessions, values, at, are_failures=failures)
    except ValueError as error:
        raise UsageError(str(error)) from None


def explain(connection: Connection, session_id: str, last: int, measure: Measure = DURATION) -> Explanation:
    """Return why a session was slow, after the ``last`` sessions of its kind before it.

    Raises:
        UsageError: it has no total yet, or not this measure.
    """
    from perfdb.analysis.explain import explain as find

    if most_steps() is None:
        session = reading.find_session(connection, session_id)
    else:
        found = reading.find_session_id(connection, session_id)
        check_extent(connection, found)
        session = reading.read_session(connection, found)
    try:
        past, wave = together(
            connection,
            lambda: past_within(connection, session, last=last, with_data=not measure.is_duration),
            lambda: (
                series.wave_of(connection, session.pipeline, session.mode, session.start_time)
                if measure.is_duration
                else None
            ),
        )
        return find(session, past, measure, wave)
    except ValueError as error:
        raise UsageError(str(error)) from None
