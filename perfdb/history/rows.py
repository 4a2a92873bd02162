"""What was recorded: sessions and steps as frames and rows, whole sessions, what they cost, alerts."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Unpack

from perfdb.filters import Filters, checked_attributes, checked_filters
from perfdb.history.access import Access
from perfdb.records import Session
from perfdb.vocabulary import RUNNING

if TYPE_CHECKING:
    import pandas as pd

EXPLAINED_BY = 100  # sessions before one, as `History.explain` takes them


class Rows(Access):
    """The methods of a History that return what was recorded."""

    def sessions(
        self, *, last: int | None = None, expand_attributes: bool = False, **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """Return one row per session, oldest first.

        Args:
            last: only so many of the newest sessions that fit.
            expand_attributes: a further column for each attribute, called as it is, or ``attribute.NAME``
                where a column of ours is called so.
            filters: which sessions; those that are not given do not matter:

                * ``pipeline``: only this pipeline;
                * ``since``: started at or after: epoch seconds, datetime, date, ISO text (local time unless
                  it has a zone), an age: a timedelta, ``"7d"`` or ``"6mo"``, or ``"today"``;
                * ``until``: started before; the same forms;
                * ``fast_mode``: only sessions with this value;
                * ``status``: ``running``, ``completed``, ``failed`` or ``interrupted``;
                * ``attribute``: only sessions whose attributes have all these values;
                * ``tag``: only sessions with this tag;
                * ``branch``: only sessions that ran on this branch of git;
                * ``mode``: only sessions of this mode, as rows name it: ``'{"fast_mode":false}'``.

        Returns:
            The columns of the view ``v_sessions``, and ``counted``: whether its durations are in baselines
            and trends; instants in epoch seconds UTC, ``started_at`` and ``ended_at`` datetime64[us, UTC],
            durations in seconds. Empty, with all columns, when
            nothing fits or nothing was recorded yet.
        """
        from perfdb.store import frames
        from perfdb.store.expanding import expanded_frame

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            if connection is None:
                return frames.empty_sessions_frame()
            found = frames.sessions_frame(connection, **chosen)
        return expanded_frame(found, found["attributes"].tolist()) if expand_attributes else found

    def steps(
        self,
        *,
        step: str | None = None,
        step_attribute: Mapping[str, Any] | None = None,
        last: int | None = None,
        expand_attributes: bool = False,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return one row per step of the sessions that fit, oldest session first.

        Args:
            step: only steps of this name.
            step_attribute: only steps that have all these values: in their own data (``step.set``), or from
                their session; ``attribute`` is of the sessions alone.
            last: only those of so many of the newest sessions that fit.
            expand_attributes: a further column for each attribute of the sessions, as in ``sessions``:
                ``steps.groupby("customer")``.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode; of the sessions, not of the steps.

        Returns:
            The columns of the view ``v_steps``, and ``counted`` as in ``sessions``; empty, with all columns,
            when nothing fits.
        """
        from perfdb.store import expanding, frames

        chosen = checked_filters(last, filters)
        chosen["step_attribute"] = checked_attributes(step_attribute, of="step_attribute")
        with self._reading(chosen) as connection:
            if connection is None:
                return frames.empty_steps_frame()
            found = frames.steps_frame(connection, step=step, **chosen)
            if not expand_attributes:
                return found
            attributes = expanding.attributes_of(connection, **chosen)
        return expanding.expanded_frame(found, [attributes.get(each, {}) for each in found["session_id"]])

    def _row_frames(
        self, rows: str, *, last: int | None = None, **filters: Unpack[Filters]
    ) -> Iterator[pd.DataFrame]:
        """Yield what ``steps`` or ``sessions`` returns, in frames of some hundred sessions; one at least."""
        from perfdb.store import frames

        chosen = checked_filters(last, filters)
        of_steps = rows == "steps"
        with self._reading(chosen) as connection:
            if connection is None:
                yield frames.empty_steps_frame() if of_steps else frames.empty_sessions_frame()
                return
            read = frames.steps_frame if of_steps else frames.sessions_frame
            yield from frames.in_pieces(connection, read, **chosen)

    def session_rows(
        self, *, last: int | None = None, expand_attributes: bool = False, **filters: Unpack[Filters]
    ) -> list[dict[str, Any]]:
        """Return what ``sessions`` does as plain dictionaries, without importing pandas.

        What is unknown is None; ``started_at`` and ``ended_at`` are ISO text.

        Args:
            last: only so many of the newest sessions that fit.
            expand_attributes: as in ``sessions``.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.
        """
        from perfdb.store import frames
        from perfdb.store.expanding import expanded_rows

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            rows = [] if connection is None else frames.session_rows(connection, **chosen)
        return expanded_rows(rows, [row["attributes"] for row in rows]) if expand_attributes else rows

    def step_rows(
        self,
        *,
        step: str | None = None,
        step_attribute: Mapping[str, Any] | None = None,
        last: int | None = None,
        expand_attributes: bool = False,
        **filters: Unpack[Filters],
    ) -> list[dict[str, Any]]:
        """Return what ``steps`` does as a list of plain dictionaries, as ``session_rows`` does.

        Args:
            step: only steps of this name.
            step_attribute: only steps that have all these values: in their own data (``step.set``), or from
                their session; ``attribute`` is of the sessions alone.
            last: only the steps of so many of the newest sessions that fit.
            expand_attributes: as in ``steps``.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.
        """
        from perfdb.store import expanding, frames

        chosen = checked_filters(last, filters)
        chosen["step_attribute"] = checked_attributes(step_attribute, of="step_attribute")
        with self._reading(chosen) as connection:
            if connection is None:
                return []
            rows = frames.step_rows(connection, step=step, **chosen)
            if not expand_attributes:
                return rows
            attributes = expanding.attributes_of(connection, **chosen)
        return expanding.expanded_rows(rows, [attributes.get(row["session_id"], {}) for row in rows])

    def session(self, session_id: str = "last") -> Session:
        """Return one session with its steps and samples; in Jupyter it shows itself as a report.

        Args:
            session_id: an id, a prefix that fits only one, ``"last"``, or ``"last~1"`` for the one before.

        Raises:
            NotFoundError: no session has this id, or several have this prefix.
        """
        from perfdb.history.jupyter import show_as
        from perfdb.store import reading

        show_as(Session, "text/html", _session_html)
        show_as(Session, "text/plain", _session_text)
        with self._recorded(sessions=(session_id,)) as connection:
            return reading.find_session(connection, session_id)

    def each_session(self, *, last: int | None = None, **filters: Unpack[Filters]) -> Iterator[Session]:
        """Yield the sessions that fit one by one, oldest first, each with its steps and samples.

        Args:
            last: only so many of the newest sessions that fit.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.
        """
        from perfdb.store import reading

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            if connection is not None:
                yield from reading.read_sessions(connection, **chosen)

    def count(self, **filters: Unpack[Filters]) -> int:
        """Return how many sessions fit.

        Args:
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.
        """
        from perfdb.store import extent

        chosen = checked_filters(None, filters)
        with self._reading(chosen) as connection:
            if connection is None:
                return 0
            return extent.count_sessions(connection, **chosen)

    def spending(self) -> pd.DataFrame:
        """Return what each pipeline and mode costs, where dollars or tokens were recorded.

        Returns:
            ``pipeline``, ``mode``; ``today_usd`` and ``today_tokens`` since midnight (local time), of
            ``today_n`` sessions however they ended; ``run_usd``: the median of the newest ``n`` completed
            sessions (20 at most), ``usual_usd`` that of the ``usual_n`` before them, if those are 10 or more,
            and ``change_percent``.
        """
        from perfdb.analysis.rows import frame_from
        from perfdb.store.spending import Spending, spending

        with self._reading() as connection:
            found = [] if connection is None else spending(connection, time.time())
        return frame_from(map(asdict, found), Spending)

    def spent_by(self, session_ids: Collection[str]) -> dict[str, dict[str, float]]:
        """Return ``cost_usd`` and ``tokens`` (in and out) of those of these sessions that have any."""
        from perfdb.store.spending import spent_by

        with self._reading() as connection:
            return {} if connection is None else spent_by(connection, session_ids)

    def usual_seconds(self, session: Session) -> dict[str | None, float]:
        """Return what a session that runs usually takes, by step name, in s; None is its total.

        The medians of the newest 20 sessions of its pipeline and mode that ended, at its hour and weekday
        where the totals have a wave of these; empty of one that ended.
        """
        from perfdb.store.series import usual_seconds

        if session.status != RUNNING:
            return {}
        with self._recorded() as connection:
            return usual_seconds(connection, session.pipeline, session.mode, session.start_time)

    def usual_words(self, session: Session) -> str:
        """Return ``usual at 09:12: 7.4 s`` for the hour of a session; empty where its totals have no wave.

        It is what ``explain`` takes for usual: the median of the 100 sessions before it, at its hour.
        """
        from perfdb.analysis.series import SeriesName
        from perfdb.analysis.trend_words import usual_words
        from perfdb.store.series import usual_past, wave_of
        from perfdb.store.together import together

        pipeline, mode, until = session.pipeline, session.mode, session.start_time
        name = SeriesName(pipeline, None, mode)
        with self._recorded() as connection:
            wave, before = together(
                connection,
                lambda: wave_of(connection, pipeline, mode, until),
                lambda: usual_past(connection, EXPLAINED_BY)(name, until),
            )
        if wave is None:
            return ""
        return usual_words(wave.at_level_of(before.start_times, before.values), until)


def _session_html(session: Session) -> str:
    from perfdb.pages.session import session_html

    return session_html(session, now=time.time())


def _session_text(session: Session, printer: Any, _cycle: bool) -> None:
    from perfdb.text import counted, duration_text

    took, steps = duration_text(session.total_duration), counted(len(session.steps), "step")
    printer.text(f"<Session {session.session_id} of {session.pipeline}: {session.status}, {took}, {steps}>")
