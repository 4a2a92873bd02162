"""`perfdb thresholds suggest`: limits proposed from history, written to perfdb.toml on request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from perfdb.alerts.config import read_alert_settings
from perfdb.cli.files import write_whole
from perfdb.cli.options import (
    filter_options,
    history_filters,
    last_option,
    measure_option,
    name_option,
    open_history,
    say_what_next,
    say_which,
    table_options,
)
from perfdb.cli.render import Column, by_kind, print_data, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import amount_text
from perfdb.filters import Filters
from perfdb.history.history import History
from perfdb.history.values import rows_of
from perfdb.settings import absolute, load_for_reading, shown_path
from perfdb.text import step_label

COLUMNS = (
    Column("step", flexible=True, least=20),
    Column("n", right=True),
    Column("p50", right=True),
    Column("p95", right=True),
    Column("slowest", right=True),
    Column("limit", right=True),
    Column("would have flagged"),
)


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    title = {"slowest": Column(_worst(rows[0])[0], right=True)}
    return tuple(title.get(each.title, each) for each in COLUMNS)


def _worst(row: Mapping[str, Any]) -> tuple[str, float]:
    """Return how the worst run is called, and its value: the lowest where more is better."""
    if row["rule_kind"] == "min":
        return "lowest", row["min"]
    return "slowest" if row["measure"] == "duration" else "highest", row["max"]


def _suggest_options(command: Any) -> Any:
    """Add from which runs limits are suggested, and how they are shown."""
    for option in (
        table_options,
        filter_options,
        click.option("--write", is_flag=True, help="Add the limits to perfdb.toml as rules."),
        measure_option,
        name_option("step", "Only this step."),
        last_option("Number of newest sessions to learn from.", default=1000),
    ):
        command = option(command)
    return command


@click.group("thresholds", invoke_without_command=True)
@_suggest_options
@click.pass_context
def command(ctx: click.Context, /, database: str | None, **asked: Any) -> None:
    """Suggest limits for rules of kind max or min."""
    ctx.obj = database
    if ctx.invoked_subcommand is None:
        _suggest(database=database, **asked)


@command.command("suggest")
@_suggest_options
@click.pass_context
def suggest(ctx: click.Context, /, database: str | None, **asked: Any) -> None:
    """Suggest a limit for each step from its own history.

    The limit is a robust upper quantile: the median times exp(4 sigma) of the logarithms, at least 1.25 times
    the median, at most twice the highest run, rounded to two digits. Series with fewer than 20 runs get no
    limit, nor do values that are not above 0. If more of a measure is better, the limit is a lower one.
    """
    _suggest(database=database or ctx.obj, **asked)


def _suggest(
    *,
    last: int,
    step: str | None,
    measure: str,
    write: bool,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    history = open_history(database, lists=True)
    given = history_filters(filters)
    frame = frame_in_order(history.thresholds(step=step, measure=measure, last=last, **given))
    say_which(history, last, given)
    if frame.empty:
        _say_why(history, given, step)
    if not print_data(frame, as_json=as_json, as_csv=as_csv):
        for group in by_kind(frame):
            rows = rows_of(group)
            print_table(_columns(rows), [_cells(row) for row in rows])
    if write:
        _write(history, rows_of(frame))
    elif len(frame) and not as_json and not as_csv:
        click.echo("Add them to perfdb.toml as rules: perfdb thresholds suggest --write", err=True)


def _say_why(history: History, given: Filters, step: str | None) -> None:
    from perfdb.analysis.thresholds import LEAST_RUNS

    if history.sessions(last=1, **given).empty:
        say_what_next(given)
    else:
        what = f"{step!r} has" if step is not None else "No series has"
        few = "fewer than" if step is not None else "yet the"
        click.echo(f"{what} {few} {LEAST_RUNS} runs that a limit needs.", err=True)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    flagged = f"{row['flagged']:,} of {row['n']:,} runs" if row["flagged"] else "no run"
    return (
        step_label(row["step_name"]),
        f"{row['n']:,}",
        *(amount_text(each, row["unit"]) for each in (row["p50"], row["p95"], _worst(row)[1], row["limit"])),
        flagged,
    )


# --- writing ------------------------------------------------------------------------------------------


def _write(history: History, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append a rule for each row to the settings file, but for those that are there by name."""
    from perfdb.analysis.thresholds import rule_name
    from perfdb.errors import UsageError

    path = history.settings.config_file or absolute("perfdb.toml")
    if path != history.settings.config_file and path.exists():
        raise UsageError(f"{path} is not used, so nothing is written to it; to use it: PERFDB_CONFIG={path}")
    header = "tool.perfdb.alerts.rules" if path.name == "pyproject.toml" else "alerts.rules"
    known = {rule.name for rule in read_alert_settings(history.settings.alerts, reading=True).rules}
    rules: dict[str, str] = {}
    kept = []
    for row in rows:
        mode = tuple((name, value) for name, value in json.loads(row["mode"]).items() if value is not None)
        name = rule_name(row["step_name"], row["pipeline"], mode, row["measure"], row["rule_kind"])
        if name in rules:  # another pipeline has a step of this name
            name = f"{row['pipeline']}-{name}"
        if name in known:
            kept.append(name)
        else:
            rules[name] = _rule(header, name, row, mode)
    if rules:
        existed = path.exists()
        before = path.read_bytes() if existed else b""
        gap = b"\n" if before and not before.endswith(b"\n") else b""
        text = "".join(f"\n{rule}" for rule in rules.values())
        write_whole([before, gap, (text if before else text.lstrip("\n")).encode()], path)
        _check_or_undo(path, before if existed else None)
        click.echo(f"Wrote {len(rules)} rules to {shown_path(path)}. See them with: perfdb rules", err=True)
    if kept:
        click.echo(f"Kept as they were: {', '.join(kept)}", err=True)


def _check_or_undo(path: Path, before: bytes | None) -> None:
    """Read the settings again: what was there may end in a way that nothing can follow."""
    from perfdb.errors import SettingsError

    try:
        read_alert_settings(load_for_reading().alerts, reading=True)
    except SettingsError:
        if before is not None:
            write_whole([before], path)
        else:
            path.unlink()
        raise


def _rule(header: str, name: str, row: Mapping[str, Any], mode: Sequence[tuple[str, object]]) -> str:
    lines = [
        f"[[{header}]]  # from {row['n']} runs, {_figures(row)}",
        f"name = {_toml(name)}",
        f"kind = {_toml(row['rule_kind'])}",
        f"pipeline = {_toml(row['pipeline'])}",
    ]
    if row["step_name"] is not None:
        lines.append(f"step = {_toml(row['step_name'])}")
    if row["measure"] != "duration":
        lines.append(f"metric = {_toml(row['measure'])}")
    lines.append(f"limit = {float(row['limit'])!r}")
    if mode:
        pairs = ", ".join(f"{_key(key)} = {_toml(value)}" for key, value in mode)
        lines.append(f"mode = {{ {pairs} }}")
    return "\n".join(lines) + "\n"


def _figures(row: Mapping[str, Any]) -> str:
    unit = " s" if row["measure"] == "duration" else ""
    called, value = _worst(row)
    return f"p50 {row['p50']:.4g}{unit}, {called} {value:.4g}{unit}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    """Return a scalar as TOML; JSON's texts are TOML's but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
