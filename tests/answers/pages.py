"""Read HTML and the tables of a terminal: headings, sentences, tables as rows of cells under their titles."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import NamedTuple

_SILENT = {"script", "style", "datalist", "select", "svg", "button", "template"}
_VOID = {"br", "hr", "img", "input", "link", "meta", "col", "source", "wbr"}


class Page(HTMLParser):
    """A page or a report: its first heading, the line below, its tables, tiles and texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tables: list[Table] = []
        self.tiles: dict[str, str] = {}
        self.links: list[str] = []
        self.items: list[Item] = []  # of lists, with their keys
        self.texts: list[str] = []  # of h1, h2, p, li and dd, in their order
        self._open: list[str] = []
        self._visible: list[str] = []
        self._said: dict[int, list[str]] = {}
        self._title = ""  # of the part that is read
        self._term = self._key = ""
        self.feed(html)
        self.close()

    @property
    def heading(self) -> str:
        return next((text.partition(": ")[2] for text in self.texts if text.startswith("h1: ")), "")

    @property
    def text(self) -> str:
        return "\n".join(text.partition(": ")[2] for text in self.texts)

    @property
    def visible(self) -> str:
        """Return all that a reader sees, without pictures and choices."""
        return " ".join(self._visible)

    @property
    def waterfall(self) -> str:
        """Return the seconds and shares beside the bars of a waterfall."""
        return " ".join(re.findall(r'<span class="num[^"]*">([^<]*)</span>', self.html))

    def has(self, title: str) -> bool:
        """Say whether there is a table below a heading that begins so."""
        return any(table.title.startswith(title) for table in self.tables)

    def table(self, title: str) -> Table:
        """Return the table below the heading that begins so, or with that first title."""
        for table in self.tables:
            if table.title.startswith(title) or title in table.titles[:1]:
                return table
        raise LookupError(f"no table {title!r} among {[(t.title, t.titles[:1]) for t in self.tables]}")

    # --- the parser -----------------------------------------------------------------------------------

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if tag in _VOID:
            if tag == "br":
                self.handle_data(" ")
            return
        self._open.append(tag)
        self._said[len(self._open)] = []
        if tag == "table":
            self.tables.append(Table(self._title, [], [], []))
        elif tag == "li":
            self._key = given.get("data-key") or ""
        elif tag == "tr" and self.tables:
            self.tables[-1].rows.append([])
            self.tables[-1].keys.append(given.get("data-key") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID or tag not in self._open:
            return
        while self._open:
            last = self._open[-1]
            words = " ".join("".join(self._said.pop(len(self._open), [])).split())
            self._open.pop()
            self._ended(last, words)
            if last == tag:
                return

    def handle_data(self, data: str) -> None:
        if not _SILENT.intersection(self._open):
            self._visible.append(data)
            for depth in range(1, len(self._open) + 1):
                self._said.setdefault(depth, []).append(data)

    def _ended(self, tag: str, words: str) -> None:
        if tag in ("h1", "h2", "h3", "p", "li", "dd", "summary") and words:
            self.texts.append(f"{tag}: {words}")
        if tag == "li" and self._key:
            self.items.append(Item(self._key, words))
            self._key = ""
        elif tag in ("h2", "h3"):
            self._title = words
        elif tag in ("dt",):
            self._term = words
        elif tag == "dd" and self._term:
            self.tiles[self._term] = words
        elif tag in ("td", "th") and self.tables:
            table = self.tables[-1]
            if "thead" in self._open:
                table.titles.append(words)
            elif table.rows:
                table.rows[-1].append(words)
        elif tag == "table" and self.tables:
            table = self.tables[-1]
            kept = [place for place, row in enumerate(table.rows) if row]
            table.rows[:] = [table.rows[place] for place in kept]
            table.keys[:] = [table.keys[place] for place in kept]


class Item(NamedTuple):
    """One of a list."""

    key: str
    text: str


class Table:
    """A table as it is read: titles, rows of cells, and the key of each row where it has one."""

    def __init__(self, title: str, titles: list[str], rows: list[list[str]], keys: list[str]) -> None:
        self.title, self.titles, self.rows, self.keys = title, titles, rows, keys

    def column(self, row: list[str], title: str, number: int = 0) -> str:
        """Return a row's cell under a title; ``number`` of several of the same."""
        places = [place for place, each in enumerate(self.titles) if each == title]
        return row[places[number]]


_GAP = re.compile(r" {2,}")


def printed_tables(text: str) -> list[Table]:
    """Return the tables that a command printed, each with the line above it as its title.

    A table is a line of titles and the lines below it; a column ends where all its lines have a space.
    """
    tables: list[Table] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        starts = [place for place, line in enumerate(lines) if _is_heads(line)]
        if not starts:
            continue
        first = starts[0]
        below = ("Since ", "Before and after are ", "  ")
        body = [line for line in lines[first + 1 :] if not line.startswith(below)]
        width = max(map(len, lines[first:]))
        blank = [
            all(place >= len(line) or line[place] == " " for line in (lines[first], *body))
            for place in range(width)
        ]
        edges, inside = [], False
        for place, is_blank in enumerate([*blank, True, True]):
            two = is_blank and (place + 1 >= width or blank[place + 1])
            if not is_blank and not inside:
                edges.append([place, place])
                inside = True
            elif inside and two:
                edges[-1][1], inside = place, False
        cells = [[line[start:end].strip() for start, end in edges] for line in (lines[first], *body)]
        tables.append(Table("\n".join(lines[:first]), cells[0], cells[1:], [""] * len(body)))
    return tables


_HEADS = {"step", "session", "rule", "since", "severity", "runs", "id", "attribute"}


def _is_heads(line: str) -> bool:
    words = [word for word in _GAP.split(line.strip()) if word]
    return len(words) >= 2 and bool(_HEADS.intersection(words[:3])) and words[0] == words[0].lower()
