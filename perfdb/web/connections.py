"""The connections of the dashboard: an idle or slow client keeps no other client out.

uvicorn waits for the end of a request for ever, and takes connections until no descriptor is left. Here a
request has to be there in time, and when there are too many connections the one that has waited longest for
its request goes. Of requests that were sent one after the other without reading the answers, the first counts
as anybody's; the others take turns, one at a time, and are dropped when that takes too long. What goes wrong
is logged, but not a hundred thousand times.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0  # from the first moment of a connection, or the last answer, to the end of a request
READ_S = 20.0  # that somebody may take to read some of an answer
MOST_CONNECTIONS = 400
AHEAD_S = 10.0  # that requests which were sent ahead may wait for their turns
_LONG_S = 1.0  # an answer to one of them that takes longer no longer keeps the next one waiting
_UNREAD_BYTES = 128 << 10  # of answers that the kernel keeps for somebody who does not read them
_SHARE = 2  # of the descriptors: the others are for the database, and for those who are just coming
_LEAST_CONNECTIONS = 8
_AT_ONCE = 16  # connections that are taken between two looks at how many there are
_QUEUE = 1024  # that the kernel may keep until they are taken
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

SPARING = ("asyncio", "uvicorn.error", "perfdb")  # the logs that anybody could fill
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


def origin(host: str) -> str:
    """Return what distinguishes a client from others: its address, of IPv6 the network's half."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class Turns:
    """Clients that sent requests ahead: one of these is answered at a time, in half of the time at most."""

    def __init__(self) -> None:
        self._waiting: deque[PatientProtocol] = deque()
        self._served: PatientProtocol | None = None
        self._began = 0.0
        self._end: asyncio.TimerHandle | None = None

    def wait(self, connection: PatientProtocol) -> None:
        """Have the next request of a connection answered in its turn."""
        self._waiting.append(connection)
        if self._served is None and self._end is None:
            self._next()

    def done(self, connection: PatientProtocol) -> None:
        """Take note that a connection has its answer, or is gone."""
        if self._served is connection:
            self._rest(connection.loop.time() - self._began)

    def _rest(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._served = None
        if self._end is not None:
            self._end.cancel()
        self._end = loop.call_later(seconds, self._next)

    def _next(self) -> None:
        self._served = self._end = None
        while self._waiting:
            connection = self._waiting.popleft()
            if connection.transport.is_closing():
                continue
            loop = connection.loop
            self._served, self._began = connection, loop.time()
            self._end = loop.call_later(_LONG_S, self._next)
            connection.take_turn()
            return


class PatientProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn, with an end to its patience."""

    most = MOST_CONNECTIONS
    turns = Turns()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._origin = ""
        self._waits_since: float | None = None
        self._ahead_since: float | None = None  # it has sent requests before it had the answers
        self._patience: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; of too many one goes that has said nothing, half of a request, or too much."""
        super().connection_made(transport)
        self._origin = origin(self.client[0]) if self.client else ""
        self._let_answers_be_few(transport)
        self._look_whether_it_waits()
        while len(self.connections) > self.most:
            others = [each for each in self.connections if isinstance(each, PatientProtocol)]
            counts = Counter(each._origin for each in others)
            most = max(counts.values())
            greedy = (each for each in others if counts[each._origin] == most)
            min(greedy, key=lambda each: each._worth(self))._go()

    def _worth(self, newest: PatientProtocol) -> tuple[int, float]:
        """Return the order in which too many connections go: the least, and of these the oldest."""
        if self is newest:
            return 3, 0.0
        if self._waits_since is not None:
            return 0, self._waits_since
        if self._ahead_since is not None:
            return 1, self._ahead_since
        if self._reading is not None:
            return 2, self._reading.when()
        return 4, 0.0

    def _let_answers_be_few(self, transport: asyncio.Transport) -> None:
        """Keep few bytes for somebody who does not read what he asked for."""
        transport.set_write_buffer_limits(high=0)
        with suppress(OSError):
            given = transport.get_extra_info("socket")
            if given is not None:
                given.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES // 2)  # Linux takes twice

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)
        self.turns.done(self)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._look_whether_it_waits()

    def on_response_complete(self) -> None:
        """Wait for the next request; one that is there already waits until this answer has left."""
        self.turns.done(self)
        if self._has_sent_ahead():
            if self._ahead_since is None:
                self._ahead_since = self.loop.time()
            if self.loop.time() - self._ahead_since > AHEAD_S:
                self._go()
            elif not self.flow.write_paused:
                self.turns.wait(self)
            return
        self._ahead_since = None
        super().on_response_complete()
        self._look_whether_it_waits()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; whoever answers the request in which it stands has nothing more to say."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # in the middle of an answer
            self._go()

    def take_turn(self) -> None:
        """Have the request answered that was sent ahead."""
        super().on_response_complete()
        self._look_whether_it_waits()

    def _has_sent_ahead(self) -> bool:
        """Tell whether more of this connection is there than the request that was just answered."""
        is_between = self.conn.our_state is self.conn.their_state is h11.DONE
        return is_between and not self.transport.is_closing() and bool(self.conn.trailing_data[0])

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
        if self._ahead_since is not None and self._has_sent_ahead():
            self.turns.wait(self)

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
        protocol = type("_Protocol", (PatientProtocol,), {"most": most_connections(), "turns": Turns()})
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
        for name in SPARING:
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
