"""Who may ask, from where, and what a page may load: checked before anything else sees a request.

A foreign Host is refused on every route, because a name that somebody else owns may be made to point
here. Changes need a matching Origin and a token in a header, which no other site's page can send.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Collection
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perfdb.gate import HEADERS, READING, Hosts, foreign_page, foreign_reading, is_own_origin, is_request
from perfdb.web import traces
from perfdb.web.rendering import static_path, style_sheet

logger = logging.getLogger("perfdb")

TOKEN_HEADER = "X-Perfdb-Token"  # noqa: S105 (a name)
MOST_BODY_BYTES = 64 * 1024
COSTLY_PAGES = ("bottlenecks", "compare")


def policy() -> str:
    """Return what a page may load: what comes from here, and of styles the one sheet that stands in it."""
    digest = base64.b64encode(hashlib.sha256(style_sheet().encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'sha256-{digest}'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


class Gate:
    """What a request must show; one per served app.

    Args:
        hosts: names that the Host header may hold, beside those of loopback.
        any_address: any IP address too, for a server that listens on all of them: an address, unlike a
            name, cannot be made to point elsewhere.
        token: what everybody must show; None for a server that only this machine reaches.
    """

    def __init__(
        self, *, hosts: Collection[str] = (), any_address: bool = False, token: str | None = None
    ) -> None:
        self._hosts = Hosts(hosts, any_address=any_address)
        self._token = token
        self.change_token = secrets.token_urlsafe(32)
        digest = hashlib.sha256((token or "").encode()).hexdigest()
        self.cookie = f"perfdb_{digest[:8]}"  # cookies know no ports: two servers must not share one

    def knows_host(self, header: str) -> bool:
        """Say whether a Host header names this server; its port does not matter."""
        return self._hosts.knows(header)

    def lets_in(self, headers: Headers) -> bool:
        """Say whether a request shows the token, if one is wanted."""
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        shown = [headers.get(TOKEN_HEADER, ""), given if scheme.lower() == "bearer" else ""]
        shown.append(_cookie(headers, self.cookie))
        return any(_same(each, self._token) for each in shown)

    def fits(self, token: str) -> bool:
        """Say whether a token from a link is the one that is wanted."""
        return self._token is not None and _same(token, self._token)

    def refuses_change(self, headers: Headers) -> str | None:
        """Return why a change is refused, None when it may be made."""
        foreign = foreign_page(headers)
        if foreign is None and not is_own_origin(headers.get("origin", ""), headers.get("host", "")):
            foreign = "the Origin does not match"
        if foreign is not None:
            return f"changes are taken from this dashboard's own pages only: {foreign}"
        wanted = [self.change_token, *([self._token] if self._token is not None else [])]
        if not any(_same(headers.get(TOKEN_HEADER, ""), each) for each in wanted):
            return (
                f"changes need the token of this dashboard in the header {TOKEN_HEADER}: load the page again"
            )
        return None


class SecurityMiddleware:
    """ASGI middleware that asks the gate, limits bodies and adds the headers to every answer.

    What programs send goes to ``receiver``, which has limits of its own.
    """

    def __init__(self, app: ASGIApp, gate: Gate, receiver: ASGIApp | None = None) -> None:
        self._app = app
        self._gate = gate
        self._receiver = receiver
        self._headers = {"Content-Security-Policy": policy(), **HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, pass on the rest."""
        if not await is_request(self._app, scope, receive, send):
            return

        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", _keeping(scope, message["status"]))
            await send(message)

        try:
            refused = self._refusal(scope)
            if refused is not None:
                await refused(scope, receive, with_headers)
            elif scope["method"] == "HEAD":  # as GET, so that every route knows it
                await self._app({**scope, "method": "GET"}, receive, _without_body(with_headers))
            elif self._is_received(scope):
                await self._receiver(scope, receive, with_headers)  # type: ignore[misc]
            else:
                await self._app(scope, _limited(receive), with_headers)
        except Exception:  # answered here: whatever stands further out knows none of the headers
            logger.exception("the dashboard could not answer %s", scope["path"])
            if begun:
                raise
            broken = _refuse(scope, 500, "the dashboard could not answer; its log says why")
            await broken(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        gate, headers = self._gate, Headers(scope=scope)
        if "transfer-encoding" in headers and "content-length" in headers:
            answer = _refuse(scope, 400, "the request gives its length in two ways")
            answer.headers["Connection"] = "close"  # a proxy before us may see the next request elsewhere
            return answer
        if len(headers.getlist("host")) != 1 or not gate.knows_host(headers["host"]):
            return _refuse(
                scope,
                403,
                "this dashboard does not answer to that Host; see: perfdb serve --help (--allow-host)",
            )
        if self._is_received(scope):
            if "origin" in headers or "sec-fetch-site" in headers:
                return _refuse(scope, 403, "traces are taken from programs, not from pages in a browser")
            if not gate.lets_in(headers):
                return _refuse(
                    scope, 401, f"traces need the token of this server in the header {TOKEN_HEADER}"
                )
            return None
        is_page = not scope["path"].startswith("/api/")
        costly = scope["path"].strip("/") in COSTLY_PAGES
        if scope["method"] in READING and foreign_reading(headers, page=is_page, costly=costly):
            return _refuse(
                scope, 403, "this dashboard is read by its own pages only: the request is cross-site"
            )
        if not gate.lets_in(headers):
            return self._without_token(scope)
        if scope["method"] not in READING:
            if traces.is_misplaced(scope["path"], headers):
                return _refuse(scope, 404, traces.PLACE)
            reason = gate.refuses_change(headers)
            if reason is not None:
                return _refuse(scope, 403, reason)
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
                return _refuse(scope, 413, f"a change is at most {MOST_BODY_BYTES} bytes long")
        return None

    def _is_received(self, scope: Scope) -> bool:
        return self._receiver is not None and scope["path"] in traces.PATHS

    def _without_token(self, scope: Scope) -> Response:
        """Turn the token of a link into a cookie, once, so that it stays out of later addresses."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in pairs if name == "token"), None)
        if given is None or scope["method"] != "GET" or not self._gate.fits(given):
            return _refuse(
                scope, 401, "this dashboard wants its token: open the address that `perfdb serve` printed"
            )
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        # one slash: //elsewhere would be another host
        path = "/" + scope["path"].lstrip("/\\")
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, status_code=303)
        answer.set_cookie(self._gate.cookie, given, httponly=True, samesite="strict", path="/")
        return answer


def _keeping(scope: Scope, status: int) -> str:
    """Return how long a browser may keep an answer: what names its version for ever, the rest not unasked."""
    versioned = scope["path"].startswith(f"{static_path()}/")
    return "private, max-age=31536000, immutable" if versioned and status == 200 else "private, no-cache"


def _refuse(scope: Scope, status: int, reason: str) -> Response:
    if scope["path"].startswith("/api/"):
        return JSONResponse({"detail": reason}, status)
    return PlainTextResponse(f"perfdb: {reason}\n", status)


def _limited(receive: Receive) -> Receive:
    """Return a receive that ends a body which is longer than it said."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MOST_BODY_BYTES:
            return {"type": "http.disconnect"}
        return message

    return counted


def _without_body(send: Send) -> Send:
    """Return what sends the begin of an answer only; one that would never end is over with it."""
    over = False

    async def begin(message: Message) -> None:
        nonlocal over
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            over = True
        elif not over:
            await send(message)

    return begin


def _cookie(headers: Headers, name: str) -> str:
    """Return a cookie; others of this host, which cookies of other ports are, may be written as they like."""
    for pair in "; ".join(headers.getlist("cookie")).split(";"):
        if pair.strip().startswith(f"{name}="):
            found = SimpleCookie(pair.strip()).get(name)
            return "" if found is None else found.value
    return ""


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
