"""Gather what a report shows from a history: one session in full, or the last ones together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfdb.errors import UsageError
from perfdb.history.access import reading, side_by_side
from perfdb.measures import DURATION, configured, named
from perfdb.outputs import write_output
from perfdb.pages.document import document
from perfdb.pages.session import session_html
from perfdb.text import counted, local_time, size_text
from perfdb.version import __version__
from perfdb.vocabulary import INFO

if TYPE_CHECKING:
    from perfdb.history.comparisons import Comparisons


MOST_SESSIONS = 2_000


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report as HTML; Jupyter shows it, ``save`` writes it.

    Attributes:
        html: the whole file.
        fragment: the part that a page or a notebook can hold.
        sessions: how many sessions the file holds as data.
    """

    html: str
    fragment: str
    sessions: int

    def save(self, path: str | Path) -> Path:
        """Write the file, readable by its owner only, and return its path; what exists keeps its mode."""
        write_output(path, [self.html.encode("utf-8", "backslashreplace")])
        return Path(path)

    def __repr__(self) -> str:
        size = size_text(len(self.html.encode("utf-8", "backslashreplace")))
        return f"<Report of {counted(self.sessions, 'session')}, {size} of HTML: .save('report.html')>"

    def _repr_html_(self) -> str:
        return self.fragment


def report(
    history: Comparisons,
    session_id: str | None = None,
    *,
    made_at: float,
    last: int | None = None,
    measure: str = DURATION.name,
    **filters: Any,
) -> Report:
    """Return the report of one session, or of the last ones that fit the filters.

    Args:
        history: where from.
        session_id: as ``History.session`` takes it.
        made_at: epoch seconds, for the last line.
        last: how many of the newest sessions; None with a filter: all that fit.
        measure: what the figures are of, as ``History.measures`` lists them.
        filters: as in ``History.sessions``.

    Raises:
        NotFoundError: no session, or no measure, is called so.
        UsageError: more sessions fit than a page can hold, or the measure is no number.
    """
    made_by = f"Made by perfdb {__version__} on {local_time(made_at)}."
    if session_id is not None or (last is None and not filters):
        session = history.session(session_id or "last")
        explained, usual = side_by_side(
            history,
            lambda: (
                None
                if session.total_duration is None
                else history.explain(session.session_id, measure=measure)
            ),
            lambda: history.usual_seconds(session),
        )
        body = session_html(session, explained, now=made_at, usual=usual)
        title = f"{session.pipeline}: {session.session_id}"
        return Report(document(title, body, [session], made_by=made_by), body, 1)
    from perfdb.analysis.bottlenecks import bottlenecks
    from perfdb.analysis.measuring import measured, recorded
    from perfdb.analysis.runs import runs_of
    from perfdb.analysis.trends import trends
    from perfdb.history.queries.measured import measure_named
    from perfdb.pages.overview import overview_html
    from perfdb.store.series import days_before

    frame = history.sessions(last=last, **filters)
    if len(frame) > MOST_SESSIONS:
        raise UsageError(
            f"a report holds at most {MOST_SESSIONS:,} sessions, not {len(frame):,}: "
            "choose fewer with last= or since=, or write all of them with `perfdb export`"
        )
    kept = history.affordable(last, times=2, **filters)
    if kept is not None and kept < len(frame):
        last, frame = kept, history.sessions(last=kept, **filters)
    steps = history.steps(last=last, **filters)
    shown = set(frame["pipeline"])
    configured_measures = configured(history.settings.measures)
    with reading(history) as connection:
        of = measure_named(connection, measure, configured_measures, where=history.database)
        past = None if connection is None else days_before(connection, of)
        chosen, within = measured(frame, steps, of)
        found = trends(runs_of(chosen, within), past=past), bottlenecks(frame, steps, of)
    totals = chosen["total_duration"].to_numpy(dtype=float, na_value=math.nan).tolist()
    values = dict(zip(chosen["session_id"], totals, strict=True))
    kinds = recorded(frame, steps, configured_measures)
    has_costs = of.name != "cost_usd" and "cost_usd" in set(kinds["measure"])
    costs = bottlenecks(frame, steps, named("cost_usd")) if has_costs else None
    del frame, steps, chosen, within  # they take as much room as the sessions do
    sessions, alerts = side_by_side(
        history,
        lambda: list(history.each_session(last=last, **filters)),
        lambda: None if history.is_lake else history.alerts(state="open"),
    )
    said: list[tuple[str, str]] = []
    if alerts is not None:
        own = alerts[(alerts["severity"] != INFO) & alerts["pipeline"].isin(shown)]
        for message, since in zip(own["message"], own["since_session_id"], strict=True):
            sentence, _, rest = message.partition(f", since session {since}. ")
            said.append((sentence, rest))
    body = overview_html(sessions, *found, values, found=said, recorded=kinds, costs=costs, measure=of)
    title = f"perfdb: {counted(len(sessions), 'session')}"
    return Report(document(title, body, sessions, made_by=made_by), body, len(sessions))
