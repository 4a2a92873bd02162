"""A whole HTML file that holds its data: it opens from an e-mail, and `perfdb import` reads it back.

It asks nothing of the network and runs no script: its policy forbids both, whatever was recorded.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence

from perfdb.recording.report import to_report
from perfdb.records import Session

DATA_ID = "perfdb-sessions"
UNPACKED = 200_000  # characters: what is less can be read by everybody
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
# Each looks at a bounded part behind a `<`: files come from anywhere, and no text may make it look for ever.
_DATA = re.compile(rb'<script\b[^<>]{0,500}\bid="?' + DATA_ID.encode() + rb'"?[^<>]{0,500}>', re.IGNORECASE)
_END = re.compile(rb"</script>", re.IGNORECASE)


def document(title: str, body: str, sessions: Sequence[Session], *, made_by: str) -> str:
    """Return the file's text.

    Args:
        title: of the browser's tab.
        body: fragments, as HTML.
        sessions: what the file shows; their reports go into it.
        made_by: words for the last line.
    """
    from perfdb.pages.rendering import render  # who reads a file needs no templates

    return render(
        "document.html",
        title=title,
        body=body,
        made_by=made_by,
        count=len(sessions),
        policy=_POLICY,
        data_id=DATA_ID,
        data=_data(sessions),
    )


def _data(sessions: Sequence[Session]) -> str:
    """Return the reports as JSON in which nothing can end the element that holds it; much of it packed."""
    rows = ",\n".join(json.dumps(to_report(session), default=str, allow_nan=False) for session in sessions)
    text = f'{{"schema_version": 1, "rows": [\n{rows}\n]}}'
    if len(text) > UNPACKED:  # as a JSON text: base64 of gzip
        return f'"{b64encode(gzip.compress(text.encode(), mtime=0)).decode()}"'
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_in(content: bytes, most: int = 1 << 30) -> bytes | None:
    """Return the JSON that a file of ``document`` holds; None when it holds none.

    Raises:
        ValueError: it is damaged, or unpacked it is more than ``most`` bytes.
    """
    found = _DATA.search(content)
    end = _END.search(content, found.end()) if found else None
    if found is None or end is None:
        return None
    data = content[found.end() : end.start()].strip()
    if not data.startswith(b'"'):
        return data
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(
            b64decode(data.strip(b'"'), validate=True), most + 1
        )
    except zlib.error as error:
        raise ValueError(f"its data are damaged: {error}") from None
    if len(unpacked) > most:
        raise ValueError(f"its data are more than {most} bytes: report on fewer sessions at a time")
    return unpacked
