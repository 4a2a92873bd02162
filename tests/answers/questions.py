"""The questions, and where each answer stands: one extractor per surface, which returns rows by their keys.

A row is a dictionary of what the surface shows; what it does not show is not in it. ``REFUSED`` stands for a
surface that says that it cannot answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from perfdb.errors import PerfdbError
from perfdb.history.values import rows_of
from perfdb.text import step_label
from tests.answers.numbers import number
from tests.answers.pages import Table, printed_tables
from tests.answers.surfaces import Asked, RefusedError, takes

LAST = 300  # sessions that every surface is asked for: all of every history but the one of many
WINDOW = ("--last", str(LAST))
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
Key = tuple[str, ...]
Rows = dict[Key, dict[str, Any]]
REFUSED: Rows = {("refused",): {}}
Extractor = Callable[[Asked], Rows]


@dataclass(frozen=True)
class Question:
    """What is asked, and on which surfaces its answer is looked for."""

    name: str
    columns: Mapping[str, str]  # of the frame: of the table that is printed
    truth: Extractor
    words: tuple[str, ...] = ()  # the command's name
    options: Callable[[Asked], tuple[str, ...]] = lambda asked: ()
    key: Callable[[Mapping[str, Any]], Key] | None = None
    rows: str | None = None  # where the rows are in the one row that ``--json`` prints
    printed_key: Callable[[Table, list[str]], Key] | None = None
    others: Mapping[str, Extractor] = field(default_factory=dict)
    part: tuple[str, ...] = ()  # surfaces that may leave rows out, and say so

    def surfaces(self) -> dict[str, Extractor]:
        found: dict[str, Extractor] = {}
        if self.words:
            found["json"] = self._json
            if takes(self.words, "--csv"):
                found["csv"] = self._csv
            if self.printed_key is not None:
                found["text"] = self._text
        return {**found, **{name: refusing(extract) for name, extract in self.others.items()}}

    def command(self, asked: Asked) -> tuple[str, ...]:
        return (*self.words, *self.options(asked))

    def _json(self, asked: Asked) -> Rows:
        assert self.key is not None
        if asked.command(*self.command(asked), "--json").code == 2:
            return REFUSED
        rows = asked.json(*self.command(asked))
        if self.rows is not None:
            rows = rows[0][self.rows]
        return self.of_rows(rows)

    def _csv(self, asked: Asked) -> Rows:
        if asked.command(*self.command(asked), "--csv").code == 2:
            return REFUSED
        return self.of_rows([typed(row) for row in asked.csv(*self.command(asked))])

    def _text(self, asked: Asked) -> Rows:
        assert self.printed_key is not None
        said = asked.command(*self.command(asked))
        if said.code == 2:
            return REFUSED
        found: Rows = {}
        for table in printed_tables(said.out):
            for row in table.rows:
                key = numbered(found, self.printed_key(table, row))
                found[key] = {
                    name: blank_is_zero(name, shown(cell_of(table, row, title)))
                    for name, title in self.columns.items()
                    if title
                }
        return found

    def of_rows(self, rows: Iterable[Mapping[str, Any]]) -> Rows:
        """Return rows of a frame, of JSON or of CSV, by their keys."""
        assert self.key is not None
        found: Rows = {}
        for row in rows:
            key = numbered(found, self.key(row))
            found[key] = {name: row[name] for name in self.columns if name in row}
        return found


def numbered(rows: Rows, key: Key) -> Key:
    """Return the key, with a number when another row has the same: a step may be called Total."""
    number, first = 1, key
    while key in rows:
        number += 1
        key = (*first, str(number))
    return key


def cell_of(table: Table, row: list[str], title: str) -> str:
    """Return the cell under a title such as ``n`` or ``n#1``, the second of that name."""
    name, _, which = title.partition("#")
    places = [place for place, each in enumerate(table.titles) if each == name]
    place = int(which or 0)
    return row[places[place]] if place < len(places) and places[place] < len(row) else ""


def shown(cell: str) -> Any:
    """Return what a cell says: a number, a text, or None for nothing."""
    found = number(cell)
    if found is not None:
        return found
    return None if cell in ("", "-", "–") else cell


def blank_is_zero(name: str, value: Any) -> Any:
    """Return 0 for a count that a table leaves blank."""
    return 0 if value is None and name in ("failures", "alerts") else value


def refusing(extract: Extractor) -> Extractor:
    """Return an extractor that says REFUSED where the surface says that it cannot answer."""

    def asking(asked: Asked) -> Rows:
        try:
            return extract(asked)
        except (PerfdbError, RefusedError):
            return REFUSED

    return asking


def kind_of(row: Mapping[str, Any]) -> str:
    """Return pipeline and mode of a row as headings say them."""
    from perfdb.text import mode_text

    return ", ".join(part for part in (row["pipeline"], mode_text(row["mode"])) if part)


def label(row: Mapping[str, Any]) -> str:
    """Return what people read of a row's step: one that is called Total is told from the total."""
    return step_label(row["step_name"], row.get("kind", "step"))


def step_key(row: Mapping[str, Any]) -> Key:
    return kind_of(row), label(row)


def typed(row: Mapping[str, str]) -> dict[str, Any]:
    return {name: _value(text) for name, text in row.items()}


def _value(text: str) -> Any:
    if text == "":
        return None
    return float(text) if _NUMBER.fullmatch(text) else text


def frame_rows(frame: Any) -> list[dict[str, Any]]:
    return rows_of(frame)


def below_kind(table: Table, row: list[str]) -> Key:
    """Key a printed row by the heading of its table and its step."""
    return table.title.split("\n")[-1].partition(":")[0], cell_of(table, row, "step").rpartition("› ")[2]


def of_page(columns: Mapping[str, str], table: Table, key: Any, title: str = "Step") -> Rows:
    """Return the rows of a page's table; columns: name in the frame to title."""
    found: Rows = {}
    for row in table.rows:
        name = re.sub(r" (\(?in .*| alert)$", "", cell_of(table, row, title))
        found[numbered(found, (*key, name))] = {
            column: shown(cell_of(table, row, head)) for column, head in columns.items()
        }
    return found


def series_of(asked: Asked) -> Iterator[dict[str, Any]]:
    """Yield each series as the API names it."""
    for choice in asked.api("trends", last=1)["choices"]:
        yield {"pipeline": choice["pipeline"], "step": choice["step_name"], "mode": choice["mode"]}


def name_of(series: Mapping[str, Any]) -> Key:
    return step_key({**series, "step_name": series["step"]})
