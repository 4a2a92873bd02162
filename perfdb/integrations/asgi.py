"""ASGI middleware: each request of FastAPI, Starlette, Litestar or Django is a session.

app.add_middleware(PerfdbMiddleware, ignore=["/health*"])
app = PerfdbMiddleware(app)  # around any ASGI application
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from perfdb.integrations.web import DisconnectedError, Request, Web, filled, route_of_django

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# messages that send the body: the second names a file to the server
_BODIES = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")
_REST = "/{path}"  # as Starlette names what a mounted application is asked for


class PerfdbMiddleware:
    """Records each request from its first byte to the last one of the response and its background tasks.

    Args:
        app: the application.
        options: what ``perfdb.integrations.web.Web`` takes: ``home``, ``ignore``, ``share``, …
    """

    def __init__(self, app: Application, **options: Any) -> None:
        self._app = app
        self._web = Web(**options)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._prepare()
        request = None
        if kind == "http":
            path, root = scope.get("path", "/"), scope.get("root_path", "")
            request = self._web.request(
                scope.get("method", ""),
                path,
                _header(scope, b"traceparent"),
                lambda: _route_of(scope, path, root),
            )
        if request is None:
            await self._app(scope, receive, send)
            return
        await self._record(request, scope, receive, send)

    async def _prepare(self) -> None:
        if asyncio._get_running_loop() is not None:
            await asyncio.to_thread(self._web.prepare)
        else:  # under trio
            self._web.prepare()

    async def _record(
        self, request: Request, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        gone = complete = False

        async def listening() -> Message:
            nonlocal gone
            message = await receive()
            if not complete and message["type"] == "http.disconnect":
                gone = True
            return message

        async def sending(message: Message) -> None:
            nonlocal complete, gone
            kind = message["type"]
            if kind == "http.response.start" and (further := request.answers(message["status"])):
                more = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in further]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            if kind in _BODIES and not message.get("more_body", False):
                complete = True  # a server may tell that the connection is closed before it returns
            try:
                await send(message)
            except OSError:
                gone = True
                raise

        error: BaseException | None = None
        try:
            request.begin()
            await self._app(scope, listening, sending)
        except BaseException as escaped:
            error = escaped
            raise
        finally:
            if gone and (error is None or _is_of_disconnect(error)):
                has_all = request.status and scope.get("method") == "HEAD"  # what follows is for nobody
                error = None if has_all else DisconnectedError("the client disconnected")
            elif error is None and request.status and not complete:
                error = RuntimeError("the response was not completed")
            try:
                request.end(error)
            except BaseException:  # of the host's, perhaps before anything was done
                request.end(error)
                raise
            finally:
                del error  # it holds this frame


def _route_of(scope: MutableMapping[str, Any], path: str, root: str) -> str | None:
    if (named := scope.get("path_template")) is not None:  # Litestar, which names no mounts
        return str(named) or _mounted_in_litestar(path.removeprefix(root), scope["path"])
    route, endpoint = scope.get("route"), scope.get("endpoint")
    if route is None and endpoint is None:
        return route_of_django(path)
    mounted_at = scope.get("root_path", "").removeprefix(root)
    included, values = _included(scope), scope.get("path_params") or {}
    if route is None or mounted_at:  # FastAPI names only its own routes, an older Starlette none
        plain = getattr(included, "starlette_route", None)
        routes = [*filter(None, [plain]), *getattr(scope.get("router"), "routes", ())]
        found = _found_in(routes, endpoint, path.removeprefix(scope.get("app_root_path", root)))
        if found is not None:
            return found
    if route is None:
        return None if mounted_at else filled(path, values)
    # what FastAPI includes knows its prefix
    chosen = included if getattr(included, "original_route", None) is route else route
    template: str = getattr(chosen, "path_format", None) or chosen.path
    return filled(mounted_at, values) + (_REST if hasattr(route, "routes") else template)


def _mounted_in_litestar(path: str, rest: str) -> str | None:
    """Return the route of a mount that leaves the rest of a path to what is mounted there."""
    whole, rest = re.sub("/+", "/", path).rstrip("/"), rest.rstrip("/")
    return whole.removesuffix(rest) + _REST if whole.endswith(rest) else None


def _included(scope: MutableMapping[str, Any]) -> Any:
    chosen = scope.get("fastapi")
    return chosen.get("effective_route_context") if isinstance(chosen, dict) else None


def _found_in(routes: Iterable[Any], endpoint: object, path: str) -> str | None:
    """Return the route that leads to what answers, by way of what is mounted."""
    for route in routes:
        template, is_route = getattr(route, "path_format", ""), hasattr(route, "endpoint")
        if is_route and route.endpoint is not endpoint:
            continue
        match = route.path_regex.match(path) if template else None
        if template and match is None:
            continue
        if is_route:
            return str(template)
        inner = f"/{match['path']}" if match is not None else path  # of a mount; a host has no path
        within = _found_in(getattr(route, "routes", None) or (), endpoint, inner)
        if within is None and getattr(route, "app", None) is endpoint:
            within = _REST
        if within is not None:
            return str(template).removesuffix(_REST) + within
    return None


def _is_of_disconnect(error: BaseException) -> bool:
    """Whether a framework ends a request so whose client has gone; what else it raises is a failure."""
    return isinstance(error, (OSError, asyncio.CancelledError)) or type(error).__name__ == "ClientDisconnect"


def _header(scope: MutableMapping[str, Any], wanted: bytes) -> str:
    for name, value in scope.get("headers", ()):
        if name == wanted:
            return bytes(value).decode("latin-1")
    return ""
