"""The read door: what was recorded, as pandas frames and Session records.

A database given by an explicit URL is only ever read. The default home may first take in
what finished or dead writers left in its journals, so that a reader sees every step that was
acknowledged. ``tag``, ``untag`` and ``delete`` are the only methods that write.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from perfdb import settings as settings_module
from perfdb.errors import NotFoundError, PerfdbError, StoreError, UsageError
from perfdb.filters import Moment, checked_filters, checked_tag, moment_of, session_filters
from perfdb.recording.health import warn_once
from perfdb.recording.redaction import redact
from perfdb.records import RUNNING, Session
from perfdb.search import doubt_about_home
from perfdb.store.database import Database

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from sqlalchemy import Connection

    from perfdb.analysis.compare import GroupComparison, SessionComparison
    from perfdb.analysis.explain import Explanation
    from perfdb.history.reports import Report
    from perfdb.store.upkeep.backup import Backup

logger = logging.getLogger("perfdb")

READER_WAIT_S = 1.0  # a reader that finds the database busy reads what is there


class History:
    """The recorded history of one database.

    Args:
        url: an SQLAlchemy URL or the path of an SQLite file; default: the database of the settings.
        home: the folder that perfdb keeps its files in, when it is not the default one.

    Raises:
        SettingsError: the URL is none that perfdb can read.
    """

    def __init__(
        self, url: str | os.PathLike[str] | None = None, *, home: str | os.PathLike[str] | None = None
    ) -> None:
        if url is None and home is not None:
            url_of_home = settings_module.sqlite_url(
                settings_module.absolute(home) / settings_module.DATABASE_FILE
            )
            self._settings = settings_module.load_for_reading(home=home, database_url=url_of_home)
            self._explicit = False
        else:
            self._settings = settings_module.load_for_reading(home=home, database_url=_as_url(url))
            self._explicit = url is not None or bool(os.environ.get("PERFDB_DATABASE_URL", "").strip())
        self._database = Database(self._settings.database_url, migrates=False)
        for warning in self._settings.warnings:
            warn_once(warning)

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, which may hold a password; ``database`` is the form to show."""
        return self._settings.database_url

    @property
    def settings(self) -> settings_module.Settings:
        """The settings that named this database."""
        return self._settings

    @property
    def is_explicit(self) -> bool:
        """Whether the database was named by its URL or path, and is not simply that of the home."""
        return self._explicit

    @property
    def database(self) -> str:
        """The database for people: a path, or a URL whose password is hidden."""
        from perfdb.store.engine import shown_url, sqlite_path

        path = sqlite_path(self.url)
        return settings_module.shown_path(path) if path else shown_url(self.url)

    def require_access(self) -> None:
        """Refuse a database that is closed to us, and one that nobody named in a home of others.

        Raises:
            StoreError: it says which, why, and what to do.
        """
        from perfdb.store.engine import sqlite_path

        path = sqlite_path(self.url)
        if path is not None and (reason := _closed(path)) is not None:
            raise StoreError(f"{self.database} cannot be read: {reason}")
        if not self._explicit:
            home, trust = self._settings.home, settings_module.trust_for(self._settings)
            if (doubt := doubt_about_home(home, trust)) is not None:
                raise StoreError(doubt)
            closed = self._settings.closed_home
            if closed is not None and path is not None and not os.path.exists(path):
                reason = f"{settings_module.shown_path(closed)} cannot be read: {os.strerror(errno.EACCES)}"
                raise StoreError(f"{reason}; for a history of your own: PERFDB_HOME={home}")

    def sessions(
        self,
        *,
        pipeline: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        last: int | None = None,
        fast_mode: bool | None = None,
        status: str | None = None,
        attribute: Mapping[str, Any] | None = None,
        tag: str | None = None,
    ) -> pd.DataFrame:
        """Return one row per session, oldest first.

        Args:
            pipeline: only this pipeline.
            since: started at or after: epoch seconds, datetime, date, ISO text (local time unless it
                has a zone), or an age: a timedelta, ``"7d"`` or ``"24h"``.
            until: started before; the same forms.
            last: only so many of the newest sessions that fit.
            fast_mode: only sessions with this value.
            status: ``running``, ``completed``, ``failed`` or ``interrupted``.
            attribute: only sessions whose attributes have all these values.
            tag: only sessions with this tag.

        Returns:
            The columns of the view ``v_sessions``; instants in epoch seconds UTC, durations in
            seconds. Empty, with all columns, when nothing fits or nothing was recorded yet.

        Raises:
            ValueError: a filter is not of a form above.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.store import frames

        filters = session_filters(pipeline, since, until, last, fast_mode, status, attribute, tag)
        with self._reading() as connection:
            if connection is None:
                return frames.empty_sessions_frame()
            return frames.sessions_frame(connection, **filters)

    def steps(
        self,
        *,
        step: str | None = None,
        pipeline: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        last: int | None = None,
        fast_mode: bool | None = None,
        status: str | None = None,
        attribute: Mapping[str, Any] | None = None,
        tag: str | None = None,
    ) -> pd.DataFrame:
        """Return one row per step of the sessions that fit, oldest session first.

        Args:
            step: only steps of this name.
            pipeline: this and the others choose sessions, as in ``sessions``; ``last`` counts
                sessions, not steps.
            since: see ``sessions``.
            until: see ``sessions``.
            last: see ``sessions``.
            fast_mode: see ``sessions``.
            status: see ``sessions``; of the session, not of the step.
            attribute: see ``sessions``.
            tag: see ``sessions``.

        Returns:
            The columns of the view ``v_steps``; empty, with all columns, when nothing fits.

        Raises:
            ValueError: a filter is not of a form above.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.store import frames

        filters = session_filters(pipeline, since, until, last, fast_mode, status, attribute, tag)
        with self._reading() as connection:
            if connection is None:
                return frames.empty_steps_frame()
            return frames.steps_frame(connection, step=step, **filters)

    def session_rows(self, *, last: int | None = None, **filters: Any) -> list[dict[str, Any]]:
        """Return what ``sessions`` does as plain dictionaries, without importing pandas; None is unknown.

        Args:
            last: only so many of the newest sessions that fit.
            filters: as in ``sessions``.
        """
        from perfdb.store import frames

        chosen = checked_filters(last, filters)
        with self._reading() as connection:
            return [] if connection is None else frames.session_rows(connection, **chosen)

    def step_rows(
        self, *, step: str | None = None, last: int | None = None, **filters: Any
    ) -> list[dict[str, Any]]:
        """Return what ``steps`` does as a list of plain dictionaries, as ``session_rows`` does.

        Args:
            step: only steps of this name.
            last: only the steps of so many of the newest sessions that fit.
            filters: as in ``sessions``.
        """
        from perfdb.store import frames

        chosen = checked_filters(last, filters)
        with self._reading() as connection:
            return [] if connection is None else frames.step_rows(connection, step=step, **chosen)

    def session(self, session_id: str = "last") -> Session:
        """Return one session with its steps and samples; in Jupyter it shows itself as a report.

        Args:
            session_id: an id, a prefix that fits only one, ``"last"``, or ``"last~1"`` for the one before.

        Raises:
            NotFoundError: no session has this id, or several have this prefix.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history.jupyter import show_as
        from perfdb.store import reading

        show_as(Session, "text/html", _session_html)
        with self._recorded() as connection:
            return reading.read_session(connection, reading.find_session_id(connection, session_id))

    def each_session(
        self,
        *,
        pipeline: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        last: int | None = None,
        fast_mode: bool | None = None,
        status: str | None = None,
        attribute: Mapping[str, Any] | None = None,
        tag: str | None = None,
    ) -> Iterator[Session]:
        """Yield the sessions that fit one by one, oldest first, each with its steps and samples.

        The filters and errors are those of ``sessions``.
        """
        from perfdb.store import frames, reading

        filters = session_filters(pipeline, since, until, last, fast_mode, status, attribute, tag)
        with self._reading() as connection:
            if connection is None:
                return
            for row in frames.session_rows(connection, **filters):
                yield reading.read_session(connection, row["session_id"])

    def bottlenecks(self, *, last: int | None = 100, **filters: Any) -> pd.DataFrame:
        """Return what each step costs the sessions, per pipeline and mode, the costliest first.

        Args:
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``.

        Returns:
            ``step_name`` (``Other`` is the time of no step), mean seconds on the critical path
            (``critical_s``) and busy (``busy_s``), their shares of time and variance, what a faster step
            would gain, and how well parallel steps used their workers: see ``analysis.bottlenecks``.

        Raises:
            ValueError: a filter is not of a form that ``sessions`` knows.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        with self._reading() as connection:
            return queries.bottlenecks(connection, **checked_filters(last, filters))

    def trends(
        self,
        *,
        by: Literal["last", "all", "day", "week"] = "last",
        step: str | None = None,
        last: int | None = None,
        **filters: Any,
    ) -> pd.DataFrame:
        """Return how long each series takes and where that is going.

        Args:
            by: ``last``: one row per series, with its slope; ``all``: without; ``day`` (UTC) and ``week``
                (from Monday): one row per series and period.
            step: only this step, without the totals.
            last: only so many of the newest sessions; None: 200 with ``by="last"``, else all.
            filters: as in ``sessions``.

        Returns:
            ``n``, ``failures``, ``mean``, ``p50``, ``p90``, ``p95``, ``p99`` (s; none with too few runs), the
            slope in percent and its ``p_value``: see ``analysis.trends``.

        Raises:
            ValueError: ``by`` or a filter is not of a form above.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        if last is None and by == "last":
            last = 200
        with self._reading() as connection:
            return queries.trends(connection, by=by, step=step, **checked_filters(last, filters))

    def failures(self, *, step: str | None = None, last: int | None = 1000, **filters: Any) -> pd.DataFrame:
        """Return why runs failed or were called off, failures first, then what happens most.

        Texts that differ only in an id are one reason.

        Args:
            step: only this step, without the totals.
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``.

        Returns:
            One row per pipeline, step and reason: ``status`` (``failed`` or ``interrupted``), ``reason``,
            ``n``, when it was first and last, and the newest message whole: see ``analysis.failures``.

        Raises:
            ValueError: a filter is not of a form that ``sessions`` knows.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        with self._reading() as connection:
            return queries.failures(connection, step=step, **checked_filters(last, filters))

    def violations(self, *, last: int | None = 1000, **filters: Any) -> pd.DataFrame:
        """Return the runs that broke a ``max`` or ``min`` rule of the settings, oldest first.

        Args:
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``.

        Returns:
            One row per session, rule and series: ``value``, ``limit``, ``excess``, ``rule``, ``severity`` and
            what they are of: see ``analysis.violations``.

        Raises:
            SettingsError: the rules in the settings cannot be read.
            ValueError: a filter is not of a form that ``sessions`` knows.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.alerts.config import read_alert_settings
        from perfdb.history import queries

        rules = read_alert_settings(self._settings.alerts, reading=True).rules
        with self._reading() as connection:
            return queries.violations(connection, rules, **checked_filters(last, filters))

    def regressions(
        self,
        *,
        step: str | None = None,
        since: Moment | None = None,
        better: bool = False,
        last: int | None = None,
        **filters: Any,
    ) -> pd.DataFrame:
        """Return where the level of any series moved for the worse, in the whole history, oldest first.

        Args:
            step: only this step, without the totals.
            since: only what moved at or after it, as in ``sessions``; what was before is looked at too.
            better: what moved for the better instead.
            last: only so many of the newest sessions.
            filters: as in ``sessions``: which sessions make the history.

        Returns:
            ``pipeline``, ``step_name`` (None: the session's total), ``mode``; ``against``: ``level``, the
            runs before, or ``pinned``, the pinned baseline, whose row has the newest runs beside it;
            ``since_session_id``, the first of the new level, and ``since_time`` (epoch s);
            ``before_median``, ``after_median`` and ``difference_s`` (s), ``effect`` (percent),
            ``before_n``, ``after_n``, ``p_value``;
            ``first_session_id`` and ``last_session_id``, between which it moved (95 %); ``lasts``: nothing
            moved since; ``event_session_id``: the same for total and steps that moved within 5 sessions;
            ``total_s``: the total's move (s), ``parts`` of it by step, which add up, and
            ``contributes_percent``, this step's; ``suspects``: attributes that switched there, ``cause`` in
            words, ``confounded``; ``alert_id`` and ``alert_state`` of the alert that tells of it.

        Raises:
            ValueError: a filter is not of a form that ``sessions`` knows.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        moment = None if since is None else moment_of(since)
        chosen = checked_filters(last, filters) | {"step": step}
        del chosen["since"]
        with self._reading() as connection:
            return queries.regressions(connection, since=moment, better=better, **chosen)

    def suggest_thresholds(self, *, last: int | None = 1000, **filters: Any) -> pd.DataFrame:
        """Return a limit for each series with at least 20 runs, and how many runs it would have flagged.

        Args:
            last: only so many of the newest sessions; None: all of them.
            filters: as in ``sessions``.

        Returns:
            ``pipeline``, ``step_name``, ``mode``, ``n``, ``p50``, ``p95``, ``max``, ``limit`` (s) and
            ``flagged``: see ``analysis.thresholds``.

        Raises:
            ValueError: a filter is not of a form that ``sessions`` knows.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        with self._reading() as connection:
            return queries.suggest_thresholds(connection, **checked_filters(last, filters))

    @overload
    def compare(self, a: str, b: str) -> SessionComparison: ...

    @overload
    def compare(
        self, a: object = None, b: object = None, *, by: str, last: int | None = 1000, **filters: Any
    ) -> GroupComparison: ...

    def compare(
        self,
        a: Any = None,
        b: Any = None,
        *,
        by: str | None = None,
        last: int | None = 1000,
        **filters: Any,
    ) -> SessionComparison | GroupComparison:
        """Return how two sessions compare, or two groups of sessions.

        Args:
            a: the first session, as in ``session``; with ``by``: the value of the first group.
            b: the second session; with ``by``: the value of the second group.
            by: an attribute of the sessions, or ``git_commit``, ``host``, …; without ``a`` and ``b`` its
                two newest values make the groups.
            last: with ``by``: only so many of the newest sessions; None: all of them.
            filters: with ``by``: as in ``sessions``.

        Raises:
            UsageError: there are not two sessions or groups to compare.
            NotFoundError: as in ``session``.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        with self._recorded() as connection:
            if by is not None:
                modes = self._settings.mode_attributes
                chosen = checked_filters(last, filters)
                return queries.compare_groups(connection, by=by, a=a, b=b, mode_attributes=modes, **chosen)
            if a is None or b is None:
                raise UsageError('give two sessions, compare("last~1", "last"), or by="fast_mode"')
            return queries.compare_sessions(connection, a, b)

    def explain(self, session_id: str = "last", *, last: int = 100) -> Explanation:
        """Return why a session took as long as it did, compared with those of its kind before it.

        Args:
            session_id: as in ``session``.
            last: how many earlier sessions of the same pipeline and mode say what is usual.

        Raises:
            UsageError: the session still runs, or was cut off.
            NotFoundError: as in ``session``.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        with self._recorded() as connection:
            return queries.explain(connection, session_id, last)

    def chart(
        self,
        kind: str,
        *session_ids: str,
        step: str | None = None,
        by: str | None = None,
        last: int | None = None,
        **filters: Any,
    ) -> Figure:
        """Return a chart as a matplotlib Figure; ``figure.savefig("trend.png")`` writes it.

        Args:
            kind: ``trend``, ``steps``, ``bottlenecks``, ``waterfall``, ``resources`` or ``compare``.
            session_ids: of ``waterfall`` and ``resources`` one session (the last one), of ``compare`` two
                (the last two).
            step: of ``trend``: this step, not the total.
            by: of ``trend``: ``session`` (at equal distances) or ``time``; of ``compare``: the attribute
                whose values make the two groups.
            last: how many of the newest sessions.
            filters: as in ``sessions``.

        Raises:
            UsageError: there is no such kind, or an argument is not for this kind.
            NotFoundError: as in ``session``.
        """
        from matplotlib.figure import Figure

        from perfdb.charts.saving import image
        from perfdb.history.charts import draw
        from perfdb.history.jupyter import show_as

        show_as(Figure, "image/png", lambda figure: image(figure, "png"))
        return draw(self, kind, *session_ids, step=step, by=by, last=last, **filters)

    def report(self, session_id: str | None = None, *, last: int | None = None, **filters: Any) -> Report:
        """Return a report that Jupyter shows and ``save("report.html")`` writes: one file with its data.

        Args:
            session_id: one session, as in ``session``; the last one without any argument.
            last: instead, so many of the newest sessions together.
            filters: instead, the sessions that fit, as in ``sessions``.

        Raises:
            NotFoundError: as in ``session``.
        """
        import time

        from perfdb.history.reports import report

        return report(self, session_id, made_at=time.time(), last=last, **filters)

    def affordable(self, last: int | None, *, times: int = 1, **filters: Any) -> int | None:
        """Return how many of the newest sessions an answer may look at: ``last``, unless they are too much.

        Args:
            last: None: all of them.
            times: how often it reads each step.
            filters: as in ``sessions``.
        """
        from perfdb.history import queries

        with self._reading() as connection:
            if connection is None:
                return last
            within = queries.within_limits(connection, times=times, **checked_filters(last, filters))
        return last if within["last"] is None else int(within["last"])

    def alerts(self, state: str = "open") -> pd.DataFrame:
        """Return one row per alert, the newest first.

        Args:
            state: ``open`` (pending, firing or acknowledged; one per group), ``pending``, ``firing``,
                ``acknowledged``, ``historic``, ``resolved``, ``expected``, ``false alarm``, or ``all``.

        Returns:
            ``id``, ``rule``, ``severity``, ``state``, ``pipeline``, ``step_name`` (None: the session's
            total), ``metric``, ``mode``, ``value`` and ``baseline`` (in the metric's unit), ``effect``
            (percent), ``since_session_id``, ``message``; then ``kind``, ``direction``, ``limit``, ``bound``,
            ``n``, ``baseline_n``, ``hits``, instants (epoch s), ``silenced``, ``inhibited_by`` and more.

        Raises:
            ValueError: there is no such state.
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.store import alerts

        with self._reading() as connection:
            return alerts.frame_of([] if connection is None else alerts.read_alerts(connection, state))

    def baselines(self) -> pd.DataFrame:
        """Return one row per pinned baseline, with how the newest runs compare.

        Returns:
            ``id``, ``pipeline``, ``step_name`` (None: the session's total), ``mode``, ``metric``;
            ``value``: the median of ``n`` runs, ``spread`` their robust standard deviation (of the logarithms
            when all are > 0); ``since_session_id`` to ``until_session_id``, the first and last of them, with
            their times; ``note``, ``created_at``; ``now``: the median of the newest ``now_n`` runs since
            then, 50 at most, and ``change_percent`` from ``value``. Instants in epoch s, durations in s.

        Raises:
            StoreError: the database is missing, unreadable or not perfdb's.
        """
        from perfdb.history import queries

        with self._reading() as connection:
            return queries.baselines(connection)

    def tag(self, session_id: str, name: str) -> str:
        """Give a session a tag; ``warmup``, ``ignore`` and ``cached`` take it out of baselines and trends.

        Returns:
            The full id of the session.

        Raises:
            NotFoundError: as in ``session``.
            ValueError: the name is empty, longer than 64 characters or not printable.
        """
        from perfdb.store import ingest, large, reading

        name = checked_tag(name)
        with self._writing() as connection:
            found = reading.find_session_id(connection, session_id)
            pk, is_large = large.find(connection, found)
            ingest.tag_session(connection, found, name, with_steps=not is_large)
            counted = ingest.recount_session(connection, pk, with_steps=False)
        if is_large:
            with self._in_pieces() as database:
                large.count_steps(database, pk, counted=counted)
        return found

    def untag(self, session_id: str, name: str) -> str:
        """Take a tag from a session; return the session's full id.

        Raises:
            NotFoundError: no such session, or it does not have this tag.
        """
        from perfdb.store import ingest, large, reading

        with self._writing() as connection:
            found = reading.find_session_id(connection, session_id)
            pk, is_large = large.find(connection, found)
            removed = ingest.untag_session(connection, found, name, with_steps=not is_large)
            counted = ingest.recount_session(connection, pk, with_steps=False)
        if is_large:
            with self._in_pieces() as database:
                large.count_steps(database, pk, counted=counted)
        if not removed:
            raise NotFoundError(f"session {found} is not tagged {redact(name)!r}")
        return found

    def delete(self, *session_ids: str) -> tuple[str, ...]:
        """Delete sessions with their steps and samples, and the pictures of designs; their JSON reports stay.

        All or none: when one id is unknown, nothing is deleted. Pictures are looked for by the session's id
        where this home's pathway wrote them, never where the database says.

        Returns:
            The full ids of what was deleted.

        Raises:
            NotFoundError: as in ``session``.
            UsageError: one of them is still running.
            StoreError: a picture cannot be removed; all sessions are still there.
        """
        from perfdb.store import ingest, large, reading
        from perfdb.store.session_files import remove_pictures

        with self._writing() as connection:
            found = tuple(dict.fromkeys(reading.find_session_id(connection, each) for each in session_ids))
            for session_id in found:
                if reading.status_of(connection, session_id) == RUNNING:
                    raise UsageError(f"session {session_id} is still running: delete it when it has ended")
            looked_at = [large.find(connection, each) for each in found]
            large_ones = [pk for pk, is_large in looked_at if is_large]
            if not large_ones:
                ingest.delete_sessions(connection, found)
            try:
                remove_pictures(self.picture_folders(), found)
            except OSError as error:
                raise StoreError(
                    f"{error.filename} cannot be removed ({error.strerror}): no session was deleted"
                ) from error
        if large_ones:
            with self._in_pieces() as database:
                for pk in large_ones:
                    large.delete_rows_of(database, pk)
            with self._writing() as connection:
                ingest.delete_sessions(connection, found)
        return found

    def picture_folders(self) -> list[Path]:
        """Return the folders in which pictures of this history's sessions may lie.

        Those of the home if its settings name this database; of a file from elsewhere only the one beside it.
        """
        from perfdb.store.session_files import folders_for

        return folders_for(self._settings, self.url)

    def backup(self, file: str | os.PathLike[str], *, force: bool = False) -> Backup:
        """Copy the database into one file while others write to it; return what was copied and verified.

        Args:
            file: where to; a folder gets a file that is named by the time. Only its owner can read it.
            force: replace an existing file, in one piece.

        Raises:
            StoreError: the file exists, the disk is full, the database is missing or damaged.
        """
        from perfdb.store.upkeep.backup import back_up, is_current

        self.require_access()
        if not self._explicit and is_current(self.url):  # a backup must not migrate what it saves
            self._take_in_journals()
        return back_up(self.url, Path(file), force=force)

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        self.require_access()
        if not self._explicit:
            self._take_in_journals()
        database = self._database
        try:
            found = database.reading() if self._explicit else database.reading_if_there()
            with self._in_words("read"), found as connection:
                yield connection
        finally:
            database.rest()  # between two questions the file may be replaced, or the process forked

    @contextmanager
    def _recorded(self) -> Iterator[Connection]:
        with self._reading() as connection:
            if connection is None:
                raise self._nothing_recorded()
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._recorded():
            pass
        try:
            with self._in_words("changed"), self._database.writing() as connection:
                yield connection
        finally:
            self._database.rest()

    @contextmanager
    def _in_pieces(self) -> Iterator[Database]:
        """Yield the database, for what is written in several transactions."""
        try:
            with self._in_words("changed"):
                yield self._database
        finally:
            self._database.rest()

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        from perfdb.store.engine import QUERY_ERRORS, reason_of

        try:
            yield
        except QUERY_ERRORS as error:
            raise StoreError(f"{self.database} cannot be {what}: {reason_of(error)}") from error

    def _take_in_journals(self) -> None:
        from perfdb.worker.shipping import has_journals, recover

        home = self._settings.home
        if not has_journals(home):
            return
        from perfdb.store.engine import ALL_ERRORS

        try:
            recover(
                home,
                self.url,
                busy_timeout_s=READER_WAIT_S,
                alerts=self._settings.alerts,
                trust=settings_module.trust_for(self._settings),
            )
        except (PerfdbError, *ALL_ERRORS, OSError) as error:
            # The rest of the history can still be read, from a read-only folder for instance.
            logger.warning("the journals in %s could not be taken in: %s", home, error)

    def explained(self, error: Exception, *, certain: bool = False) -> StoreError | None:
        """Return what is wrong with the database when an answer failed because of what it holds.

        None when nothing is, and the failure is a bug. A file that was given by its address may be of
        anybody: there it is the file, unless only what is ``certain`` counts.
        """
        from perfdb.store.engine import QUERY_ERRORS, sqlite_path
        from perfdb.store.sanity import find_nonsense, unreadable

        path = sqlite_path(self.url)
        if path is None or not path.is_file():
            return None
        wrong = None
        try:
            with Database(self.url, migrates=False) as file, file.reading(checked=False) as connection:
                wrong = find_nonsense(connection)
        except (*QUERY_ERRORS, PerfdbError):
            wrong = "it is damaged"
        return unreadable(self.database, wrong, error) if wrong or (self._explicit and not certain) else None

    def _nothing_recorded(self) -> NotFoundError:
        return NotFoundError(
            f"nothing is recorded in {self.database} yet: record a run with perfdb.track(...), "
            "or try: perfdb demo"
        )

    def __repr__(self) -> str:
        return f"History({self.database!r})"

    def _repr_html_(self) -> str:
        """Show the database and its five newest sessions, for Jupyter."""
        from html import escape

        newest = self.sessions(last=5)
        title = f"<b>perfdb history</b> <code>{escape(self.database)}</code>"
        if newest.empty:
            return f"<div>{title}<br>Nothing recorded yet.</div>"
        columns = ["session_id", "pipeline", "status", "fast_mode", "total_duration", "started_at"]
        table = (
            newest[columns]
            .iloc[::-1]
            .to_html(index=False, border=0, na_rep="–", float_format="{:.2f}".format)
        )
        return f"<div>{title}, the newest sessions:{table}</div>"


# --- for perfdb's own parts: a History answers questions, and has no connections on its face ------------


def reading(history: History) -> AbstractContextManager[Connection | None]:
    """Give a connection for ``perfdb.store`` that sees one moment; None where nothing is recorded yet.

    Raises:
        StoreError: the database is missing, unreadable or not perfdb's.
    """
    return history._reading()


def recorded(history: History) -> AbstractContextManager[Connection]:
    """Give what ``reading`` does.

    Raises:
        NotFoundError: nothing is recorded.
        StoreError: as ``reading``.
    """
    return history._recorded()


def writing(history: History) -> AbstractContextManager[Connection]:
    """Give a connection inside one write transaction on an existing, current database.

    Raises:
        NotFoundError: nothing is recorded.
        StoreError: as ``reading``, or it takes no changes now.
    """
    return history._writing()


def nothing_recorded(history: History) -> NotFoundError:
    """Return the error that says so, and what to do."""
    return history._nothing_recorded()


def _session_html(session: Session) -> str:
    from perfdb.pages.session import session_html

    return session_html(session)


def _as_url(database: str | os.PathLike[str] | None) -> str | None:
    """Return the URL; a plain path means an SQLite file."""
    if database is None:
        return None
    text = os.fspath(database)
    return text if "://" in text else settings_module.sqlite_url(settings_module.absolute(text))


def _closed(path: Path) -> str | None:
    """Return why a file cannot be read, if it is there; to open and close it would drop SQLite's locks."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)
