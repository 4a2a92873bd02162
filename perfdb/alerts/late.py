"""Evaluate sessions that came late: from the journals of dead processes, or from an import.

What ended a day ago or longer is old: it opens historic alerts at most, and nobody is notified.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from perfdb.alerts.config import AlertSettings, read_alert_settings
from perfdb.alerts.evaluation import LEAST_NEW
from perfdb.alerts.settling import Outcome
from perfdb.alerts.transactions import evaluate_session, is_short, limits_single_runs
from perfdb.store.database import Database
from perfdb.store.windows import EndedSession, find_ended, newest_sessions
from perfdb.toml import Table

NEWS_S = 86_400.0


def evaluate_left(
    database: Database, session_ids: Iterable[str], settings: AlertSettings
) -> tuple[list[Outcome], list[str]]:
    """Evaluate sessions whose own process died before it could, as it would have done.

    Returns:
        what was found, and those of the sessions that are too old to notify anybody.
    """
    with database.reading() as connection:
        ended = find_ended(connection, session_ids)
    begin = time.time() - NEWS_S
    news = [each for each in ended if each.end_time >= begin]
    old = [each.session_id for each in ended if each.end_time < begin]
    return [evaluate_session(database, each, settings) for each in _worth_evaluating(news, settings)], old


def _worth_evaluating(ended: Sequence[EndedSession], settings: AlertSettings) -> list[str]:
    newest = {each.series_id: each for each in ended}
    return [
        each.session_id
        for each in ended
        if limits_single_runs(settings)
        or not is_short(each.status, each.total_duration)
        or newest[each.series_id] is each
    ]


def evaluate_historic(database: Database, session_ids: Iterable[str], alerts: Table | None) -> None:
    """Evaluate the rules of the settings' ``alerts`` on old sessions that came late.

    When it is interrupted, what was done stays; a second call continues from there.
    """
    settings = read_alert_settings(alerts or Table({}), reading=True)
    wanted = list(session_ids)
    evaluate_imported(database, wanted, settings)
    if len(wanted) < LEAST_NEW:
        return
    from perfdb.alerts.backfill import moves_around, open_historic  # loads numpy

    with database.reading() as connection:  # what takes long, while others write
        moves = moves_around(connection, wanted)
    open_historic(database, moves, settings, time.time())


def evaluate_imported(database: Database, session_ids: Iterable[str], settings: AlertSettings) -> None:
    """Evaluate, as historic, those of these sessions that are the newest of their pipeline and mode."""
    wanted = set(session_ids)
    with database.reading() as connection:
        newest = newest_sessions(connection) if wanted else []
    for session in newest:
        if session.session_id in wanted:
            evaluate_session(database, session.session_id, settings, historic=True)
