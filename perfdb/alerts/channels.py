"""The ways a message leaves: log, console, signed JSON webhook, and Apprise for all the rest.

A channel either returns or raises DeliveryError, whose text holds no address, no secret and nothing of
the answer. Each call is bounded by ``within``: a notifier that hangs holds up nobody.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import inspect
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from perfdb.alerts.config import Channel
from perfdb.errors import MissingExtraError, PerfdbError
from perfdb.recording.native import Thread, signals_as_usual
from perfdb.text import inert, unmarked
from perfdb.vocabulary import CRITICAL, INFO, WARNING

logger = logging.getLogger("perfdb.alerts")

_SIGNS = re.compile("[<>&@]")
_IN_ADDRESSES = "!#$%&'()*+,/:;=?@[]~"  # as they stand; what else is no letter or digit is quoted
_THAT_NAME_ADDRESSES = ("apprise", "urllib3.connectionpool")  # loggers of what sends for us
_MODULES = {"webhook": ("urllib.request", "ssl", "encodings.idna"), "apprise": ("apprise",)}
_LEVELS = {INFO: logging.INFO, WARNING: logging.WARNING, CRITICAL: logging.CRITICAL}


class DeliveryError(PerfdbError):
    """A message did not arrive; ``permanent`` when another try cannot help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


def send_test(channel: Channel) -> None:
    """Send a message that says that the channel works.

    Raises:
        DeliveryError, MissingExtraError: as ``send``.
    """
    note = f"A test of channel {channel.name}: if you read this, it works."
    payload: dict[str, Any] = {
        "pipeline": None,
        "mode": None,
        "alerts": [],
        "resolved": [],
        "more": 0,
        "note": note,
    }
    send(channel, payload, delivery_id=f"test-{os.urandom(8).hex()}")


def send(channel: Channel, payload: Mapping[str, Any], *, delivery_id: str) -> None:
    """Send a message and return when it has arrived.

    Args:
        channel: where to.
        payload: ``alerts`` and ``resolved`` (rows), ``more`` (how many were left out), perhaps a ``note``.
        delivery_id: the same at every try, so that a receiver can tell a repetition.

    Raises:
        DeliveryError: it did not, or not in time.
        MissingExtraError: Apprise is not installed.
    """
    try:
        within(channel.timeout_s, lambda: _SENDERS[channel.kind](channel, payload, delivery_id))
    except PerfdbError:
        raise
    except Exception as error:  # of a notification library: its text may hold the address
        raise DeliveryError(f"{type(error).__name__} while sending") from None


def prepare(channels: Sequence[Channel]) -> None:
    """Import what the channels need: imports on a thread that is sending could hang a fork."""
    import importlib

    kinds = {channel.kind for channel in channels}
    wanted = [name for kind, names in _MODULES.items() if kind in kinds for name in names]
    for name in wanted:
        with contextlib.suppress(ImportError):  # said when something is to be sent
            importlib.import_module(name)


def within(seconds: float, call: Callable[[], None]) -> None:
    """Call on a thread of its own and wait so long; a call that hangs for ever is left behind.

    Raises:
        DeliveryError: it did not end in time, or wanted to end the process.
        Exception: what the call raised.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    def run_apart() -> None:
        with signals_as_usual():
            run()

    thread = Thread(run_apart)
    try:
        thread.start()
    except RuntimeError:  # the process ends, and from CPython 3.12 on gets no further thread: its exit waits
        run()
    else:
        if not thread.join(seconds + 1.0):
            raise DeliveryError(f"no end within {seconds:g} s")
    for error in raised:
        if isinstance(error, Exception):
            raise error
        raise DeliveryError(f"{type(error).__name__} while sending")


def masked(url: str | None) -> str:
    """Return scheme and host of an address: the rest may be a secret."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or '…'}/…" if parts.scheme.startswith("http") else (
            f"{parts.scheme}://…"
        )  # fmt: skip
    except ValueError:
        return "…"


def title(payload: Mapping[str, Any]) -> str:
    """Return the subject of a message."""
    alerts, over = len(payload.get("alerts", ())) + payload.get("more", 0), len(payload.get("resolved", ()))
    parts = [f"{alerts} alert{'s' * (alerts != 1)}"] if alerts or not over else []
    parts += [f"{over} resolved"] if over else []
    pipeline = payload.get("pipeline")
    return _printable(f"perfdb: {', '.join(parts)}" + (f" in {pipeline}" if pipeline else ""))


def body(payload: Mapping[str, Any]) -> str:
    """Return a message as plain text, a paragraph per alert; control characters become blanks."""
    lines = [str(payload["note"])] if payload.get("note") else []
    lines += [f"[{alert['severity']}] {alert['message']}" for alert in payload.get("alerts", ())]
    lines += [f"[resolved] {alert['headline']}" for alert in payload.get("resolved", ())]
    if payload.get("more"):
        lines.append(f"... and {payload['more']} more: perfdb alerts")
    return "\n\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    return inert("".join(character if character.isprintable() else " " for character in line))


def signature(secret: str, timestamp: str, content: bytes) -> str:
    """Return what a receiver compares with the header ``X-Perfdb-Signature``: HMAC-SHA256, hexadecimal."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def _to_log(channel: Channel, payload: Mapping[str, Any], delivery_id: str) -> None:
    rank = [_LEVELS[alert["severity"]] for alert in payload.get("alerts", ())]
    logger.log(max(rank, default=logging.INFO), "%s\n%s", title(payload), body(payload))


def _to_console(channel: Channel, payload: Mapping[str, Any], delivery_id: str) -> None:
    stream = sys.stderr
    if stream is None:
        return
    text = f"{title(payload)}\n{body(payload)}\n"
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _to_webhook(channel: Channel, payload: Mapping[str, Any], delivery_id: str) -> None:
    import urllib.error
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    timestamp = str(int(time.time()))
    text = json.dumps(
        {"schema_version": 1, "delivery_id": delivery_id, "title": title(payload), **payload},
        allow_nan=False,
    )
    # the same to a reader of JSON; a receiver that hands the text on unread hands on no mention and no tag
    content = _SIGNS.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "perfdb",
        "X-Perfdb-Delivery": delivery_id,
        "X-Perfdb-Timestamp": timestamp,
    }
    if channel.secret:
        headers["X-Perfdb-Signature"] = f"sha256={signature(channel.secret, timestamp, content)}"
    address, authorization = _asked(channel.url or "")
    if authorization:
        headers["Authorization"] = authorization
    request = urllib.request.Request(  # noqa: S310 (http or https: checked with the settings)
        address, data=content, headers=headers, method="POST"
    )
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(request, timeout=channel.timeout_s):
            pass  # what it says beside its status is nothing to us, and may have no end
    except urllib.error.HTTPError as error:
        with error:
            code = error.code
        permanent = 300 <= code < 500 and code not in (408, 425, 429)
        raise DeliveryError(
            f"{masked(channel.url)} answered {code}{' (redirects are not followed)' * (300 <= code < 400)}",
            permanent=permanent,
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"{masked(channel.url)}: {type(reason).__name__}") from None


def _asked(url: str) -> tuple[str, str]:
    """Return an address as HTTP asks for it, and the header that shows the name and password in it, or ""."""
    parts = urlsplit(url)
    person, _, place = parts.netloc.rpartition("@")
    address = parts._replace(
        netloc=place,
        path=quote(parts.path, safe=_IN_ADDRESSES),
        query=quote(parts.query, safe=_IN_ADDRESSES),
    ).geturl()
    shown = unquote(person if ":" in person else f"{person}:").encode()
    return address, f"Basic {base64.b64encode(shown).decode()}" if person else ""


class _Silence(logging.Filter):
    """Drops what a thread logs while it sends: libraries name the address, which is a secret, and answers."""

    def __init__(self) -> None:
        super().__init__()
        self._senders: set[int] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        return threading.get_ident() not in self._senders

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Drop what the calling thread logs meanwhile; the host may use the same libraries on others."""
        for name in _THAT_NAME_ADDRESSES:
            logging.getLogger(name).addFilter(self)
        sender = threading.get_ident()
        self._senders.add(sender)
        try:
            yield
        finally:
            self._senders.discard(sender)


_silence = _Silence()


def _to_apprise(channel: Channel, payload: Mapping[str, Any], delivery_id: str) -> None:
    try:
        import apprise
    except ImportError:
        raise MissingExtraError(
            f"channel {channel.name!r} needs Apprise: pip install 'perfdb[notify]'"
        ) from None
    # no redirect; and this thread sends: one of a pool would log, and the exit of the host would wait for it
    options: dict[str, Any] = {"async_mode": False, "http_redirects": False}
    if "service_timeout" in inspect.signature(apprise.AppriseAsset).parameters:  # from 2.0 on
        options["service_timeout"] = 0
    asset = apprise.AppriseAsset(**options)
    notifier = apprise.Apprise(asset=asset)
    with _silence.kept():
        if not notifier.add(channel.url or ""):
            raise DeliveryError(f"Apprise does not know the address {masked(channel.url)}", permanent=True)
        # with the text format, Apprise sends text, or escapes it where a service takes HTML only
        sent = notifier.notify(
            title=unmarked(title(payload)),
            body=unmarked(body(payload)),
            body_format=apprise.NotifyFormat.TEXT,
        )
    if not sent:
        raise DeliveryError(f"Apprise could not deliver to {masked(channel.url)}")


_SENDERS: dict[str, Callable[[Channel, Mapping[str, Any], str], None]] = {
    "log": _to_log,
    "console": _to_console,
    "webhook": _to_webhook,
    "apprise": _to_apprise,
}
