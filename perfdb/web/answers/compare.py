"""Two sessions, or two groups of sessions, side by side."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

from pydantic.dataclasses import dataclass

from perfdb.analysis.compare import row_of_sentence
from perfdb.analysis.pareto import advice, most_run, told
from perfdb.analysis.rows import ChoiceRow, GroupedRow, SideBySide
from perfdb.errors import NotFoundError
from perfdb.filters import Filters, moment_of, value_of
from perfdb.history.access import side_by_side
from perfdb.history.values import rows_of, to_builtin
from perfdb.measures import configured
from perfdb.measures import named as measure_named
from perfdb.stopping import all_notes
from perfdb.vocabulary import COMPLETED
from perfdb.web.queries import CompareQuery, ParetoQuery
from perfdb.web.schemas import Answer, RowOfMode, SessionRow

if TYPE_CHECKING:
    from perfdb.web.served import ServedHistory


@dataclass(frozen=True)
class GroupRow(GroupedRow, RowOfMode):
    """One series of two groups of sessions."""


class SessionsCompared(Answer):
    """Two sessions step by step."""

    kind: Literal["sessions"] = "sessions"
    a: SessionRow
    b: SessionRow
    sentence: str
    rows: list[SideBySide]


class GroupsCompared(Answer):
    """Two groups of sessions."""

    kind: Literal["groups"] = "groups"
    by: str
    a: Any
    b: Any
    sentence: str
    told_of: GroupRow | None  # the row that the sentence is about; null if nothing ran on both sides
    rows: list[GroupRow]
    confounded: list[str]
    left_out: list[Any]
    note: str | None = None  # what was left out of the window


@dataclass(frozen=True)
class Choice(ChoiceRow, RowOfMode):
    """One value of an attribute, see ``History.pareto``."""


class ParetoAnswer(Answer):
    """What one would choose between, the fastest of each pipeline, mode and step first."""

    by: str
    measure: str
    sentence: str  # of the pipeline and mode with the most runs
    advice: str = ""  # what to choose there, and what it takes; empty without a choice
    rows: list[Choice]
    note: str | None = None  # what was left out, because it is too much for one answer


def pareto(history: ServedHistory, query: ParetoQuery) -> ParetoAnswer:
    """Return the medians of seconds and of a measure, per value of an attribute.

    Raises:
        NotFoundError: nothing is called so.
        UsageError: nothing has the attribute.
    """
    query.require_names(history, query.step)
    by, measure = query.by or "model", query.measure or "cost_usd"
    found = history.pareto(by=by, step=query.step, measure=measure, last=query.last, **query.filters())
    rows = [{**row, "value": to_builtin(row["value"])} for row in rows_of(found)]
    note = all_notes()
    of = measure_named(measure, configured(history.settings.measures))
    own = most_run(found).to_dict("records")
    return ParetoAnswer(
        by=by,
        measure=measure,
        sentence=told(own, by=by, measure=of),
        advice=advice(own, measure=of),
        rows=[Choice(**row) for row in rows],
        note=note,
    )


def compare(history: ServedHistory, query: CompareQuery) -> SessionsCompared | GroupsCompared:
    """Return two sessions, or with ``by`` two groups of them.

    What is not named is as ``History.compare`` has it.

    Raises:
        NotFoundError: there is no such session.
        UsageError: there are not two sessions or groups to compare.
    """
    query.require_names(history)
    if query.by is not None or query.split is not None:
        return _groups(history, query)
    b = query.b
    filters: Filters = {**query.filters(), "status": query.status or COMPLETED}
    if query.a is None and b is None and any(value is not None for value in query.filters().values()):
        newest = history.session_rows(last=1, **filters)
        if not newest:
            raise NotFoundError("no session that fits has ended: choose a longer time, or another pipeline")
        b = newest[0]["session_id"]
    pair = history.usual_pair(query.a, b)
    found, first, second = side_by_side(
        history,
        lambda: history.compare(*pair, measure=query.measure or "duration"),
        lambda: history.session(pair[0]),
        lambda: history.session(pair[1]),
    )
    return SessionsCompared(
        a=SessionRow.from_records(first),
        b=SessionRow.from_records(second),
        sentence=found.sentence,
        rows=[SideBySide(**row) for row in rows_of(found.frame)],
    )


def _groups(history: ServedHistory, query: CompareQuery) -> GroupsCompared:
    a, b = (None if each is None else value_of(each) for each in (query.a, query.b))
    measure = query.measure or "duration"
    if query.split is not None:
        split = moment_of(query.split, zone=UTC)
        resume = None if query.resume is None else moment_of(query.resume, zone=UTC)
        found = history.compare(
            split=split, resume=resume, measure=measure, last=query.last, **query.filters()
        )
    else:
        found = history.compare(a, b, by=query.by or "", measure=measure, last=query.last, **query.filters())
    rows = [GroupRow(**row) for row in rows_of(found.frame)]
    place = row_of_sentence(found.frame)
    return GroupsCompared(
        by=found.by,
        a=to_builtin(found.a),
        b=to_builtin(found.b),
        sentence=found.sentence,
        told_of=None if place is None else rows[place],
        rows=rows,
        confounded=list(found.confounded),
        left_out=[to_builtin(each) for each in found.left_out],
        note=all_notes(),
    )


def groupable(history: ServedHistory) -> list[str]:
    """Return the attributes of the newest sessions that have more than one value: what groups can be by."""
    values: dict[str, set[Any]] = {}
    try:
        frame = history.sessions(last=200)
    except NotFoundError:
        return []
    for row in rows_of(frame[["fast_mode", "git_commit", "host", "python_version", "attributes"]]):
        given = {**row.pop("attributes"), **row}
        for name, value in given.items():
            if isinstance(value, str | int | float | bool):
                values.setdefault(name, set()).add(value)
    return sorted(name for name, seen in values.items() if 1 < len(seen) <= max(2, len(frame) // 3))
