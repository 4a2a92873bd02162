"""`perfdb baseline`: what runs are held against, as a person said it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.alerts.messages import amount
from perfdb.cli.options import (
    COUNT,
    database_option,
    filter_options,
    history_filters,
    last_option,
    measure_option,
    name_option,
    open_history,
    series_options,
    table_options,
)
from perfdb.cli.render import Column, by_kind, print_data, print_sentence, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import amount_text, inert, of_kind, short_time
from perfdb.history.values import rows_of
from perfdb.measures import configured
from perfdb.text import step_label

COLUMNS = (
    Column("id", right=True),
    Column("step", flexible=True),
    Column("pinned", right=True),
    Column("n", right=True),
    Column("until"),
    Column("now", right=True),
    Column("n", right=True),
    Column("change", right=True),
    Column("note", flexible=True),
)


def _list_options(command: Any) -> Any:
    """Add which baselines are listed, and how."""
    listed = last_option("Number of baselines to list.  [all]")
    return listed(series_options("baselines")(table_options(command)))


@click.group("baseline", invoke_without_command=True)
@_list_options
@click.pass_context
def command(ctx: click.Context, /, database: str | None, **asked: Any) -> None:
    """Pin baselines; without a command, list the pinned ones.

    Without a pinned baseline, a run is compared with the level of the runs before it, which adapts to a slow
    level that lasts long enough. A pinned baseline does not move, so that losses too small for any other
    rule add up against it until you pin again.
    """
    ctx.obj = database
    if ctx.invoked_subcommand is None:
        _list(database, **asked)


@command.command("list")
@_list_options
@click.pass_context
def list_baselines(ctx: click.Context, /, database: str | None, **asked: Any) -> None:
    """List the pinned baselines and compare the newest 50 runs with them."""
    _list(database or ctx.obj, **asked)


def _list(database: str | None, *, last: int | None, as_json: bool, as_csv: bool, **chosen: Any) -> None:
    frame = open_history(database).baselines(**chosen)
    frame = frame_in_order(frame.head(len(frame) if last is None else last))
    if print_data(frame, as_json=as_json, as_csv=as_csv):
        return
    if frame.empty:
        click.echo("No baseline is pinned. Pin the last runs as they are: perfdb baseline pin", err=True)
    for group in by_kind(frame):
        print_table(COLUMNS, [_cells(row) for row in rows_of(group)])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["id"]),
        f"{'' if row['metric'] == 'duration' else row['metric'] + ' of '}{step_label(row['step_name'])}",
        amount_text(row["value"], row["unit"]),
        f"{row['n']:,}",
        short_time(row["until_time"]),
        amount_text(row["now"], row["unit"]) or "-",
        f"{row['now_n']:,}",
        "" if row["change_percent"] is None else f"{row['change_percent']:+.1f} %",
        row["note"] or "",
    )


@command.command("pin")
@name_option("step", "Only this step.  [the total and every step]")
@measure_option
@click.option(
    "-n",
    "--last",
    default=50,
    show_default=True,
    type=click.IntRange(10),
    help="Number of newest runs of each series.",
)
@click.option("--before", metavar="ID", help="Only sessions before this one.")
@click.option("--from", "first", metavar="ID", help="Only this session and later ones.")
@click.option("--to", metavar="ID", help="Only this session and earlier ones.")
@click.option("--note", metavar="TEXT", help="A note, such as the reason.")
@filter_options
@database_option
@click.pass_context
def pin(
    ctx: click.Context,
    /,
    step: str | None,
    measure: str,
    last: int,
    before: str | None,
    first: str | None,
    to: str | None,
    note: str | None,
    database: str | None,
    **filters: Any,
) -> None:
    """Pin the last runs, or the selected runs, as baselines. Each pipeline and mode has its own.

    perfdb keeps the medians, so a pinned baseline stays valid after its sessions are deleted. It replaces the
    previous baseline of a series. IDs as in `perfdb show`.
    """
    ranged = any(each is not None for each in (before, first, to))
    whole = ctx.get_parameter_source("last") is click.core.ParameterSource.DEFAULT
    chosen = history_filters(filters)
    history = open_history(database or ctx.obj, writes=True)
    pinned = history.pin(
        step=step,
        measure=measure,
        last=None if whole and (first is not None or "since" in chosen or "tag" in chosen) else last,
        before=before,
        first=first,
        to=to,
        note=note,
        **chosen,
    )
    for each in pinned.pins:
        name = inert(step_label(each.step_name))
        name = name if each.metric == "duration" else f"{inert(each.metric)} of {name}"
        runs = f"median of {each.n:,} runs" + (f" up to {inert(each.until_session_id)}" if ranged else "")
        value = amount(each.value, each.metric, configured(history.settings.measures))
        click.echo(f"Pinned {name} ({of_kind(each.pipeline, each.mode)}) at {value}, {runs}")
    if pinned.left_out:
        names = ", ".join(inert(name) for name in dict.fromkeys(pinned.left_out))
        print_sentence(f"Too few runs to pin: {names}", err=True)


@command.command("unpin")
@click.argument("baseline_ids", metavar="[ID...]", type=COUNT, nargs=-1)
@name_option("pipeline", "Only baselines of this pipeline.")
@name_option("step", "Only baselines of this step.")
@click.option("--all", "everything", is_flag=True, help="Remove all of them.")
@database_option
@click.pass_context
def unpin(
    ctx: click.Context,
    baseline_ids: tuple[int, ...],
    pipeline: str | None,
    step: str | None,
    everything: bool,
    database: str | None,
) -> None:
    """Remove pinned baselines, by number or by filter. Closes the alerts that they raised."""
    gone = open_history(database or ctx.obj, writes=True).unpin(
        *baseline_ids, pipeline=pipeline, step=step, everything=everything
    )
    click.echo(f"Unpinned {len(gone)} baseline{'s' * (len(gone) != 1)}.")
