"""Write what became of alerts: one speaks for each group, and a digest per channel goes to the outbox."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perfdb.alerts.config import AlertSettings
from perfdb.alerts.digests import due_of, put_digests, urgency
from perfdb.alerts.lifecycle import LONG_AGO, group, remove_unruled
from perfdb.alerts.messages import headline, host_of, message
from perfdb.analysis.rules.base import SAME_CHANGE
from perfdb.analysis.series import Series
from perfdb.records import Alert
from perfdb.store import alerts as store
from perfdb.store.windows import (
    SessionRef,
)
from perfdb.vocabulary import ACKNOWLEDGED, FIRING

if TYPE_CHECKING:
    from sqlalchemy import Connection


MOST_CONFIRMATIONS = 10  # that an alert's story tells singly; then the 16th, 32nd, 64th …
Change = tuple[Alert, tuple[str, ...]]  # an alert as a verdict left it, and what happened to it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an evaluation.

    ``fired``: the alerts to notify people of now; ``of_session``: those that this session opened or confirmed
    and that are at least warnings, one per group; ``messages``: how many were put into the outbox.
    """

    fired: tuple[Alert, ...] = ()
    of_session: tuple[Alert, ...] = ()
    messages: int = 0


def settle(
    connection: Connection,
    session: SessionRef,
    settings: AlertSettings,
    active: Sequence[Alert],
    changes: Sequence[Change],
    total: Series | None,
    now: float,
    historic: bool,
) -> Outcome:
    """Save what changed, let one speak for each group, and put the notifications into the outbox."""
    unruled = remove_unruled(active, (rule.name for rule in settings.rules), now)
    if not changes and not unruled:
        return Outcome()
    stored = {alert.id: alert for alert in active}
    current = dict(stored)
    resolved: list[Alert] = []
    touched: set[int] = set()
    for alert in unruled:
        current[alert.id] = alert
        store.add_event(connection, alert.id, "rule removed", now)
    store.look_up_series(connection, session.pipeline, session.mode, (changed for changed, _ in changes))
    happened: list[tuple[int, str, str | None]] = []
    for changed, events in changes:
        alert_id = changed.id or store.save_alert(connection, changed)
        current[alert_id] = replace(changed, id=alert_id)
        happened += ((alert_id, event, note) for event, note in _kept(events, changed.hits))
        if events:
            touched.add(alert_id)
        if "resolved" in events and stored[alert_id].inhibited_by is None:
            resolved.append(current[alert_id])
    store.add_events(connection, happened, now, session_id=session.session_id)
    final = _grouped(connection, session, current, touched, total, now)
    own = [
        alert for alert in final.values() if alert.last_session_id == session.session_id and not alert.good
    ]
    due = [] if historic else due_of(own, settings, now)
    source = session.pipeline, session.mode, session.session_id
    put = put_digests(connection, source, settings.channels, due, resolved, now)
    for alert in due:
        final[alert.id] = replace(alert, notified_at=now, notified_severity=alert.severity)
    store.save_alerts(connection, (alert for number, alert in final.items() if alert != stored.get(number)))
    confirmed = [
        final[alert.id]
        for alert in own
        if alert.state in (FIRING, ACKNOWLEDGED)
        and alert.inhibited_by is None
        and alert.severity != "info"
        and not alert.silenced
    ]
    return Outcome(tuple(final[alert.id] for alert in due), tuple(sorted(confirmed, key=urgency)), put)


def _kept(events: Iterable[str], hits: int) -> Iterator[tuple[str, str | None]]:
    """Yield the events to keep for an alert, each with a note; the longer it lasts, the fewer."""
    for event in events:
        if event != "confirmed" or hits <= MOST_CONFIRMATIONS:
            yield event, None
        elif hits.bit_count() == 1:
            yield "still confirmed", f"{hits} sessions so far"


def _grouped(
    connection: Connection,
    session: SessionRef,
    current: Mapping[int, Alert],
    touched: Collection[int],
    total: Series | None,
    now: float,
) -> dict[int, Alert]:
    """Return the alerts with silences and groups applied, and with their texts."""
    quiet = store.what_is_quiet(connection, now)
    flagged = [replace(alert, silenced=quiet.holds(alert)) for alert in current.values()]
    others: list[Alert] = []
    if total is None:  # the session still runs: what it breaks is one group, the rest stays as it is
        others = [alert for alert in flagged if alert.last_session_id != session.session_id]
        flagged = [alert for alert in flagged if alert.last_session_id == session.session_id]
    times = total.start_times if total is not None else []
    first = times[0] if times else -math.inf
    positions = {
        alert.id: bisect_left(times, alert.since_time) if alert.since_time >= first else LONG_AGO
        for alert in flagged
    }
    grouped = group(flagged, positions)
    spoken_for = _of_one_host(connection, grouped, total)
    grouped = [replace(each, inhibited_by=spoken_for.get(each.id, each.inhibited_by)) for each in grouped]
    return {alert.id: alert for alert in _worded([*grouped, *others], touched)}


def _first(alert: Alert) -> tuple[float, str, str]:
    return alert.since_time, alert.pipeline, alert.mode


def _of_one_host(connection: Connection, alerts: Sequence[Alert], total: Series | None) -> dict[int, int]:
    """Return which alerts, by number, one of another pipeline or mode on the same host speaks for.

    They began within 5 sessions of it, and both say that everything there moved; the first speaks.
    """
    heads = {each.id: host for each in alerts if each.inhibited_by is None and (host := host_of(each))}
    if not heads or total is None:
        return {}
    own = {each.id for each in alerts}
    foreign = [each for each in store.read_alerts(connection, "open") if each.id not in own and host_of(each)]
    spoken_for: dict[int, int] = {}
    for alert in alerts:
        place = bisect_left(total.start_times, alert.since_time)
        head = next(
            (
                each
                for each in sorted(foreign, key=_first)
                if _first(each) < _first(alert)
                and host_of(each) == heads.get(alert.id)
                and abs(bisect_left(total.start_times, each.since_time) - place) <= SAME_CHANGE
            ),
            None,
        )
        if head is not None:
            spoken_for[alert.id] = head.id
    return spoken_for


def _worded(alerts: Sequence[Alert], touched: Collection[int]) -> Iterator[Alert]:
    """Yield the alerts with their texts; those that changed, and those that speak for one that did."""
    for alert in alerts:
        others = [each for each in alerts if each.inhibited_by == alert.id]
        if alert.id in touched or not alert.message or any(each.id in touched for each in others):
            if alert.inhibited_by is not None:
                others = [each for each in alerts if each.id == alert.inhibited_by]
            alert = replace(alert, headline=headline(alert), message=message(alert, others))
        yield alert
