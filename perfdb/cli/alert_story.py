"""An alert explained on one screen: what moved, a picture, how sure it is, why, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from perfdb.alerts.explain import AlertExplanation
from perfdb.alerts.messages import amount_of, failure_kinds, parts_text, remedy, sum_text
from perfdb.analysis.cause import NO_SUSPECT
from perfdb.analysis.rules import kind_of
from perfdb.analysis.trend_view import beyond, shown_bounds
from perfdb.cli.plot import plot
from perfdb.cli.render import colour, screen_width
from perfdb.cli.text import can_print, difference_text, folded, inert, of_kind, short_time
from perfdb.text import mode_text, p_text
from perfdb.vocabulary import CRITICAL, INFO, WARNING, WITHOUT_WAVE

if TYPE_CHECKING:
    from perfdb.records import Alert

WIDEST = 120  # of prose
_INDENT = 12
_FEW = 10  # runs on one side of a move, which are too few to test it
_COLOURS = {CRITICAL: "red", WARNING: "yellow", INFO: None}


def print_story(found: AlertExplanation) -> None:
    """Print the explanation of an alert for a person."""
    alert, columns = found.alert, min(screen_width(), WIDEST)
    head = f"Alert {alert.id}, {alert.state}, {inert(of_kind(alert.pipeline, alert.mode))}"
    click.echo(colour(head, _COLOURS[alert.severity], bold=True))
    _paragraph("", inert(alert.headline), columns, indent=0)
    click.echo()
    if found.values:
        for line in _picture(found, columns):
            click.echo(line)
        click.echo()
    for title, text in _facts(found):
        _paragraph(title, text, columns)


def story_row(found: AlertExplanation) -> dict[str, Any]:
    """Return the explanation of an alert as one object for programs."""
    alert, cause = found.alert, found.cause
    row = asdict(found)
    for name in ("alert", "cause"):
        del row[name]
    return (
        alert.as_dict()
        | {"kind": alert.kind, "limit": alert.limit, "bound": alert.bound, "hits": alert.hits}
        | row
        | {
            "total_s": None if cause is None else cause.total_s,
            "parts": [] if cause is None else [part.as_dict() for part in cause.parts],
            "suspects": [] if cause is None else [asdict(suspect) for suspect in cause.suspects],
            "cause": "" if cause is None else cause.sentence,
            "confounded": cause is not None and cause.confounded,
            "arithmetic": alert.details.get("found", ""),
            "remedy": remedy(alert),
            "next": [command for command, _ in _next(alert)],
        }
    )


def _paragraph(title: str, text: str, columns: int, *, indent: int = _INDENT) -> None:
    first = f"{title:<{indent}}" if indent else ""
    for line in folded(inert(text), columns, initial_indent=first, subsequent_indent=" " * indent):
        click.echo(line if can_print(line) else line.replace("µ", "u"))


def _picture(found: AlertExplanation, columns: int) -> Iterator[str]:
    alert = found.alert
    kind = kind_of(alert.kind)
    if kind.looks_at == "failed":
        yield from _strip(found, columns)
        return
    limit = alert.limit if kind.draws_limit else None
    low, high = shown_bounds(found.values, limit)
    labels = [amount_of(alert, each) for each in (high, low)]
    if not can_print("µ"):
        labels = [label.replace("µ", "u") for label in labels]
    levels = []
    if found.at is not None and kind.compares:
        before, after = found.at - found.before_n, found.at
        if kind.finds == "drift":  # from the beginning of the runs since then to their end
            before, after = found.at, len(found.values) - found.after_n
        levels = [(max(0, before), before + found.before_n), (after, after + found.after_n)]
    yield from plot(
        found.values,
        at=found.at,
        levels=levels,
        labels=labels,
        width=columns,
        bounds=(low, high),
        limit=limit,
    )
    margin = " " * (max(map(len, labels)) + 2)
    first, last = (short_time(found.start_times[place]) for place in (0, -1))
    yield f"{margin}{len(found.values)} runs, {first} to {last}"
    over = beyond(found.values, high)
    if over:
        farthest = amount_of(alert, max(found.values))
        arrow = "↑" if can_print("↑") else "^"
        yield f"{margin}{arrow} {_runs(len(over))} beyond the scale, up to {farthest}"


def _strip(found: AlertExplanation, columns: int) -> Iterator[str]:
    """Yield one character per run: which ones failed."""
    good, bad = "·✗" if can_print("·✗") else ".x"
    marks = "".join(bad if value else good for value in found.values)
    for first in range(0, len(marks), columns - 2):
        yield f"  {marks[first : first + columns - 2]}"
    yield f"  {bad} failed; oldest run first"


def _facts(found: AlertExplanation) -> Iterator[tuple[str, str]]:
    alert = found.alert
    if kind_of(alert.kind).looks_at == "failed":
        before, last = found.failures
        if found.before_n:
            yield "before", f"{before} of {found.before_n} runs failed"
        yield "since", f"{last} of the last {found.after_n} runs failed"
        if alert.details.get("error"):
            yield "last error", inert(alert.details["error"])
        if failure_kinds(alert):
            yield "", failure_kinds(alert)
    else:
        yield from _levels(found)
    if found.cause is not None:
        yield from _reasons(found)
    pin = alert.details.get("pinned")
    if pin and found.after_median is not None and pin["value"]:
        percent = 100 * (found.after_median / pin["value"] - 1)
        yield (
            "pinned",
            f"{amount_of(alert, pin['value'])} (median of {pin['n']} runs): now {percent:+.1f} %",
        )
    found_by, newest = (alert.details.get(name, "") for name in ("found", "arithmetic"))
    is_old = bool(newest) and newest != found_by
    kind, unit = alert.kind, alert.unit
    when = ", when it opened" if is_old else ""
    yield "rule", f"{inert(alert.rule)}{when}: {inert(sum_text(found_by, kind, unit))}"
    if is_old:
        yield "newest run" if alert.is_open else "last so", inert(sum_text(newest, kind, unit))
    yield "ends", remedy(alert)
    for number, (command, purpose) in enumerate(_next(alert)):
        yield "" if number else "next", f"{command}  ({purpose})"


def _levels(found: AlertExplanation) -> Iterator[tuple[str, str]]:
    alert = found.alert
    kind = kind_of(alert.kind)
    if kind.draws_limit and alert.limit is not None:
        under = kind.looks_at == "lowest"
        over = sum(value < alert.limit if under else value > alert.limit for value in found.values)
        side = "under" if under else "over"
        yield "limit", f"{amount_of(alert, alert.limit)}; {over} of {len(found.values)} runs {side} it"
    if kind.looks_at == "day":  # what a day came to only grows: it has no level
        limit, value = amount_of(alert, alert.limit), amount_of(alert, alert.value)
        yield "limit", f"{limit} a day; this one came to {value}"
        yield "since", f"session {alert.since_session_id}"
        return
    if found.before_median is not None:
        wave = WITHOUT_WAVE if alert.details.get("in_wave") else ""
        yield "before", f"{amount_of(alert, found.before_median)}, median of {_runs(found.before_n)}{wave}"
    if found.after_median is None:
        yield "runs", "the runs behind this alert are no longer in the database"
        return
    if kind.finds == "run":  # the runs after it are at another level than that one
        moved = "" if alert.effect is None else f" ({alert.effect:+.0f} %)"
        yield "that run", f"{amount_of(alert, alert.value)}{moved}, session {alert.since_session_id}"
    percent = "" if found.effect is None else f" ({found.effect:+.0f} %)"
    since = f", from session {alert.since_session_id} on" if found.at is not None else ""
    yield (
        "since",
        f"{amount_of(alert, found.after_median)}{percent}, median of {_runs(found.after_n)}{since}",
    )
    usual = alert.details.get("usual")
    if usual:
        low, high = (amount_of(alert, each) for each in usual)
        yield "usual", f"{low} to {high}, the middle 80 % of the runs before"
    if found.p_value is not None and found.interval is not None:
        first, last = found.interval
        where = f"at {first}" if first == last else f"between {first} and {last}"
        chance = f"p {p_text(found.p_value)} (Mann-Whitney, or the distance of the medians)"
        yield "chance", f"{chance}; it moved {where} (95 %)"
    elif kind.finds in ("level", "loss"):
        few = found.at is not None and min(found.before_n, found.after_n) < _FEW
        why = (
            "the move is older than these runs"
            if found.at is None
            else "too few runs yet for a test of the level"
            if few
            else "no lasting move of the level is found here now"
        )
        yield "chance", f"{why}; the rule's own calculation is below"


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n:,} runs"


def _reasons(found: AlertExplanation) -> Iterator[tuple[str, str]]:
    cause, unit = found.cause, found.alert.unit
    if cause is None:
        return
    of = cause.of_sides(found.before_n, found.after_n)
    parts = parts_text(cause.parts, unit) if cause.names_a_step else "no step's part of it is clear"
    yield "total", f"{difference_text(cause.total_s, unit)}{of}: {inert(parts)}"
    yield "suspect", f"{cause.sentence}." if cause.suspects else f"{NO_SUSPECT}."


def _next(alert: Alert) -> Iterator[tuple[str, str]]:
    series = f" --step {_quoted(alert.step_name)}" if alert.step_name is not None else ""
    of = f" --measure {_quoted(alert.metric)}" if alert.metric != "duration" else ""
    pipeline = f" --pipeline {_quoted(alert.pipeline)}"
    if mode_text(alert.mode):
        pipeline += f" --mode {_quoted(alert.mode)}"
    kind = kind_of(alert.kind)
    if kind.looks_at == "failed":
        yield f"perfdb sessions --status failed{pipeline}", "the runs that failed"
        yield f"perfdb failures{pipeline}{series}", "why, and how often"
    else:
        yield f"perfdb explain {alert.last_session_id}{of}", "the newest run, step by step"
        yield f"perfdb chart trend{pipeline}{series}{of} -o trend.png", "the picture to send"
    if kind.compares or kind.finds == "failures":
        what = " --failures" if kind.looks_at == "failed" else of
        yield f"perfdb hits {alert.since_time!r}{pipeline}{series}{what}", "whom it hits"
    if alert.is_open:
        yield f"perfdb alerts expected {alert.id}", "this is expected"
        yield f"perfdb alerts false-alarm {alert.id}", "nothing was wrong"
    if kind.finds == "loss":
        yield f"perfdb baseline pin{pipeline}{series}{of}", "compare later runs with the current level"


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(inert(text))
