"""Keep API keys and pictures out of the log records of the libraries that the pathway calls.

At DEBUG they log addresses, headers and whole requests. For as long as a pathway is open, a filter on each of
their loggers redacts the message and the traceback of a record before any handler sees it.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from perfdb.pathway.settings import PathwaySettings
from perfdb.recording.redaction import redact
from perfdb.text import cut_to

LIBRARIES = (
    "urllib3", "requests", "serpapi", "openai", "httpx", "httpx2", "httpcore", "httpcore2", "hpack", "h2",
)  # fmt: skip
_MAX_TEXT = 20_000  # characters of a record: whole pictures stand in some
_PICTURE = re.compile(r"(data:[\w.+-]+/[\w.+-]+;base64,)([A-Za-z0-9+/=_-]{32,})")
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)

_lock = threading.Lock()
_open: Counter[PathwaySettings] = Counter()
_filtered: set[logging.Logger] = set()


def guard(settings: PathwaySettings) -> Callable[[], None]:
    """Redact these libraries' records from now on; the returned function ends it for its caller."""
    done = threading.Lock()

    def release() -> None:
        if not done.acquire(blocking=False):
            return
        with _lock:
            _open[settings] -= 1
            if _open[settings] <= 0:
                del _open[settings]
            if not _open:
                for logger in _filtered:
                    logger.removeFilter(_redacted)
                _filtered.clear()

    with _lock:
        _open[settings] += 1
    cover()
    return release


def cover() -> None:
    """Put the filter on loggers that a library has made since."""
    known = list(logging.root.manager.loggerDict)
    names = {*LIBRARIES, *(name for name in known if name.partition(".")[0] in LIBRARIES)}
    with _lock:
        if not _open:
            return
        for logger in {logging.getLogger(name) for name in names} - _filtered:
            logger.addFilter(_redacted)
            _filtered.add(logger)


def _redacted(record: logging.LogRecord) -> bool:
    try:
        record.msg = _text(record.getMessage())
    except Exception:  # a record that cannot be formatted: its parts may still hold a key
        record.msg = _text(f"{record.msg} {record.args}")
    record.args = ()
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    if record.exc_text:
        record.exc_text = _text(record.exc_text)
    record.exc_info = None  # a handler may format it anew
    for name, value in record.__dict__.items():
        if name not in _STANDARD and not (value is None or isinstance(value, bool | int | float)):
            record.__dict__[name] = _text(value)
    return True


def _text(text: Any) -> str:
    text = _PICTURE.sub(lambda found: f"{found[1]}[{len(found[2])} characters]", str(text))
    for settings in list(_open):
        text = settings.without_keys(text)
    return redact(cut_to(text, _MAX_TEXT))
