"""A figure as the bytes of a PNG or SVG file: the same bytes for the same figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")


def image(figure: Figure, form: str) -> bytes:
    """Return the picture; texts of an SVG are texts, to be found, copied and read aloud.

    Raises:
        ValueError: ``form`` is neither ``png`` nor ``svg``.
    """
    import matplotlib

    buffer = io.BytesIO()
    if form == "png":
        figure.savefig(buffer, format="png")
    elif form == "svg":
        with matplotlib.rc_context({"svg.hashsalt": "perfdb", "svg.fonttype": "none"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
    else:
        raise ValueError(f"{form!r} is no picture format: choose png or svg")
    return buffer.getvalue()
