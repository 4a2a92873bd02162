"""`perfdb chart`: the history as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfdb.charts.saving import FORMATS, image
from perfdb.cli.completing import complete
from perfdb.cli.files import has_a_name, is_terminal, output_name, write_whole
from perfdb.cli.options import (
    filter_options,
    history_filters,
    last_option,
    measure_option,
    name_option,
    open_history,
    output_option,
    table_options,
)
from perfdb.cli.render import print_data
from perfdb.cli.sorting import frame_in_order, is_sorted
from perfdb.history.charts import CHARTS

_WIDTH = max(map(len, CHARTS)) + 2
HELP = "\n".join(
    (
        "Draw a chart of the history.",
        "",
        "\b",
        *(f"{name:{_WIDTH}}{chart.summary}" for name, chart in CHARTS.items()),
        "",
        "With --json or --csv, what it shows: a row per run, bar or point.",
    )
)


@click.command("chart", help=HELP)
@click.argument("kind", type=click.Choice(tuple(CHARTS)))
@click.argument("session_ids", metavar="[ID]...", shell_complete=complete("session"), nargs=-1)
@output_option("Output: FILE.png, FILE.svg, or - for stdout.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format; the default depends on FILE, else png.",
)
@name_option("step", "trend: this step instead of the total. pareto: only this step.")
@click.option(
    "--by",
    metavar="WHAT",
    help="trend: session or time. compare, pareto: an attribute, such as fast_mode or model.",
)
@measure_option
@last_option()
@filter_options
@table_options
def command(
    kind: str,
    session_ids: tuple[str, ...],
    output: Path | None,
    form: str | None,
    step: str | None,
    by: str | None,
    measure: str,
    last: int | None,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Draw a chart of the history."""
    if as_json or as_csv:
        if output is not None or form is not None:
            raise click.UsageError("--json and --csv print what the chart shows: leave -o and --format out.")
        asked: dict[str, Any] = {"step": step, "by": by, "measure": measure, "last": last}
        frame = open_history(database).chart_frame(kind, *session_ids, **asked, **history_filters(filters))
        print_data(frame_in_order(frame), as_json=as_json, as_csv=as_csv)
        return
    if is_sorted():
        raise click.UsageError("--sort orders what --json and --csv print.")
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'; or --json or --csv for what it shows.")
    suffix = output.suffix.lower().lstrip(".")
    if suffix not in FORMATS and form is None and has_a_name(output):
        raise click.BadParameter(f"{output} must end with .png or .svg", param_hint="-o")
    form = form or (suffix if suffix in FORMATS else FORMATS[0])
    if form == "png" and is_terminal(output):
        raise click.UsageError("A PNG is not for a terminal: name a file with -o.")
    history = open_history(database)
    figure = history.chart(
        kind, *session_ids, step=step, by=by, measure=measure, last=last, **history_filters(filters)
    )
    write_whole([image(figure, form)], output)
    click.echo(f"Wrote {output_name(output)}", err=True)
