"""Notifications: which alerts are due, and one message per channel for those of a session.

In the caller's transaction, so that a message is on its way exactly when the verdict holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from perfdb.alerts.config import AlertSettings, Channel
from perfdb.alerts.lifecycle import is_due
from perfdb.records import Alert
from perfdb.store import outbox
from perfdb.store.alerts import alert_row
from perfdb.vocabulary import INFO, SEVERITIES

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST_IN_DIGEST = 20  # more are counted

Source = tuple[str, str, str]
"""Pipeline, mode and session that a message is about."""


def source_of(alert: Alert) -> Source:
    """Return what a message about an alert would be about."""
    return alert.pipeline, alert.mode, alert.last_session_id


def due_of(alerts: Iterable[Alert], settings: AlertSettings, now: float) -> list[Alert]:
    """Return the alerts that people are to be notified of now."""
    due = [alert for alert in alerts if is_due(alert, now, settings.repeat_after_s)]
    return [] if all(alert.severity == INFO for alert in due) else due  # information never tells itself


def urgency(alert: Alert) -> tuple[int, int]:
    """Return by what alerts are sorted, the most severe and oldest first."""
    return (-SEVERITIES.index(alert.severity), alert.id)


def put_digests(
    connection: Connection,
    source: Source,
    channels: Iterable[Channel],
    due: Sequence[Alert],
    resolved: Sequence[Alert],
    now: float,
) -> int:
    """Put one message per channel into the outbox; over its hourly cap one summary, then nothing."""
    pipeline, mode, session_id = source
    put = 0
    for channel in channels:
        firing = [alert for alert in due if channel.wants(alert.severity)]
        over = [
            alert
            for alert in resolved
            if channel.resolved and channel.wants(alert.severity) and alert.notified_at is not None
        ]
        if not firing and not over:
            continue
        before = outbox.put_in_last_hour(connection, channel.name, now)
        if before > channel.most_per_hour:
            continue
        if before == channel.most_per_hour:
            note = f"more than {channel.most_per_hour} messages within an hour: further ones are held back"
            payload = {
                "pipeline": pipeline,
                "mode": mode,
                "note": f"{note}; see: perfdb alerts",
                "alerts": [],
                "resolved": [],
                "more": len(firing),
            }
            outbox.put(connection, channel.name, payload, now, kind="summary", session_id=session_id)
        else:
            payload = {
                "pipeline": pipeline,
                "mode": mode,
                "alerts": [
                    alert_row(replace(alert, notified_at=now, notified_severity=alert.severity))
                    for alert in sorted(firing, key=urgency)[:MOST_IN_DIGEST]
                ],
                "resolved": [alert_row(alert) for alert in over[:MOST_IN_DIGEST]],
                "more": max(0, len(firing) - MOST_IN_DIGEST) + max(0, len(over) - MOST_IN_DIGEST),
            }
            outbox.put(connection, channel.name, payload, now, session_id=session_id)
        put += 1
    return put
