"""The running call's budget, brought below the HTTP libraries: to each read and write of their sockets.

httpx has its sockets from a network backend, urllib3 from its connection classes. Both are wrapped here;
everything else of the libraries stays as it is, proxies from the environment among it.
"""

from __future__ import annotations

import io
from typing import Any

import requests
import requests.adapters
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from perfdb.pathway.budget import current, left

_PIECE = 65_536  # of what is written: a receiver in drips must not keep a single write going


def bound_httpx(client: Any) -> None:
    """Let every socket of an httpx client (of whatever release) keep to the running call's budget."""
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)


def bound_session(connections: int) -> requests.Session:
    """Return a requests session that keeps to the running call's budget, with a pool for many threads."""
    session = requests.Session()
    adapter = _Adapter(pool_maxsize=connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _Backend:
    """A network backend of httpcore around another one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        return _Stream(self._inner.connect_tcp(host, port, timeout=left(timeout), **options))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> _Stream:
        return _Stream(self._inner.connect_unix_socket(path, timeout=left(timeout), **options))


class _Stream:
    """A network stream of httpcore around another one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._inner.read(max_bytes, timeout=left(timeout))
        _received(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        _sends()
        for begin in range(0, len(buffer), _PIECE):
            self._inner.write(buffer[begin : begin + _PIECE], timeout=left(timeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout=left(timeout)))


class _Socket:
    """A connected socket as http.client uses it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._timeout = inner.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._inner.settimeout(timeout)

    def sendall(self, data: Any) -> None:
        _sends()
        self._inner.settimeout(left(self._timeout))
        self._inner.sendall(data)

    def readinto(self, file: Any, buffer: Any) -> int | None:
        self._inner.settimeout(left(self._timeout))
        count: int | None = file.readinto(buffer)
        _received(count or 0)
        return count

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        # the inner file keeps the socket open until it is closed, as http.client expects
        return io.BufferedReader(_Reader(self, self._inner.makefile("rb", buffering=0)))


class _Reader(io.RawIOBase):
    def __init__(self, socket: _Socket, file: Any) -> None:
        self._socket = socket
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        return self._socket.readinto(self._file, buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Plain(HTTPConnection):
    def connect(self) -> None:
        self.timeout = _shorter(self.timeout)
        super().connect()
        self.sock: Any = _Socket(self.sock)


class _Secure(HTTPSConnection):
    def connect(self) -> None:
        self.timeout = _shorter(self.timeout)
        super().connect()
        self.sock: Any = _Socket(self.sock)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls: Any = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls: Any = _Secure


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager

    def close(self) -> None:
        # urllib3 leaves it to the garbage collector, and an error's traceback may hold a pool for long
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in list(manager.pools.keys()):
                manager.pools[key].close()
        super().close()


def _shorter(timeout: Any) -> Any:
    return left(timeout) if timeout is None or isinstance(timeout, int | float) else timeout


def _sends() -> None:
    if (budget := current()) is not None:
        budget.sent = True


def _received(count: int) -> None:
    if (budget := current()) is not None:
        budget.received(count)
