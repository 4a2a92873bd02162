"""`perfdb design IMAGE`: the design pipeline on a picture of one's own."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from perfdb.cli.files import STDOUT, ExistingFile, has_a_name, is_terminal, output_name, write_whole
from perfdb.cli.options import output_option
from perfdb.errors import SettingsError, StoreError
from perfdb.outputs import spare_databases


@click.command("design")
@click.argument("image", type=ExistingFile())
@click.option(
    "--design-style", default="modern", show_default=True, help="Style, such as modern or scandinavian."
)
@click.option(
    "--design-type", default="interior redesign", show_default=True, help="What to do with the room."
)
@click.option(
    "--fast-mode", is_flag=True, help="Use smaller models and pictures and at most 3 kinds of products."
)
@click.option(
    "--count", default=1, show_default=True, type=click.IntRange(1, 10_000), help="Number of designs."
)
@click.option(
    "--stand-in", is_flag=True, help="Use stand-in services on this machine; needs no keys and costs nothing."
)
@output_option("Also write the picture to FILE; - for stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print the responses as one JSON object.")
def command(
    image: Path,
    design_style: str,
    design_type: str,
    fast_mode: bool,
    count: int,
    stand_in: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run the design pipeline on your own picture.

    The real services need OPENAI_API_KEY and SERPAPI_API_KEY; --stand-in needs nothing.
    """
    if output is not None:
        _look_at(output, count=count, as_json=as_json)
    from perfdb.pathway.errors import missing_extra

    try:
        from perfdb.pathway.demo import TIME_SCALE
        from perfdb.pathway.images import read_room
        from perfdb.pathway.pipeline import RealProductsPathway
        from perfdb.pathway.settings import PathwaySettings
        from perfdb.pathway.standin import StandIn
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error

    settings = PathwaySettings.load()
    if missing := (() if stand_in else settings.missing_keys):
        raise SettingsError(
            f"{' and '.join(missing)} not set: export your keys to use the real services, or add --stand-in"
        )
    read_room(image, settings)  # a picture that cannot be used is no failed design
    responses: list[dict[str, Any]] = []
    with ExitStack() as open_things:
        if stand_in:
            server = open_things.enter_context(StandIn(time_scale=TIME_SCALE))
            settings = server.adapted(settings)
        console = False if as_json or output == STDOUT else None
        pathway = open_things.enter_context(RealProductsPathway(settings, console=console))
        for _ in range(count):
            response = pathway.generate(
                image,
                design_style=design_style,
                design_type=design_type,
                fast_mode=fast_mode,
                summary=not as_json and output != STDOUT,
            )
            responses.append(response)
            if not as_json:
                _tell(response, err=output == STDOUT)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "rows": responses}))
    failed = [response for response in responses if not response["success"]]
    picture = responses[-1]["data"]["final_design"]
    if output is not None and picture is not None:
        write_whole([Path(picture).read_bytes()], output)
        click.echo(f"Wrote {output_name(output)}", err=True)
    if failed:
        click.echo(f"perfdb: {len(failed)} of {count} failed: {failed[-1]['error']['message']}", err=True)
        raise SystemExit(2)


def _look_at(output: Path, *, count: int, as_json: bool) -> None:
    """Refuse an output that cannot be before anything is paid for."""
    if count > 1:
        raise click.UsageError("-o takes one picture: leave out --count.")
    if output == STDOUT and as_json:
        raise click.UsageError("The JSON goes to stdout: name a file with -o.")
    if is_terminal(output):
        raise click.UsageError("A picture is not for a terminal: name a file with -o.")
    spare_databases(output)
    if has_a_name(output) and not (output.parent.is_dir() and os.access(output.parent, os.W_OK)):
        raise StoreError(f"{output_name(output)} cannot be written: its folder is not there, or not ours")


def _tell(response: dict[str, Any], *, err: bool) -> None:
    data = response["data"]
    lines = [""]
    if data["final_design"]:
        lines.append(f"Design:  {data['final_design']}")
    for product in data["products_info"]:
        lines.append(f"         {product['price'] or 'no price':>10}  {product['title']}")
    for lack in data.get("warnings", ()):
        lines.append(f"Missing: {lack['count']} in {lack['step']}: {lack['reason']}")
    lines.append(f"Report:  {data['performance_report']}")
    for line in lines:
        click.echo(line, err=err)
