"""How much one answer may read: the newest sessions that fit, and in words what was left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from perfdb.errors import UsageError
from perfdb.filters import Chosen
from perfdb.measures import number
from perfdb.records import Session
from perfdb.stopping import most_steps, notes
from perfdb.store import extent, frames, reading
from perfdb.store.rollups import smallest_share
from perfdb.store.together import for_each, together
from perfdb.text import counted, inert
from perfdb.vocabulary import BIGGEST, COMPLETED

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection


_SAMPLED = ("sampled", "sampling_probability")  # attributes: of the middleware, and of OpenTelemetry
_COST_OF_A_NAME = 5  # a step with a name of its own takes so much longer than one more of the same


def sessions_and_steps(
    connection: Connection | None,
    *,
    times: int = 1,
    of_sessions: Collection[str] = frames.SESSION_COLUMNS,
    of_steps: Collection[str] = frames.STEP_COLUMNS,
    **filters: Unpack[Chosen],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames of the sessions that fit and of their steps; of too many the newest.

    Args:
        connection: of any role.
        times: of how many such parts an answer is made.
        of_sessions: the columns that are needed of the sessions, beside their attributes.
        of_steps: the columns that are needed of the steps.
        filters: choose sessions.
    """
    if connection is None:
        return frames.empty_sessions_frame(), frames.empty_steps_frame()
    note_what_is_cut(connection, filters)
    filters = within_limits(connection, times=times, **filters)
    found = together(
        connection,
        lambda: frames.sessions_frame(connection, columns={*of_sessions, "attributes"}, **filters),
        lambda: frames.steps_frame(connection, columns=of_steps, **filters),
    )
    _note_what_was_sampled(found[0]["attributes"])
    return found[0], found[1]


def _note_what_was_sampled(attributes: Iterable[Mapping[str, Any]]) -> None:
    """Say that some sessions stand for others that were not kept; nothing is multiplied by their shares."""
    found = (number(each[name]) for each in attributes for name in _SAMPLED if name in each)
    shares = [share for share in found if share is not None and 0 < share < 1]
    if shares:
        of = " to ".join(dict.fromkeys(f"{100 * share:.3g} %" for share in (min(shares), max(shares))))
        sessions = counted(len(shares), "session")
        notes().append(f"{sessions} stand for a sample of {of}: counts and shares are of what was kept.")


def note_what_was_sampled_of_all(connection: Connection | None, pipeline: str | None) -> None:
    """Say the same of a whole history, whose sessions are not looked at one by one."""
    share = None if connection is None else smallest_share(connection, _SAMPLED, pipeline)
    if share is not None:
        least = f"Sessions stand for a sample, of {100 * share:.3g} % at least"
        notes().append(f"{least}: counts and shares are of what was kept.")


def within_limits(connection: Connection, *, times: int = 1, **filters: Unpack[Chosen]) -> Chosen:
    """Return the filters with ``last`` lowered to so many of the newest sessions as an answer may read.

    Args:
        connection: of any role.
        times: how often each step is read.
        filters: choose sessions.

    Raises:
        UsageError: the newest alone has more steps.
    """
    if most_steps() is None:
        return filters
    most, weights = together(
        connection,
        lambda: most_of(connection, filters.get("pipeline")),
        lambda: extent.weights(connection, **filters),
    )
    most //= times
    kept, count = extent.within(weights, most)
    if kept == count:
        return filters
    if not kept:
        raise UsageError(
            f"the newest matching session exceeds the limit of one answer, about {most:,} steps; "
            "choose older sessions with --until, or write all with perfdb export"
        )
    notes().append(
        f"Used only the newest {kept:,} of {count:,} sessions: one answer reads at most about {most:,} steps."
    )
    return {**filters, "last": kept}


def past_within(
    connection: Connection, session: Session, *, last: int, with_data: bool = False
) -> list[Session]:
    """Return ``reading.past_sessions``, so many of the newest as an answer may read."""
    last = min(last, BIGGEST)
    if most_steps() is not None:
        kind: Chosen = {"pipeline": session.pipeline, "mode": session.mode, "counted": True}
        before: Chosen = {**kind, "status": COMPLETED, "until": session.start_time, "last": last}
        most, weights = together(
            connection,
            lambda: most_of(connection, session.pipeline),
            lambda: extent.weights(connection, **before),
        )
        last, _ = extent.within(weights, most)
    if not last:
        return []
    return reading.past_sessions(connection, session, last=last, with_data=with_data)


def check_extent(connection: Connection, *session_ids: str) -> None:
    """Let sessions be read that have no more steps than an answer may read.

    Raises:
        UsageError: they have more.
    """
    most = most_steps()
    if most is None:
        return
    extents = for_each(connection, partial(extent.extent_of, connection), dict.fromkeys(session_ids))
    count = sum(steps for steps, _ in extents)
    if sum(weight for _, weight in extents) > most:
        names = " and ".join(dict.fromkeys(session_ids))
        raise UsageError(
            f"{names}: {count:,} steps with their data exceed the limit of one answer, about {most:,}; "
            "perfdb export writes all of them"
        )


def most_of(connection: Connection, pipeline: str | None) -> int | None:
    """Return how many steps an answer may read: they take longer where most have a name of their own."""
    most = most_steps()
    if most is not None and extent.has_many_names(connection, pipeline):
        return most // _COST_OF_A_NAME
    return most


def note_what_is_cut(connection: Connection, filters: Chosen) -> None:
    """Say how much of a window that was asked for is left out."""
    last, bounds = filters.get("last"), (filters.get("since"), filters.get("until"))
    if last is None or bounds == (None, None):
        return
    whole: Chosen = {**filters, "last": None}
    count = extent.count_sessions(connection, **whole)
    if count > last:
        of = f" of {inert(pipeline)}" if (pipeline := filters.get("pipeline")) is not None else ""
        notes().append(f"Used only the newest {last:,} of {counted(count, 'session')}{of} of this window.")
