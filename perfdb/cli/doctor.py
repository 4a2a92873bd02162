"""`perfdb doctor`: where everything is, and what needs a hand."""

from __future__ import annotations

from dataclasses import asdict

import click

from perfdb.cli.options import database_option, json_option
from perfdb.cli.render import colour, print_json, screen_width
from perfdb.cli.text import can_print, folded, inert, pad
from perfdb.history.history import History
from perfdb.maintenance.doctor import ERROR, FINE, NOTE, WARNING, Finding, examine

_SIGNS = {FINE: "✓", NOTE: "·", WARNING: "!", ERROR: "✗"}
_ASCII_SIGNS = {FINE: "+", NOTE: "-", WARNING: "!", ERROR: "x"}
_COLOURS = {FINE: "green", NOTE: None, WARNING: "yellow", ERROR: "red"}


@click.command("doctor")
@json_option
@database_option
@click.pass_context
def command(ctx: click.Context, as_json: bool, database: str | None) -> None:
    """Check the installation; exit 1 if something needs attention.

    Checks locations, permissions, disk, database, journals, clock, delivery and versions. It changes nothing,
    and works even with a damaged, missing, locked or newer database.
    """
    history = History(database)
    findings = []
    for finding in examine(history.settings, explicit=history.is_explicit):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json(asdict(finding) for finding in findings)
    needy = sum(finding.needs_a_hand for finding in findings)
    if needy:
        click.echo(f"{needy} {'thing needs' if needy == 1 else 'things need'} attention.", err=True)
    else:
        click.echo("All is well.", err=True)
    ctx.exit(1 if needy else 0)


def _print(finding: Finding) -> None:
    signs = _SIGNS if can_print("".join(_SIGNS.values())) else _ASCII_SIGNS
    sign = colour(signs[finding.state], _COLOURS[finding.state], bold=finding.needs_a_hand)
    click.echo(f"{sign} {pad(finding.check, _NAME)}  " + _folded(inert(finding.found)))
    if finding.advice:
        arrow = "→" if can_print("→") else "->"
        click.echo(" " * (_NAME + 4) + f"{arrow} {_folded(inert(finding.advice))}")


_NAME = 11  # the longest name of a check


def _folded(text: str) -> str:
    """Fold a text under itself at spaces; a path or command that is too long stays whole, to be copied."""
    lines = folded(text, screen_width() - _NAME - 6, break_long_words=False) or [""]
    return ("\n" + " " * (_NAME + 4)).join(lines)
