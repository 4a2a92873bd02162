"""Pin a baseline and let it go: the figures of past runs, and the alerts that rest on them.

In the caller's transactions: the past is read in one that nobody waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from perfdb.analysis.baselines import LEAST_RUNS, level_of
from perfdb.analysis.rules import kind_of
from perfdb.analysis.series import Series
from perfdb.store import alerts as store
from perfdb.store import baselines
from perfdb.store.baselines import Pin
from perfdb.store.series import read_past
from perfdb.vocabulary import RESOLVED

if TYPE_CHECKING:
    from sqlalchemy import Connection


def pins_of_past(
    connection: Connection, now: float, *, last: int | None, note: str | None, **filters: Any
) -> tuple[list[Pin], list[Series]]:
    """Return pins of what the runs that fit were like, and the series that had too few runs.

    Args:
        connection: of any role.
        now: epoch s.
        last: only so many of the newest runs of each series.
        note: what a person said about it.
        filters: as ``store.series.read_past`` takes them.
    """
    made: list[Pin] = []
    short: list[Series] = []
    pasts = read_past(connection, **filters)
    for past in sorted(pasts, key=lambda past: (past.pipeline, past.mode, past.step_name or "")):
        first = 0 if last is None else max(0, len(past.values) - last)
        if len(past.values) - first < LEAST_RUNS:
            short.append(past)
            continue
        level = level_of(past.values[first:])
        made.append(
            Pin(
                pipeline=past.pipeline,
                step_name=past.step_name,
                mode=past.mode,
                metric="duration",
                value=level.value,
                spread=level.spread,
                n=level.n,
                since_session_id=past.session_ids[first],
                since_time=past.start_times[first],
                until_session_id=past.session_ids[-1],
                until_time=past.start_times[-1],
                created_at=now,
                note=note,
            )
        )
    return made, short


def pin(connection: Connection, made: Sequence[Pin], now: float) -> None:
    """Keep pins instead of those that their series had, and close the alerts that rest on these."""
    baselines.pin(connection, made)
    _let_go(connection, made, "baseline pinned anew", now)


def unpin(connection: Connection, pins: Sequence[Pin], now: float) -> None:
    """Forget pins, and close the alerts that rest on them."""
    baselines.unpin(connection, pins)
    _let_go(connection, pins, "baseline unpinned", now)


def _let_go(connection: Connection, pins: Iterable[Pin], event: str, now: float) -> None:
    by_series: dict[tuple[str, str], set[str | None]] = {}
    for pin in pins:
        by_series.setdefault((pin.pipeline, pin.mode), set()).add(pin.step_name)
    for (pipeline, mode), steps in by_series.items():
        for alert in store.active_alerts(connection, pipeline, mode):
            if kind_of(alert.kind).finds != "loss" or alert.step_name not in steps or not alert.is_open:
                continue
            closed = replace(
                alert, state=RESOLVED, active=False, closed_at=now, updated_at=now, inhibited_by=None
            )
            store.save_alert(connection, closed)
            store.add_event(connection, alert.id, event, now)
