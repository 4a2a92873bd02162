"""One session as HTML: what held it up, its waterfall, its resources, its steps and attributes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from perfdb.analysis.timeline import DEEPEST, Row, Timeline, headline, timeline
from perfdb.pages import svg
from perfdb.pages.parts import fragment, heads, keys, plain, safe, section, table, tiles
from perfdb.records import COMPLETED, Session, Step
from perfdb.text import counted, duration_text, inert, local_time, mode_text, size_text

if TYPE_CHECKING:
    from perfdb.analysis.explain import Explanation

MOST_ROWS = 120
MOST_BARS = 20_000
MOST_STEPS = 400
_LONGEST_DATA = 600


def session_html(session: Session, explanation: Explanation | None = None) -> str:
    """Return a fragment that shows the session and carries its own style.

    Args:
        session: with its steps and samples.
        explanation: where its seconds went, as ``analysis.explain`` tells it.
    """
    laid_out = timeline(session)
    parts = [
        f"<h1>{safe(headline(session, laid_out))}</h1>",
        f'<p class="sub">{_about(session)}</p>',
        f'<p class="error">{safe(session.error_message, longest=2000)}</p>' if session.error_message else "",
        tiles(_facts(session, laid_out)),
        section("Waterfall", waterfall_html(laid_out)),
        _why(explanation) if explanation is not None else "",
        _resources(session, laid_out),
        section("Steps", _steps(session, laid_out)) if session.steps else "",
        _attributes("Attributes", session.attributes),
    ]
    return fragment("\n".join(parts))


def _about(session: Session) -> str:
    words = [
        safe(session.pipeline),
        safe(mode_text(session.mode)) if mode_text(session.mode) else "",
        f"session <code>{safe(session.session_id)}</code>",
        f"started {local_time(session.start_time)}",
        *(f"[{safe(tag)}]" for tag in session.tags),
    ]
    return " · ".join(word for word in words if word)


def _facts(session: Session, laid_out: Timeline) -> Iterator[tuple[str, str]]:
    yield "duration", duration_text(laid_out.wall_s)
    yield (
        "status",
        session.status if session.status == COMPLETED else f'<span class="bad">{session.status}</span>',
    )
    yield "products", "" if session.product_count is None else str(session.product_count)
    yield "steps", f"{len(session.steps):,}"
    yield "CPU time", "" if session.cpu_s is None else duration_text(session.cpu_s)
    yield "peak memory", "" if session.rss_peak_bytes is None else size_text(session.rss_peak_bytes)
    yield "host", safe(session.host) if session.host else ""
    yield "Python", safe(session.python_version) if session.python_version else ""
    yield "commit", f"<code>{safe(session.git_commit[:12])}</code>" if session.git_commit else ""


def waterfall_html(laid_out: Timeline) -> str:
    """Return the rows of a session's timeline; names and seconds beside bars that share one scale."""
    if not laid_out.rows:
        return '<p class="note">No steps were recorded.</p>'
    wall = laid_out.wall_s
    half = duration_text(wall / 2)
    axis = f"<span>0</span><span>{half}</span><span>{duration_text(wall)}</span>"
    cells = [heads("step", axis, "busy", "share")]
    shown = laid_out.cut(MOST_ROWS, MOST_BARS)
    cells += [_row(row, shown) for row in shown.rows]
    more = ""
    if shown.hidden_rows:
        more = f'<p class="note">{counted(shown.hidden_rows, "more row")} not drawn.</p>'
    other = ""
    if laid_out.shows_other:
        other = (
            f'<span class="name faint">no step</span><span class="axis"></span>'
            f'<span class="num faint">{duration_text(laid_out.other_s)}</span>'
            f'<span class="num faint">{laid_out.share_text(laid_out.other_s)}</span>'
        )
    return f'{_key(laid_out)}<div class="rows">{"".join(cells)}{other}</div>{more}'


def _key(laid_out: Timeline) -> str:
    bars = list(laid_out.bars())
    kinds = [("k1", "on the critical path (share of wall time)"), ("k2", "beside it")]
    if any(bar.step.failed for bar in bars):
        kinds.append(("k3", "failed"))
    if any(bar.waits for bar in bars):
        kinds.append(("k4", "waiting before a retry"))
    return keys(*kinds)


def _row(row: Row, laid_out: Timeline) -> str:
    wall = laid_out.wall_s
    if not row.count:
        return f"<span></span>{svg.row_of_bars(row, wall)}<span></span><span></span>"
    times = f" × {row.count:,}" if row.count > 1 else ""
    mark = '<span class="faint">!</span> ' if any(bar.step.interrupted for bar in row.bars) else ""
    if any(bar.step.failed for bar in row.bars):
        mark = '<span class="bad">✗</span> '
    share = laid_out.share_text(row.critical_s)
    inside = f" in{min(row.depth, DEEPEST)}" if row.depth else ""
    return (
        f'<span class="name{inside}">'
        f"{mark}{safe(row.label, longest=120)}{times}</span>{svg.row_of_bars(row, wall)}"
        f'<span class="num">{duration_text(row.busy_s)}</span><span class="num faint">{share}</span>'
    )


def _why(explanation: Explanation) -> str:
    said = f"<p>{safe(explanation.sentence, longest=1000)}</p>"
    title = "Beside its history"
    if explanation.usual_s is None:
        return section(title, said)
    titles = ["step", "more or less", "critical", "usual", "percentile", "cause"]
    rows = (
        [
            safe(row["step_name"], longest=120),
            _signed(row["excess_s"]),
            duration_text(row["seconds"]),
            duration_text(row["usual_s"]).replace("-", "–"),
            f"{row['percentile']:.0f} (n = {row['n']:.0f})" if row["percentile"] == row["percentile"] else "",
            safe(row["cause"]) if isinstance(row["cause"], str) else "",
        ]
        for row in explanation.frame.to_dict("records")
    )
    note = f"{counted(explanation.n, 'session')} of the same pipeline and mode came before it."
    return section(title, said + table(titles, rows, words=True), note)


def _signed(seconds: float) -> str:
    return f"{'−' if seconds < 0 else '+'}{duration_text(abs(seconds))}" if seconds == seconds else ""


def _resources(session: Session, laid_out: Timeline) -> str:
    if len(session.samples) < 2:
        return ""
    right = max(laid_out.wall_s, max(sample.time for sample in session.samples) - session.start_time)
    times = [sample.time - session.start_time for sample in session.samples]
    cpu = [sample.cpu_percent for sample in session.samples]
    memory = [float(sample.rss_bytes) for sample in session.samples]
    scale = f'<div class="scale"><span>0</span><span>{duration_text(right)}</span></div>'
    content = (
        f'<div class="scale"><span>CPU, up to {max(cpu):.0f} % of a core</span></div>'
        f"{svg.area(list(zip(times, cpu, strict=True)), right, 1.1 * max(cpu))}{scale}"
        f'<div class="scale"><span>Memory, up to {size_text(max(memory))}</span></div>'
        f"{svg.area(list(zip(times, memory, strict=True)), right, 1.1 * max(memory), second=True)}{scale}"
    )
    return section("CPU and memory", content, f"{counted(len(times), 'reading')}; both scales begin at 0.")


def _steps(session: Session, laid_out: Timeline) -> str:
    on_path = {bar.step.seq: bar.critical_s for bar in laid_out.bars()}
    titles = ["step", "after", "duration", "critical", "tries", "CPU", "peak memory", "what it recorded"]
    rows = (
        [
            safe(step.step_name, longest=160),
            duration_text(max(0.0, step.start_time - session.start_time)),
            duration_text(step.duration),
            duration_text(on_path.get(step.seq, 0.0)) if on_path.get(step.seq) else "–",
            str(len(step.attempts)) if step.attempts else "",
            "" if step.cpu_s is None else duration_text(step.cpu_s),
            "" if step.rss_peak_bytes is None else size_text(step.rss_peak_bytes),
            _recorded(step),
        ]
        for step in session.steps[:MOST_STEPS]
    )
    hidden = len(session.steps) - MOST_STEPS
    more = f'<p class="note">{counted(hidden, "more step")} only in the data.</p>' if hidden > 0 else ""
    return table(titles, rows, words=True) + more


def _recorded(step: Step) -> str:
    parts = []
    if step.error_message:
        told, kind = ("interrupted: ", "faint") if step.interrupted else ("", "bad")
        parts.append(f'<span class="{kind}">{told}{safe(step.error_message)}</span>')
    if step.additional_data:
        parts.append(
            f'<span class="faint">{safe(_words(step.additional_data), longest=_LONGEST_DATA)}</span>'
        )
    return "<br>".join(parts)


def _attributes(title: str, values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = ([safe(name), safe(_word(value), longest=_LONGEST_DATA)] for name, value in values.items())
    return section(title, table(["name", "value"], rows, names=2))


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_word(value)}" for name, value in values.items())


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def summary_line(session: Session) -> str:
    """Return one line for a list of sessions: when, how long, and what is special about it."""
    status = "" if session.status == COMPLETED else f' <span class="bad">{session.status}</span>'
    words = [
        local_time(session.start_time),
        f"<b>{duration_text(session.total_duration)}</b>{status}",
        plain(mode_text(session.mode)),
        f"<code>{safe(inert(session.session_id))}</code>",
    ]
    return " · ".join(word for word in words if word)
