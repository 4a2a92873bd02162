"""Records and frames as rows of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perfdb.records import Alert, Session
from perfdb.text import mode_text
from perfdb.web.schemas import AlertRow, Answer, SessionRow, SilenceRow

if TYPE_CHECKING:
    from perfdb.store.alerts import Silence


def session_row(session: Session) -> SessionRow:
    """Return a session as a row of a list."""
    return SessionRow(**named(session, SessionRow), mode_text=mode_text(session.mode))


def alert_row(alert: Alert) -> AlertRow:
    """Return an alert as a row of a list."""
    return AlertRow(**named(alert, AlertRow), mode_text=mode_text(alert.mode))


def alert_rows(alerts: Sequence[Alert]) -> list[AlertRow]:
    """Return alerts as rows."""
    return [alert_row(alert) for alert in alerts]


def silence_row(silence: Silence) -> SilenceRow:
    """Return a silence as a row."""
    return SilenceRow(**named(silence, SilenceRow))


def named(record: object, row: type[Answer]) -> dict[str, Any]:
    """Return what a record has of a row's fields, by their names; the row checks the values."""
    return {name: getattr(record, name) for name in row.model_fields if hasattr(record, name)}
