"""What stands before the service: who may ask it at all, for how much, and whether there is room.

Each is ASGI middleware and answers before what comes behind it has read anything, pictures above all.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perfdb.errors import SettingsError
from perfdb.gate import HEADERS, READING, Hosts, foreign_page, foreign_reading, is_request
from perfdb.pathway.jobs import BusyError, Jobs
from perfdb.pathway.problems import busy_answer, refusal, too_large, too_late
from perfdb.pathway.settings import PathwaySettings

ALLOW_HOSTS = "PERFDB_ALLOW_HOSTS"  # names with commas between them


class Guard:
    """ASGI middleware that lets in what is meant for this service, and comes from no other site's page.

    Args:
        app: what is guarded.
        hosts: gives the names that a Host header may hold beside those of this machine and any address.
    """

    def __init__(self, app: ASGIApp, hosts: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, pass on the rest."""
        if not await is_request(self._app, scope, receive, send):
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = self._reason(scope)
        app = self._app if reason is None else refusal(reason, 403, "forbidden")
        await app(scope, receive, with_headers)

    def _reason(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not Hosts(self._hosts(), any_address=True).knows(hosts[0]):
            return f"this service does not answer to that Host: name it in {ALLOW_HOSTS} if it is meant"
        if scope["method"] in READING:
            foreign = foreign_reading(headers, page=True)
            return "this service is not read by other sites' pages" if foreign else None
        foreign_words = foreign_page(headers)
        if foreign_words is not None:
            return f"a design is not made for other sites' pages: {foreign_words}"
        return None


UPLOAD_S = 60.0  # that a body may take to come; the headers are in the hands of the server


class UploadLimit:
    """ASGI middleware that answers 413 when a body is too long, whether it says so or not, 408 when late.

    Args:
        app: what answers.
        limit: gives how many bytes there may be.
        seconds: how long they may take.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[], int], seconds: float = UPLOAD_S) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what is read of its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit()
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            await too_large(limit)(scope, receive, send)
            return
        until = asyncio.get_running_loop().time() + self._seconds
        received = 0
        is_whole = is_late = False

        async def counted() -> Message:
            nonlocal received, is_whole, is_late
            if is_whole:  # what comes now is that the client went away
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                is_late = True
                raise _RefusedError from None
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > limit:
                raise _RefusedError
            return message

        async def unless_refused(message: Message) -> None:
            # the app takes our exception for a broken form and answers 400: ours says more
            if received <= limit and not is_late:
                await send(message)

        with suppress(_RefusedError):
            await self._app(scope, counted, unless_refused)
        if received > limit:
            await too_large(limit)(scope, receive, send)
        elif is_late:
            await too_late(self._seconds)(scope, receive, send)


class _RefusedError(Exception):
    pass


class Admission:
    """ASGI middleware that lets in to designs who shows the token, while there is room for another one.

    Args:
        app: what answers.
        open_paths: what anybody may ask; whatever else there is costs something.
        ready: returns the settings and the designs of the service; its SettingsError is answered with 503.
    """

    def __init__(
        self,
        app: ASGIApp,
        open_paths: Collection[str],
        ready: Callable[[], Awaitable[tuple[PathwaySettings, Jobs]]],
    ) -> None:
        self._app = app
        self._open_paths = open_paths
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, pass on the rest."""
        app = self._app
        if scope["type"] == "http" and _path_here(scope) not in self._open_paths:
            app = await self._refused(scope) or app
        await app(scope, receive, send)

    async def _refused(self, scope: Scope) -> ASGIApp | None:
        try:
            settings, jobs = await self._ready()
        except SettingsError as error:
            return refusal(str(error), 503, "settings")
        token = settings.service_token
        if token and not _shows(token, Headers(scope=scope).get("authorization", "")):
            message = "show the token of this service: Authorization: Bearer TOKEN"
            return refusal(message, 401, "token", {"WWW-Authenticate": "Bearer"})
        if scope["method"] == "POST":
            try:
                jobs.look_for_room(client_of(scope))
            except BusyError as busy:
                return busy_answer(busy)
        return None


def _path_here(scope: Scope) -> str:
    """Return the path below the place where another app, or a proxy, has put this one."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _shows(token: str, header: str) -> bool:
    scheme, _, shown = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())


def client_of(scope: Scope) -> str:
    """Return whose limits count: the address that a request comes from (uvicorn asks a trusted proxy)."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
