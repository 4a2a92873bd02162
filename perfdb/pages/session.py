"""One session as HTML: what held it up, its waterfall, its resources, its steps and attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from perfdb.analysis.timeline import Timeline, headline, in_tree_order, timeline
from perfdb.measures import SPENT
from perfdb.pages import svg
from perfdb.pages.rendering import render
from perfdb.recording.report import spent_of
from perfdb.records import Session
from perfdb.text import size_text

if TYPE_CHECKING:
    from perfdb.analysis.explain import Explanation

MOST_ROWS = 120
MOST_BARS = 20_000
MOST_STEPS = 400
MOST_OPEN = 40  # steps; the table of more is folded, for the waterfall has them
_MOST_UNFOLDED = 60  # letters of these that stand in the table; more is folded
_LONGEST_DATA, _LONGEST_VALUE = 600, 40  # of what a step recorded, in letters; the data below have all


def session_html(
    session: Session,
    explanation: Explanation | None = None,
    *,
    now: float | None = None,
    usual: Mapping[str | None, float] | None = None,
) -> str:
    """Return a fragment that shows the session and carries its own style.

    Args:
        session: with its steps and samples.
        explanation: where its seconds went, as ``analysis.explain`` tells it.
        now: epoch seconds, where a running session ends for the time being; None: at the last moment known.
        usual: usual seconds by step name, for the steps that are open.
    """
    laid_out = timeline(session, now, usual)
    last_sample = max((sample.time for sample in session.samples), default=session.start_time)
    spent = spent_of(session)
    right = max(laid_out.wall_s, last_sample - session.start_time)
    return render(
        "report_session.html",
        session=session,
        headline=headline(session, laid_out),
        line=laid_out,
        kinds=kinds_of(laid_out),
        explanation=explanation,
        spent=spent,
        spent_names=[name for name in SPENT if name in spent],
        right=right,
        resources=list(_resources(session, right)),
        on_path={bar.step.seq: bar.critical_s for bar in laid_out.bars()},
        so_far={bar.step.seq: bar.so_far for bar in laid_out.bars() if bar.is_open},
        most_rows=MOST_ROWS,
        most_steps=MOST_STEPS,
        most_open=MOST_OPEN,
        in_order=in_tree_order(session.steps),
        longest_data=_LONGEST_DATA,
        most_unfolded=_MOST_UNFOLDED,
        longest_value=_LONGEST_VALUE,
    )


def kinds_of(laid_out: Timeline) -> list[tuple[str, str]]:
    """Return what the colours of a waterfall mean: classes of the style sheet and their meanings."""
    bars = list(laid_out.bars())
    kinds = [("k1", "on the critical path (share of wall time)"), ("k2", "beside it")]
    if any(bar.step.failed for bar in bars):
        kinds.append(("k3", "failed"))
    if any(bar.waits for bar in bars):
        kinds.append(("k4", "waiting before a retry"))
    if any(bar.is_open for bar in bars):
        kinds.append(("k5", "has not ended"))
    return kinds


def _resources(session: Session, right: float) -> Iterator[tuple[str, str]]:
    if len(session.samples) < 2:
        return
    times = [sample.time - session.start_time for sample in session.samples]
    cpu = [sample.cpu_percent for sample in session.samples]
    memory = [float(sample.rss_bytes) for sample in session.samples]
    for title, values, unit, second in (
        (f"CPU, up to {max(cpu):.0f} % of a core", cpu, "percent", False),
        (f"Memory, up to {size_text(max(memory))}", memory, "bytes", True),
    ):
        top = 1.1 * max(values)
        points = list(zip(times, values, strict=True))
        yield title, svg.area(points, right, top, second=second, lines=svg.ticks(top, unit, 4))
