"""Alerts: the list, one in full, and what a person decides about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfdb.alerts.triage import Desk
from perfdb.store.alerts import read_alerts, state_counts
from perfdb.store.browsing import Key
from perfdb.web.answers.rows import alert_row, alert_rows, named, silence_row
from perfdb.web.queries import AlertsQuery, key_of, text_of_key
from perfdb.web.schemas import AlertAnswer, AlertEvent, AlertPage

if TYPE_CHECKING:
    from perfdb.web.served import ServedHistory


def alert_page(history: ServedHistory, query: AlertsQuery) -> AlertPage:
    """Return a page of alerts, the newest first, with how many there are in each state."""
    after = None if query.after is None else key_of(query.after)
    with history.reading() as connection:
        if connection is None:
            return AlertPage(rows=[], after=None, counts={}, silences=[])
        found = read_alerts(connection, query.state, after=after, limit=query.limit + 1)
        counts = state_counts(connection)
    page = found[: query.limit]
    last = Key(page[-1].opened_at, page[-1].id) if len(found) > query.limit else None
    return AlertPage(
        rows=alert_rows(page),
        after=text_of_key(last),
        counts=counts,
        silences=[silence_row(each) for each in Desk(history).silences()],
    )


def alert(history: ServedHistory, alert_id: int) -> AlertAnswer:
    """Return one alert in full.

    Raises:
        NotFoundError: there is none of this number.
    """
    desk = Desk(history)
    story = desk.story(alert_id)
    details = story.alert.details
    return AlertAnswer(
        alert=alert_row(story.alert),
        group=alert_rows(story.group),
        events=[AlertEvent(**named(each, AlertEvent)) for each in story.events],
        silences=[silence_row(each) for each in desk.silences() if each.fits(story.alert)],
        found=details.get("found"),
        arithmetic=details.get("arithmetic"),
    )


def decide(history: ServedHistory, alert_id: int, state: str, note: str | None) -> AlertAnswer:
    """Acknowledge an alert or close it, with its group; return what it is now.

    Raises:
        NotFoundError: there is none of this number.
        UsageError: it is closed already.
    """
    Desk(history).decide(alert_id, state, note)
    return alert(history, alert_id)


def undo(history: ServedHistory, alert_id: int, note: str | None) -> AlertAnswer:
    """Take the last decision about an alert and its group back.

    Raises:
        NotFoundError: there is none of this number.
        UsageError: nobody has decided about it.
    """
    Desk(history).undo(alert_id, note)
    return alert(history, alert_id)


def silence(history: ServedHistory, alert_id: int, seconds: float, reason: str | None) -> AlertAnswer:
    """Tell nobody of an alert for so long.

    Raises:
        NotFoundError: there is none of this number.
    """
    Desk(history).silence(seconds, alert_id=alert_id, reason=reason)
    return alert(history, alert_id)


def unsilence(history: ServedHistory, alert_id: int) -> AlertAnswer:
    """End the silences of an alert.

    Raises:
        NotFoundError: there is none of this number.
    """
    alert(history, alert_id)
    Desk(history).unsilence(alert_id=alert_id)
    return alert(history, alert_id)
