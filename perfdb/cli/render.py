"""Print answers: an aligned table for people, one JSON object for programs.

The JSON is ``{"schema_version": 1, "rows": [...]}``, pure ASCII, without NaN.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from perfdb.cli.files import for_stdout
from perfdb.cli.text import cut_apart, folded, in_width, inert, of_kind, width
from perfdb.history.forms import csv_of, csv_pieces, json_pieces
from perfdb.history.values import rows_of

if TYPE_CHECKING:
    import pandas as pd

ID_WIDTH = 26  # of an id that perfdb made; of a longer one so much is found, too
_GAP = "  "
_WIDER = "A wider terminal shows as well: "
_LEAST_FLEXIBLE = 8
_INDENT = "    "  # of what stands below a row


@dataclass(frozen=True)
class Column:
    """A column of a table, and how it gives way when space is short.

    Attributes:
        title: its first line; right: whether it is aligned to the right.
        flexible: its texts may be cut, and are still read with ``least`` columns of the screen.
        optional: it is left out, which is said, before others are cut to less than that.
        below: lines that a text for which a terminal has no room may take below its row.
    """

    title: str
    right: bool = False
    flexible: bool = False
    least: int = _LEAST_FLEXIBLE
    optional: bool = False
    below: int = 0


def screen_width() -> int:
    """Return the columns of the terminal; without one, lines are not cut before 200."""
    fallback = 80 if sys.stdout.isatty() else 200
    return max(60, shutil.get_terminal_size((fallback, 24)).columns)


_ON_BOTH = {"red": 196, "green": 28, "yellow": 166, "blue": 33, "cyan": 31}
"""Colours of 256 that can be read on black and on white alike."""

_ON_BOTH_OF_16 = {"red": "red", "yellow": "magenta"}
"""The same of 16: yellow, green and cyan fade on white, blue on black; such text stays as it is."""


def colour(text: str, name: str | None, *, bold: bool = False) -> str:
    """Colour the text on a terminal that wants it (not with NO_COLOR or TERM=dumb).

    Nothing is faint: palettes whose own text has little contrast, as Solarized, make that unreadable.
    """
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    many = "256color" in os.environ.get("TERM", "") or "COLORTERM" in os.environ
    fg = (_ON_BOTH if many else _ON_BOTH_OF_16).get(name or "")
    return click.style(text, fg=fg, bold=bold or None)


def print_sentence(sentence: str, *, err: bool = False, indent: str = "") -> None:
    """Print a sentence in lines that fit the terminal, in one where nobody looks; made inert."""
    for line in in_lines(inert(sentence), err=err, indent=indent):
        click.echo(line, err=err)


def print_heading(text: str, *, first: bool = True) -> None:
    """Print what stands above a table, and an empty line before it if it is not the first one."""
    for line in ([] if first else [""]) + in_lines(inert(text)):
        click.echo(colour(line, None, bold=True))


def by_kind(frame: pd.DataFrame, *, sort: bool = True) -> Iterator[pd.DataFrame]:
    """Yield the rows of each pipeline and mode, under a heading that is printed before them."""
    for number, ((pipeline, mode), group) in enumerate(frame.groupby(["pipeline", "mode"], sort=sort)):
        print_heading(of_kind(str(pipeline), str(mode)), first=number == 0)
        yield group


def rows_by_kind(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield rows as ``by_kind`` does those of a frame, in the order of pipelines and modes."""
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["pipeline"], row["mode"]), []).append(row)
    for number, (kind, group) in enumerate(sorted(kinds.items())):
        print_heading(of_kind(*kind), first=number == 0)
        yield group


def in_lines(said: str, *, err: bool = False, indent: str = "") -> list[str]:
    """Return a text in lines that fit the terminal, in one where nobody looks."""
    if not (sys.stderr if err else sys.stdout).isatty():
        return [said]
    return folded(said, screen_width(), subsequent_indent=indent)


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[object]], colours: Sequence[str | None] = ()
) -> None:
    """Print rows under their titles; no line is longer than the screen.

    Args:
        columns: flexible ones are cut when a line would not fit, after optional ones were left out.
        rows: one text per column; everything is made inert, the titles, too: a branch may be one.
        colours: the colour of each row's first column.
    """
    texts = [[inert(cell) for cell in row] for row in rows]
    columns = [replace(column, title=inert(column.title)) for column in columns]
    below = _taken_below(columns, texts)
    all_columns = columns
    used = [index for index in range(len(columns)) if any(row[index] for row in texts)]
    sizes = {index: max(width(columns[index].title), *(width(row[index]) for row in texts)) for index in used}
    left_out = _too_many({index: columns[index] for index in used}, sizes)
    used = [index for index in used if index not in left_out]
    columns, widths = [columns[index] for index in used], [sizes[index] for index in used]
    texts = [[row[index] for index in used] for row in texts]
    _make_fit(widths, columns)
    titles = [in_width(c.title, w, right=c.right) for c, w in zip(columns, widths, strict=True)]
    lines = [colour(_GAP.join(titles).rstrip(), None, bold=True)]
    shown = [cut_apart([row[place] for row in texts], size) for place, size in enumerate(widths)]
    for number, row in enumerate(zip(*shown, strict=True)):
        cells = [
            in_width(cell, size, right=column.right)
            for cell, size, column in zip(row, widths, columns, strict=True)
        ]
        if colours:
            cells[0] = colour(cells[0], colours[number])
        lines += [_GAP.join(cells).rstrip(), *below[number]]
    click.echo("\n".join(lines))
    if left_out:
        _say_left_out([all_columns[index].title for index in sorted(left_out)])


def _taken_below(columns: Sequence[Column], texts: list[list[str]]) -> list[list[str]]:
    """Take out of the texts what has no room beside the others; return the lines below each row."""
    below: list[list[str]] = [[] for _ in texts]
    if not sys.stdout.isatty():
        return below
    for index in (index for index, column in enumerate(columns) if column.below):
        beside = [each for each, column in enumerate(columns) if each != index and not column.optional]
        needed = sum(
            len(_GAP) + max(width(columns[each].title), *(width(row[each]) for row in texts))
            for each in beside
        )
        room = max(columns[index].least, screen_width() - needed)
        for row, lines in zip(texts, below, strict=True):
            if width(row[index]) > room:
                most = columns[index].below
                lines += folded(
                    row[index],
                    screen_width(),
                    initial_indent=_INDENT,
                    subsequent_indent=_INDENT,
                    max_lines=most,
                )
                row[index] = ""
    return below


def _say_left_out(titles: Sequence[str]) -> None:
    """Say which columns there was no room for, all at once when the command ends."""
    context = click.get_current_context(silent=True)
    if context is None:
        click.echo(_WIDER + ", ".join(dict.fromkeys(titles)), err=True)
        return
    if __name__ not in context.meta:
        names: dict[str, None] = {}
        context.meta[__name__] = names
        context.call_on_close(lambda: click.echo(_WIDER + ", ".join(names), err=True))
    context.meta[__name__].update(dict.fromkeys(titles))


def _too_many(columns: Mapping[int, Column], sizes: Mapping[int, int]) -> list[int]:
    """Return which optional columns, the last first, others need the space of."""

    def needed(index: int) -> int:
        column = columns[index]
        return min(sizes[index], column.least) if column.flexible else sizes[index]

    left_out: list[int] = []
    space = screen_width() + len(_GAP) - sum(needed(index) + len(_GAP) for index in columns)
    for index in reversed([index for index, column in columns.items() if column.optional]):
        if space >= 0:
            break
        left_out.append(index)
        space += needed(index) + len(_GAP)
    return left_out


def _make_fit(widths: list[int], columns: Sequence[Column]) -> None:
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - screen_width()
    flexible = [index for index, column in enumerate(columns) if column.flexible]
    for least in ([column.least for column in columns], [_LEAST_FLEXIBLE] * len(columns)):
        for index in reversed(flexible):
            given = min(max(0, excess), max(0, widths[index] - least[index]))
            widths[index] -= given
            excess -= given


def print_data(frame: pd.DataFrame, *, as_json: bool, as_csv: bool) -> bool:
    """Print a frame for a program, if one of the two forms is wanted; say whether it was."""
    if as_csv:
        for piece in for_stdout(csv_pieces([frame])):
            click.echo(piece, nl=False)
    elif as_json:
        print_json(rows_of(frame))
    return as_csv or as_json


def print_rows(
    rows: Iterable[Mapping[str, Any]], *, as_json: bool, as_csv: bool, columns: Sequence[str] = ()
) -> bool:
    """Print rows for a program as ``print_data`` does a frame; say whether one of the forms was wanted.

    ``columns`` are those of the rows, where they have the same even if there are none: then rows are printed
    while they are read.
    """
    if as_csv:
        if not columns:
            rows = list(rows)
            columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = ([row.get(name) for name in columns] for row in rows)
        for piece in for_stdout(csv_of(columns, cells)):
            click.echo(piece, nl=False)
    elif as_json:
        print_json(rows)
    return as_csv or as_json


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print the one object that every `--json` gives."""
    for piece in json_pieces(rows):
        click.echo(piece, nl=False)
