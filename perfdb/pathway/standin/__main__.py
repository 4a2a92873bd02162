"""The stand-in services on their own: ``python -m perfdb.pathway.standin --port 8099 --strict``."""

from __future__ import annotations

import threading

import click

from perfdb.pathway.standin.latency import KINDS
from perfdb.pathway.standin.named import names
from perfdb.pathway.standin.server import StandIn


@click.command("stand-in")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65_535), help="Where to listen; 0 takes a free one."
)
@click.option("--seed", default=0, show_default=True, help="The same seed draws the same times and products.")
@click.option(
    "--time-scale",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds waited per second of the real services.",
)
@click.option("--strict", is_flag=True, help="Refuse every request that the real services would refuse.")
@click.option(
    "--fault", "faults", multiple=True, metavar="KIND=NAME[:SHARE]", help="What goes wrong; may be repeated."
)
@click.option("--list", "listed", is_flag=True, help="Print the names of the faults, and stop.")
def main(
    port: int, seed: int, time_scale: float, strict: bool, faults: tuple[str, ...], listed: bool
) -> None:
    """Speak for OpenAI, SerpAPI and a shop of pictures on this machine, until Ctrl-C."""
    if listed:
        for kind in KINDS:
            click.echo(f"{kind}: {' '.join(names(kind))}")
        return
    try:
        standin = StandIn(port=port, seed=seed, time_scale=time_scale, strict=strict, faults=faults)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    with standin:
        click.echo(f'OPENAI_BASE_URL={standin.url}/v1\nserpapi_base_url = "{standin.url}"  # [pathway]')
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)


main(prog_name="python -m perfdb.pathway.standin")
