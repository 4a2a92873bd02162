"""What is slow and where it goes: the questions about bottlenecks, trends, failures and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from perfdb.filters import (
    Filters,
    Moment,
    OfSeries,
    checked_filters,
    moment_of,
    step_of,
    zone_named,
)
from perfdb.history.rows import Rows
from perfdb.measures import Measure, configured

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from perfdb.history.queries.figures import Trends

LAST_FOR_TRENDS = 200  # sessions, where nobody said which


class Answers(Rows):
    """The methods of a History that compute something about all sessions that fit."""

    def _measure(self, connection: Connection | None, name: str) -> Measure:
        """Return the measure of this name.

        Raises:
            NotFoundError: nothing is called so; it says what is near.
            UsageError: it is an attribute that never was a number.
        """
        from perfdb.history.queries.measured import measure_named

        return measure_named(connection, name, configured(self._settings.measures), where=self.database)

    def measures(
        self,
        *,
        step: str | None = None,
        measure: str | None = None,
        last: int | None = 1000,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return what was measured beside the duration, and every attribute that is a number.

        Args:
            step: only of this step.
            measure: only this one.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            One row per pipeline, mode, measure and step, that of the session (``step_name`` None) first:
            ``measure``, ``unit``, ``label``, ``better``, ``total`` (how steps make the session's value),
            ``n`` values from ``low`` to ``high``, their ``median``, and the ``last`` with its session.
        """
        from perfdb.history.queries import measured

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            name = None if measure is None else self._measure(connection, measure).name
            found = measured.measures(connection, configured(self._settings.measures), **chosen)
        for column, wanted in (("step_name", step_of(step)), ("measure", name)):
            found = found if wanted is None else found[found[column] == wanted]
        return found.reset_index(drop=True)

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
        from perfdb.history.queries import figures

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            return figures.bottlenecks(connection, measure=of, **chosen)

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
        asked: dict[str, Any] = {"by": by, "step": step, "measure": measure, "last": last, **filters}
        return self._trends(zone=zone, **asked).frame(zone_named(zone))

    def _trends(
        self,
        *,
        by: Literal["last", "all", "day", "week"],
        step: str | None,
        measure: str,
        last: int | None,
        zone: str,
        **filters: Unpack[Filters],
    ) -> Trends:
        from perfdb.history.queries import figures

        if last is None and by == "last" and filters.get("since") is None and filters.get("until") is None:
            last = LAST_FOR_TRENDS
        days_of = zone_named(zone)
        if by in ("day", "week"):  # one footing for what is asked and how it is grouped
            if (since := filters.get("since")) is not None:
                filters["since"] = moment_of(since, zone=days_of)
            if (until := filters.get("until")) is not None:
                filters["until"] = moment_of(until, zone=days_of)
        chosen = checked_filters(last, filters)
        if self._lake is not None and figures.is_of_everything(by, days_of, measure, chosen):
            self.require_access()
            return figures.trends_of_everything(
                self._lake.statistics, by=by, step=step, pipeline=chosen.get("pipeline")
            )
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            return figures.trends(connection, by=by, step=step, zone=days_of, measure=of, **chosen)

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
        from perfdb.history.queries import figures

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            return figures.failures(connection, step=step, **chosen)

    def violations(
        self,
        *,
        step: str | None = None,
        measure: str | None = None,
        last: int | None = 1000,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return the runs that broke a ``max``, ``min`` or ``sum`` rule of the settings, oldest first.

        Args:
            step: only what this step broke.
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
        from perfdb.history.queries import figures

        rules = read_alert_settings(self._settings.alerts, reading=True).rules
        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            if measure is not None:
                name = self._measure(connection, measure).name
                rules = tuple(rule for rule in rules if rule.metric == name)
            found = figures.violations(connection, rules, **chosen)
        return found if step is None else found[found["step_name"] == step_of(step)].reset_index(drop=True)

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
        from perfdb.history.queries import figures

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            found = figures.suggest_thresholds(connection, measure=of, **chosen)
        return found if step is None else found[found["step_name"] == step_of(step)].reset_index(drop=True)

    suggest_thresholds = thresholds  # its first name

    def baselines(self, **of: Unpack[OfSeries]) -> pd.DataFrame:
        """Return one row per pinned baseline, with how the newest runs compare.

        Args:
            of: only those of this ``pipeline``, ``step``, ``mode`` or ``measure``.

        Returns:
            ``id``, ``pipeline``, ``step_name`` (None: the session's total), ``mode``, ``metric``;
            ``value``: the median of ``n`` runs, ``spread`` their robust standard deviation (of the logarithms
            when all are > 0); ``since_session_id`` to ``until_session_id``, the first and last of them, with
            their times (epoch s); ``note``, ``created_at`` (datetime64[us, UTC]); ``now``: the median of the
            newest ``now_n`` runs since then, 50 at most, and ``change_percent`` from ``value``. Durations
            in s, other values in the ``unit`` of the metric.
        """
        from perfdb.history.queries import figures

        with self._reading() as connection:
            of["pipeline"], of["step"] = step_of(of.get("pipeline")), step_of(of.get("step"))
            if (measure := of.get("measure")) is not None:
                of["measure"] = self._measure(connection, measure).name
            return figures.baselines(connection, configured(self._settings.measures), **of)

    def alerts(
        self,
        state: str = "open",
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        **of: Unpack[OfSeries],
    ) -> pd.DataFrame:
        """Return one row per alert, the newest first; of the open ones the most severe first.

        Args:
            state: ``open`` (pending, firing or acknowledged; one per group), ``pending``, ``firing``,
                ``acknowledged``, ``historic``, ``resolved``, ``expected``, ``false alarm``, or ``all``.
            since: only those of a move since then, or that a session since then confirmed.
            until: only those of a move before.
            of: only those of this ``pipeline``, ``step``, ``mode`` or ``measure``.

        Returns:
            ``id``, ``rule``, ``severity``, ``state``, ``pipeline``, ``step_name`` (None: the session's
            total), ``metric``, ``mode``, ``value`` and ``baseline`` (in the metric's unit; shares for rules
            that judge shares of runs), ``effect`` (percent; of shares percentage points),
            ``since_session_id``, ``message``; then ``kind``, ``direction``, ``limit``, ``bound``, ``n``,
            ``baseline_n``, ``hits``, ``since_time`` and ``last_time`` (epoch s), ``opened_at``,
            ``updated_at``, ``closed_at`` and ``notified_at`` (datetime64[us, UTC]), ``silenced``,
            ``inhibited_by`` and more.

        Raises:
            ValueError: there is no such state.
            StoreError: a lake has no alerts: they are judged where programs record.
        """
        from perfdb.alerts.triage import Triage
        from perfdb.store.alerts import alerts_frame

        self._require_database()  # nobody judges a lake: that nothing is open would say nothing
        return alerts_frame(Triage(self).alerts(state, since=since, until=until, **of))

    def affordable(self, last: int | None, *, times: int = 1, **filters: Unpack[Filters]) -> int | None:
        """Return how many of the newest sessions an answer may look at: ``last``, unless they are too much.

        Args:
            last: None: all of them.
            times: how often it reads each step.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.
        """
        from perfdb.history.queries import limits

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            if connection is None:
                return last
            within = limits.within_limits(connection, times=times, **chosen)
        return last if within["last"] is None else int(within["last"])


def trend_rows(history: Answers, *, zone: str, **asked: Any) -> list[dict[str, Any]]:
    """Return what ``History.trends`` does as plain dictionaries, of everything without importing pandas.

    What is unknown is None, and a ``period`` is ISO text.
    """
    return history._trends(zone=zone, **asked).as_rows()
