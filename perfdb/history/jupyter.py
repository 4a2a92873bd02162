"""Let a running notebook show what History returns.

Records and figures know nothing of notebooks, so they are registered here. Outside of one nothing
happens, and what somebody else registered stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def show_as(kind: type, form: str, shown: Callable[..., object]) -> None:
    """Teach the running notebook to show objects of a kind.

    Args:
        kind: their class.
        form: a MIME type: ``text/html``, ``image/png``, or ``text/plain``, which a terminal shows and a
            notebook keeps beside the other.
        shown: returns what the notebook shows of one; as plain text it is written to a printer.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    formatter = getattr(shell, "display_formatter", None)
    if formatter is not None and formatter.formatters[form].for_type(kind) is None:
        formatter.formatters[form].for_type(kind, shown)
