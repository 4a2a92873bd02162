"""The summary that is printed after a session: the seed's block, for sessions of any shape.

Pure: a Session in, text out. Percentages are shares of wall time on the critical path, so
they add up to 100 % however steps nest or run in parallel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from perfdb.critical_path import critical_seconds, resolved_parents
from perfdb.records import Session, Step
from perfdb.text import one_line
from perfdb.vocabulary import INTERRUPTED, RUNNING

_MOST_LINES = 100
_DEEPEST_INDENT = 20


@dataclass(slots=True)
class _Group:
    """All steps of one name under one parent group."""

    name: str
    depth: int
    steps: list[Step] = field(default_factory=list)
    children: dict[str, _Group] = field(default_factory=dict)
    critical: float = 0.0

    @property
    def busy(self) -> float:
        return sum(step.duration or 0.0 for step in self.steps)


def summary(session: Session, alerts: Sequence[str] = ()) -> str:
    """Return the summary of a session that has ended or still runs, without a newline at its end.

    Args:
        session: its steps may nest, repeat and run in parallel.
        alerts: messages to show at the end.
    """
    total = session.total_duration if session.total_duration is not None else _so_far(session)
    rule = "=" * 60
    lines = [rule, "📊 PERFORMANCE SUMMARY", rule, *_head(session, total), "", "📋 Step Breakdown:"]
    top = _grouped(session, total)
    running = session.status == RUNNING
    lines += _shortened(
        [_breakdown(group, running) for group in _in_order(top)] or ["   (no steps recorded)"]
    )
    if top:
        lines += ["", "📈 Step Percentages:", *_shortened([_share(group, total) for group in _in_order(top)])]
        other = 100.0 - sum(_percent(group, total) for group in top)
        if total > 0 and round(other, 1) >= 0.1:
            lines.append(f"   Other: {other:.1f}%")
    if alerts:
        lines += ["", *(f"   ⚠️ {one_line(str(alert))}" for alert in alerts)]
    return "\n".join(lines)


def _head(session: Session, total: float) -> Iterator[str]:
    yield f"Session ID: {one_line(session.session_id)}"
    if session.fast_mode is not None:
        yield f"Fast Mode: {session.fast_mode}"
    if session.success is None or session.status == INTERRUPTED:
        yield f"Status: {session.status}"
    else:
        yield f"Success: {session.success}"
    if session.error_message:
        what = "Reason" if session.status == INTERRUPTED else "Error"
        yield f"{what}: {one_line(session.error_message)}"
    if session.product_count is not None or session.pipeline == "design":
        yield f"Products Found: {session.product_count or 0}"
    so_far = " so far" if session.total_duration is None else ""
    yield f"Total Duration: {total:.2f}s{so_far}"


def _so_far(session: Session) -> float:
    """Return the seconds up to the last thing that is known of a session without an end."""
    known = [step.start_time if step.end_time is None else step.end_time for step in session.steps]
    return max(0.0, max(known, default=session.start_time) - session.start_time)


def _grouped(session: Session, total: float) -> list[_Group]:
    """Return the top-level groups in the order of their first start, with critical seconds filled in."""
    zero = session.start_time
    spans = [
        (
            step.seq,
            step.parent_seq,
            step.start_time - zero,
            None if step.end_time is None else step.end_time - zero,
        )
        for step in session.steps
    ]
    seconds = critical_seconds(spans, 0.0, total, inclusive=True)
    parents = resolved_parents(spans)
    children: dict[int | None, list[Step]] = {}
    for step in sorted(session.steps, key=lambda step: (step.start_time, step.seq)):
        children.setdefault(parents[step.seq], []).append(step)
    top: dict[str, _Group] = {}
    waiting: list[tuple[int | None, dict[str, _Group], int]] = [(None, top, 0)]
    for parent, groups, depth in waiting:  # grows while it is walked: parents before children
        for step in children.pop(parent, ()):
            group = groups.setdefault(step.step_name, _Group(step.step_name, depth))
            group.steps.append(step)
            group.critical += seconds[step.seq]
            waiting.append((step.seq, group.children, depth + 1))
    return list(top.values())


def _in_order(top: list[_Group]) -> Iterator[_Group]:
    """Yield each group and below it its children, without recursion."""
    waiting = list(reversed(top))
    while waiting:
        group = waiting.pop()
        yield group
        waiting.extend(reversed(group.children.values()))


def _breakdown(group: _Group, session_runs: bool) -> str:
    count = len(group.steps)
    failed = sum(step.failed for step in group.steps)
    called_off = sum(step.interrupted for step in group.steps)
    ended = sum(step.duration is not None for step in group.steps)
    unfinished = RUNNING if session_runs else INTERRUPTED
    mark = "❌" if failed or (ended < count and not session_runs) else "✅" if ended == count else "⏳"
    if called_off and mark != "❌":
        mark = "⏹️"
    line = f"{_indent(group)}{mark} {one_line(group.name)}: "
    if not ended:
        return line + (unfinished if count == 1 else f"{unfinished} ({count}×)")
    notes = [f"{count}×"] if count > 1 else []
    if failed and count > 1:
        notes.append(f"{failed} failed")
    if called_off:
        notes.append(f"{called_off} {INTERRUPTED}" if count > 1 else INTERRUPTED)
    if ended < count:
        notes.append(f"{count - ended} {unfinished}")
    return f"{line}{group.busy:.2f}s" + (f" ({', '.join(notes)})" if notes else "")


def _share(group: _Group, total: float) -> str:
    # a microsecond of rounding must not look like parallel work
    differs = abs(group.busy - group.critical) > 0.001 and f"{group.busy:.2f}" != f"{group.critical:.2f}"
    busy = f" (busy {group.busy:.2f}s)" if differs else ""
    name = f"{_indent(group)}{one_line(group.name)}"
    if group.depth:
        return f"{name}: {group.critical:.2f}s on the critical path{busy}"
    return f"{name}: {_percent(group, total):.1f}%{busy}"


def _percent(group: _Group, total: float) -> float:
    return 100.0 * group.critical / total if total > 0 else 0.0


def _indent(group: _Group) -> str:
    return "   " * (1 + min(group.depth, _DEEPEST_INDENT))


def _shortened(lines: Iterable[str]) -> list[str]:
    kept = list(lines)
    if len(kept) <= _MOST_LINES:
        return kept
    return [*kept[:_MOST_LINES], f"   … and {len(kept) - _MOST_LINES} more lines: see the report"]
