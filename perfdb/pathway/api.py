"""The pathway as a web service: ``uvicorn perfdb.pathway.api:app``.

``POST /designs`` takes a picture and answers as ``RealProductsPathway.generate``
does, with a Server-Timing header. A picture that cannot be used is refused with a
reason before a session begins, so that it does not count as a failed design.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from perfdb.pathway import missing_extra

try:
    from fastapi import FastAPI, File, Form, UploadFile
    from fastapi.responses import JSONResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from perfdb.pathway.errors import ImageRefusedError
    from perfdb.pathway.images import read_room
    from perfdb.pathway.pipeline import RealProductsPathway
    from perfdb.pathway.settings import PathwaySettings
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

from perfdb import __version__
from perfdb.errors import PerfdbError, SettingsError

_FORM_OVERHEAD = 100_000  # bytes that a form may have around the picture


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

    def __init__(self, make: Callable[[], RealProductsPathway]) -> None:
        self._make = make
        self._pathway: RealProductsPathway | None = None
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


def create_app(make_pathway: Callable[[], RealProductsPathway] = RealProductsPathway) -> FastAPI:
    """Return the web service; ``make_pathway`` is called once, at the first design."""
    service = _Service(make_pathway)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    api = FastAPI(title="Real Products pathway", version=__version__, lifespan=lifespan)
    api.add_middleware(UploadLimit, limit=service.limit)

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
