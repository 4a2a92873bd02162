"""`perfdb regressions`: where the levels moved, in the whole history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.alerts.causes import parts_of
from perfdb.alerts.messages import parts_text
from perfdb.analysis.cause import NO_SUSPECT, sides_text
from perfdb.cli.options import (
    filter_options,
    history_filters,
    last_option,
    measure_option,
    name_option,
    open_history,
    say_what_next,
    table_options,
)
from perfdb.cli.render import Column, print_data, print_heading, print_sentence, print_table, screen_width
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import amount_text, difference_text, folded, inert, of_kind, short_time
from perfdb.history.values import rows_of
from perfdb.text import p_text, step_label
from perfdb.vocabulary import WITHOUT_WAVE

WIDEST = 120  # of prose
MOST_NEWEST = 1_000  # sessions that are looked at first for enough that count
_MOST_SWITCHING = 5  # series that are named
COLUMNS = (
    Column("since"),
    Column("step", flexible=True, least=20),
    Column("before", right=True),
    Column("n", right=True),
    Column("after", right=True),
    Column("n", right=True),
    Column("change", right=True),
    Column("p", right=True, optional=True),
    Column("alert"),
)


@click.command("regressions")
@name_option("step", "Only this step, not the totals.")
@click.option("--by", metavar="ATTRIBUTE", help="Look at the sessions of each value by themselves.")
@last_option("Number of newest sessions in which it began.  [all]")
@measure_option
@click.option("--better", is_flag=True, help="Find what became faster, or better, instead.")
@filter_options
@table_options
def command(
    step: str | None,
    by: str | None,
    last: int | None,
    measure: str,
    better: bool,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Find when steps became permanently slower, and why.

    Every series is analyzed from its first run on. Failed, cached, warm-up and ignored runs do not count.
    --since and --last select the regressions that began since then; earlier runs are still analyzed. Nothing
    is written. If an alert covers the same regression, it is shown. A row with "pinned" compares the newest
    runs with the pinned baseline (perfdb baseline), which detects losses that are too small to be seen
    one by one.
    """
    given = history_filters(filters)
    history = open_history(database)
    frame = frame_in_order(
        history.regressions(step=step, last=last, better=better, by=by, measure=measure, **given)
    )
    if print_data(frame, as_json=as_json, as_csv=as_csv):
        return
    of_step = given | ({"step": step} if step else {})
    if by is None and not better and measure == "duration":
        say_where_it_differs(history, given)
        _say_what_switches(history, of_step)
    if by is None and not better and given.keys() <= {"pipeline", "mode", "since", "until"}:
        _say_what_alerts_tell(history, of_step, measure, set(frame["alert_id"]))
    if frame.empty:
        _say_why(history, of_step, better, measure)
        return
    columns = min(screen_width(), WIDEST)
    kinds = ["pipeline", "mode", *(["value"] if by is not None else [])]
    for number, ((pipeline, mode, *value), group) in enumerate(frame.groupby(kinds, sort=by is None)):
        title = ", ".join([of_kind(str(pipeline), str(mode)), *(f"{by} = {each}" for each in value)])
        print_heading(title, first=number == 0)
        rows = rows_of(group)
        print_table(COLUMNS, [_cells(row) for row in rows])
        if any(row["without_wave"] for row in rows):
            click.echo(f"Before and after are{WITHOUT_WAVE}.")
        if any(row["nearest_only"] for row in rows):
            click.echo("Of a long history: before and after are of the n runs nearest to each move.")
        moves = [row for row in rows if row["against"] == "level"]
        for moved in {row["event_session_id"]: row for row in moves}.values():
            for line in folded(_reason(moved), columns, subsequent_indent="  "):
                click.echo(line)


def say_where_it_differs(history: Any, given: Mapping[str, Any]) -> None:
    """Say which attribute's values tell different stories: what moved for one is lost among the others."""
    for name, rows in history.differs_by(**given).groupby("attribute", sort=False):
        first = rows_of(rows)[0]
        what = f"{first['pipeline']} with {name} = {first['value']} became {first['effect']:.0f} % slower"
        print_sentence(f"Differs by {name}: {what}. See: perfdb regressions --by {name}", err=True)


def _say_what_switches(history: Any, given: Mapping[str, Any]) -> None:
    """Say which series come and go between two known levels: such a switch is no regression."""
    from perfdb.analysis.modes import Explanation, modes_words

    rows = rows_of(history.switches(**given))
    for row in rows[:_MOST_SWITCHING]:
        by = (
            None
            if row["attribute"] is None
            else Explanation(row["attribute"], row["low_value"], row["high_value"])
        )
        what = f"{row['pipeline']}, {step_label(row['step_name'])}"
        print_sentence(f"{what} {modes_words(row['low_median'], row['high_median'], by)}.", err=True)
    if len(rows) > _MOST_SWITCHING:
        click.echo(f"… and {len(rows) - _MOST_SWITCHING} more that switch between two levels.", err=True)


def _say_what_alerts_tell(history: Any, given: Mapping[str, Any], measure: str, told: set[Any]) -> None:
    """Say which open alerts tell of a move that is none here: their rules judge the newest runs."""
    from perfdb.analysis.rules import kind_of
    from perfdb.analysis.trend_words import alert_words, says_it_moved

    for row in [] if history.is_lake else rows_of(history.alerts(measure=measure, **given)):
        if row["id"] not in told and says_it_moved(row) and kind_of(row["kind"]).finds == "level":
            what = f"{row['pipeline']}, {step_label(row['step_name'])}"
            said = f"{alert_words(row)} of the newest runs; these runs together show no lasting move"
            print_sentence(f"{what}: {said}. See: perfdb alerts explain {row['id']}", err=True)


def _say_why(history: Any, given: dict[str, Any], better: bool, measure: str) -> None:
    if history.sessions(**{name: value for name, value in given.items() if name != "step"}, last=1).empty:
        say_what_next(given)
        return
    from perfdb.analysis.course import LEAST_FOR_MOVES

    whole = {name: value for name, value in given.items() if name not in ("step", "since")}
    of = history.count(**whole)
    newest = history.sessions(last=MOST_NEWEST, **whole)
    sessions = int(newest["counted"].sum())
    if sessions < LEAST_FOR_MOVES and of > len(newest):
        sessions = int(history.sessions(**whole)["counted"].sum())
    see = "perfdb trends" if measure == "duration" else f"perfdb trends --measure {measure}"
    if sessions < LEAST_FOR_MOVES:
        few = f"{sessions} of {LEAST_FOR_MOVES} sessions{' that count' if sessions < of else ''}"
        print_sentence(f"Too few to tell whether a level moved: {few}. To see each step: {see}", err=True)
        return
    if measure != "duration":
        way = "better" if better else "worse"
        said = f"The {measure} of nothing became {way} permanently. To see each step: {see}"
        print_sentence(said, err=True)
        return
    became = "faster" if better else "slower"
    click.echo(f"Nothing became {became} permanently. To see each step: perfdb trends", err=True)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    alert = "" if row["alert_id"] is None else f"{row['alert_id']} {row['alert_state']}"
    only = "" if row["attribute"] is None else f", {row['attribute']} = {row['attribute_value']}"
    return (
        short_time(row["since_time"]),
        inert(f"{step_label(row['step_name'])}{only}"),
        amount_text(row["before_median"], row["unit"]),
        f"{row['before_n']:,}",
        amount_text(row["after_median"], row["unit"]),
        f"{row['after_n']:,}",
        "" if row["effect"] is None else f"{row['effect']:+.0f} %",
        "pinned" if row["against"] == "pinned" else p_text(row["p_value"], 1, ""),
        alert or ("none" if row["lasts"] else "none (over)"),
    )


def _reason(row: Mapping[str, Any]) -> str:
    """Say which steps make the move of the total, and what switched at its session."""
    said = f"Since {inert(row['event_session_id'])}: "
    if row["total_difference"] is None:
        return f"{said}too few sessions to say why."
    parts = parts_of(row["parts"])
    moved = difference_text(row["total_difference"], row["unit"])
    sides = row["total_before_n"], row["total_after_n"]
    told = None if None in sides or sides == (row["before_n"], row["after_n"]) else sides
    moved += sides_text(told, without_wave=row["total_without_wave"])
    named = any(part.step_name is not None for part in parts)
    of_it = inert(parts_text(parts, row["unit"])) if named else "no step's part is clear"
    said += f"total {moved}, of which {of_it}. "
    none = f"{NO_SUSPECT[0].upper()}{NO_SUSPECT[1:]}."
    return said + (f"Suspect: {row['cause']}." if row["cause"] else none)
