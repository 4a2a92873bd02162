"""Have the rules judge sessions that are in the database, each in a transaction of its own.

Most change nothing and are read only; the lock that every writer waits for is taken for the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import Told, after_session, after_silence, would_change
from perfdb.records import COMPLETED
from perfdb.store.alerts import no_longer_silenced
from perfdb.store.database import Database
from perfdb.store.windows import EndedSession, find_ended

SHORT_S = 0.01  # a loop of shorter sessions is judged now and then, not after each
NEWS_S = 86_400.0  # what ended longer ago is old: it opens historic alerts at most, and nobody is told


def judge_session(database: Database, session_id: str, settings: AlertSettings) -> Told:
    """Judge a session that is in the database; judging it again changes nothing."""
    with database.reading() as connection:
        if not would_change(connection, session_id, settings, time.time()):
            return Told()
    with database.writing() as connection:
        return after_session(connection, session_id, settings, time.time())


def tell_after_silence(database: Database, settings: AlertSettings) -> Told:
    """Tell of what fired in a silence that is over by now, and fires on."""
    with database.reading() as connection:
        if not no_longer_silenced(connection, time.time()):
            return Told()
    with database.writing() as connection:
        return after_silence(connection, settings, time.time())


def judge_left(
    database: Database, session_ids: Iterable[str], settings: AlertSettings
) -> tuple[list[Told], list[str]]:
    """Judge sessions whose own process did not come to it, as it would have done.

    Returns:
        what was found, and those of the sessions that are too old to tell anybody.
    """
    with database.reading() as connection:
        ended = find_ended(connection, session_ids)
    begin = time.time() - NEWS_S
    news = [each for each in ended if each.end_time >= begin]
    old = [each.session_id for each in ended if each.end_time < begin]
    return [judge_session(database, each, settings) for each in _worth_judging(news, settings)], old


def limits_single_runs(settings: AlertSettings) -> bool:
    """Say whether a rule looks at single values, so that no session may go unjudged."""
    return any(rule.kind in ("max", "min") for rule in settings.rules)


def is_short(status: str, total_duration: float | None) -> bool:
    """Say whether the next session of a loop may speak for this one: the rules look at the history."""
    return status == COMPLETED and (total_duration or 0.0) < SHORT_S


def _worth_judging(ended: Sequence[EndedSession], settings: AlertSettings) -> list[str]:
    newest = {each.series_id: each for each in ended}
    return [
        each.session_id
        for each in ended
        if limits_single_runs(settings)
        or not is_short(each.status, each.total_duration)
        or newest[each.series_id] is each
    ]
