"""Which HTTP requests come from where they may: the guards before everything of perfdb that listens.

Pure, and of the standard library: the dashboard and the pathway's API ask the same questions. A name that
somebody else owns may be made to point here, so that only names and addresses that are meant are answered;
a browser says from whose page a request comes, so that no other site's page changes or starts anything.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
READING = ("GET", "HEAD")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # `no-referrer` would make the Origin of a change null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""What every answer carries, so that no other site's page shows or reads it."""

_HOST = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,252}))(?::(?P<port>[0-9]{1,5}))?"
)


async def is_request(app: Any, scope: Any, receive: Any, send: Any) -> bool:
    """Say whether this is an HTTP request, for the guards to look at.

    The begin and end of a server are passed on to ``app``, a websocket is refused: there is none here.
    """
    if scope["type"] == "lifespan":
        await app(scope, receive, send)
    elif scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1008})
    return bool(scope["type"] == "http")


class Hosts:
    """The names that a server answers to.

    Args:
        hosts: names beside those of loopback.
        any_address: any IP address too: an address, unlike a name, cannot be made to point elsewhere.
    """

    def __init__(self, hosts: Collection[str] = (), *, any_address: bool = False) -> None:
        self._names = LOOPBACK | {host.lower().rstrip(".") for host in hosts}
        self._any_address = any_address

    def knows(self, header: str) -> bool:
        """Say whether a Host header names this server; its port does not matter."""
        name = host_of(header)
        if name is None:
            return False
        return name in self._names or (self._any_address and is_address(name))


def host_of(header: str) -> str | None:
    """Return the name of a Host header in lower case, without port and brackets; None for anything else."""
    found = _HOST.fullmatch(header)
    if found is None or int(found["port"] or 0) > 65_535:
        return None
    if found["six"] is not None:
        try:
            return str(ipaddress.IPv6Address(found["six"]))
        except ValueError:
            return None
    return found["name"].lower().removesuffix(".")


def is_address(name: str) -> bool:
    """Say whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_own_origin(origin: str, host: str) -> bool:
    """Say whether an Origin header names the server that the Host header names; ``null`` never does."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


def foreign_page(headers: Mapping[str, str]) -> str | None:
    """Return what says that another site's page sent a request that changes or starts something, if so.

    A program that is no browser says nothing, which is left to the caller.
    """
    host = headers.get("host", "")
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return "the request is cross-site"
    if "origin" in headers:
        return None if is_own_origin(headers["origin"], host) else "the Origin does not match"
    referrer = headers.get("referer", "")
    return None if not referrer or is_own_origin(referrer, host) else "the Referer does not match"


def foreign_reading(headers: Mapping[str, str], *, page: bool, costly: bool = False) -> bool:
    """Say whether another site's page reads, in a picture, a frame or a script.

    Args:
        headers: of the request.
        page: a person may be led here by a link.
        costly: only by a click on it, which tells a person from a page that sends its own window here.
    """
    if headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none"):
        return False
    led = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (page and led) or (costly and headers.get("sec-fetch-user") != "?1")
