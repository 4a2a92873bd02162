"""`perfdb mcp`: the history for agents."""

from __future__ import annotations

import click

from perfdb.cli.options import database_option, open_history
from perfdb.errors import UsageError


@click.command("mcp")
@database_option
def command(database: str | None) -> None:
    """Answer an agent's questions over stdin and stdout (Model Context Protocol).

    The agent's program starts it: its command is `perfdb`, its argument `mcp`. Its tools only read.
    Needs the extra: pip install 'perfdb[mcp]'.
    """
    try:
        from perfdb.integrations.mcp import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("mcp", "anyio", "pydantic"):
            raise UsageError("perfdb mcp needs the official SDK: pip install 'perfdb[mcp]'") from None
        raise
    history = open_history(database)
    history.count()  # what cannot be read is said before an agent asks
    run(history)
