"""Run the dashboard until somebody stops it: on loopback by default, with a token for anything else."""

from __future__ import annotations

import gc
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from perfdb.errors import UsageError
from perfdb.gate import LOOPBACK
from perfdb.history.history import History
from perfdb.web import missing_extra

try:
    from perfdb.web.app import create_app
    from perfdb.web.connections import PatientServer
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

LEAST_TOKEN = 16  # characters
_SHUT_DOWN_S = 2  # listeners to live events never go by themselves
_OBJECTS_PER_COLLECTION = 20_000
_COLLECTED_WHOLE = 3  # times, before what is left is taken to stay: by then every page was imported


@dataclass(frozen=True, slots=True)
class Address:
    """Where the dashboard listens, and the address that opens it; it holds the token, if there is one."""

    host: str
    port: int
    token: str | None

    @property
    def url(self) -> str:
        """The address without the token."""
        host = self.host
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 (asked for by the person)
            host = socket.gethostname()
        elif ":" in host:
            host = f"[{host}]"
        return f"http://{host}:{self.port}/"

    @property
    def link(self) -> str:
        """The address to open first."""
        return self.url if self.token is None else f"{self.url}?token={self.token}"


def serve(
    history: History,
    *,
    host: str = "127.0.0.1",
    port: int = 8787,
    token: str | None = None,
    allow_hosts: Sequence[str] = (),
    otlp: bool = False,
    started: Callable[[Address], None],
) -> None:
    """Serve the dashboard of a history until SIGINT or SIGTERM.

    Args:
        history: what to show.
        host: address to listen at; anything but loopback gets a token when none is given.
        port: 0 takes a free one.
        token: what everybody must show.
        allow_hosts: further names that a Host header may hold, behind a proxy for instance.
        otlp: take traces at ``/v1/traces`` too.
        started: called with the address, once the port is open.

    Raises:
        UsageError: the address cannot be listened at, or the token is too short, or none for a header.
    """
    loopback = is_loopback(host)
    if token is not None and len(token) < LEAST_TOKEN:
        raise UsageError(
            f"the token has {len(token)} characters: take {LEAST_TOKEN} or more, or let one be made"
        )
    if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise UsageError("the token must be ASCII, with no space at its ends: headers change others")
    if token is None and not loopback:
        token = secrets.token_urlsafe(24)
    listener = _listen(host, port)
    address = Address(host, listener.getsockname()[1], token)
    names = list(allow_hosts) if loopback else [*allow_hosts, host, socket.gethostname(), socket.getfqdn()]
    app = create_app(
        history, hosts=[name for name in names if name], any_address=not loopback, token=token, otlp=otlp
    )
    server = PatientServer(app, timeout_graceful_shutdown=_SHUT_DOWN_S)
    started(address)
    with listener, garbage_collected_rarely():
        server.run(sockets=[listener])


@contextmanager
def garbage_collected_rarely() -> Iterator[None]:
    """Collect less often, and nothing of what is there by now, or after the first whole collections.

    Spans that come stay for seconds; and to look through all that the first pages import holds one up for
    as long as it takes by itself.
    """
    before, left = gc.get_threshold(), _COLLECTED_WHOLE

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal left
        if phase == "stop" and info["generation"] == 2 and left:
            left -= 1
            gc.freeze()

    gc.freeze()
    gc.set_threshold(max(before[0], _OBJECTS_PER_COLLECTION), *before[1:])
    gc.callbacks.append(collected)
    try:
        yield
    finally:
        gc.callbacks.remove(collected)
        gc.set_threshold(*before)
        gc.unfreeze()


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # elsewhere it would let two programs share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        hint = "is another dashboard running there? Take another with --port, or 0 for a free one"
        raise UsageError(f"cannot listen at {host} port {port} ({error.strerror or error}): {hint}") from None
    return listener
