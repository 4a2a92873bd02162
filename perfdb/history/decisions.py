"""What a person decides: tags, what goes, what becomes of an alert, which runs are the baseline.

Each decision is written as a whole or not at all, from Python, the command line or the dashboard.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import index  # also of what a frame holds
from typing import TYPE_CHECKING, Any, Unpack

from perfdb.errors import NotFoundError, StoreError, UsageError
from perfdb.filters import Filters, Moment, OfSeries, checked_filters, checked_tag, moment_of
from perfdb.history.comparisons import Comparisons
from perfdb.recording.redaction import redact
from perfdb.records import Alert
from perfdb.vocabulary import ACKNOWLEDGED, EXPECTED, FALSE_ALARM, RUNNING, SEVERITIES, recorded_name

if TYPE_CHECKING:
    import pandas as pd

    from perfdb.alerts.checking import Checked
    from perfdb.alerts.explain import AlertExplanation
    from perfdb.alerts.triage import Pinned, Story, Triage
    from perfdb.store.alerts import Silence
    from perfdb.store.annotations import Annotation
    from perfdb.store.baselines import Pin

DAY_S = 86_400.0
MOST_WORDS = 200  # characters of an annotation


class Decisions(Comparisons):
    """The methods of a History that write, and those that help to decide."""

    # --- what happened around the runs ------------------------------------------------------------------

    def annotate(self, text: str, *, at: Moment | None = None, pipeline: str | None = None) -> Annotation:
        """Note what happened, such as ``deploy 1.4``: trends show it, and a window can begin with it.

        Args:
            text: a few words; credentials in it are redacted.
            at: when, as ``since`` in ``sessions``; now without.
            pipeline: that it concerns; every one without.

        Raises:
            UsageError: the text is empty, or longer than 200 characters.
            FilterError: the moment cannot be meant.
            NotFoundError: no pipeline is called so.
        """
        from perfdb.history.names import require_names
        from perfdb.store.annotations import add_annotation

        words = " ".join(text.split())
        if not 0 < len(words) <= MOST_WORDS:
            raise UsageError(f"an annotation has 1 to {MOST_WORDS} characters, such as: deploy 1.4")
        now = time.time()
        moment = now if at is None else moment_of(at, now=now)
        require_names(self, pipeline=pipeline)
        name = None if pipeline is None else recorded_name(pipeline)
        with self._writing() as connection:
            return add_annotation(connection, redact(words), moment, now, name)

    def annotations(
        self,
        *,
        last: int | None = None,
        pipeline: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> tuple[Annotation, ...]:
        """Return what was annotated, oldest first; ``pandas.DataFrame(history.annotations())`` is a table.

        Args:
            last: only so many of the newest that fit.
            pipeline: only what concerns it; what concerns all of them does.
            since: only what happened at or after, as in ``sessions``.
            until: only what happened before.
        """
        from perfdb.store.annotations import read_annotations

        newest = checked_filters(last, {})["last"]
        first, end = (None if each is None else moment_of(each) for each in (since, until))
        name = None if pipeline is None else recorded_name(pipeline)
        with self._reading() as connection:
            if connection is None:
                return ()
            found = read_annotations(connection, pipeline=name, since=first, until=end, newest=newest)
            return tuple(found)

    def remove_annotation(self, number: int) -> None:
        """Forget an annotation by its number.

        Raises:
            NotFoundError: there is none.
        """
        from perfdb.store.annotations import remove_annotation

        with self._writing() as connection:
            remove_annotation(connection, index(number))

    # --- sessions ---------------------------------------------------------------------------------------

    def tag(self, session_id: str, name: str) -> str:
        """Give a session a tag; ``warmup``, ``ignore`` and ``cached`` take it out of baselines and trends.

        Returns:
            The full id of the session.

        Raises:
            NotFoundError: as in ``session``.
            ValueError: the name is empty, longer than 64 characters or not printable.
        """
        from perfdb.store import sessions as stored

        return self._retag(session_id, checked_tag(name), stored.tag_session)[0]

    def untag(self, session_id: str, name: str) -> str:
        """Take a tag from a session; return the session's full id.

        Raises:
            NotFoundError: no such session, or it does not have this tag.
        """
        from perfdb.store import sessions as stored

        found, removed = self._retag(session_id, name, stored.untag_session)
        if not removed:
            raise NotFoundError(f"session {found} is not tagged {redact(name)!r}")
        return found

    def _retag(self, session_id: str, name: str, change: Callable[..., Any]) -> tuple[str, Any]:
        from perfdb.store import large, reading
        from perfdb.store import sessions as stored

        if self._lake is not None:
            return self._retag_in_lake(session_id, name, is_removed=change is stored.untag_session)
        with self._writing() as connection:
            found = reading.find_session_id(connection, session_id)
            pk, is_large = large.find(connection, found)
            changed = change(connection, found, name, with_steps=not is_large)
            counted = stored.recount_session(connection, pk, with_steps=False)
        if is_large:
            with self._in_pieces() as database:
                large.count_steps(database, pk, counted=counted)
        return found, changed

    def _retag_in_lake(self, session_id: str, name: str, *, is_removed: bool) -> tuple[str, bool]:
        from perfdb.lake.changes import change_of

        tag = recorded_name(redact(name))
        session = self.session(session_id)
        if self._lake is not None and (tag in session.tags) is is_removed:
            what = "untag" if is_removed else "tag"
            self._lake.change(change_of(session.session_id, session.start_time, what, tag))
            return session.session_id, True
        return session.session_id, False

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
        from perfdb.store import large, reading
        from perfdb.store import sessions as stored
        from perfdb.store.session_files import remove_pictures

        if self._lake is not None:
            from perfdb.lake.changes import change_of

            named = {each.session_id: each.start_time for each in map(self.session, session_ids)}
            self._lake.change(*(change_of(name, began, "delete") for name, began in named.items()))
            return tuple(named)
        with self._writing() as connection:
            found = tuple(dict.fromkeys(reading.find_session_id(connection, each) for each in session_ids))
            for session_id in found:
                if reading.status_of(connection, session_id) == RUNNING:
                    raise UsageError(f"session {session_id} is still running: delete it when it has ended")
            looked_at = [large.find(connection, each) for each in found]
            large_ones = [pk for pk, is_large in looked_at if is_large]
            if not large_ones:
                stored.delete_sessions(connection, found)
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
                stored.delete_sessions(connection, found)
        return found

    # --- alerts -----------------------------------------------------------------------------------------

    def acknowledge(self, alert_id: int, *, note: str | None = None) -> list[Alert]:
        """Say that somebody knows of an alert: it goes on, and tells nobody again.

        Args:
            alert_id: as in ``alerts``.
            note: why, for those who read it later.

        Returns:
            The alert as it is now, and after it those that it speaks for.

        Raises:
            NotFoundError: there is none of this number.
            UsageError: it is closed already.
        """
        return self._decided(alert_id, ACKNOWLEDGED, note)

    def expected(self, alert_id: int, *, note: str | None = None) -> list[Alert]:
        """Say that an alert is meant to be so, and close it: its level is the new baseline.

        Arguments, answer and errors are those of ``acknowledge``.
        """
        return self._decided(alert_id, EXPECTED, note)

    def false_alarm(self, alert_id: int, *, note: str | None = None) -> list[Alert]:
        """Say that nothing was wrong, and close an alert: it counts against the precision of its rule.

        Arguments, answer and errors are those of ``acknowledge``.
        """
        return self._decided(alert_id, FALSE_ALARM, note)

    def undo(self, alert_id: int, *, note: str | None = None) -> list[Alert]:
        """Take the last decision about an alert and its group back: they are what they were before it.

        A baseline that ``expected`` made is gone; what is over by now is resolved.

        Args:
            alert_id: as in ``alerts``.
            note: why, for those who read it later.

        Returns:
            The alert as it is now, and after it those that were decided about with it.

        Raises:
            NotFoundError: there is none of this number.
            UsageError: nobody has decided about it.
        """
        return self._triage().undo(index(alert_id), note)

    def _triage(self) -> Triage:
        from perfdb.alerts.triage import Triage

        return Triage(self)

    def _decided(self, alert_id: int, state: str, note: str | None) -> list[Alert]:
        return self._triage().decide(index(alert_id), state, note)

    def silence(
        self,
        alert_id: int | None = None,
        *,
        seconds: float = DAY_S,
        rule: str | None = None,
        pipeline: str | None = None,
        step: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Tell nobody of an alert, or of all alerts that fit, for a while; return the silence's number.

        Args:
            alert_id: one alert.
            seconds: for how long.
            rule: all alerts of this rule.
            pipeline: all alerts of this pipeline.
            step: all alerts of this step.
            reason: why, for those who read it later.

        Raises:
            NotFoundError: there is no such alert.
            UsageError: nothing says what to silence.
            ValueError: the time is not a length of time.
        """
        if not 0 < seconds < 1e9:
            raise ValueError(f"seconds={seconds!r} is not a length of time that can be meant")
        return self._triage().silence(
            seconds, alert_id=_index(alert_id), rule=rule, pipeline=pipeline, step=step, reason=reason
        )

    def unsilence(self, alert_id: int | None = None, *, silence_id: int | None = None) -> int:
        """End the silences of an alert, or one silence by its number; return how many ended.

        Raises:
            UsageError: nothing says which.
        """
        if alert_id is None and silence_id is None:
            raise UsageError("say what to end: an alert's number, or silence_id=")
        return self._triage().unsilence(silence_id=_index(silence_id), alert_id=_index(alert_id))

    def silences(self) -> list[Silence]:
        """Return the silences in force; ``pandas.DataFrame(history.silences())`` makes a table of them."""
        return self._triage().silences()

    def alert(self, alert_id: int) -> Story:
        """Return an alert, the alerts that it speaks for, and what happened to it.

        Raises:
            NotFoundError: there is none of this number.
        """
        return self._triage().story(index(alert_id))

    def explain_alert(self, alert_id: int) -> AlertExplanation:
        """Return what an alert rests on, looked at anew: the runs before and since, and what moved them.

        Raises:
            NotFoundError: there is none of this number.
        """
        return self._triage().explanation(index(alert_id))

    def replay_rules(
        self, *, last: int = 1_000, seconds: float = 60.0, **of: Unpack[OfSeries]
    ) -> pd.DataFrame:
        """Return how often each rule would have rung over this history, and what of it lasted.

        Args:
            last: so many of the newest sessions of each pipeline and mode are looked at.
            seconds: after which no further pipeline and mode is begun.
            of: only of this ``pipeline``, ``step``, ``mode`` or ``measure``, and only rules that watch it.

        Returns:
            One row per rule: ``rule``, ``kind``, ``severity``, ``runs`` (it was asked about), ``alerts``,
            ``lasting``, ``temporary``, ``false``, ``unknown``, ``precision`` (real ones of the known) and
            ``alerts_per_1000_runs``; ``attrs`` has ``sessions``, ``of`` and ``left_out``.
        """
        import pandas as pd

        from perfdb.analysis.rows import of_types

        found = self._triage().replay(last=last, seconds=seconds, **of)
        rows = [each.as_dict() for each in found.rules]
        floats = dict.fromkeys(("precision", "alerts_per_1000_runs"), "float64")
        frame = of_types(pd.DataFrame(rows, columns=list(rows[0]) if rows else None), floats if rows else {})
        frame.attrs.update(sessions=found.sessions, of=found.of, left_out=found.left_out)
        return frame

    def check(
        self,
        *,
        fail_on: str = "warning",
        since: Moment | None = None,
        confirm: int = 1,
        state: str = "firing",
        against: str | None = None,
        branch: str | None = None,
        **of: Unpack[OfSeries],
    ) -> Checked:
        """Say whether anything fires that should stop a release: ``check().failing`` is empty if not.

        Args:
            fail_on: the least severity that fails: ``info``, ``warning`` or ``critical``.
            since: only what a session that began at or after it confirmed; forms as in ``sessions``.
            confirm: how many sessions must have seen it.
            state: alerts in this state fail; as in ``alerts``.
            against: instead of alerts, whether the newest 5 runs of ``branch`` are slower than the last runs
                on this branch of git; on that branch itself the alerts.
            branch: what is judged with ``against``; default: the branch of the working folder or build, else
                that of the newest session on another one.
            of: only what fires in this ``pipeline``, ``step``, ``mode`` or ``measure``.

        Raises:
            NotFoundError: nothing is recorded, or nothing on ``against`` or ``branch``.
            ValueError: there is no such severity or state, or ``since`` is no moment.
        """
        if fail_on not in SEVERITIES:
            raise ValueError(f"fail_on={fail_on!r} must be one of {', '.join(SEVERITIES)}")
        moment = None if since is None else moment_of(since)
        if against is None:
            self._require_database()
        if against is not None and (judged := self._branch_to_judge(against, branch)) != against:
            return self._triage().check_against(
                against, judged, fail_on=fail_on, since=moment, confirm=confirm, **of
            )
        return self._triage().check(fail_on=fail_on, since=moment, confirm=confirm, state=state, **of)

    def _branch_to_judge(self, base: str, branch: str | None) -> str:
        from perfdb.history.names import require_names
        from perfdb.recording.environment import git_branch
        from perfdb.store.browsing import newest_branch

        judged = branch or git_branch()
        if judged is None:
            with self._recorded() as connection:
                judged = newest_branch(connection, besides=base)
        if judged is None:
            raise UsageError(f"which branch is to be judged by {base}? say so: --branch NAME")
        for name in {base, judged}:
            require_names(self, branch=name)
        return judged

    # --- baselines --------------------------------------------------------------------------------------

    def pin(
        self,
        *,
        step: str | None = None,
        measure: str = "duration",
        last: int | None = 50,
        before: str | None = None,
        first: str | None = None,
        to: str | None = None,
        note: str | None = None,
        **filters: Unpack[Filters],
    ) -> Pinned:
        """Pin what past runs were like: from now on runs are held against it as well.

        Every series of the sessions that fit is pinned, the total and each step, one per pipeline and mode.

        Args:
            step: only this step.
            measure: instead of the duration, as ``measures`` lists them; it is pinned beside it.
            last: only so many of the newest runs of each series; None: all that fit.
            before: only sessions that began before this one; ids as in ``session``.
            first: only this session and later ones.
            to: only this session and earlier ones.
            note: why, for those who read it later.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Raises:
            NotFoundError: there is no such session.
            UsageError: no series that fits has enough runs.
        """
        return self._triage().pin_baseline(
            step=step, measure=measure, last=last, before=before, first=first, to=to, note=note, **filters
        )

    def unpin(
        self,
        *baseline_ids: int,
        pipeline: str | None = None,
        step: str | None = None,
        everything: bool = False,
    ) -> list[Pin]:
        """Forget pinned baselines: these, or all that fit; alerts that were judged by them are closed.

        Args:
            baseline_ids: as in ``baselines``.
            pipeline: those of this pipeline.
            step: those of this step.
            everything: all of them.

        Raises:
            NotFoundError: there is none of these numbers, or none fits.
            UsageError: nothing says which.
        """
        return self._triage().unpin_baseline(
            [index(each) for each in baseline_ids], pipeline=pipeline, step=step, everything=everything
        )


def _index(number: int | None) -> int | None:
    return None if number is None else index(number)
