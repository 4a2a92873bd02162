"""The small pieces of a page: safe texts, tiles, tables, headings.

Every recorded text goes through ``safe``: escaped for HTML, inert, and isolated, so that a name
written from right to left turns nothing but itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from perfdb.pages.style import STYLE
from perfdb.text import inert, shortened


def safe(text: object, *, longest: int = 400) -> str:
    """Return a recorded text as HTML that shows it to the letter."""
    return f"<bdi>{plain(text, longest=longest)}</bdi>"


def plain(text: object, *, longest: int = 400) -> str:
    """Return a text for an attribute or a title, where no element may stand."""
    return escape(shortened(inert(text), longest))


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Return name and HTML value pairs as tiles; those without a value are left out."""
    made = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in facts if value)
    return f'<dl class="tiles">{made}</dl>'


def table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1, words: bool = False
) -> str:
    """Return a table of HTML cells: the first columns hold names, the others numbers, the last one words."""
    kinds = ["" if place < names else ' class="n"' for place in range(len(titles))]
    if words:
        kinds[-1] = ' class="w"'
    head = "".join(f"<th{kind}>{escape(title)}</th>" for title, kind in zip(titles, kinds, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def section(title: str, content: str, note: str = "") -> str:
    """Return content under a heading, with a line of explanation."""
    explained = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{explained}{content}</section>\n"


def keys(*kinds: tuple[str, str]) -> str:
    """Return what the colours mean: pairs of a class of the style sheet and its meaning."""
    made = "".join(f'<span><i class="key {kind}"></i>{escape(meaning)}</span>' for kind, meaning in kinds)
    return f'<p class="note keys">{made}</p>'


def heads(name: str, axis: str, first: str, second: str) -> str:
    """Return the titles of rows of a name, a bar (``axis`` is HTML) and two numbers."""
    return (
        f'<span class="head">{escape(name)}</span><span class="head scale axis">{axis}</span>'
        f'<span class="head num">{escape(first)}</span><span class="head num">{escape(second)}</span>'
    )


def fragment(content: str) -> str:
    """Return content with the style that it needs, and nothing outside of it is touched."""
    return f'<div class="perfdb"><style>{STYLE}</style>\n{content}</div>\n'
