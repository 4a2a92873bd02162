"""What sessions cost, and what was spent today: dollars and tokens, where there are any.

Every session counts, however it ended: it was paid for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from sqlalchemy import Connection, select

from perfdb.filters import moment_of
from perfdb.measures import named
from perfdb.store import browsing, measuring
from perfdb.store.models import COMPLETED_CODE, sessions
from perfdb.store.reading import driver_rows
from perfdb.store.series import USUAL_OF
from perfdb.store.together import for_each, together

COST = named("cost_usd")
TOKENS = (named("input_tokens"), named("output_tokens"))
SPENT = (COST.name, "tokens")
LAST = 200  # sessions behind the figures of a pipeline and mode
LEAST_PAST = 10
MOST_KINDS = 12  # pipelines and modes


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a pipeline and mode costs.

    Attributes:
        today_usd: since midnight, local time, in ``today_n`` sessions.
        today_tokens: that went in and came out.
        run_usd: median of the newest ``n`` completed sessions, 20 at most.
        usual_usd: median of the ``usual_n`` before them.
        change_percent: by which the newest differ from those.
    """

    pipeline: str
    mode: str
    today_usd: float | None
    today_tokens: float | None
    today_n: int
    run_usd: float | None
    n: int
    usual_usd: float | None
    usual_n: int
    change_percent: float | None


def spent_by(connection: Connection, session_ids: Collection[str]) -> dict[str, dict[str, float]]:
    """Return ``cost_usd`` and ``tokens`` of those of these sessions that have any."""
    if not session_ids:
        return {}
    wanted = sessions.c.session_id.in_(session_ids)
    named, spent = together(
        connection,
        lambda: driver_rows(connection, select(sessions.c.id, sessions.c.session_id).where(wanted)),
        lambda: _values(connection, select(sessions.c.id).where(wanted)),
    )
    pks = dict(named)
    found: dict[str, dict[str, float]] = {}
    for name, values in zip(SPENT, spent, strict=True):
        for pk, value in values.items():
            found.setdefault(pks[pk], {})[name] = value
    return found


def _values(connection: Connection, chosen: Any) -> tuple[dict[int, float], dict[int, float]]:
    """Return dollars, and tokens, of the chosen sessions by number."""
    costs, *parts = measuring.sums_of_sessions(connection, (COST, *TOKENS), chosen)
    tokens: dict[int, float] = {}
    for part in parts:
        for pk, value in part.items():
            tokens[pk] = tokens.get(pk, 0.0) + value
    return costs, tokens


def spending(connection: Connection, now: float) -> list[Spending]:
    """Return what each pipeline and mode costs that has dollars or tokens, the one that ran last first.

    Args:
        connection: of any role.
        now: epoch s.
    """
    known = for_each(connection, partial(measuring.is_recorded_lately, connection), (COST, TOKENS[0]))
    if not any(known):
        return []
    midnight = moment_of("today", now=now)

    def of_kind(kind: tuple[int, str, str]) -> Spending | None:
        number, pipeline, mode = kind
        of_series = sessions.c.series_id == number
        newest = (
            select(sessions.c.id)
            .where(of_series, sessions.c.status == COMPLETED_CODE)
            .order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
            .limit(LAST)
        )
        (today, tokens), newest_first, (known,) = together(
            connection,
            lambda: _values(
                connection, select(sessions.c.id).where(of_series, sessions.c.start_time >= midnight)
            ),
            lambda: driver_rows(connection, newest),
            lambda: measuring.sums_of_sessions(connection, (COST,), newest),
        )
        costs = [known[pk] for (pk,) in newest_first if pk in known]
        recent, past = costs[:USUAL_OF], costs[USUAL_OF:]
        if not (today or tokens or costs):
            return None
        run = median(recent) if recent else None
        usual = median(past) if len(past) >= LEAST_PAST else None
        return Spending(
            pipeline=pipeline,
            mode=mode,
            today_usd=sum(today.values()) if today else None,
            today_tokens=sum(tokens.values()) if tokens else None,
            today_n=len({*today, *tokens}),
            run_usd=run,
            n=len(recent),
            usual_usd=usual,
            usual_n=len(past),
            change_percent=100 * (run - usual) / usual if run is not None and usual else None,
        )

    kinds = browsing.total_series(connection, most=MOST_KINDS)
    return [each for each in for_each(connection, of_kind, kinds) if each is not None]
