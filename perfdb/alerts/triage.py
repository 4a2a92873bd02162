"""Alerts for somebody who looks at them and decides about them; what `perfdb alerts` does.

Reading changes nothing; a decision is one transaction with its event, and holds for all the alerts that
the one it is about speaks for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from perfdb.alerts.checking import Checking
from perfdb.alerts.config import Channel, read_alert_settings
from perfdb.alerts.judging import recorded, rule_of
from perfdb.errors import NotFoundError, UsageError
from perfdb.filters import Filters, Moment, OfSeries, checked_filters, moment_of
from perfdb.measures import configured
from perfdb.recording.redaction import redact
from perfdb.records import Alert
from perfdb.text import mode_text, step_label
from perfdb.vocabulary import EXPECTED

if TYPE_CHECKING:
    from perfdb.alerts.explain import AlertExplanation
    from perfdb.store.alerts import AlertEvent, Silence
    from perfdb.store.baselines import Pin


@dataclass(frozen=True, slots=True)
class Story:
    """An alert, the alerts it speaks for, and what happened to it."""

    alert: Alert
    group: tuple[Alert, ...]
    events: tuple[AlertEvent, ...]


@dataclass(frozen=True, slots=True)
class Pinned:
    """Baselines that were pinned, and the names of the series that have too few runs."""

    pins: tuple[Pin, ...]
    left_out: tuple[str, ...]


class Triage(Checking):
    """Alerts of one history, for somebody who decides about them."""

    def channel(self, name: str) -> Channel:
        """Return a channel, ready to be used.

        Raises:
            NotFoundError: there is none of this name.
            UsageError: it is off, because a variable of its is not set.
        """
        settings = read_alert_settings(self._history.settings.alerts)
        channels = settings.channels + settings.channels_off
        found = next((channel for channel in channels if channel.name == name), None)
        if found is None:
            known = ", ".join(channel.name for channel in channels) or "none"
            raise NotFoundError(
                f"there is no channel {name!r}; configured: {known}. "
                "Channels are [[alerts.channels]] in perfdb.toml"
            )
        if found.off:
            raise UsageError(found.off)
        return found

    def alerts(
        self,
        state: str = "open",
        *,
        last: int | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        **of: Unpack[OfSeries],
    ) -> list[Alert]:
        """Return alerts as ``History.alerts`` does, as records; ``last``: so many of them."""
        from perfdb.store.alerts import read_alerts

        asked = self._asked(since, until, of)
        with self._history._reading() as connection:
            return [] if connection is None else read_alerts(connection, state, limit=last, **asked)

    def alerts_in_pieces(
        self,
        state: str = "open",
        *,
        last: int | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        **of: Unpack[OfSeries],
    ) -> Iterator[Alert]:
        """Yield what ``alerts`` returns while it is read."""
        from perfdb.store.alerts import alerts_in_pieces

        asked = self._asked(since, until, of)
        with self._history._reading() as connection:
            if connection is not None:
                yield from alerts_in_pieces(connection, state, last=last, **asked)

    def _asked(self, since: Moment | None, until: Moment | None, of: OfSeries) -> dict[str, Any]:
        """Return what is meant as ``store.alerts`` takes it."""
        meant = self._meant(of)
        return {
            "pipeline": meant["pipeline"], "step": meant["step"], "mode": meant["mode"],
            "metric": meant.get("measure"), "since": None if since is None else moment_of(since),
            "until": None if until is None else moment_of(until),
        }  # fmt: skip

    def story(self, alert_id: int) -> Story:
        """Return all that is known of an alert.

        Raises:
            NotFoundError: there is none of this number.
        """
        from perfdb.store.alerts import events_of, read_alert, spoken_for_by
        from perfdb.store.together import together

        with self._history._recorded() as connection:
            alert, others, events = together(
                connection,
                lambda: read_alert(connection, alert_id),
                lambda: spoken_for_by(connection, [alert_id]),
                lambda: events_of(connection, alert_id),
            )
            return Story(alert, tuple(others), tuple(events))

    def explanation(self, alert_id: int) -> AlertExplanation:
        """Return what an alert rests on, looked at anew.

        Raises:
            NotFoundError: there is none of this number.
        """
        from perfdb.alerts.explain import explain_alert
        from perfdb.store.alerts import read_alert
        from perfdb.store.together import together
        from perfdb.store.windows import last_run_of

        with self._history._recorded() as connection:
            alert, last = together(
                connection,
                lambda: read_alert(connection, alert_id),
                lambda: last_run_of(connection, alert_id),
            )
            return explain_alert(connection, alert, last, configured(self._history.settings.measures))

    def decide(self, alert_id: int, state: str, note: str | None = None) -> list[Alert]:
        """Acknowledge an alert, or close it as expected or as a false alarm, with its group.

        ``expected`` also makes the level that it found the new baseline.

        Raises:
            NotFoundError: there is none of this number.
            UsageError: it is closed already.
        """
        from perfdb.alerts.lifecycle import decide
        from perfdb.store import alerts as store

        now, note = time.time(), without_secrets(note)
        with self._history._writing() as connection:
            store.take_turn(connection)
            decided = []
            head = store.read_alert(connection, alert_id)
            for alert in (head, *store.spoken_for_by(connection, [alert_id])):
                try:
                    changed, events = decide(alert, state, now, head=head.id)
                except ValueError as error:
                    if alert is head:
                        raise UsageError(f"{error}; see: perfdb alerts show {alert_id}") from None
                    continue
                store.save_alert(connection, changed)
                for event in events:
                    store.add_event(connection, alert.id, event, now, note=note)
                if state == EXPECTED:
                    store.accept_baseline(connection, alert, now)
                decided.append(changed)
        return decided

    def undo(self, alert_id: int, note: str | None = None) -> list[Alert]:
        """Take the last decision about an alert and its group back; return them as they were before it.

        A baseline that ``expected`` made is gone; what is over by now is resolved.

        Raises:
            NotFoundError: there is none of this number.
            UsageError: nobody has decided about it.
        """
        from perfdb.alerts.lifecycle import decided_with, undo
        from perfdb.store import alerts as store

        now, note = time.time(), without_secrets(note)
        with self._history._writing() as connection:
            store.take_turn(connection)
            asked = store.read_alert(connection, alert_id)
            head = decided_with(asked)
            group = [
                each
                for each in store.read_alerts(connection, "all")
                if each.id != asked.id and each.state == asked.state and decided_with(each) == head
            ]
            restored = []
            for alert in (asked, *group):
                try:
                    changed, events = undo(alert, now)
                except ValueError as error:
                    raise UsageError(f"{error}; see: perfdb alerts show {alert_id}") from None
                store.forget_accepted(connection, alert.id)
                store.save_alert(connection, changed)
                for event in events:
                    store.add_event(connection, alert.id, event, now, note=note)
                restored.append(changed)
        return restored

    def silence(
        self,
        seconds: float,
        *,
        alert_id: int | None = None,
        rule: str | None = None,
        pipeline: str | None = None,
        step: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Tell nobody of what fits all that is given, for so long; return the silence's number.

        Raises:
            NotFoundError: there is no such alert.
            UsageError: nothing is given to fit.
        """
        from perfdb.store import alerts as store

        if rule is not None and all(each.rule != rule for each in self.alerts("all")):
            rule_of(self.settings, rule)
        if alert_id is None and rule is None and pipeline is None and step is None:
            raise UsageError("say what to silence: an alert's number, --rule, --pipeline or --step")
        now, reason = time.time(), without_secrets(reason)
        rule, pipeline, step = recorded(rule), recorded(pipeline), recorded(step)
        with self._history._writing() as connection:
            if alert_id is not None:
                store.read_alert(connection, alert_id)
                store.add_event(connection, alert_id, "silenced", now, note=reason)
            return store.add_silence(
                connection,
                now=now,
                expires_at=now + seconds,
                rule=rule,
                pipeline=pipeline,
                step_name=step,
                alert_id=alert_id,
                reason=reason,
            )

    def unsilence(self, *, silence_id: int | None = None, alert_id: int | None = None) -> int:
        """End a silence, or all those of an alert; return how many there were."""
        from perfdb.store import alerts as store

        now = time.time()
        with self._history._writing() as connection:
            ended = store.end_silences(connection, silence_id=silence_id, alert_id=alert_id, now=now)
            if alert_id is not None and ended:
                store.add_event(connection, alert_id, "unsilenced", now)
            return ended

    def silences(self) -> list[Silence]:
        """Return the silences in force."""
        from perfdb.store.alerts import silences_in_force

        with self._history._reading() as connection:
            return [] if connection is None else silences_in_force(connection, time.time())

    def pin_baseline(
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
        """Pin what past runs were like, as ``History.pin`` says."""
        from perfdb.alerts.pins import pin, pins_of_past
        from perfdb.analysis.baselines import LEAST_RUNS
        from perfdb.store.reading import find_session_id, read_session

        chosen: dict[str, Any] = dict(checked_filters(None, filters))
        for name, session_id in (("until", before), ("since", first), ("until", to)):
            if session_id is not None:
                if chosen[name] is not None:
                    raise UsageError(f"the sessions of the baseline are limited twice by {name!r}")
                with self._history._recorded() as connection:
                    moment = read_session(connection, find_session_id(connection, session_id)).start_time
                chosen[name] = math.nextafter(moment, math.inf) if session_id is to else moment
        del chosen["last"]  # of each series, not of all together
        now, note = time.time(), without_secrets(note)
        with self._history._recorded() as connection:
            of = self._history._measure(connection, measure)
            made, short = pins_of_past(connection, now, of, last=last, note=note, step=step, **chosen)
        if not made:
            most = max((len(past) for past in short), default=0)
            raise UsageError(
                f"nothing to pin: a baseline needs {LEAST_RUNS} runs that count, and no selected series "
                f"has more than {most}; see: perfdb trends"
            )
        with self._history._writing() as connection:
            pin(connection, made, now)
        left_out = [
            f"{step_label(past.step_name)} ({mode_text(past.mode) or past.pipeline})" for past in short
        ]
        return Pinned(tuple(made), tuple(left_out))

    def unpin_baseline(
        self,
        baseline_ids: Sequence[int] = (),
        *,
        pipeline: str | None = None,
        step: str | None = None,
        everything: bool = False,
    ) -> list[Pin]:
        """Forget pinned baselines: these, or all that fit; alerts that were judged by them are closed.

        Raises:
            NotFoundError: there is none of these numbers, or none fits.
            UsageError: nothing says which.
        """
        from perfdb.alerts.pins import unpin
        from perfdb.store.baselines import pinned

        if not baseline_ids and pipeline is None and step is None and not everything:
            raise UsageError(
                "choose what to unpin: numbers from perfdb baseline list, --pipeline, --step, or --all"
            )
        pipeline, step = recorded(pipeline), recorded(step)
        with self._history._writing() as connection:
            known = pinned(connection, pipeline)
            missing = set(baseline_ids) - {pin.id for pin in known}
            if missing:
                raise NotFoundError(f"no baseline {min(missing)} is pinned; see: perfdb baseline list")
            gone = [
                pin
                for pin in known
                if (not baseline_ids or pin.id in baseline_ids) and step in (None, pin.step_name)
            ]
            if not gone:
                raise NotFoundError("no pinned baseline matches; see: perfdb baseline list")
            unpin(connection, gone, time.time())
        return gone


def without_secrets(text: str | None) -> str | None:
    """Return what a person wrote without credentials."""
    return None if text is None else redact(text)
