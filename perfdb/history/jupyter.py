"""Let a running notebook show what History returns.

Records and figures know nothing of notebooks, so they are registered here. Outside of one nothing
happens, and what somebody else registered stays.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUNDLE = ""


def show_as(kind: type, form: str, shown: Callable[..., object]) -> None:
    """Teach the running notebook to show objects of a kind.

    Args:
        kind: their class.
        form: a MIME type: ``text/html``, or ``text/plain``, which a terminal shows and a notebook keeps
            beside the other; ``BUNDLE`` is several at once.
        shown: returns what the notebook shows of one; as plain text it is written to a printer.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    formatter = getattr(shell, "display_formatter", None)
    if formatter is None:
        return
    of_form = formatter.mimebundle_formatter if form == BUNDLE else formatter.formatters[form]
    if of_form.for_type(kind) is None:
        of_form.for_type(kind, shown)


def as_picture(figure: Figure) -> tuple[dict[str, str], dict[str, str]]:
    """Return a chart as a notebook keeps it: in its own theme, and as a PNG for what prints notebooks."""
    from perfdb.charts.saving import image
    from perfdb.pages.rendering import render

    png = b64encode(image(figure, "png")).decode()
    finding = figure.texts[0].get_text().replace("\n", " ").replace(r"\$", "$")
    return {"text/html": render("picture.html", finding=finding, png=png), "image/png": png}, {}
