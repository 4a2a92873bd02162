"""`perfdb serve`: the dashboard."""

from __future__ import annotations

import click

from perfdb.cli.options import database_option, open_history


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    default=8787,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port; 0 takes a free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--token",
    metavar="TEXT",
    help="What everybody must show; made by itself unless only this machine can reach the page.",
)
@click.option(
    "--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="Another name that it answers to."
)
@database_option
def command(
    host: str, port: int, opens: bool, token: str | None, allow_hosts: tuple[str, ...], database: str | None
) -> None:
    """Serve the dashboard: a page over the history that you can leave open.

    Ctrl-C ends it. Whoever is not on this machine needs the token, which travels unencrypted: put a
    proxy with TLS in front, or use `ssh -L 8787:localhost:8787 HOST`.
    """
    from perfdb.web.serving import Place, serve

    history = open_history(database)
    if database is not None:
        history.sessions(last=1)  # a database that was named must be there

    def started(place: Place) -> None:
        click.echo(f"perfdb: {place.link}", err=True)
        click.echo("Ctrl-C ends it.", err=True)
        if opens:
            click.launch(place.link)

    serve(
        history,
        host=host,
        port=port,
        token=token or None,
        allow_hosts=allow_hosts,
        started=started,
    )
