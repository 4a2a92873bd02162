"""The connections of the dashboard: who says nothing, or half of it, keeps nobody else out.

uvicorn waits for the end of a request for ever, and takes connections until no descriptor is left. Here a
request has to be there in time, and when there are too many connections the one that has waited longest for
its request goes. What goes wrong is logged, but not a hundred thousand times.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0  # from the first moment of a connection, or the last answer, to the end of a request
READ_S = 20.0  # that somebody may take to read some of an answer
MOST_CONNECTIONS = 400
_SHARE = 2  # of the descriptors: the others are for the database, and for those who are just coming
_LEAST_CONNECTIONS = 8
_AT_ONCE = 16  # connections that are taken between two looks at how many there are
_QUEUE = 1024  # that the kernel may keep until they are taken
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

SAME_RECORDS = 5
PER_S = 60.0
_MOST_KINDS = 100


def most_connections() -> int:
    """Return how many connections there may be: half of the descriptors that this process may have."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError, ValueError):
        return MOST_CONNECTIONS
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(_LEAST_CONNECTIONS, min(MOST_CONNECTIONS, soft // _SHARE))


class PatientProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn, with an end to its patience."""

    most = MOST_CONNECTIONS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waits_since: float | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; of too many one goes that has said nothing or half of a request."""
        super().connection_made(transport)
        self._look_whether_it_waits()
        while len(self.connections) > self.most:
            waiting = [each for each in self.connections if getattr(each, "_waits_since", None) is not None]
            if not waiting:
                waiting = [self]
            min(waiting, key=lambda each: each._waits_since or 0.0)._go()  # type: ignore[union-attr]

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._look_whether_it_waits()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._look_whether_it_waits()

    def pause_writing(self) -> None:
        """Wait until somebody reads what was sent, but not for ever."""
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(READ_S, self._go)

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look_whether_it_waits(self) -> None:
        """Begin or end waiting for the rest of a request; what trickles in does not begin it anew."""
        owed = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if not owed or self.transport.is_closing():
            self._stop_waiting()
        elif self._waits_since is None:
            self._waits_since = self.loop.time()
            self._patience = self.loop.call_later(REQUEST_S, self._lose_patience)

    def _stop_waiting(self) -> None:
        self._waits_since = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
            self.transport.write(_TOO_LATE)
        self._go()

    def _go(self) -> None:
        """End the connection at once; its descriptor is free in the next turn of the loop."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()


class PatientServer(uvicorn.Server):
    """A server whose connections have an end, and which takes few of them at a time."""

    def __init__(self, app: Any, **named: Any) -> None:
        protocol = type("_Protocol", (PatientProtocol,), {"most": most_connections()})
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                loop="asyncio",
                backlog=_AT_ONCE,
                log_level="warning",
                access_log=False,  # it would hold the token of the first address
                server_header=False,
                **named,
            )
        )
        for name in ("asyncio", "uvicorn.error"):
            logging.getLogger(name).addFilter(Sparingly())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; more may queue in the kernel than are taken at a time."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_QUEUE)


class Sparingly(logging.Filter):
    """Let the same record pass five times a minute; the next one says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is written."""
        if record.levelno < logging.WARNING:
            return True
        kind = None if record.exc_info is None else record.exc_info[0]
        # the kind of an error, not its words, which may hold what somebody sent
        key = (record.name, record.levelno, str(record.msg)[:80] if kind is None else kind.__name__)
        now = time.monotonic()
        since, count = self._seen.get(key, (now, 0))
        if now - since >= PER_S:
            left_out, since, count = count - SAME_RECORDS, now, 0
            if left_out > 0:
                record.msg = f"{record.getMessage()} ({left_out} more like it before)"
                record.args = ()
        if len(self._seen) > _MOST_KINDS:
            self._seen.clear()
        self._seen[key] = since, count + 1
        return count < SAME_RECORDS
