"""Records and frames as rows of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfdb.records import Alert, Session
from perfdb.texts import mode_text
from perfdb.web.schemas import AlertRow, SessionRow

if TYPE_CHECKING:
    from perfdb.store.alerts import Silence
    from perfdb.web.schemas import SilenceRow

_OF_ALERT = tuple(name for name in AlertRow.model_fields if name != "mode_text")


def session_row(session: Session) -> SessionRow:
    """Return a session as a row of a list."""
    return SessionRow(
        session_id=session.session_id,
        pipeline=session.pipeline,
        status=session.status,  # type: ignore[arg-type]
        mode=session.mode,
        mode_text=mode_text(session.mode),
        fast_mode=session.fast_mode,
        success=session.success,
        product_count=session.product_count,
        start_time=session.start_time,
        end_time=session.end_time,
        total_duration=session.total_duration,
        error_message=session.error_message,
        tags=list(session.tags),
    )


def alert_row(alert: Alert) -> AlertRow:
    """Return an alert as a row of a list."""
    values = {name: getattr(alert, name) for name in _OF_ALERT}
    return AlertRow(**values, mode_text=mode_text(alert.mode))


def alert_rows(alerts: Sequence[Alert]) -> list[AlertRow]:
    """Return alerts as rows."""
    return [alert_row(alert) for alert in alerts]


def silence_row(silence: Silence) -> SilenceRow:
    """Return a silence as a row."""
    from perfdb.web.schemas import SilenceRow

    return SilenceRow(**{name: getattr(silence, name) for name in SilenceRow.model_fields})
