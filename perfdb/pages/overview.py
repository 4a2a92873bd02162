"""Many sessions as HTML: how long they take, which steps hold them up, and each of the newest in full."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perfdb.analysis import trend_view as view
from perfdb.analysis.course import changes_in
from perfdb.analysis.timeline import timeline
from perfdb.measures import DURATION, Measure
from perfdb.pages import svg
from perfdb.pages.rendering import render
from perfdb.pages.session import MOST_ROWS, kinds_of
from perfdb.records import Session
from perfdb.text import (
    amount_text,
    counted,
    duration_text,
    inert,
    local_time,
    mode_text,
    most_text,
    shortened,
    step_label,
)
from perfdb.vocabulary import COMPLETED, FAILED, INTERRUPTED, OTHER

if TYPE_CHECKING:
    import pandas as pd

IN_FULL = 30  # newest sessions whose waterfall can be opened
MOST_LISTED = 10  # of these, before the older ones are folded
MOST_DOTS = 500
MOST_BARS = 14
MOST_MEASURED = 100


@dataclass(frozen=True, slots=True)
class Totals:
    """What the sessions of a pipeline and mode took: a shape, and what stands around it."""

    words: str
    sessions: int
    meaning: str  # of dots and line
    note: str  # what else is to be said, or nothing
    shape: str
    first: float  # epoch s
    last: float


def overview_html(
    sessions: Sequence[Session],
    trends: pd.DataFrame,
    ranked: pd.DataFrame,
    values: Mapping[str, float],
    *,
    found: Sequence[tuple[str, str]] = (),
    recorded: pd.DataFrame | None = None,
    costs: pd.DataFrame | None = None,
    measure: Measure = DURATION,
) -> str:
    """Return a fragment about sessions, oldest first.

    Args:
        sessions: with their steps.
        trends: how each series did, as ``analysis.trends`` tells it of these sessions.
        ranked: what each step costs, as ``analysis.bottlenecks`` tells it of these sessions.
        values: what the measure is worth by ``session_id``; NaN or missing where it is not known.
        found: what else was found, as a sentence and all that is to be said of it: open alerts, for instance.
        recorded: what was recorded beside the durations, as ``analysis.measuring`` tells it.
        costs: the dollars of each step, as ``analysis.bottlenecks`` tells it of these sessions.
        measure: what ``trends``, ``ranked`` and ``values`` are of.
    """
    others = [] if recorded is None else recorded[recorded["measure"] != "duration"].to_dict("records")
    series = _series(sessions, values)
    named = {kind: _named(*kind) for kind in series}
    ranked_rows = [
        (named[pipeline, mode], rows)
        for pipeline, mode in series
        if (rows := _rows(ranked[(ranked["pipeline"] == pipeline) & (ranked["mode"] == mode)]))
    ]
    failed = sum(session.status == FAILED for session in sessions)
    laid_out = [(session, timeline(session)) for session in sessions[::-1][:IN_FULL]]
    return render(
        "report_overview.html",
        sessions=sessions,
        finding=_finding(sessions, ranked, measure) if sessions else "",
        measure=measure,
        found=found,
        failed=failed,
        others=sum(session.status not in (COMPLETED, FAILED) for session in sessions),
        pipelines=len({session.pipeline for session in sessions}),
        commits=len({session.git_commit for session in sessions if session.git_commit}),
        totals=[_totals(named[kind], group, values, measure, failed > 0) for kind, group in series.items()],
        ranked=ranked_rows,
        trends=trends.to_dict("records"),
        costs=[] if costs is None else costs[costs["value"] > 0].head(MOST_MEASURED).to_dict("records"),
        measured=others[:MOST_MEASURED],
        more_measured=len(others) - MOST_MEASURED,
        newest=[(session, line, kinds_of(line)) for session, line in laid_out],
        most_rows=MOST_ROWS,
        most_listed=MOST_LISTED,
    )


def _named(pipeline: str, mode: str) -> str:
    return ", ".join(word for word in (inert(pipeline), mode_text(mode)) if word)


def _finding(sessions: Sequence[Session], ranked: pd.DataFrame, measure: Measure) -> str:
    steps = ranked[ranked["kind"] == "step"]
    if steps.empty:
        return counted(len(sessions), "session")
    groups = steps.groupby(["pipeline", "mode"], sort=False)["sessions"].max()
    pipeline, mode = groups.index[int(groups.to_numpy().argmax())]
    own = steps[(steps["pipeline"] == pipeline) & (steps["mode"] == mode)]
    worst: dict[str, Any] = own.sort_values("value", ascending=False).iloc[0].to_dict()
    if not worst["value"] > 0:
        return counted(len(sessions), "session")
    name = shortened(inert(step_label(worst["step_name"])), 60)
    if not measure.is_duration:
        whole = ranked[(ranked["pipeline"] == pipeline) & (ranked["mode"] == mode)]["value"].sum()
        return f"{_named(pipeline, mode)}: {most_text(name, worst, whole, measure.words)}"
    return (
        f"{name} holds a run of {_named(pipeline, mode)} up for "
        f"{duration_text(worst['critical_s'])}, {worst['share_percent']:.0f} % of its time"
    )


def _series(sessions: Sequence[Session], values: Mapping[str, float]) -> dict[tuple[str, str], list[Session]]:
    """Return the sessions per pipeline and mode, the largest group first: modes are never mixed."""
    groups: dict[tuple[str, str], list[Session]] = {}
    for session in sessions:
        if session.status != INTERRUPTED and not math.isnan(values.get(session.session_id, math.nan)):
            groups.setdefault((session.pipeline, session.mode), []).append(session)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _totals(
    words: str,
    group: Sequence[Session],
    of_sessions: Mapping[str, float],
    measure: Measure,
    some_failed: bool,
) -> Totals:
    heights = [of_sessions[session.session_id] for session in group]
    shown = [amount_text(height, measure.unit) for height in heights]
    top = view.scale_top(heights)
    places = view.kept_places(heights, MOST_DOTS)
    points = [
        (
            float(place),
            heights[place],
            session.status == FAILED,
            f"{local_time(session.start_time)}: {shown[place]} ({session.status})",
        )
        for place, session in ((place, group[place]) for place in places)
    ]
    counting = [place for place, session in enumerate(group) if session.counted]
    starts = [group[place].start_time for place in counting]
    values = np.array([heights[place] for place in counting])
    changes = [each.index for each in changes_in(starts, values)]
    pieces = [
        [
            (float(counting[round(place)]), height)
            for place, height in zip(line.places.tolist(), line.p50.tolist(), strict=True)
        ]
        for line in view.lines(starts, values, changes)
    ]
    failed = "a square one that failed, " if some_failed else ""
    behind = (
        f"the last {view.window(values.size)}"
        if values.size <= view.MOST_RUNS
        else f"each {view.unit_of(starts)}"
    )
    notes = [] if len(places) == len(group) else [f"{len(places)} of {len(group):,} sessions are drawn."]
    over = view.beyond_words(heights, top, measure.unit)
    if over:
        notes.append(f"Arrows: {over}.")
    return Totals(
        words,
        len(group),
        f"Each dot is a session, {failed}oldest first; the line is the median of {behind}.",
        " ".join(notes),
        svg.dots(points, pieces, max(1.0, len(group) - 1.0), top, lines=svg.ticks(top, measure.unit)),
        group[0].start_time,
        group[-1].start_time,
    )


def _rows(ranked: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return the bars of a pipeline and mode, which add up: the last one is what no step has."""
    steps = ranked[ranked["kind"] == "step"]
    rows: list[dict[Hashable, Any]] = [
        row | {"name": step_label(row["step_name"])} for row in steps.head(MOST_BARS).to_dict("records")
    ]
    rest = ranked.drop(steps.index[:MOST_BARS])
    if rows and rest["value"].sum() > 0:
        small = len(steps) - len(rows)
        name = f"{OTHER} and {counted(small, 'smaller step')}" if small else OTHER
        value, share = rest["value"].sum(), rest["share_percent"].sum()
        rows.append({"name": name, "inside": None, "busy_s": 0.0, "value": value, "share_percent": share})
    return rows
