"""The read door: what was recorded, as pandas frames and Session records."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from perfdb.errors import UsageError
from perfdb.filters import (
    Filters,
    Moment,
    checked_attributes,
    checked_filters,
    moment_of,
    step_of,
    zone_named,
)
from perfdb.history.keeping import Keeping
from perfdb.measures import configured
from perfdb.records import Session
from perfdb.vocabulary import RUNNING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from perfdb.analysis.common import Common
    from perfdb.analysis.compare import GroupComparison, SessionComparison
    from perfdb.analysis.explain import Explanation
    from perfdb.history.reports import Report

LAST_FOR_TRENDS = 200  # sessions, where nobody said which


class History(Keeping):
    """The recorded history of one database.

    What opens a database raises ``StoreError`` when it is missing, unreadable or not perfdb's; what takes
    filters raises ``ValueError`` for a value that cannot be meant and ``TypeError`` for an unknown name.

    Args:
        url: an SQLAlchemy URL or the path of an SQLite file, or a lake: its folder, or a URL such as
            ``s3://bucket/lake``; default: the database of the settings.
        home: the folder that perfdb keeps its files in, when it is not the default one.

    Raises:
        SettingsError: the URL is none that perfdb can read.
    """

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
        with self._recorded(sessions=(session_id,)) as connection:
            return reading.read_session(connection, reading.find_session_id(connection, session_id))

    def spending(self) -> pd.DataFrame:
        """Return what each pipeline and mode costs, where dollars or tokens were recorded.

        Returns:
            ``pipeline``, ``mode``; ``today_usd`` and ``today_tokens`` since midnight (local time), of
            ``today_n`` sessions however they ended; ``run_usd``: the median of the newest ``n`` completed
            sessions (20 at most), ``usual_usd`` that of the ``usual_n`` before them, if those are 10 or more,
            and ``change_percent``.
        """
        import pandas as pd

        from perfdb.store.spending import Spending, spending

        with self._reading() as connection:
            found = [] if connection is None else spending(connection, time.time())
        return pd.DataFrame(
            [asdict(each) for each in found], columns=[each.name for each in fields(Spending)]
        )

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
                ids = reading.find_session_ids(connection, **chosen)
                yield from reading.read_sessions(connection, ids)

    def measures(self, *, last: int | None = 1000, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return what was measured beside the duration, and every attribute that is a number.

        Args:
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            One row per pipeline, measure and step, that of the session (``step_name`` None) first:
            ``measure``, ``unit``, ``label``, ``better``, ``total`` (how steps make the session's value),
            ``n`` values from ``low`` to ``high``, their ``median``, and the ``last`` with its session.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            return queries.measures(connection, configured(self._settings.measures), **chosen)

    def bottlenecks(
        self, *, measure: str = "duration", last: int | None = 100, **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """Return what each step costs the sessions, per pipeline and mode, the costliest first.

        Args:
            measure: instead of the duration, as ``measures`` lists them: any number that was recorded.
            last: only so many of the newest sessions of each pipeline; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            ``step_name`` (``Other`` is the time of no step), mean seconds on the critical path
            (``critical_s``) and busy (``busy_s``), their shares of time and variance, what a faster step
            would gain, and how well parallel steps used their workers: see ``analysis.bottlenecks``. Of
            another measure the shares of its sum.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            return queries.bottlenecks(connection, measure=of, **chosen)

    def trends(
        self,
        *,
        by: Literal["last", "all", "day", "week"] = "last",
        step: str | None = None,
        measure: str = "duration",
        last: int | None = None,
        zone: str = "UTC",
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return how long each series takes and where that is going.

        Args:
            by: ``last``: one row per series, with its slope; ``all``: without; ``day`` and ``week`` (from
                Monday): one row per series and ``period``, when its first day began (datetime64[us, UTC], or
                of the zone).
            step: only this step, without the totals.
            measure: instead of the duration, as ``measures`` lists them: any number that was recorded.
            last: only so many of the newest sessions; None: 200 with ``by="last"`` and neither ``since`` nor
                ``until``, else all.
            zone: whose days and weeks, and with ``day`` and ``week`` also what a ``since`` or ``until``
                without a zone means: ``UTC``, ``local`` or a name such as ``Europe/Berlin``.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            ``n``, ``failures``, ``mean``, ``p50``, ``p90``, ``p95``, ``p99`` (s; none with too few runs), the
            slope in percent and its ``p_value``, what it amounts to (``drift_percent``), and where the level
            moved last (``since_time``, ``effect``): see ``analysis.trends``.

        Raises:
            ValueError: ``by`` is none of these.
        """
        from perfdb.history import queries

        if last is None and by == "last" and filters.get("since") is None and filters.get("until") is None:
            last = LAST_FOR_TRENDS
        days_of = zone_named(zone)
        if by in ("day", "week"):  # one footing for what is asked and how it is grouped
            if (since := filters.get("since")) is not None:
                filters["since"] = moment_of(since, zone=days_of)
            if (until := filters.get("until")) is not None:
                filters["until"] = moment_of(until, zone=days_of)
        chosen = checked_filters(last, filters)
        if self._lake is not None and queries.is_of_everything(by, days_of, measure, chosen):
            self.require_access()
            return queries.trends_of_everything(
                self._lake.statistics, by=by, step=step, pipeline=chosen.get("pipeline")
            )
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            return queries.trends(connection, by=by, step=step, zone=days_of, measure=of, **chosen)

    def failures(
        self, *, step: str | None = None, last: int | None = 1000, **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """Return why runs failed or were called off, failures first, then what happens most.

        Texts that differ only in an id are one reason.

        Args:
            step: only this step, without the totals.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            One row per pipeline, step and reason: ``status`` (``failed`` or ``interrupted``), ``reason``,
            ``n``, when it was first and last, and the newest message whole: see ``analysis.failures``.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            return queries.failures(connection, step=step, **chosen)

    def violations(
        self, *, measure: str | None = None, last: int | None = 1000, **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """Return the runs that broke a ``max``, ``min`` or ``sum`` rule of the settings, oldest first.

        Args:
            measure: only what broke rules for this measure.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            One row per session, rule and series: ``value``, ``limit``, ``excess``, ``rule``, ``severity`` and
            what they are of: see ``analysis.violations``.

        Raises:
            SettingsError: the rules in the settings cannot be read.
        """
        from perfdb.alerts.config import read_alert_settings
        from perfdb.history import queries

        rules = read_alert_settings(self._settings.alerts, reading=True).rules
        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            if measure is not None:
                name = self._measure(connection, measure).name
                rules = tuple(rule for rule in rules if rule.metric == name)
            return queries.violations(connection, rules, **chosen)

    def regressions(
        self,
        *,
        step: str | None = None,
        better: bool = False,
        by: str | None = None,
        measure: str = "duration",
        last: int | None = None,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return where the level of any series moved for the worse, in the whole history, oldest first.

        Args:
            step: only this step, without the totals.
            better: what moved for the better instead.
            by: an attribute: the sessions with each of its values are looked at by themselves, and the column
                ``value`` says which a row is of; see ``differs_by``.
            measure: instead of the duration, as ``measures`` lists them: any number that was recorded.
            last: only so many of the newest sessions.
            filters: ``since``: only what moved at or after it; what was before is looked at too. The others
                choose the sessions that make the history: ``pipeline``, ``until``, ``fast_mode``, ``status``,
                ``attribute``, ``tag``, ``branch``, ``mode``, as in ``sessions``.

        Returns:
            ``pipeline``, ``step_name`` (None: the session's total), ``mode``; ``against``: ``level``, the
            runs before, or ``pinned``, the pinned baseline, whose row has the newest runs beside it;
            ``since_session_id``, the first of the new level, and ``since_time`` (epoch s);
            ``before_median``, ``after_median`` and ``difference_s`` (s), ``effect`` (percent),
            ``before_n``, ``after_n``, ``p_value``;
            ``first_session_id`` and ``last_session_id``, between which it moved (95 %); ``lasts``: nothing
            moved since; ``event_session_id``: the same for total and steps that moved within 5 sessions;
            ``total_s``: the total's move (s) between ``total_before_n`` and ``total_after_n`` sessions around
            the event, ``parts`` of it by step, which add up, and
            ``contributes_percent``, this step's; ``suspects``: attributes that switched there, ``cause`` in
            words, ``confounded``; ``alert_id`` and ``alert_state`` of the alert that tells of it;
            ``difference`` and ``total_difference``: the same in the ``unit`` of the ``measure``;
            ``attribute`` and ``attribute_value``: of whose sessions it is, where all together do not show it.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading({**chosen, "since": None}) as connection:
            of = self._measure(connection, measure)
            if by is not None:
                return queries.regressions_by(connection, by, step=step, better=better, measure=of, **chosen)
            modes = self._settings.mode_attributes
            return queries.regressions(
                connection, step=step, better=better, measure=of, mode_attributes=modes, **chosen
            )

    def differs_by(self, *, last: int | None = 5000, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return the moves that the sessions with one value of an attribute show, and all together do not.

        Args:
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            ``pipeline``, ``mode``, ``attribute``, ``value``, ``since_session_id``, ``since_time`` (epoch s),
            ``before_median`` and ``after_median`` (s), ``effect`` (percent), the largest first.
        """
        from perfdb.history import queries

        modes = self._settings.mode_attributes
        chosen = checked_filters(last, filters)
        with self._reading({**chosen, "since": None}) as connection:
            return queries.differs_by(connection, modes, **chosen)

    def switches(
        self, *, step: str | None = None, last: int | None = None, **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """Return the series that come and go between two known levels: two hosts, two regions, a cache.

        Args:
            step: only this step, without the totals.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            One row per series: ``pipeline``, ``step_name`` (None: the session's total), ``mode``;
            ``low_median`` and ``high_median`` (s), how many ``switches`` there were in its newest ``n`` runs;
            the ``attribute`` that tells at which level a run is, if one does, with the commonest
            ``low_value`` and ``high_value``.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            return queries.switches(connection, step=step, **chosen)

    def thresholds(
        self,
        *,
        step: str | None = None,
        measure: str = "duration",
        last: int | None = 1000,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return a limit for each series with at least 20 runs, and how many runs it would have flagged.

        Args:
            step: only this step, without the totals.
            measure: instead of the duration, as ``measures`` lists them: any number that was recorded.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            ``pipeline``, ``step_name``, ``mode``, ``n``, ``p50``, ``p95``, ``max``, ``limit`` (s) and
            ``flagged``: see ``analysis.thresholds``.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            found = queries.suggest_thresholds(connection, measure=of, **chosen)
        return found if step is None else found[found["step_name"] == step_of(step)].reset_index(drop=True)

    suggest_thresholds = thresholds  # its first name

    @overload
    def compare(self, *, measure: str = "duration") -> SessionComparison: ...

    @overload
    def compare(self, a: str, b: str, *, measure: str = "duration") -> SessionComparison: ...

    @overload
    def compare(
        self,
        a: object = None,
        b: object = None,
        *,
        by: str,
        measure: str = "duration",
        last: int | None = 1000,
        **filters: Unpack[Filters],
    ) -> GroupComparison: ...

    @overload
    def compare(
        self,
        *,
        split: Moment,
        resume: Moment | None = None,
        measure: str = "duration",
        last: int | None = 1000,
        **filters: Unpack[Filters],
    ) -> GroupComparison: ...

    def compare(
        self,
        a: Any = None,
        b: Any = None,
        *,
        by: str | None = None,
        split: Moment | None = None,
        resume: Moment | None = None,
        measure: str = "duration",
        last: int | None = 1000,
        **filters: Unpack[Filters],
    ) -> SessionComparison | GroupComparison:
        """Return how two sessions compare, or two groups of sessions.

        Args:
            a: the first session, as in ``session``; without both, see ``usual_pair``; with ``by``: the value
                of the first group.
            b: the second session; with ``by``: the value of the second group.
            by: an attribute of the sessions, or ``git_commit``, ``host``, …; without ``a`` and ``b`` its
                two newest values make the groups.
            split: instead, a moment as in ``sessions``: the runs before it are compared with those since
                then; ``since`` and ``until`` say where the two periods begin and end.
            resume: with ``split``: the later period begins only here; what is between is in neither.
            measure: instead of the duration, as ``measures`` lists them: any number that was recorded.
            last: with ``by``: only so many of the newest sessions; None: all of them.
            filters: with ``by``, as in ``sessions``: pipeline, since, until, fast_mode, status, attribute,
                tag, branch, mode.

        Raises:
            UsageError: there are not two sessions or groups to compare.
            NotFoundError: as in ``session``.
        """
        from perfdb.history import queries

        of_groups = by is not None or split is not None
        chosen = checked_filters(last, filters) if of_groups else None
        with self._recorded(chosen, sessions=() if of_groups else _named(a, b)) as connection:
            of = self._measure(connection, measure)
            if chosen is not None and split is not None:
                if by is not None or a is not None or b is not None:
                    raise UsageError("split= compares two periods: it goes with neither by= nor two sessions")
                return queries.compare_periods(
                    connection,
                    split=moment_of(split),
                    resume=None if resume is None else moment_of(resume),
                    mode_attributes=self._settings.mode_attributes,
                    measure=of,
                    **chosen,
                )
            if chosen is not None and by is not None:
                modes = self._settings.mode_attributes
                return queries.compare_groups(
                    connection, by=by, a=a, b=b, mode_attributes=modes, measure=of, **chosen
                )
            if (a is None) != (b is None):
                raise UsageError('give two sessions, compare("last~1", "last"), or by="fast_mode"')
            return queries.compare_sessions(connection, *queries.usual_pair(connection, a, b), of)

    def pareto(
        self,
        *,
        by: str = "model",
        step: str | None = None,
        measure: str = "cost_usd",
        last: int | None = 1000,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return how long each value of an attribute takes against what it costs, such as models.

        Args:
            by: an attribute of the sessions, or else of steps: then each step by itself.
            step: only this step, by its own attribute or that of its session.
            measure: what is held against the seconds, as ``measures`` lists them.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            ``value``, ``n``, ``seconds`` and ``cost`` (medians) with their 95 % intervals, and ``front``:
            whether no other one is as fast and as cheap: see ``analysis.pareto``.

        Raises:
            UsageError: nothing that counts has the attribute.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            modes = self._settings.mode_attributes
            return queries.choices(connection, by=by, step=step, measure=of, mode_attributes=modes, **chosen)

    def common(
        self,
        slow: Collection[str] | None = None,
        *,
        slowest: float = 5.0,
        over: float | None = None,
        between: tuple[Moment, Moment] | None = None,
        step: str | None = None,
        last: int | None = 2000,
        **filters: Unpack[Filters],
    ) -> Common:
        """Return what slow runs have in common: values that are more frequent among them than in the rest.

        Args:
            slow: the ids of the slow runs; without, ``over`` or ``slowest`` says which they are.
            slowest: how many percent of the runs of each pipeline and mode are its slow ones.
            over: instead, runs that took longer than so many seconds.
            between: instead, or of those, the runs that started in this time: what they have in common
                beside all others that fit.
            step: what is slow is this step (the mean of its runs in a session), not the whole.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            ``sentence``, and ``frame`` with ``attribute``, ``value``, ``slow_n`` of ``slow_of``,
            ``slow_percent`` with its 95 % interval, ``rest_percent``, ``lift`` and ``sure``: see
            ``analysis.common``.

        Raises:
            UsageError: too few runs fit, or all or none of them are slow.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._recorded(chosen) as connection:
            part = None if between is None else (moment_of(between[0]), moment_of(between[1]))
            return queries.common(
                connection, slow=slow, slowest=slowest, over=over, between=part, step=step, **chosen
            )

    def usual_pair(self, a: str | None = None, b: str | None = None) -> tuple[str, str]:
        """Return the ids of the two sessions to compare where not both are named, of one pipeline and mode.

        Args:
            a: the first, as in ``session``; None: the one that ended before ``b``.
            b: the second; None: the newest of the pipeline and mode of ``a``, or of all.

        Raises:
            UsageError: there is no other session of that kind.
            NotFoundError: as in ``session``.
        """
        from perfdb.history import queries

        with self._recorded(sessions=_named(a, b)) as connection:
            return queries.usual_pair(connection, a, b)

    def explain(self, session_id: str = "last", *, measure: str = "duration", last: int = 100) -> Explanation:
        """Return why a session took as long as it did, compared with those of its kind before it.

        Args:
            session_id: as in ``session``.
            measure: instead of the duration, as ``measures`` lists them: any number that was recorded.
            last: how many earlier sessions of the same pipeline and mode say what is usual.

        Raises:
            UsageError: the session still runs, or was cut off.
            NotFoundError: as in ``session``.
        """
        from perfdb.history import queries

        with self._recorded(sessions=(session_id,)) as connection:
            return queries.explain(connection, session_id, last, self._measure(connection, measure))

    def chart(
        self,
        kind: str,
        *session_ids: str,
        step: str | None = None,
        by: str | None = None,
        measure: str = "duration",
        last: int | None = None,
        **filters: Unpack[Filters],
    ) -> Figure:
        """Return a chart as a matplotlib Figure; ``figure.savefig("trend.png")`` writes it.

        Args:
            kind: ``trend``, ``waterfall`` or another that ``perfdb chart --help`` lists.
            session_ids: of ``waterfall`` and ``resources`` one session (the last one), of ``compare`` two
                (the last two).
            step: of ``trend``: this step, not the total; of ``pareto``: only this one.
            by: of ``trend``: ``session`` (at equal distances) or ``time``; of ``compare``: the attribute
                whose values make the two groups; of ``pareto``: that whose values are drawn (``model``).
            measure: of ``trend``, ``steps``, ``bottlenecks`` and ``compare``: as in ``trends``; of
                ``pareto``: what the seconds are held against (``cost_usd``).
            last: how many of the newest sessions.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Raises:
            UsageError: there is no such kind, or an argument is not for this kind.
            NotFoundError: as in ``session``.
        """
        from matplotlib.figure import Figure

        from perfdb.charts.saving import image
        from perfdb.history.charts import draw
        from perfdb.history.jupyter import show_as

        show_as(Figure, "image/png", lambda figure: image(figure, "png"))
        with self._reading() as connection:
            of = self._measure(connection, measure)
        return draw(self, kind, *session_ids, step=step, by=by, measure=of, last=last, **filters)

    def report(
        self, session_id: str | None = None, *, last: int | None = None, **filters: Unpack[Filters]
    ) -> Report:
        """Return a report that Jupyter shows and ``save("report.html")`` writes: one file with its data.

        Args:
            session_id: one session, as in ``session``; the last one without any argument.
            last: instead, so many of the newest sessions together.
            filters: instead, the sessions that fit; as in ``sessions``: pipeline, since, until, fast_mode,
                status, attribute, tag, branch, mode.

        Raises:
            NotFoundError: as in ``session``.
        """
        from perfdb.history.reports import report

        return report(self, session_id, made_at=time.time(), last=last, **filters)

    def export(
        self,
        path: str | os.PathLike[str],
        format: Literal["json", "csv", "parquet", "otlp", "chrome", "speedscope"] | None = None,  # noqa: A002
        *,
        rows: Literal["steps", "sessions"] = "steps",
        last: int | None = None,
        expand_attributes: bool = False,
        **filters: Unpack[Filters],
    ) -> int:
        """Write the history to a file, whole or not at all; return how many rows it has.

        Args:
            path: the file; an existing one is replaced, but no database.
            format: ``json`` (whole reports, which ``import_reports`` reads), ``csv``, ``parquet``, or traces:
                ``otlp`` (JSON lines), ``chrome``, ``speedscope``; None: what the file's name ends with.
            rows: of CSV and Parquet: ``steps`` or ``sessions``.
            last: only so many of the newest sessions.
            expand_attributes: of CSV and Parquet, as in ``sessions``.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Raises:
            ValueError: there is no such format, or no such rows.
            StoreError: the file cannot be written.
            MissingExtraError: Parquet needs ``perfdb[parquet]``.
        """
        from perfdb.history.exporting import export

        return export(
            self,
            Path(path),
            format,
            rows=rows,
            expand_attributes=expand_attributes,
            filters={"last": last, **filters},
        )

    def affordable(self, last: int | None, *, times: int = 1, **filters: Unpack[Filters]) -> int | None:
        """Return how many of the newest sessions an answer may look at: ``last``, unless they are too much.

        Args:
            last: None: all of them.
            times: how often it reads each step.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.
        """
        from perfdb.history import queries

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            if connection is None:
                return last
            within = queries.within_limits(connection, times=times, **chosen)
        return last if within["last"] is None else int(within["last"])

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

    def alerts(self, state: str = "open") -> pd.DataFrame:
        """Return one row per alert, the newest first; of the open ones the most severe first.

        Args:
            state: ``open`` (pending, firing or acknowledged; one per group), ``pending``, ``firing``,
                ``acknowledged``, ``historic``, ``resolved``, ``expected``, ``false alarm``, or ``all``.

        Returns:
            ``id``, ``rule``, ``severity``, ``state``, ``pipeline``, ``step_name`` (None: the session's
            total), ``metric``, ``mode``, ``value`` and ``baseline`` (in the metric's unit; shares for rules
            that judge shares of runs), ``effect`` (percent; of shares percentage points),
            ``since_session_id``, ``message``; then ``kind``, ``direction``, ``limit``, ``bound``, ``n``,
            ``baseline_n``, ``hits``, instants (epoch s), ``silenced``, ``inhibited_by`` and more.

        Raises:
            ValueError: there is no such state.
        """
        from perfdb.store import alerts

        with self._reading() as connection:
            return alerts.alerts_frame([] if connection is None else alerts.read_alerts(connection, state))

    def baselines(self, *, measure: str | None = None) -> pd.DataFrame:
        """Return one row per pinned baseline, with how the newest runs compare.

        Args:
            measure: only those of this measure.

        Returns:
            ``id``, ``pipeline``, ``step_name`` (None: the session's total), ``mode``, ``metric``;
            ``value``: the median of ``n`` runs, ``spread`` their robust standard deviation (of the logarithms
            when all are > 0); ``since_session_id`` to ``until_session_id``, the first and last of them, with
            their times; ``note``, ``created_at``; ``now``: the median of the newest ``now_n`` runs since
            then, 50 at most, and ``change_percent`` from ``value``. Instants in epoch s, durations in s,
            other values in the ``unit`` of the metric.
        """
        from perfdb.history import queries

        with self._reading() as connection:
            of = None if measure is None else self._measure(connection, measure)
            return queries.baselines(connection, configured(self._settings.measures), measure=of)

    def _repr_html_(self) -> str:
        """Show the database and its five newest sessions, for Jupyter."""
        from perfdb.history.values import instant_texts
        from perfdb.pages.rendering import render

        newest = self.sessions(last=5)
        newest["started_at"] = instant_texts(newest["started_at"])
        columns = ["session_id", "pipeline", "status", "fast_mode", "total_duration", "started_at"]
        table = (
            newest[columns]
            .iloc[::-1]
            .to_html(index=False, border=0, na_rep="–", float_format="{:.2f}".format)
        )
        return render("history.html", database=self.database, newest=None if newest.empty else table)


def _named(*sessions: object) -> tuple[str, ...]:
    """Return the sessions that a comparison is about."""
    return tuple(str(each) for each in sessions if each is not None)


def _session_html(session: Session) -> str:
    from perfdb.pages.session import session_html

    return session_html(session, now=time.time())
