"""`perfdb compare`: two sessions step by step, or two groups of sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import click

from perfdb.cli.completing import complete
from perfdb.cli.options import (
    filter_options,
    history_filters,
    instant,
    last_option,
    measure_option,
    open_history,
    table_options,
)
from perfdb.cli.render import Column, by_kind, print_data, print_json, print_sentence, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import amount_text, difference_text, duration_text, inert, percent_text
from perfdb.filters import value_of
from perfdb.history.values import rows_of
from perfdb.text import step_label

if TYPE_CHECKING:
    from perfdb.analysis.compare import GroupComparison, SessionComparison


_LEAST_STEP = 20  # columns of a name
_SAME_KEPT = 6  # characters that two titles may have in common before they are left out


@click.command("compare")
@click.argument("a", required=False, shell_complete=complete("session"))
@click.argument("b", required=False, shell_complete=complete("session"))
@click.option("--by", metavar="ATTRIBUTE", help="Compare groups: fast_mode, model, git_commit, host, …")
@click.option(
    "--split", callback=instant, metavar="WHEN", help="Compare the runs before WHEN with those since then."
)
@last_option("With --by or --split: number of newest sessions.", default=1000)
@measure_option
@filter_options
@table_options
def command(
    a: str | None,
    b: str | None,
    by: str | None,
    split: float | None,
    last: int,
    measure: str,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Compare two sessions, or two groups of sessions by attribute.

    A and B are sessions as in `perfdb show` (default: the last session and the one before it of its pipeline
    and mode). With --by they are two values of the
    attribute (default: the two newest). --split compares two periods.
    """
    given = history_filters(filters)
    if split is not None and (by, a, b) != (None, None, None):
        raise click.UsageError("--split compares two periods: it goes with neither --by nor sessions")
    if by is None and split is None and given:
        raise click.UsageError(
            f"--{next(iter(given)).replace('_', '-')} needs --by: two sessions need no filter"
        )
    history = open_history(database, lists=True)
    if split is not None:
        _answer_groups(
            history.compare(split=split, measure=measure, last=last, **given), measure, as_json, as_csv
        )
        return
    if by is None:
        sessions = history.compare(*history.usual_pair(a, b), measure=measure)
        facts: dict[str, Any] = {"a": sessions.a, "b": sessions.b, "measure": measure}
        if not _answered(sessions, facts, as_json=as_json, as_csv=as_csv):
            _print_sessions(sessions)
        return
    groups = history.compare(
        *(None if each is None else value_of(each) for each in (a, b)),
        by=by,
        measure=measure,
        last=last,
        **given,
    )
    _answer_groups(groups, measure, as_json, as_csv)


def _answer_groups(groups: GroupComparison, measure: str, as_json: bool, as_csv: bool) -> None:
    facts: dict[str, Any] = {"by": groups.by, "a": groups.a, "b": groups.b, "measure": measure}
    facts |= {"confounded": list(groups.confounded), "left_out": list(groups.left_out)}
    if not _answered(groups, facts, as_json=as_json, as_csv=as_csv):
        _print_groups(groups)


def _answered(
    found: SessionComparison | GroupComparison, facts: Mapping[str, Any], *, as_json: bool, as_csv: bool
) -> bool:
    """Answer a program and say so; for a person, print the sentence."""
    if as_csv:
        return print_data(frame_in_order(found.frame), as_json=False, as_csv=True)
    if as_json:
        print_json([{**facts, "sentence": found.sentence, "steps": rows_of(frame_in_order(found.frame))}])
        return True
    print_sentence(found.sentence)
    click.echo()
    return False


def _print_sessions(found: SessionComparison) -> None:
    columns = (
        Column("step", flexible=True),
        Column("before", right=True),
        Column("after", right=True),
        Column("more", right=True),
        Column("", right=True),
        Column("more on critical path", right=True),
    )
    rows = rows_of(frame_in_order(found.frame))
    if rows[0]["measure"] != "duration":
        print_table(columns[:-1], [_value_cells(row) for row in rows])
        return
    print_table(columns, [_session_cells(row) for row in rows])


def _value_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    unit = row["unit"]
    return (
        step_label(row["step_name"], row["kind"]),
        *(amount_text(row[side], unit) or "-" for side in ("a", "b")),
        difference_text(row["difference"], unit) if row["difference"] is not None else "",
        _signed(row["difference_percent"]),
    )


def _session_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        step_label(row["step_name"], row["kind"]),
        duration_text(row["a_s"]),
        duration_text(row["b_s"]),
        difference_text(row["difference_s"]) if row["difference_s"] is not None else "",
        _signed(row["difference_percent"]),
        difference_text(row["critical_difference_s"]),
    )


def _print_groups(found: GroupComparison) -> None:
    before, after = _told_apart(found.a, found.b)
    columns: tuple[Column, ...] = (
        Column("step", flexible=True, least=_LEAST_STEP),
        Column(inert(before), right=True, flexible=True),
        Column("n", right=True, optional=True),
        Column(inert(after), right=True, flexible=True),
        Column("n", right=True, optional=True),
        Column("more", right=True),
        Column("", right=True),
        Column("95 % interval"),
        Column("effect", right=True, optional=True),
    )
    if (found.frame["measure"] != "duration").any():
        columns += (Column("time", right=True, optional=True), Column("more time", right=True, optional=True))
    for group in by_kind(found.frame):
        print_table(columns, [_group_cells(row) for row in rows_of(frame_in_order(group))])
    if found.left_out:
        named = [value if isinstance(value, str) else json.dumps(value) for value in found.left_out[-5:]]
        more = len(found.left_out) - len(named)
        others = f" and {more:,} more" if more else ""
        print_sentence(f"Not compared: {', '.join(named)}{others}", err=True)


def _told_apart(a: Any, b: Any) -> tuple[str, str]:
    """Return two values as titles that differ, also where a title is cut: from near where they differ on."""
    before, after = (value if isinstance(value, str) else json.dumps(value) for value in (a, b))
    if before == after:  # the text "1" and the number 1
        before, after = json.dumps(a), json.dumps(b)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    if same > _SAME_KEPT:
        before, after = (f"…{text[same - _SAME_KEPT // 2 :]}" for text in (before, after))
    return before, after


def _group_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    known, unit = row["difference"] is not None, row["unit"]
    interval = ""
    if row["low"] is not None:
        interval = f"{difference_text(row['low'], unit)} to {difference_text(row['high'], unit)}"
    return (
        step_label(row["step_name"], row["kind"]),
        amount_text(row["a_median"], unit) or "-",
        f"{row['a_n']:,}",
        amount_text(row["b_median"], unit) or "-",
        f"{row['b_n']:,}",
        difference_text(row["difference"], unit) if known else "",
        _signed(row["difference_percent"]),
        interval,
        f"{row['effect']:+.2f}" if known else "",
        *(() if row["measure"] == "duration" else _time_beside(row)),
    )


def _time_beside(row: Mapping[str, Any]) -> tuple[str, str]:
    from perfdb.analysis.compare import beyond_chance

    if row["more_s"] is None:
        return duration_text(row["b_s"]) if row["b_s"] is not None else "", ""
    sure = beyond_chance(row["more_low_s"], row["more_high_s"])
    return duration_text(row["b_s"]), f"{difference_text(row['more_s'])}{'' if sure else ', by chance?'}"


def _signed(percent: float | None) -> str:
    if percent is None:
        return ""
    text = percent_text(abs(percent))
    return text if text == "0 %" else f"{'+' if percent >= 0 else '-'}{text}"
