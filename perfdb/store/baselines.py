"""Pinned baselines in the database: what a series was like when a person said that it shall stay so.

A pin keeps the figures themselves, so that it holds when its sessions are deleted. One per series and metric.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, select

from perfdb.stopping import looking
from perfdb.store.ids import Ids
from perfdb.store.models import baselines, series, storable_text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "id": "int64", "pipeline": "object", "step_name": "object", "mode": "object", "metric": "object",
    "value": "float64", "spread": "float64", "n": "int64", "since_session_id": "object",
    "since_time": "float64", "until_session_id": "object", "until_time": "float64", "note": "object",
    "created_at": "float64",
}  # fmt: skip
_KNOWN = ("value", "spread", "n", "until_session_id", "until_time")  # of every pin that perfdb wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A pinned baseline of one series.

    ``value`` is the median of ``n`` runs, in the metric's unit; ``spread`` their robust standard deviation,
    of the logarithms when all are > 0. ``step_name`` None is the session's total; instants in epoch s.
    """

    pipeline: str
    step_name: str | None
    mode: str
    metric: str
    value: float
    spread: float
    n: int
    since_session_id: str
    since_time: float
    until_session_id: str
    until_time: float
    created_at: float
    note: str | None = None
    id: int = 0


def pinned(connection: Connection, pipeline: str | None = None, mode: str | None = None) -> list[Pin]:
    """Return the pinned baselines, of a pipeline and mode when they are given, totals first."""
    query = (
        select(
            *(series.c[name] if name in series.c and name != "id" else baselines.c[name] for name in COLUMNS)
        )
        .join(series, series.c.id == baselines.c.series_id)
        .where(baselines.c.pinned.is_(True), *(baselines.c[name].is_not(None) for name in _KNOWN))
        .order_by(series.c.pipeline, series.c.mode, baselines.c.id)
    )
    if pipeline is not None:
        query = query.where(series.c.pipeline == pipeline)
    if mode is not None:
        query = query.where(series.c.mode == mode)
    return [Pin(**dict(zip(COLUMNS, row, strict=True))) for row in looking(connection.execute(query).all())]


def pin(connection: Connection, pins: Iterable[Pin]) -> None:
    """Keep pins, each instead of the one that its series and metric had."""
    ids = Ids(connection)
    for each in pins:
        series_id = ids.of_series((each.pipeline, each.mode, each.step_name))
        connection.execute(
            delete(baselines).where(
                baselines.c.series_id == series_id,
                baselines.c.metric == each.metric,
                baselines.c.pinned.is_(True),
            )
        )
        row: dict[str, Any] = {
            name: getattr(each, name)
            for name in COLUMNS
            if name not in ("id", "pipeline", "step_name", "mode", "note")
        }
        row |= {"series_id": series_id, "pinned": True}
        row["note"] = None if each.note is None else storable_text(each.note)
        connection.execute(insert(baselines).values(**row))


def unpin(connection: Connection, pins: Iterable[Pin]) -> None:
    """Forget pins."""
    connection.execute(delete(baselines).where(baselines.c.id.in_([each.id for each in pins])))


def pins_frame(pins: Iterable[Pin]) -> pd.DataFrame:
    """Return pins as a frame with the columns of ``COLUMNS``."""
    import pandas as pd

    from perfdb.store.frames import instants

    found = list(pins)
    frame = pd.DataFrame(
        {
            name: pd.Series([getattr(each, name) for each in found], dtype=kind)
            for name, kind in COLUMNS.items()
        }
    )
    return frame.assign(created_at=instants(frame["created_at"].to_numpy()))
