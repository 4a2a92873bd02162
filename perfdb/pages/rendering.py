"""Fill templates: those of reports, and beside them those of the dashboard, with the same words and shapes.

Jinja2 is loaded when the first report is made. Whatever a template is given is escaped, unless it was
marked as HTML by the functions of ``words``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from perfdb.analysis.timeline import DEEPEST
from perfdb.measures import JUDGED
from perfdb.pages import svg, words
from perfdb.pages.style import PICTURE, STYLE
from perfdb.text import (
    as_it_ran,
    counted,
    duration_text,
    inert,
    local_time,
    mode_text,
    step_label,
    zoned_time,
)

TEMPLATES = Path(__file__).parent / "templates"


_FILTERS = (
    "amount_of", "change", "difference", "difference_in", "drawn", "escaped", "in_unit", "pairs", "percent",
    "seconds", "shown", "shown_lines", "size", "unbroken", "value_text",
)  # fmt: skip


def environment(*folders: Path) -> Environment:
    """Return what makes HTML of the templates in these folders and of those of the reports."""
    made = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,  # an upgrade beside a server that runs would mix old words with new templates
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _FILTERS:
        made.filters[name] = getattr(words, name)
    made.filters.update(
        counted=counted,
        duration=duration_text,
        inert=inert,
        local_time=local_time,
        zoned_time=zoned_time,
        mode_text=mode_text,
        step_label=step_label,
    )
    made.globals.update(as_it_ran=as_it_ran, svg=svg, deepest=DEEPEST, measures=JUDGED)
    return made


def render(template: str, **context: Any) -> str:
    """Return what a template of the reports makes."""
    return _of_reports().get_template(template).render(**context)


@cache
def _of_reports() -> Environment:
    made = environment()
    made.globals.update(style=words.drawn(STYLE), picture_style=words.drawn(PICTURE))
    return made
