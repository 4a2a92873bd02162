"""`perfdb demo`: a history to look at, in half a minute and without any account."""

from __future__ import annotations

import click


@click.command("demo")
@click.option("--seed", default=7, show_default=True, help="Seed for the random times and products.")
@click.option(
    "--here", is_flag=True, help="Record into the history of this folder instead of into perfdb-demo/."
)
def command(seed: int, here: bool) -> None:
    """Record 60 runs of the design pipeline offline, then explore them.

    The demo makes 48 normal and 12 fast designs with the real SDKs against stand-in services on this machine,
    in accelerated time. At some point one step becomes slower, and another model makes a run dearer.
    Everything is recorded as in a real run, but into its own folder, perfdb-demo/: nothing is added to your
    history, and no notification is sent.
    """
    from perfdb.pathway.errors import missing_extra

    try:
        from perfdb.pathway.demo import run_demo
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    run_demo(seed, here=here)
