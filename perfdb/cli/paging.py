"""Long answers page by page on a terminal, by the program that ``PAGER`` names, or ``less``.

What fits the screen is printed as ever, and so is everything where no person looks on. ``PAGER=cat`` ends it.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

PAGED = frozenset(
    ("sessions", "show", "steps", "trends", "bottlenecks", "compare", "explain", "regressions", "violations",
     "failures", "common", "hits", "measures", "alerts", "rules", "annotations")
)  # fmt: skip
"""Commands that answer; others talk while they work."""


class _Held(io.TextIOWrapper):
    """What a command prints, held back until all of it is there; colours and widths are a terminal's."""

    def isatty(self) -> bool:
        return True


@contextmanager
def paged(arguments: Sequence[str]) -> Iterator[None]:
    """Show what is printed meanwhile page by page: an answer to a person, longer than the screen."""
    command = next((each for each in arguments if not each.startswith("-")), "")
    if command not in PAGED or not (sys.stdout.isatty() and sys.stdin.isatty()):
        yield
        return
    screen = sys.stdout
    held = _Held(io.BytesIO(), encoding=screen.encoding, errors=screen.errors)
    sys.stdout = held
    try:
        yield
    finally:
        sys.stdout = screen
        held.flush()
        text = held.buffer.getvalue().decode(screen.encoding or "utf-8", "replace")  # type: ignore[attr-defined]
        if text.count("\n") >= shutil.get_terminal_size().lines:
            click.echo_via_pager(text, color=True)
        else:
            click.echo(text, nl=False)
