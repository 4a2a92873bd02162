"""`perfdb demo`: a history to look at, in half a minute and without any account."""

from __future__ import annotations

import click


@click.command("demo")
@click.option("--seed", default=7, show_default=True, help="The same seed draws the same times and products.")
@click.option("--here", is_flag=True, help="Record into the history of this folder instead of perfdb-demo/.")
def command(seed: int, here: bool) -> None:
    """Record 60 runs of the design pipeline, offline, and look at them.

    48 normal and 12 fast designs are made with the real SDKs against stand-in services on this machine,
    in accelerated time. From some point on one step is slower. Everything is recorded as a real run would be,
    into a folder of its own, perfdb-demo/: nothing of it gets into your history, and no channel hears of it.
    """
    from perfdb.pathway import missing_extra

    try:
        from perfdb.pathway.demo import run_demo
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    run_demo(seed, here=here)
