"""Turn answers into HTML: the templates, and the style sheet and scripts beside them."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment

from perfdb.alerts.messages import amount_of
from perfdb.analysis.compare import beyond_chance
from perfdb.analysis.rules import kind_of
from perfdb.analysis.trend_words import percent_words
from perfdb.pages.rendering import environment
from perfdb.pages.style import COLOURS, SHAPES
from perfdb.pages.words import drawn
from perfdb.text import so_far_text
from perfdb.version import __version__
from perfdb.web import words
from perfdb.web.health import (
    effect_of,
    judged,
    judges_shares,
    reasons,
    what_moved,
    worse_over,
)

HERE = Path(__file__).parent
STATIC = HERE / "static"


def render(template: str, **context: Any) -> str:
    """Return a page."""
    return _environment().get_template(template).render(**context)


@cache
def style_sheet() -> str:
    """Return the one style sheet; it stands in every page, which is painted without asking again."""
    files = (STATIC / "vendor" / "uPlot.min.css", STATIC / "dashboard.css")
    return COLOURS + SHAPES + "".join(file.read_text(encoding="utf-8") for file in files)


@cache
def static_path() -> str:
    """Return where the scripts are: it changes with them, so that a browser keeps them and no old ones."""
    digest = sha256()
    for file in sorted(STATIC.rglob("*.*")):
        digest.update(file.read_bytes())
    return f"/static/{digest.hexdigest()[:12]}"


def _fires_at(kind: str) -> str:
    """Return what a kind of rule fires at, as a sentence begins."""
    words = kind_of(kind).summary
    return words[:1].upper() + words[1:]


@cache
def _environment() -> Environment:
    made = environment(HERE / "templates")
    made.filters.update(
        ago=words.ago,
        with_unit=amount_of,
        beyond_chance=beyond_chance,
        day=words.day,
        effect_of=effect_of,
        fires_at=_fires_at,
        judged=judged,
        judges_shares=judges_shares,
        moved=percent_words,
        reasons=reasons,
        so_far=so_far_text,
        what_moved=what_moved,
        when=words.when,
    )
    made.globals.update(worse_over=worse_over)
    made.globals.update(link=words.link, close=words.close, version=__version__)
    made.globals.update(static=static_path(), style=drawn(style_sheet()))
    return made
