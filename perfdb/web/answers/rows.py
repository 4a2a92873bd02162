"""Records and frames as rows of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perfdb.records import Alert, Session
from perfdb.texts import mode_text
from perfdb.web.schemas import AlertRow, SessionRow

if TYPE_CHECKING:
    import pandas as pd

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


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as dictionaries of plain values; what is missing is None."""
    columns = [[plain(value) for value in frame[name].tolist()] for name in frame.columns]
    names = list(frame.columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def plain(value: Any) -> Any:
    """Return a cell as a plain value; NaN, infinities and pandas's ways to say nothing are None."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, bool | int | str | Mapping | list):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value.item() if hasattr(value, "item") else value
