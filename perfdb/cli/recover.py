"""`perfdb recover`: what died before it could reach the database."""

from __future__ import annotations

import click

from perfdb.history import History
from perfdb.transfer import end_left_sessions, recover, recover_quarantined


@click.command("recover")
@click.option("--left", is_flag=True, help="Also end sessions whose journal is gone, as after a restore.")
def command(left: bool) -> None:
    """Take in what programs that died have left in the journal.

    The next program that records does the same; this command does it now. Sessions of dead
    programs are ended as interrupted; living ones are left alone. In a database that is shared
    with other hosts, so are the sessions of those that have been silent for two minutes.

    Records that were put aside because the database or perfdb itself refused them are tried once
    more, as after an update of perfdb.
    """
    history = History()
    click.echo(f"Write {history.database}", err=True)
    home, alerts = history.settings.home, history.settings.alerts
    moved = recover(home, history.url, alerts=alerts)
    again = recover_quarantined(home, history.url, alerts=alerts)
    if moved.silent:
        click.echo(f"{_count(moved.silent, 'session')} of silent hosts ended as interrupted.")
    ended = end_left_sessions(home, history.url) if left else 0
    if ended:
        click.echo(f"{_count(ended, 'session')} without a journal ended as interrupted.")
    if again.records:
        click.echo(f"Recovered {_count(again.records, 'record')} that had been put aside.")
    if again.quarantined:
        click.echo(f"{_count(again.quarantined, 'damaged line')} stay{'s' * (again.quarantined == 1)} put aside.")
    if not moved.journals:
        if not (moved.silent or ended or again.records or again.quarantined):
            click.echo("Nothing to recover.")
        return
    text = f"Recovered {_count(moved.records, 'record')} from {_count(moved.journals, 'journal')}"
    if moved.interrupted:
        text += f"; {_count(moved.interrupted, 'session')} ended as interrupted"
    if moved.quarantined:
        text += f"; {_count(moved.quarantined, 'damaged line')} left out"
    click.echo(text + ".")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
