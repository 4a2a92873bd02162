"""Names of hosts looked up, and connections made, within the time of the running call.

The system's resolver knows no time-out: one that does not answer holds its caller for half a minute, or for
ever. So it is asked on a thread of its own, of which there are few, one for each name, and which are given up
when the call's time is over. They end with the resolver and keep no process alive.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from perfdb.pathway.budget import current, left

_UNICAST = ipaddress.ip_network("2000::/3")  # all that the internet has in IPv6
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # its IPv4, for networks that have IPv6 only
MOST = 32  # names that are looked up at a time; further ones wait, for as long as their call has

Connection = TypeVar("Connection")


class _Lookup:
    """One name that is being looked up, and the threads that wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: list[str] = []
        self.error: OSError | None = None

    def run(self, host: str, port: int) -> None:
        try:
            self.found = _ask(host, port)
        except OSError as error:
            self.error = error
        except Exception as error:  # a name that cannot be encoded
            self.error = socket.gaierror(socket.EAI_NONAME, str(error))
        finally:
            with _changed:
                _running.pop((host, port), None)
                _changed.notify_all()
            self.done.set()


_changed = threading.Condition()
_running: dict[tuple[str, int], _Lookup] = {}


def _forget() -> None:
    global _changed
    _changed = threading.Condition()  # the thread that held it, and every lookup, stayed in the parent
    _running.clear()


os.register_at_fork(after_in_child=_forget)


def addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which they are to be tried.

    Raises:
        TimeoutError: the running call has no time left.
        OSError: there is no such name, or the resolver failed.
    """
    host = host.strip("[]")
    if current() is None or _is_address(host):
        return _ask(host, port)
    lookup = _begun(host, port)
    if not lookup.done.wait(left(None)):
        raise TimeoutError(f"the name {host[:100]!r} was not looked up in time")
    if lookup.error is not None:
        raise type(lookup.error)(*lookup.error.args)  # one of its own for each that waited
    return lookup.found


def connected(
    host: str,
    port: int,
    timeout: float | None,
    connect: Callable[[str, float | None], Connection],
    *,
    is_proxy: bool = False,
) -> Connection:
    """Return what ``connect(address, timeout)`` returns for the first address of a host that answers.

    One that does not answer leaves time to those after it: all of them have what the call has left. A proxy
    may be anywhere, and answers for where it leads.

    Raises:
        TimeoutError: the running call has no time left.
        OSError: as ``addresses``, or all are of this network, and the call may not ask it.
    """
    end = None if timeout is None else time.monotonic() + timeout
    found = addresses(host, port)
    if (budget := current()) is not None and budget.public and not is_proxy:
        found = [address for address in found if is_public(address)]
        budget.astray = not found
    for number, address in enumerate(found, start=1):
        last = number == len(found)
        seconds = left(None if end is None else max(0.001, end - time.monotonic()))
        if not last and seconds is not None:
            seconds /= 1 + len(found) - number
        try:
            return connect(address, seconds)
        except Exception:
            if last:
                raise
    raise socket.gaierror(socket.EAI_NONAME, "the name has no address")


def is_public(address: str) -> bool:
    """Say whether an address is one of the internet: not of this machine, its network or its cloud."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
        elif found not in _UNICAST:
            return False
    return found.is_global and not found.is_multicast


def _begun(host: str, port: int) -> _Lookup:
    with _changed:
        while (lookup := _running.get((host, port))) is None:
            if len(_running) < MOST:
                lookup = _running[host, port] = _Lookup()
                try:
                    threading.Thread(
                        target=lookup.run, args=(host, port), daemon=True, name="perfdb-lookup"
                    ).start()
                except BaseException as error:
                    del _running[host, port]
                    if isinstance(error, RuntimeError):
                        raise OSError(f"the name {host[:100]!r} cannot be looked up: {error}") from None
                    raise
                return lookup
            if not _changed.wait(left(None)):
                raise TimeoutError(f"the name {host[:100]!r} was not looked up in time")
        return lookup


def _ask(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host.partition("%")[0])
            return True
    return False
