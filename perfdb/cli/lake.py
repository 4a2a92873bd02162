"""`perfdb lake`: seal what hosts pushed, look at a lake, keep it in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from perfdb.cli.options import json_option
from perfdb.cli.render import print_json
from perfdb.filters import parse_age
from perfdb.text import counted, inert

if TYPE_CHECKING:
    from perfdb.lake.place import Place


@click.group("lake")
def command() -> None:
    """Seal, inspect and maintain a lake, to which many hosts push (perfdb archive)."""


@command.command("seal")
@click.argument("lake")
@click.option("--all", "today", is_flag=True, help="Put the day that goes on in order, too.")
@json_option
def seal(lake: str, today: bool, as_json: bool) -> None:
    """Take in what was pushed, put the days that are over in order and sum them up.

    Any number of hosts may seal at a time. Applies tags and deletions.
    """
    from perfdb.lake.sealing import seal as take_in

    with _place(lake, "Write") as place:
        done = take_in(place, today=today)
    if as_json:
        print_json(
            [
                {
                    "pieces": done.pieces,
                    "sessions": done.sessions,
                    "steps": done.steps,
                    "days": done.days,
                    "waiting": done.waiting,
                }
            ]
        )
        return
    click.echo(
        f"Sealed {counted(done.sessions, 'session')}, {counted(done.steps, 'step')} of "
        f"{counted(done.pieces, 'piece')}; put {counted(done.days, 'day')} in order."
    )
    if done.waiting:
        click.echo(
            f"{counted(done.waiting, 'piece')} still waiting: perfdb lake doctor {inert(lake)}", err=True
        )


@command.command("status")
@click.argument("lake")
@json_option
def status(lake: str, as_json: bool) -> None:
    """Show what a lake holds and what waits."""
    from perfdb.lake.inspection import status as look

    with _place(lake, "Read") as place:
        found = look(place)
    if as_json:
        print_json([dict(found)])
        return
    for name, value in found:
        shown = "–" if value is None else f"{value:,}" if isinstance(value, int | float) else inert(value)
        click.echo(f"{name.replace('_', ' '):<16}  {shown}")


@command.command("vacuum")
@click.argument("lake")
@click.option(
    "--older-than", default="7d", show_default=True, metavar="AGE", help="Only files older than this."
)
@click.option("--keep", metavar="AGE", help="Drop the days before this age first; their roll-ups stay.")
def vacuum(lake: str, older_than: str, keep: str | None) -> None:
    """Remove files that no current version needs, those of dead sealers too.

    Answers that are being worked on need files of the version that they began with: keep --older-than above
    the time that the longest takes.
    """
    from perfdb.lake.sealing import drop_days
    from perfdb.lake.sealing import vacuum as sweep

    ages = {"--older-than": older_than, "--keep": keep}
    seconds: dict[str, float | None] = {}
    for option, text in ages.items():
        try:
            seconds[option] = None if text is None else parse_age(text)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from None
    with _place(lake, "Write") as place:
        place.require()
        age = seconds["--keep"]
        if age is not None:
            before = (datetime.now(UTC) - timedelta(seconds=age)).date()
            click.echo(f"Dropped {counted(drop_days(place, before), 'day')} before {before}.")
        removed = sweep(place, older_than=timedelta(seconds=seconds["--older-than"] or 0.0))
    click.echo(f"Removed {counted(removed, 'file')}.")


@command.command("doctor")
@click.argument("lake")
@json_option
@click.pass_context
def doctor(ctx: click.Context, lake: str, as_json: bool) -> None:
    """Check a lake; exit 1 if something needs attention."""
    from perfdb.lake.inspection import examine

    with _place(lake, "Read") as place:
        findings = list(examine(place))
    if as_json:
        print_json({"check": check, "found": found, "advice": advice} for check, found, advice in findings)
    else:
        for check, found, advice in findings:
            click.echo(f"{'!' if advice else 'ok':<3} {check:<10} {inert(found)}")
            if advice:
                click.echo(f"{'':<15}{inert(advice)}")
    ctx.exit(1 if any(advice for _, _, advice in findings) else 0)


@contextmanager
def _place(lake: str, verb: str) -> Iterator[Place]:
    from perfdb.lake.place import Place, require_libraries

    require_libraries()
    place = Place(lake)
    click.echo(f"{verb} {inert(place.shown)}", err=True)
    yield place
