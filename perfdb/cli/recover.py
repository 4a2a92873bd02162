"""`perfdb recover`: what died before it could reach the database."""

from __future__ import annotations

import click

from perfdb.history.history import History
from perfdb.settings import trust_for
from perfdb.text import counted
from perfdb.worker.quarantined import recover_quarantined
from perfdb.worker.recovery import end_left_sessions, recover


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
    history.require_access()
    click.echo(f"Write {history.database}", err=True)
    home, alerts, trust = history.settings.home, history.settings.alerts, trust_for(history.settings)
    moved = recover(home, history.url, alerts=alerts, trust=trust)
    again = recover_quarantined(home, history.url, alerts=alerts, trust=trust)
    ended = end_left_sessions(home, history.url) if left else 0
    said = []
    if moved.silent:
        said.append(f"{counted(moved.silent, 'session')} of silent hosts ended as interrupted.")
    if ended:
        said.append(f"{counted(ended, 'session')} without a journal ended as interrupted.")
    if moved.journals:
        text = f"Recovered {counted(moved.records, 'record')} from {counted(moved.journals, 'journal')}"
        if moved.interrupted:
            text += f"; {counted(moved.interrupted, 'session')} ended as interrupted"
        said.append(f"{text}.")
    for path in moved.short:
        said.append(f"Put aside {path.name}: it is shorter than what the database has of it.")
    for path, reason in {**moved.left, **again.left}.items():
        said.append(f"Left {path.name} where it is: {reason}")
    if moved.fired:
        said.append(f"{counted(moved.fired, 'alert')} fire{'s' if moved.fired == 1 else ''}: perfdb alerts")
    if again.records:
        said.append(f"Recovered {counted(again.records, 'record')} that had been put aside.")
    if again.quarantined:
        lines = counted(again.quarantined, "line")
        said.append(f"Left aside {lines}, damaged or refused again; perfdb doctor says where.")
    click.echo("\n".join(said) or "Nothing to recover.")
