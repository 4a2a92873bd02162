"""A whole HTML file that holds its data: it opens from an e-mail, and `perfdb import` reads it back.

It asks nothing of the network and runs no script: its policy forbids both, whatever was recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from perfdb.pages.parts import plain
from perfdb.recording.report import to_report
from perfdb.records import Session
from perfdb.text import counted

DATA_ID = "perfdb-sessions"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_DATA = re.compile(
    rb'<script\b[^>]*\bid="?' + DATA_ID.encode() + rb'"?[^>]*>(.*?)</script>', re.DOTALL | re.IGNORECASE
)


def document(title: str, body: str, sessions: Sequence[Session], *, made_by: str) -> str:
    """Return the file's text.

    Args:
        title: of the browser's tab.
        body: fragments, safe as they are.
        sessions: what the file shows; their reports go into it.
        made_by: words for the last line.
    """
    footer = (
        f"<footer>{plain(made_by)} This file holds {counted(len(sessions), 'session')} as data: "
        "<code>perfdb import FILE</code> takes them into a database.</footer>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">\n'
        f"<title>{plain(title)}</title>\n"
        "<style>body{margin:0;background:#fff}@media (prefers-color-scheme:dark){body{background:#14171a}}"
        f"</style></head><body>\n{body}\n"
        f'<div class="perfdb">{footer}</div>\n'
        f'<script type="application/json" id="{DATA_ID}">{_data(sessions)}</script>\n</body></html>\n'
    )


def _data(sessions: Sequence[Session]) -> str:
    """Return the reports as JSON in which nothing can end the element that holds it."""
    rows = ",\n".join(json.dumps(to_report(session), default=str, allow_nan=False) for session in sessions)
    text = f'{{"schema_version": 1, "rows": [\n{rows}\n]}}'
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_in(content: bytes) -> bytes | None:
    """Return the JSON that a file of ``document`` holds; None when it holds none."""
    found = _DATA.search(content)
    return None if found is None else found[1].strip()
