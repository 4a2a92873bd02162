"""`perfdb serve`: the dashboard."""

from __future__ import annotations

import click

from perfdb.cli.options import database_option, open_history


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8787,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 selects a free port.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--token",
    metavar="TEXT",
    help="Token that all clients need. Generated unless only this machine can reach the dashboard.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Another host name that the dashboard answers to.",
)
@click.option(
    "--otlp", is_flag=True, help="Record the OpenTelemetry traces that programs send to /v1/traces."
)
@database_option
def command(
    host: str,
    port: int,
    opens: bool,
    token: str | None,
    allow_hosts: tuple[str, ...],
    otlp: bool,
    database: str | None,
) -> None:
    """Serve the dashboard, which shows the history in a browser.

    Press Ctrl-C to stop. Users on other machines need the token, which travels unencrypted: put a proxy with
    TLS in front, or use `ssh -L 8787:localhost:8787 HOST`.
    """
    from perfdb.web.serving import Address, serve

    history = open_history(database, records=otlp)
    if database is not None:
        history.sessions(last=1)  # a database that was named must be there

    def started(address: Address) -> None:
        click.echo(f"perfdb: {address.link}", err=True)
        if otlp:
            click.echo(f"Traces: {address.url}v1/traces", err=True)
        click.echo("Ctrl-C ends it.", err=True)
        if opens:
            click.launch(address.link)

    serve(
        history,
        host=host,
        port=port,
        token=token,
        allow_hosts=allow_hosts,
        otlp=otlp,
        started=started,
    )
