"""Options that several commands share: which database, which sessions, which form of answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import click

import perfdb
from perfdb.cli.group import DATABASE
from perfdb.filters import Filters, Typed, parse_instant
from perfdb.records import STATUSES

TYPED = "perfdb.cli.typed"  # moments as they were typed: a verb may mean another zone
Command = TypeVar("Command", bound=Callable[..., Any])


def instant(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the epoch seconds of an option's value."""
    try:
        if value is not None:
            ctx.meta.setdefault(TYPED, {})[param.name] = value
        return None if value is None else parse_instant(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def attributes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any] | None:
    """Return KEY=VALUE pairs as a dictionary; a value fits as JSON, where it is JSON, and as text."""
    found = {}
    for pair in values:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not of the form key=value", ctx, param)
        found[key] = Typed(text)
    return found or None


def _remembered(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        ctx.meta[DATABASE] = value
    return value


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
database_option = click.option(
    "-d",
    "--database",
    callback=_remembered,
    metavar="URL",
    help="Use another database: a file or an SQLAlchemy URL.",
)

_CSV_OPTION = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")


def table_options(command: Command) -> Command:
    """Add what a command that answers with a table takes: ``database``, ``as_json``, ``as_csv``."""
    return database_option(json_option(_CSV_OPTION(command)))


_FILTERS = (
    click.option("--pipeline", metavar="NAME", help="Only this pipeline."),
    click.option(
        "--since",
        callback=instant,
        metavar="WHEN",
        help="Only sessions started at or after WHEN: 7d, 24h, 2026-01-31.",
    ),
    click.option("--until", callback=instant, metavar="WHEN", help="Only sessions started before WHEN."),
    click.option("--fast-mode/--normal-mode", "fast_mode", default=None, help="Only sessions in this mode."),
    click.option("--status", type=click.Choice(STATUSES), help="Only sessions with this status."),
    click.option(
        "--attribute",
        callback=attributes,
        multiple=True,
        metavar="KEY=VALUE",
        help="Only sessions with this attribute.",
    ),
    click.option("--tag", metavar="NAME", help="Only sessions with this tag."),
)


def filter_options(command: Command) -> Command:
    """Add the filters; the command takes them as ``**filters`` and hands them to History."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def history_filters(filters: dict[str, Any]) -> Filters:
    """Return the options that were given, as History's methods take them."""
    return cast(Filters, {name: value for name, value in filters.items() if value is not None})


def open_history(database: str | None) -> perfdb.History:
    """Open the read door and say which database is behind it."""
    history = perfdb.History(database)
    history.require_access()
    click.echo(f"Read {history.database}", err=True)
    return history


def say_what_next(filters: Mapping[str, Any]) -> None:
    """Answer an empty result with the next thing to do."""
    if filters:
        click.echo(
            "No session matches. Loosen the filters, or list all sessions with: perfdb sessions", err=True
        )
        return
    click.echo(
        "Nothing recorded yet. Record a run with perfdb.track(...), try `perfdb demo`,\n"
        "or import old reports with `perfdb import FOLDER`.",
        err=True,
    )
