"""The running call's budget, brought below the HTTP libraries: to each look-up, each read and each write.

httpx has its sockets from a network backend, urllib3 from its connection classes. Both are wrapped here;
everything else of the libraries stays as it is, proxies from the environment among it.
"""

from __future__ import annotations

import io
import socket
import sys
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import requests.adapters
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from perfdb.pathway.budget import current, left
from perfdb.pathway.lookups import connected

_PIECE = 65_536  # of what is written: a receiver in drips must not keep a single write going


def bound_httpx(client: Any) -> None:
    """Let every socket of an httpx client (of whatever release) keep to the running call's budget."""
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)


def bound_session(connections: int) -> requests.Session:
    """Return a requests session for servers of strangers, with a pool for many threads.

    It keeps to the running call's budget, and neither shows a password of ``~/.netrc`` nor keeps cookies.
    """
    session = _NamelessSession()
    adapter = _Adapter(pool_maxsize=connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _NamelessSession(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.auth = _shows_nothing
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Show nothing where a redirect leads to, either."""


def _shows_nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Backend:
    """A network backend of httpcore around another one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        def connect(address: str, seconds: float | None) -> Any:
            return self._inner.connect_tcp(address, port, timeout=seconds, **options)

        return _Stream(connected(host, port, timeout, connect))

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
        if not buffer.startswith(b"CONNECT "):  # it is for the proxy
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


class _Bounded:
    """What a connection class of urllib3 does otherwise here."""

    direct: bool  # else its socket goes through SOCKS, whose library makes it
    host: str
    port: int
    timeout: float | None
    source_address: Any
    socket_options: Any
    sock: Any

    def connect(self) -> None:
        if self.timeout is None or isinstance(self.timeout, int | float):
            self.timeout = left(self.timeout)
        super().connect()  # type: ignore[misc]
        self.sock = _Socket(self.sock)

    def _new_conn(self) -> socket.socket:
        if not self.direct:
            found: socket.socket = super()._new_conn()  # type: ignore[misc]
            return found

        def connect(address: str, seconds: float | None) -> socket.socket:
            return create_connection((address, self.port), seconds, self.source_address, self.socket_options)

        connection: Any = self
        try:
            host = getattr(self, "_dns_host", self.host)  # with the dot at its end
            is_proxy = getattr(self, "proxy", None) is not None
            made = connected(host, self.port, self.timeout, connect, is_proxy=is_proxy)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, connection, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except OSError as error:
            raise NewConnectionError(connection, f"Failed to establish a new connection: {error}") from error
        made.settimeout(self.timeout)
        sys.audit("http.client.connect", self, self.host, self.port)
        return made


@cache
def _bounded(pool_class: Any) -> Any:
    """Return a class of connection pools whose connections keep to the running call's budget."""
    made = pool_class.ConnectionCls
    if issubclass(made, _Bounded):
        return pool_class
    direct = made in (HTTPConnection, HTTPSConnection)
    connection = type(made.__name__, (_Bounded, made), {"direct": direct})
    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": connection})


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _bound(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        _bound(manager)
        return manager

    def close(self) -> None:
        # urllib3 leaves it to the garbage collector, and an error's traceback may hold a pool for long
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in list(manager.pools.keys()):
                manager.pools[key].close()
        super().close()


def _bound(manager: Any) -> None:
    classes = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _bounded(pool) for scheme, pool in classes.items()}


def _sends() -> None:
    if (budget := current()) is not None:
        budget.sent = True


def _received(count: int) -> None:
    if (budget := current()) is not None:
        budget.received(count)
