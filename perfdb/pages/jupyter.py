"""Let a notebook show a Session as its report. Records know nothing of pages, so the notebook is told."""

from __future__ import annotations

import sys

from perfdb.records import Session


def show_sessions() -> None:
    """Teach the running notebook, if this is one, how to show a Session; do nothing elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    formatter = getattr(shell, "display_formatter", None)
    if formatter is None:
        return
    from perfdb.pages.session import session_html

    formatter.formatters["text/html"].for_type(Session, session_html)
