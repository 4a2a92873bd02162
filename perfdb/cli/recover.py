"""`perfdb recover`: what died before it could reach the database."""

from __future__ import annotations

import click

from perfdb.history.history import History
from perfdb.settings import trust_for
from perfdb.text import counted, inert
from perfdb.worker.quarantined import recover_quarantined
from perfdb.worker.recovery import end_left_sessions, recover, send_messages

SEND_S = 30.0


@click.command("recover")
@click.option(
    "--left",
    is_flag=True,
    help="Also end sessions whose journal no longer exists, for example after a restore.",
)
def command(left: bool) -> None:
    """Recover journal records of dead programs, and send the alerts that wait.

    The next program that records does the same; this command does it now. Sessions of dead programs end as
    interrupted; sessions of live programs are left alone. In a database that is shared with other hosts,
    sessions of hosts that have been silent for two minutes also end as interrupted.

    Quarantined records, which the database or perfdb itself refused, are tried once more, for example after
    an update of perfdb.
    """
    from perfdb.store.upkeep.retention import clear_errors

    history = History()
    history.require_access()
    click.echo(f"Write {history.database}", err=True)
    home, alerts, trust = history.settings.home, history.settings.alerts, trust_for(history.settings)
    with clear_errors(history.url):
        moved = recover(home, history.url, alerts=alerts, prices=history.settings.prices, trust=trust)
        again = recover_quarantined(home, history.url, alerts=alerts, trust=trust)
        ended = end_left_sessions(home, history.url) if left else 0
        sent = send_messages(history.url, alerts, SEND_S)
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
        said.append(
            f"Put aside {inert(path.name)}: it is shorter than the part that is already in the database."
        )
    for path, reason in {**moved.left, **again.left}.items():
        said.append(f"Left {inert(path.name)} where it is: {reason}")
    if moved.fired:
        said.append(f"{counted(moved.fired, 'alert')} fire{'s' if moved.fired == 1 else ''}: perfdb alerts")
    if sent:
        said.append(f"Sent {counted(sent, 'message')} of alerts.")
    if again.records:
        said.append(f"Recovered {counted(again.records, 'record')} from quarantine.")
    if again.quarantined:
        lines = counted(again.quarantined, "line")
        said.append(f"Left {lines} in quarantine, damaged or refused again; perfdb doctor shows where.")
    click.echo("\n".join(said) or "Nothing to recover.")
