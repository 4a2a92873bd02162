"""The pathway as a web service: ``uvicorn perfdb.pathway.api:app``.

``POST /designs`` takes a picture and answers as ``RealProductsPathway.generate``
does, with a Server-Timing header. A picture that cannot be used is refused with a
reason before a session begins, so that it does not count as a failed design.

A design is paid for: no other site's page can have one made, and only the names that
``PERFDB_ALLOW_HOSTS`` lists are answered beside localhost and addresses. With
``PERFDB_STAND_IN=1`` stand-in services take the place of those that are paid.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Annotated, Any

from perfdb.pathway import missing_extra

try:
    from fastapi import FastAPI, File, Form, UploadFile
    from fastapi.responses import JSONResponse
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from perfdb.pathway.errors import ImageRefusedError
    from perfdb.pathway.images import read_room
    from perfdb.pathway.pipeline import RealProductsPathway
    from perfdb.pathway.settings import PathwaySettings
    from perfdb.pathway.standin import StandIn
    from perfdb.pathway.standin.latency import TIME_SCALE
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

from perfdb import __version__
from perfdb.errors import PerfdbError, SettingsError
from perfdb.gate import HEADERS, READING, Hosts, foreign_page, foreign_reading

STAND_IN = "PERFDB_STAND_IN"
ALLOW_HOSTS = "PERFDB_ALLOW_HOSTS"  # names with commas between them
_FORM_OVERHEAD = 100_000  # bytes that a form may have around the picture


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
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no websocket here
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = self._reason(scope)
        app = self._app if reason is None else _refusal(reason, 403, "forbidden")
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


class UploadLimit:
    """ASGI middleware that answers 413 when a body is too long, whether it says so or not."""

    def __init__(self, app: ASGIApp, limit: Callable[[], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what is read of its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit()
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            await _too_large(limit)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLongError
            return message

        async def unless_too_long(message: Message) -> None:
            # the app takes our exception for a broken form and answers 400: 413 says more
            if received <= limit:
                await send(message)

        with suppress(_TooLongError):
            await self._app(scope, counted, unless_too_long)
        if received > limit:
            await _too_large(limit)(scope, receive, send)


class _TooLongError(Exception):
    pass


class _Service:
    """The pathway of an app, made at the first design, so that the app starts without keys."""

    def __init__(self, make: Callable[[], RealProductsPathway] | None) -> None:
        self._make = make or self._of_environment
        self._pathway: RealProductsPathway | None = None
        self._open = ExitStack()
        self._lock = threading.Lock()

    def pathway(self) -> RealProductsPathway:
        with self._lock:
            self._pathway = self._pathway or self._make()
            return self._pathway

    def limit(self) -> int:
        pathway = self._pathway
        settings = pathway.settings if pathway is not None else PathwaySettings()
        return settings.max_image_bytes + _FORM_OVERHEAD

    def close(self) -> None:
        with self._lock:
            if self._pathway is not None:
                self._pathway.close()
                self._pathway = None
            self._open.close()

    def _of_environment(self) -> RealProductsPathway:
        """Return the pathway with the services that are paid for, or with stand-ins for them."""
        wanted = os.environ.get(STAND_IN, "").strip().lower()
        if wanted in ("", "0", "false", "no"):
            return RealProductsPathway()
        if wanted not in ("1", "true", "yes"):
            raise SettingsError(f"{STAND_IN}={wanted!r} must be 1 or 0")
        server = self._open.enter_context(StandIn(time_scale=TIME_SCALE))
        return RealProductsPathway(server.adapted(PathwaySettings.load()))


def create_app(
    make_pathway: Callable[[], RealProductsPathway] | None = None, *, hosts: Collection[str] | None = None
) -> FastAPI:
    """Return the web service.

    Args:
        make_pathway: called once, at the first design; without it the environment says which services.
        hosts: names that it answers to beside localhost and addresses; without it those of the environment.
    """
    service = _Service(make_pathway)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    api = FastAPI(title="Real Products pathway", version=__version__, lifespan=lifespan)
    api.add_middleware(UploadLimit, limit=service.limit)
    api.add_middleware(Guard, hosts=_named_hosts if hosts is None else lambda: hosts)

    @api.get("/health")
    def health() -> dict[str, str]:
        """Say that the service runs; asks no outside service."""
        return {"status": "ok", "version": __version__}

    @api.post("/designs")
    def create_design(
        image: Annotated[UploadFile, File(description="The room: JPEG, PNG or WebP.")],
        design_style: Annotated[str, Form(min_length=1, max_length=80)] = "modern",
        design_type: Annotated[str, Form(min_length=1, max_length=80)] = "interior redesign",
        fast_mode: Annotated[bool, Form()] = False,
    ) -> JSONResponse:
        """Make one design. 4xx: the picture or the style was refused; 502: an outside service failed."""
        began = time.perf_counter()
        try:
            pathway = service.pathway()
            settings = pathway.settings.for_mode(fast_mode)
            room = read_room(image.file.read(settings.max_image_bytes + 1), settings)
        except ImageRefusedError as error:
            return _refusal(str(error), error.status, "image")
        except SettingsError as error:
            return _refusal(str(error), 503, "settings")
        upload_s = time.perf_counter() - began
        try:
            response = pathway.generate(
                room, design_style=design_style, design_type=design_type, fast_mode=fast_mode
            )
        except PerfdbError as error:
            return _refusal(str(error), 500, "internal")
        status = 200 if response["success"] else response["error"]["status"]
        return JSONResponse(
            response, status, headers={"Server-Timing": _server_timing(response["data"], upload_s)}
        )

    return api


def _named_hosts() -> list[str]:
    names = os.environ.get(ALLOW_HOSTS, "").split(",")
    return [name.strip() for name in names if name.strip()]


def _refusal(message: str, status: int, kind: str) -> JSONResponse:
    error = {"message": message, "type": kind, "step": None, "status": status}
    return JSONResponse({"success": False, "error": error}, status)


def _too_large(limit: int) -> JSONResponse:
    return _refusal(f"the request is larger than {limit / 1e6:.1f} MB: send a smaller picture", 413, "image")


def _server_timing(data: dict[str, Any], upload_s: float) -> str:
    """Return the header's value: one metric per step and the total, in milliseconds."""
    seconds = {"Upload": upload_s, **data["step_durations"], "Total": data["total_duration"]}
    return ", ".join(
        f'{name.lower().replace(" ", "-")};desc="{name}";dur={duration * 1000:.1f}'
        for name, duration in seconds.items()
    )


app = create_app()
