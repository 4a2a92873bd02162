"""`perfdb trends`: how long each series takes, and where that is going."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any

import click

import perfdb
from perfdb.cli.options import (
    TYPED,
    filter_options,
    history_filters,
    last_option,
    measure_option,
    name_option,
    open_history,
    say_what_next,
    table_options,
)
from perfdb.cli.regressions import say_where_it_differs
from perfdb.cli.render import Column, print_rows, print_table, rows_by_kind, screen_width
from perfdb.cli.sorting import in_order
from perfdb.cli.text import amount_text
from perfdb.filters import moment_of, zone_named
from perfdb.history.access import reading
from perfdb.history.answers import LAST_FOR_TRENDS, trend_rows
from perfdb.history.values import rows_of
from perfdb.records import Alert
from perfdb.text import step_label
from perfdb.vocabulary import CURRENT_STATES

MOST_ASKED = 5_000  # sessions in which one value of an attribute is looked for that moved

PERCENTILES = ("p50", "p90", "p95", "p99")
WIDE = 100  # columns; on narrower screens the names get the room of mean and p99


def _known_zone(context: click.Context, parameter: click.Parameter, name: str) -> str:
    try:
        zone_named(name)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
    return name


@click.command("trends")
@click.option(
    "--by",
    type=click.Choice(("last", "all", "day", "week")),
    default="last",
    show_default=True,
    help="Group: the last sessions, the whole history, each day or week.",
)
@name_option("step", "Only this step.")
@last_option("Number of newest sessions.  [200 by last without --since, else all]")
@click.option(
    "--zone",
    default="UTC",
    show_default=True,
    callback=_known_zone,
    help="Time zone of days and weeks, and with them of --since and --until: UTC, local, Europe/Berlin.",
)
@measure_option
@filter_options
@table_options
def command(
    by: Any,
    step: str | None,
    last: int | None,
    zone: str,
    measure: str,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Show how long each step takes, and its trend.

    A percentile is shown only with enough runs: p90 from 10, p95 from 20, p99 from 100. The trend is the last
    change of the level, what an open alert says, between which two levels the runs come and go (switches), or
    a drift that is significant (Mann-Kendall, corrected for autocorrelation, p < 0.01) and amounts to 5 % or
    more over these runs.
    """
    from perfdb.analysis.trends import COLUMNS

    if by in ("day", "week"):
        filters |= _moments(zone, filters)
    given = history_filters(filters)
    history = open_history(database, lists=True)
    found = trend_rows(history, by=by, step=step, measure=measure, last=last, zone=zone, **given)
    if not found:
        say_what_next(given | ({"step": step} if step else {}))
    elif (
        last is None
        and by == "last"
        and "since" not in given
        and "until" not in given
        and (history.count(**given) > LAST_FOR_TRENDS)
    ):
        click.echo(f"Of the newest {LAST_FOR_TRENDS} sessions; choose with --last or --since", err=True)
    names = (*COLUMNS, "measure", "unit")
    if print_rows(in_order(found, columns=names), as_json=as_json, as_csv=as_csv, columns=names):
        return
    window = min(last or (MOST_ASKED if given.keys() & {"since", "until"} else LAST_FOR_TRENDS), MOST_ASKED)
    if by == "last" and step is None and measure == "duration" and found:
        say_where_it_differs(history, {**given, "last": window})
    wide = screen_width() >= WIDE
    shown = tuple(name for name in PERCENTILES if wide or name != "p99")
    columns = (
        Column("step", flexible=True, least=20),
        Column(f"{by} ({zone})" if by in ("day", "week") else "period"),
        Column("n", right=True),
        Column("failed", right=True),
        *((Column("mean", right=True),) if wide else ()),
        *(Column(name, right=True, optional=name != "p50") for name in shown),
        Column("trend"),
    )
    says: dict[tuple[Any, ...], str | Mapping[str, Any]] = {}
    if by == "last" and measure == "duration":
        says |= _switches(history, {**given, "step": step, "last": window})
    moved = {
        (row["pipeline"], row["step_name"], row["mode"]): row["since_time"]
        for row in found
        if row["since_time"] is not None
    }
    says |= _open_alerts(history, measure, moved, zone if by in ("day", "week") else None)
    # Of a lake the medians of days tell where a level moved, which hide some moves that its runs tell.
    still = "" if history.is_lake and by in ("day", "week") else "steady"
    for rows in rows_by_kind(found):
        described = list(_with_trends(rows, says, still, zone if by in ("day", "week") else None, wide=wide))
        described = in_order(described, lambda each: each[0])
        print_table(columns, [_cells(row, trend, shown, wide) for row, trend in described])


def _moments(zone: str, filters: Mapping[str, Any]) -> dict[str, float]:
    """Return what --since and --until mean in a zone."""
    context = click.get_current_context()
    typed = context.meta.get(TYPED, {})
    try:
        return {
            name: moment_of(typed[name], zone=zone_named(zone))
            for name in ("since", "until")
            if filters.get(name) is not None and name in typed
        }
    except ValueError as error:
        raise click.BadParameter(str(error), context, param_hint="--zone") from None


def _switches(history: perfdb.History, given: Mapping[str, Any]) -> dict[tuple[Any, ...], str]:
    """Return per series between which known levels it comes and goes."""
    return {
        (row["pipeline"], row["step_name"], row["mode"]): "switches: "
        + ", ".join(amount_text(row[name], "s") for name in ("low_median", "high_median"))
        for row in rows_of(history.switches(**given))
    }


def _open_alerts(
    history: perfdb.History, measure: str, moved: Mapping[tuple[Any, ...], float], zone: str | None
) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Return per series the open alert of its level: that of its newest move, as `regressions` has it, first.

    Args:
        history: where alerts are.
        measure: theirs.
        moved: since when each series that moved did (epoch s).
        zone: of the days; None is the local one.
    """
    from perfdb.alerts.places import rank
    from perfdb.analysis.trend_words import says_it_moved
    from perfdb.store.alerts import alert_row, read_alerts

    if history.is_lake:
        return {}
    with reading(history) as connection:
        current = [] if connection is None else read_alerts(connection, CURRENT_STATES)

    def told_last(alert: Alert) -> tuple[float, ...]:
        since = moved.get((alert.pipeline, alert.step_name, alert.mode))
        is_of_move = since is not None and _day(alert.since_time, zone) == _day(since, zone)
        return (is_of_move, *(-each for each in rank(alert, since)))

    return {
        (row["pipeline"], row["step_name"], row["mode"]): row
        for row in map(alert_row, sorted(current, key=told_last))
        if row["metric"] == measure and says_it_moved(row)
    }


def _with_trends(
    rows: list[Mapping[str, Any]],
    says: Mapping[tuple[Any, ...], str | Mapping[str, Any]],
    still: str,
    zone: str | None,
    *,
    wide: bool,
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the rows with their words: those of a series stand once, at its newest period."""
    for row, following in zip_longest(rows, rows[1:]):
        is_last = following is None or following["step_name"] != row["step_name"]
        said = says.get((row["pipeline"], row["step_name"], row["mode"]), "")
        trend = _trend(row, said, zone, wide=wide) if is_last else ""
        yield row, trend or (still if is_last and row["p_value"] is not None else "")


def _cells(row: Mapping[str, Any], trend: str, shown: tuple[str, ...], wide: bool) -> tuple[str, ...]:
    return (
        step_label(row["step_name"]),
        row["period"] or "",
        f"{row['n']:,}",
        f"{row['failures']:,}" if row["failures"] else "",
        *((amount_text(row["mean"], row["unit"]) or "-",) if wide else ()),
        *(amount_text(row[name], row["unit"]) for name in shown),
        trend,
    )


def _trend(row: Mapping[str, Any], said: str | Mapping[str, Any], zone: str | None, *, wide: bool) -> str:
    """Return what is told of a series; what an open alert says of the same move is not told twice."""
    moved = ""
    told_of = None
    if row["since_time"] is not None:
        moved = f"{_percent(row['effect'])} since {_day(row['since_time'], zone)}"
        told_of = row["effect"]
    elif row["drift_percent"] is not None:
        moved = f"{_percent(row['drift_percent'])} bit by bit"
        if wide:
            per_session = row["slope_percent_per_session"]
            slope = row["slope_percent_per_day"] if per_session is None else per_session
            each = "a day" if per_session is None else "a session"
            moved += f": {slope:+.2g} % {each} (p {row['p_value']:.2g})"
    if not isinstance(said, str):
        alert, effect, day = said, said["effect"], _day(said["since_time"], zone)
        said = f"alert {alert['id']}" + (f" (with {alert['inhibited_by']})" if alert["inhibited_by"] else "")
        is_same = told_of and effect and told_of * effect > 0 and moved.endswith(day)
        said += "" if is_same else f": {_percent(effect)}"
    return "; ".join(filter(None, (moved, said)))


def _day(moment: float, zone: str | None) -> str:
    day = datetime.fromtimestamp(moment, None if zone is None else zone_named(zone))
    return day.strftime("%d %b" if day.year == datetime.now().year else "%d %b %Y")


def _percent(percent: float | None) -> str:
    return "moved" if percent is None else f"{percent:+.0f} %"
