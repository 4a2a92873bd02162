"""Many sessions as HTML: how long they take, which steps hold them up, and each of the newest in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perfdb.analysis import trend_view as view
from perfdb.analysis.timeline import timeline
from perfdb.pages import svg
from perfdb.pages.parts import fragment, heads, keys, plain, safe, section, table, tiles
from perfdb.pages.session import summary_line, waterfall_html
from perfdb.records import FAILED, INTERRUPTED, Session
from perfdb.text import counted, duration_text, inert, local_time, mode_text, shortened

if TYPE_CHECKING:
    import pandas as pd

IN_FULL = 30  # newest sessions whose waterfall can be opened
MOST_DOTS = 500
MOST_BARS = 14


def overview_html(
    sessions: Sequence[Session], trends: pd.DataFrame, ranked: pd.DataFrame, *, sentences: Sequence[str] = ()
) -> str:
    """Return a fragment about sessions, oldest first.

    Args:
        sessions: with their steps.
        trends: how each series did, as ``analysis.trends`` tells it of these sessions.
        ranked: what each step costs, as ``analysis.bottlenecks`` tells it of these sessions.
        sentences: what else was found: open alerts, for instance.
    """
    if not sessions:
        return fragment(
            '<h1>Nothing recorded yet</h1><p class="sub">Record a run, then make the report again.</p>'
        )
    first, last = sessions[0].start_time, sessions[-1].start_time
    parts = [
        f"<h1>{safe(_finding(sessions, ranked))}</h1>",
        f'<p class="sub">{counted(len(sessions), "session")} · {local_time(first)} to {local_time(last)}</p>',
        "".join(f'<p class="error">{safe(sentence, longest=1000)}</p>' for sentence in sentences),
        tiles(_facts(sessions)),
    ]
    for (pipeline, mode), group in _series(sessions).items():
        words = ", ".join(word for word in (inert(pipeline), mode_text(mode)) if word)
        parts.append(_totals(words, group))
    for pipeline, mode in _series(sessions):
        words = ", ".join(word for word in (inert(pipeline), mode_text(mode)) if word)
        own = ranked[(ranked["pipeline"] == pipeline) & (ranked["mode"] == mode)]
        parts.append(_bottlenecks(words, own))
    parts.append(
        section(
            "How long each step takes",
            _statistics(trends),
            "Only runs that count; a percentile is shown with enough runs behind it.",
        )
    )
    parts.append(_newest(sessions))
    return fragment("\n".join(parts))


def _finding(sessions: Sequence[Session], ranked: pd.DataFrame) -> str:
    steps = ranked[ranked["step_name"] != "Other"]
    if steps.empty:
        return counted(len(sessions), "session")
    groups = steps.groupby(["pipeline", "mode"], sort=False)["sessions"].max()
    pipeline, mode = groups.index[int(groups.to_numpy().argmax())]
    own = steps[(steps["pipeline"] == pipeline) & (steps["mode"] == mode)]
    worst: dict[str, Any] = own.sort_values("critical_s", ascending=False).iloc[0].to_dict()
    where = ", ".join(word for word in (inert(pipeline), mode_text(mode)) if word)
    return (
        f"{shortened(inert(worst['step_name']), 60)} holds a run of {where} up for "
        f"{duration_text(worst['critical_s'])}, {worst['share_percent']:.0f} % of its time"
    )


def _facts(sessions: Sequence[Session]) -> Iterator[tuple[str, str]]:
    failed = sum(session.status == FAILED for session in sessions)
    others = sum(session.status not in ("completed", FAILED) for session in sessions)
    yield "sessions", f"{len(sessions):,}"
    yield "failed", f'<span class="bad">{failed:,}</span>' if failed else "0"
    yield "running or interrupted", f"{others:,}" if others else ""
    yield "pipelines", f"{len({session.pipeline for session in sessions}):,}"
    commits = {session.git_commit for session in sessions if session.git_commit}
    yield "commits", f"{len(commits):,}" if commits else ""


def _series(sessions: Sequence[Session]) -> dict[tuple[str, str], list[Session]]:
    """Return the sessions per pipeline and mode, the largest group first: modes are never mixed."""
    groups: dict[tuple[str, str], list[Session]] = {}
    for session in sessions:
        if session.total_duration is not None and session.status != INTERRUPTED:
            groups.setdefault((session.pipeline, session.mode), []).append(session)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _totals(words: str, group: Sequence[Session]) -> str:
    durations = [float(session.total_duration or 0.0) for session in group]
    top = view.scale_top(durations)
    places = view.kept_places(durations, MOST_DOTS)
    points = [
        (
            float(place),
            durations[place],
            session.status == FAILED,
            f"{local_time(session.start_time)}: {duration_text(durations[place])} ({session.status})",
        )
        for place, session in ((place, group[place]) for place in places)
    ]
    counting = [place for place, session in enumerate(group) if session.status != FAILED]
    starts = [group[place].start_time for place in counting]
    values = np.array([durations[place] for place in counting])
    ids = [group[place].session_id for place in counting]
    changes = [each.index for each in view.changes_of(ids, starts, values)]
    pieces = [
        [
            (float(counting[round(place)]), height)
            for place, height in zip(line.places.tolist(), line.p50.tolist(), strict=True)
        ]
        for line in view.lines(starts, values, changes)
    ]
    failed = "a square one that failed, " if any(point[2] for point in points) else ""
    behind = (
        f"the last {view.window(values.size)}"
        if values.size <= view.MOST_RUNS
        else f"each {view.unit_of(starts)}"
    )
    note = f"Each dot is a session, {failed}oldest first; the line is the median of {behind}"
    note += "." if len(places) == len(group) else f"; {len(places)} of {len(group):,} sessions are drawn."
    over = view.beyond_words(durations, top)
    if over:
        note += f" Arrows: {over}."
    content = (
        f'<div class="scale"><span>{duration_text(top)}</span></div>'
        f"{svg.dots(points, pieces, max(1.0, len(group) - 1.0), top)}"
        f'<div class="scale"><span>{local_time(group[0].start_time)}</span>'
        f"<span>{local_time(group[-1].start_time)}</span></div>"
    )
    return section(f"Duration: {words} ({counted(len(group), 'session')})", content, note)


def _bottlenecks(words: str, ranked: pd.DataFrame) -> str:
    steps = ranked[ranked["step_name"] != "Other"].head(MOST_BARS)
    if steps.empty:
        return ""
    rows: list[dict[Any, Any]] = steps.to_dict("records")
    longest = max(max(row["critical_s"], row["busy_s"]) for row in rows)
    cells = [heads("step", "", "critical", "share")]
    for row in rows:
        inside = (
            f' <span class="faint">in {safe(row["inside"], longest=60)}</span>'
            if isinstance(row["inside"], str)
            else ""
        )
        cells.append(
            f'<span class="name">{safe(row["step_name"], longest=120)}{inside}</span>'
            f"{svg.pair_of_bars(row['critical_s'], row['busy_s'], longest)}"
            f'<span class="num">{duration_text(row["critical_s"])}</span>'
            f'<span class="num faint">{row["share_percent"]:.1f} %</span>'
        )
    key = keys(
        ("k1", "critical: nothing else held the run up"),
        ("k2", "busy: parallel steps added up; means per session"),
    )
    return section(
        f"Bottlenecks: {words} ({counted(int(rows[0]['sessions']), 'session')})",
        f'{key}<div class="rows">{"".join(cells)}</div>',
    )


def _statistics(trends: pd.DataFrame) -> str:
    rows: list[dict[Any, Any]] = trends.to_dict("records")
    titles = ["step", "mode", "n", "mean", "p50", "p90", "p95", "p99", "failed"]
    cells = (
        [
            f'<b>total</b> <span class="faint">{safe(row["pipeline"], longest=60)}</span>'
            if not isinstance(row["step_name"], str)
            else safe(row["step_name"], longest=120),
            plain(mode_text(row["mode"])),
            f"{row['n']:,}",
            *(duration_text(row[name]).replace("-", "–") for name in ("mean", "p50", "p90", "p95", "p99")),
            f'<span class="bad">{row["failures"]:,}</span>' if row["failures"] else "0",
        ]
        for row in rows
    )
    return table(titles, cells, names=2)


def _newest(sessions: Sequence[Session]) -> str:
    shown = sessions[::-1][:IN_FULL]
    made = "".join(
        f"<details><summary>{summary_line(session)}</summary>"
        f"{_error(session)}{waterfall_html(timeline(session))}</details>\n"
        for session in shown
    )
    return section("The newest sessions", made, "Open one to see its waterfall.")


def _error(session: Session) -> str:
    return (
        f'<p class="error">{safe(session.error_message, longest=1000)}</p>' if session.error_message else ""
    )
