"""Alerts: the list, one in full, and what a person decides about it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from perfdb.desk import Desk
from perfdb.web.answers.rows import alert_row, alert_rows, silence_row
from perfdb.web.queries import AlertsQuery, key_of
from perfdb.web.schemas import AlertAnswer, AlertEvent, AlertPage

if TYPE_CHECKING:
    from perfdb.web.served import ServedHistory


def alert_page(history: ServedHistory, query: AlertsQuery) -> AlertPage:
    """Return a page of alerts, the newest first, with how many there are in each state."""
    desk = Desk(history)
    found = desk.alerts(query.state)
    if query.after is not None:
        key = key_of(query.after)
        found = [alert for alert in found if (alert.opened_at, alert.id) < (key.value, key.pk)]
    page, rest = found[: query.limit], found[query.limit :]
    return AlertPage(
        rows=alert_rows(page),
        after=f"{page[-1].opened_at!r}_{page[-1].id}" if rest else None,
        counts=dict(Counter(alert.state for alert in desk.alerts("all"))),
        silences=[silence_row(each) for each in desk.silences()],
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
        events=[
            AlertEvent(at=each.at, event=each.event, session_id=each.session_id, note=each.note)
            for each in story.events
        ],
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
