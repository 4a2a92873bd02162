"""What the requests to a stand-in share: its latencies, its faults, its counts and its log."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from http.server import ThreadingHTTPServer
from typing import Any

from perfdb.pathway.standin.faults import Faults
from perfdb.pathway.standin.latency import LatencyModel
from perfdb.pathway.standin.served import Served


class State:
    """What a stand-in knows beside its port; its handlers ask and change it from many threads."""

    def __init__(self, seed: int, time_scale: float) -> None:
        self.latency = LatencyModel(seed, time_scale)
        self.faults = Faults(seed)
        self.log: list[Served] = []
        self.concurrency_limit: int | None = None
        self.strict = False
        self.pictures_url: str | None = None  # where its answers say that pictures are, if not here
        self._pictures: dict[str, int] = {}  # the number of each, by its idempotency key
        self._charged: set[int] = set()
        self._closing = threading.Event()
        self._in_flight = 0
        self._numbers: Counter[str] = Counter()
        self._searched: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def pictures_made(self) -> int:
        """How many pictures the real service would have charged for, whoever waited for them."""
        with self._lock:
            return len(self._charged)

    def requests(self, kind: str) -> list[Served]:
        """Return what was served of one kind, oldest first."""
        return [served for served in list(self.log) if served.kind == kind]

    def enter(self) -> bool:
        """Count a request in; False when it is one too many."""
        with self._lock:
            self._in_flight += 1
            return self.concurrency_limit is None or self._in_flight <= self.concurrency_limit

    def leave(self, served: Served) -> None:
        """Count a request out and log it."""
        with self._lock:
            self._in_flight -= 1
            self.log.append(served)

    def number(self, kind: str) -> int:
        """Return how many requests of a kind came before this one."""
        with self._lock:
            self._numbers[kind] += 1
            return self._numbers[kind] - 1

    def picture_number(self, key: str | None) -> int:
        """Return the number of a picture: that of the first request with its idempotency key, if any."""
        number = self.number("picture")
        with self._lock:
            return number if key is None else self._pictures.setdefault(key, number)

    def charge(self, picture: int) -> None:
        """Note that a picture is made, and so is to be paid for, once, whatever becomes of the answer."""
        with self._lock:
            self._charged.add(picture)

    @property
    def is_closing(self) -> bool:
        """Whether it serves no more."""
        return self._closing.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but not when it is closing: no request outlives the server for long."""
        if seconds > 0:
            self._closing.wait(seconds)

    def search_time(self, words: str) -> tuple[float, float]:
        """Return the seconds to wait for a search, and those that the answer claims.

        A repeated search comes from the cache: it is quick, and its answer tells the time of the first.
        """
        with self._lock:
            claimed = self._searched.get(words)
        if claimed is not None:
            return self.latency.draw("search-cached"), claimed
        seconds = self.latency.draw("search")
        with self._lock:
            self._searched.setdefault(words, seconds)
        return seconds, seconds


class Server(ThreadingHTTPServer):
    """A server whose connections can be closed from outside."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    standin: State

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a client that goes away is what some tests are about."""

    def close_connections(self) -> None:
        """Close what clients keep open."""
        for connection in list(self._connections):
            self.shutdown_request(connection)
