"""`perfdb design IMAGE`: the design pipeline on a picture of one's own."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from perfdb.errors import SettingsError


@click.command("design")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--design-style", default="modern", show_default=True, help="Such as modern or scandinavian.")
@click.option(
    "--design-type", default="interior redesign", show_default=True, help="What to do with the room."
)
@click.option("--fast-mode", is_flag=True, help="Smaller models and pictures, at most 3 kinds of products.")
@click.option(
    "--count", default=1, show_default=True, type=click.IntRange(1, 10_000), help="Designs to make."
)
@click.option("--stand-in", is_flag=True, help="Use stand-in services on this machine: no keys, no costs.")
@click.option("--json", "as_json", is_flag=True, help="Print the responses as one JSON object.")
def command(
    image: Path,
    design_style: str,
    design_type: str,
    fast_mode: bool,
    count: int,
    stand_in: bool,
    as_json: bool,
) -> None:
    """Run the design pipeline on your own picture.

    The real services need OPENAI_API_KEY and SERPAPI_API_KEY; --stand-in needs nothing.
    """
    from perfdb.pathway import missing_extra

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
        console = False if as_json else None
        pathway = open_things.enter_context(RealProductsPathway(settings, console=console))
        for _ in range(count):
            response = pathway.generate(
                image,
                design_style=design_style,
                design_type=design_type,
                fast_mode=fast_mode,
                summary=not as_json,
            )
            responses.append(response)
            if not as_json:
                _tell(response)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "rows": responses}))
    failed = [response for response in responses if not response["success"]]
    if failed:
        click.echo(f"perfdb: {len(failed)} of {count} failed: {failed[-1]['error']['message']}", err=True)
        raise SystemExit(2)


def _tell(response: dict[str, Any]) -> None:
    data = response["data"]
    click.echo("")
    if data["final_design"]:
        click.echo(f"Design:  {data['final_design']}")
    for product in data["products_info"]:
        click.echo(f"         {product['price'] or 'no price':>10}  {product['title']}")
    for lack in data.get("warnings", ()):
        click.echo(f"Missing: {lack['count']} in {lack['step']}: {lack['reason']}")
    click.echo(f"Report:  {data['performance_report']}")
