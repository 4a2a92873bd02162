"""What slow runs have in common, and whom a move hits, of the sessions that the bar chooses."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from pydantic.dataclasses import dataclass

from perfdb.analysis.rows import CommonRow, HitRow
from perfdb.errors import UsageError
from perfdb.filters import moment_of
from perfdb.history.values import rows_of
from perfdb.stopping import all_notes
from perfdb.store import browsing
from perfdb.store.series import usual_seconds
from perfdb.store.together import for_each
from perfdb.web.answers.overview import session_rows
from perfdb.web.queries import CommonQuery, HitsQuery
from perfdb.web.schemas import Answer, SessionRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfdb.web.served import ServedHistory

MOST_SLOW = 200
FAR = 4e9  # epoch s: after every run


@dataclass(frozen=True)
class CommonValue(CommonRow):
    """A value of an attribute among slow runs and among the rest, see ``History.common``."""


@dataclass(frozen=True)
class Hit(HitRow):
    """How much the runs with a value moved beside all the others, see ``History.hits``."""


class CommonAnswer(Answer):
    """What slow runs have in common, the most over-represented first."""

    sentence: str
    slow: int
    rest: int
    slow_session_ids: list[str]  # the newest of them
    rows: list[CommonValue]
    note: str | None = None  # what was left out of the window


def common(history: ServedHistory, query: CommonQuery) -> CommonAnswer:
    """Return what the slow ones of the sessions that fit have in common.

    Raises:
        NotFoundError: nothing is called so.
        UsageError: too few runs fit, or all or none of them are slow.
    """
    query.require_names(history, query.step)
    between = None
    if query.slow_since is not None or query.slow_until is not None:
        between = (
            0.0 if query.slow_since is None else moment_of(query.slow_since, zone=UTC),
            FAR if query.slow_until is None else moment_of(query.slow_until, zone=UTC),
        )
    found = history.common(
        slowest=query.slowest,
        over=query.over,
        between=between,
        step=query.step,
        measure=query.measure or "duration",
        last=query.last,
        **query.filters(),
    )
    return CommonAnswer(
        sentence=found.sentence,
        slow=len(found.slow),
        rest=found.rest,
        slow_session_ids=list(found.slow)[-MOST_SLOW:],
        rows=[CommonValue(**row) for row in rows_of(found.frame)],
        note=all_notes(),
    )


class HitsAnswer(Answer):
    """Whom a move hits, those that moved more than the others first."""

    sentence: str
    effect: float
    before: int
    after: int
    rows: list[Hit]
    note: str | None = None  # what was left out of the window


def hits(history: ServedHistory, query: HitsQuery) -> HitsAnswer:
    """Return whom a move of the sessions that fit hits.

    Raises:
        NotFoundError: nothing is called so.
        UsageError: no moment is named, or there are too few runs before or since.
    """
    query.require_names(history, query.step)
    if query.at is None:
        raise UsageError("name the moment of the move: at=2026-01-31, an age such as 7d, or commit:0a1b2c")
    found = history.hits(
        moment_of(query.at, zone=UTC),
        step=query.step,
        measure=query.measure or "duration",
        failures=query.failures,
        last=query.last,
        **query.filters(),
    )
    return HitsAnswer(
        sentence=found.sentence,
        effect=found.effect,
        before=found.before,
        after=found.after,
        rows=[Hit(**row) for row in rows_of(found.frame)],
        note=all_notes(),
    )


def runs_of(history: ServedHistory, ids: Sequence[str]) -> list[SessionRow]:
    """Return sessions as a list has them, beside what is usual, in the order of these ids; without steps."""
    with history.reading() as connection:
        if connection is None:
            return []
        page = browsing.session_page(connection, named=ids, limit=len(ids))
        found = {session.session_id: session for session in page.sessions}
        kinds = list({(session.pipeline, session.mode) for session in page.sessions})
        usual = for_each(connection, lambda kind: usual_seconds(connection, *kind).get(None), kinds)
        of_kind = dict(zip(kinds, usual, strict=True))
        return session_rows(connection, [found[each] for each in ids if each in found], of_kind)
