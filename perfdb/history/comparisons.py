"""What moved, and what differs: regressions, comparisons, and why a session was slow."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Unpack, overload

from perfdb.errors import UsageError
from perfdb.filters import (
    Filters,
    Moment,
    checked_filters,
    moment_of,
    without_window,
)
from perfdb.history.answers import Answers

if TYPE_CHECKING:
    import pandas as pd

    from perfdb.analysis.common import Common
    from perfdb.analysis.compare import GroupComparison, SessionComparison
    from perfdb.analysis.explain import Explanation
    from perfdb.analysis.hits import Hits


class Comparisons(Answers):
    """The methods of a History that hold runs against others."""

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
            last: only what moved within so many of the newest sessions.
            filters: ``since``: only what moved at or after it; as with ``last``, what was before is looked at
                too. The others choose the sessions that make the history: ``pipeline``, ``until``,
                ``fast_mode``, ``status``, ``attribute``, ``tag``, ``branch``, ``mode``, as in ``sessions``.

        Returns:
            ``pipeline``, ``step_name`` (None: the session's total), ``mode``; ``against``: ``level``, the
            runs before, or ``pinned``, the pinned baseline, whose row has the newest runs beside it;
            ``since_session_id``, the first of the new level, and ``since_time`` (epoch s);
            ``before_median``, ``after_median`` and ``difference_s`` (s), ``effect`` (percent),
            ``before_n``, ``after_n``, ``without_wave``: of runs without their wave of the day and week;
            ``nearest_only``: of the nearest only, about 1,000 on either side, where a series is so long that
            its days say where it moved; ``p_value``;
            ``first_session_id`` and ``last_session_id``, between which it moved (95 %); ``lasts``: nothing
            moved since; ``event_session_id``: the same for total and steps that moved within 5 sessions;
            ``total_s``: the total's move (s) between ``total_before_n`` and ``total_after_n`` sessions around
            the event, ``total_without_wave``: without their wave of the day and week; ``parts`` of it by
            step, which add up, and ``contributes_percent``, this step's; ``suspects``: attributes that
            switched there, ``cause`` in words, ``confounded``; ``alert_id`` and ``alert_state`` of the alert
            that tells of it;
            ``difference`` and ``total_difference``: the same in the ``unit`` of the ``measure``;
            ``attribute`` and ``attribute_value``: of whose sessions it is, where all together do not show it.
        """
        from perfdb.history.queries import moves

        chosen = checked_filters(last, filters)
        with self._reading(without_window(chosen)) as connection:
            of = self._measure(connection, measure)
            if by is not None:
                return moves.regressions_by(connection, by, step=step, better=better, measure=of, **chosen)
            modes = self._settings.mode_attributes
            return moves.regressions(
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
        from perfdb.history.queries import moves

        modes = self._settings.mode_attributes
        chosen = checked_filters(last, filters)
        with self._reading({**chosen, "since": None}) as connection:
            return moves.differs_by(connection, modes, **chosen)

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
        from perfdb.history.queries import moves

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            return moves.switches(connection, step=step, **chosen)

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
            last: with ``by`` or ``split``: only so many of the newest sessions, of both periods; None: all.
            filters: with ``by``, as in ``sessions``: pipeline, since, until, fast_mode, status, attribute,
                tag, branch, mode.

        Raises:
            UsageError: there are not two sessions or groups to compare.
            NotFoundError: as in ``session``.
        """
        from perfdb.history.queries import comparing

        of_groups = by is not None or split is not None
        chosen = checked_filters(last, filters) if of_groups else None
        with self._recorded(chosen, sessions=() if of_groups else _named(a, b)) as connection:
            of = self._measure(connection, measure)
            if chosen is not None and split is not None:
                if by is not None or a is not None or b is not None:
                    raise UsageError("split= compares two periods: it goes with neither by= nor two sessions")
                return comparing.compare_periods(
                    connection,
                    split=moment_of(split),
                    resume=None if resume is None else moment_of(resume),
                    mode_attributes=self._settings.mode_attributes,
                    measure=of,
                    **chosen,
                )
            if chosen is not None and by is not None:
                modes = self._settings.mode_attributes
                return comparing.compare_groups(
                    connection, by=by, a=a, b=b, mode_attributes=modes, measure=of, **chosen
                )
            if (a is None) != (b is None):
                raise UsageError('give two sessions, compare("last~1", "last"), or by="fast_mode"')
            return comparing.compare_sessions(connection, *comparing.usual_pair(connection, a, b), of)

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
            UsageError: nothing that counts has the attribute, or the measure is the duration itself.
        """
        from perfdb.history.queries import comparing

        chosen = checked_filters(last, filters)
        with self._reading(chosen) as connection:
            of = self._measure(connection, measure)
            return comparing.choices(
                connection,
                by=by,
                step=step,
                measure=of,
                mode_attributes=self._settings.mode_attributes,
                **chosen,
            )

    def common(
        self,
        slow: Collection[str] | None = None,
        *,
        slowest: float = 5.0,
        over: float | None = None,
        between: tuple[Moment, Moment] | None = None,
        step: str | None = None,
        measure: str = "duration",
        last: int | None = 2000,
        **filters: Unpack[Filters],
    ) -> Common:
        """Return what slow runs have in common: values that are more frequent among them than in the rest.

        Args:
            slow: the ids of the slow runs; without, ``over`` or ``slowest`` says which they are.
            slowest: how many percent of the runs of each pipeline and mode are its slow ones.
            over: instead, runs that took longer than so many seconds, or lie beyond it in the measure.
            between: instead, or of those, the runs that started in this time: what they have in common
                beside all others that fit.
            step: what is slow is this step (the mean of its runs in a session), not the whole.
            measure: instead of the duration, as ``measures`` lists them: slow are the runs where it is worst.
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
        from perfdb.history.queries import comparing

        chosen = checked_filters(last, filters)
        with self._recorded(chosen) as connection:
            part = None if between is None else (moment_of(between[0]), moment_of(between[1]))
            of = self._measure(connection, measure)
            return comparing.common(
                connection, slow=slow, slowest=slowest, over=over, between=part, step=step, measure=of,
                **chosen,
            )  # fmt: skip

    def hits(
        self,
        at: Moment,
        *,
        step: str | None = None,
        measure: str = "duration",
        failures: bool = False,
        last: int | None = 2000,
        **filters: Unpack[Filters],
    ) -> Hits:
        """Return whom a move hits: how much the runs with each value moved, beside all the others.

        Args:
            at: when it moved: the runs since then are held against those before.
            step: what moved is this step (the mean of its runs in a session), not the whole.
            measure: instead of the duration, as ``measures`` lists them.
            failures: instead of how long runs took, how many of them failed.
            last: only so many of the newest sessions before, and since; None: all of them.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Returns:
            ``sentence``, and ``frame`` with ``attribute``, ``value``, ``before_n``, ``after_n``, ``effect``
            (percent; of failures percentage points) with its 95 % interval ``low`` to ``high``,
            ``rest_effect`` and ``sure``: see ``analysis.hits``.

        Raises:
            UsageError: there are too few runs before or since then, or a measure of failures was asked.
        """
        from perfdb.history.queries import comparing

        chosen = checked_filters(last, filters)
        with self._recorded(chosen) as connection:
            return comparing.hits(
                connection,
                at=moment_of(at),
                step=step,
                measure=self._measure(connection, measure),
                failures=failures,
                **chosen,
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
        from perfdb.history.queries import comparing

        with self._recorded(sessions=_named(a, b)) as connection:
            return comparing.usual_pair(connection, a, b)

    def explain(self, session_id: str = "last", *, measure: str = "duration", last: int = 100) -> Explanation:
        """Return why a session took as long as it did, compared with those of its kind before it.

        Where their totals have a wave of the day or week, what is usual is that of its hour and weekday.

        Args:
            session_id: as in ``session``.
            measure: instead of the duration, as ``measures`` lists them: any number that was recorded.
            last: how many earlier sessions of the same pipeline and mode say what is usual.

        Raises:
            UsageError: the session still runs, or was cut off.
            NotFoundError: as in ``session``.
        """
        from perfdb.history.queries import comparing

        with self._recorded(sessions=(session_id,)) as connection:
            return comparing.explain(connection, session_id, last, self._measure(connection, measure))


def _named(*sessions: object) -> tuple[str, ...]:
    """Return the sessions that a comparison is about."""
    return tuple(str(each) for each in sessions if each is not None)
