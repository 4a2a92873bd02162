"""What a rule would have said of past runs, each evaluated as if it were the newest. Nothing is written."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from perfdb.alerts.evaluation import MEASURED, SeriesVerdict, evaluate_rules, pins_of
from perfdb.analysis.rules import EVERY, TABLE, Rule
from perfdb.store.alerts import Baseline
from perfdb.store.windows import SessionRef, read_windows

if TYPE_CHECKING:
    from sqlalchemy import Connection


def evaluate_past(
    connection: Connection,
    session: SessionRef,
    rule: Rule,
    accepted: Mapping[tuple[str | None, str], Baseline],
    last: int,
) -> Iterator[tuple[SeriesVerdict, int]]:
    """Yield the verdicts on the last runs of each series, the newest first, and the place of each run.

    Args:
        connection: of any role.
        session: the newest session of a pipeline and mode.
        rule: what to evaluate; open alerts play no part.
        accepted: baselines, see ``store.alerts.accepted_baselines``.
        last: how many sessions, ``session`` among them.
    """
    measured = rule.metric in MEASURED
    windows = read_windows(
        connection,
        session,
        TABLE[rule.kind].window + last,
        metrics={"duration", rule.metric} if measured else {"duration"},
        attributes=None if measured else {rule.step: {rule.metric}, **_of_total(rule)},
    )
    if not windows:
        return
    pins = pins_of(connection, session.pipeline, session.mode)
    total = windows[0]  # has every session
    for session_id, start in list(zip(total.session_ids, total.start_times, strict=True))[: -last - 1 : -1]:
        then = [window.between(0, bisect_right(window.start_times, start)) for window in windows]
        there = replace(session, session_id=session_id, start_time=start)
        for found in evaluate_rules(there, then, [rule], accepted, {}, pins):
            yield found, found.sessions[-1]


def _of_total(rule: Rule) -> dict[str | None, set[str]]:
    return {None: {rule.metric}} if rule.step == EVERY else {}
