"""The dashboard as a web app: ``create_app`` puts history, gate, API and pages together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from perfdb.web import missing_extra

try:
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response
    from jinja2 import TemplateError
    from starlette.exceptions import HTTPException
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.staticfiles import StaticFiles
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from perfdb.web import api, files, views
    from perfdb.web.bar import saved_views
    from perfdb.web.connections import most_connections
    from perfdb.web.limits import AnswerLimits
    from perfdb.web.live import MOST_LISTENERS, LiveFeed
    from perfdb.web.queries import slip
    from perfdb.web.rendering import STATIC, static_path
    from perfdb.web.security import Gate, SecurityMiddleware
    from perfdb.web.served import ServedHistory
    from perfdb.web.traces import TraceReceiver
    from perfdb.web.views.problem import error_page
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

from perfdb.errors import NotFoundError, PerfdbError, SettingsError, StoreError, TimeLimitError, UsageError
from perfdb.history.history import History
from perfdb.version import __version__

SMALLEST_TO_PACK = 1_000  # bytes


def create_app(
    history: History | None = None,
    *,
    hosts: Collection[str] = (),
    any_address: bool = False,
    token: str | None = None,
    query_limit_s: float = 5.0,
    otlp: bool = False,
) -> FastAPI:
    """Return the dashboard over a history.

    Args:
        history: what to show; the default home's without.
        hosts: names that a Host header may hold, beside those of loopback.
        any_address: any IP address too; for a server that listens on all of them.
        token: what everybody must show; needed for anything but loopback.
        query_limit_s: how long one answer may take, in its queries and in what computes with their rows.
        otlp: take traces at ``/v1/traces``, and record them in the history's database.
    """
    served = ServedHistory(history if history is not None else History(), limit_s=query_limit_s)
    saved_views(served)  # says at the start what is wrong with one
    gate = Gate(hosts=hosts, any_address=any_address, token=token)
    receiver = TraceReceiver(served.settings.replaced(database_url=served.url)) if otlp else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        taking_in = asyncio.create_task(asyncio.to_thread(served.take_in))
        if receiver is not None:
            receiver.start()
        yield
        if receiver is not None:
            await asyncio.to_thread(receiver.close)
        await taking_in
        await app.state.feed.close()
        served.close()

    app = FastAPI(
        title="perfdb",
        description="The performance history of pipelines.",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # it would load its scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.history = served
    app.state.gate = gate
    app.state.feed = LiveFeed(served, most_listeners=min(MOST_LISTENERS, most_connections() // 4))
    app.add_middleware(_DatabaseInWords, served=served)  # within the others, which it must not pass by
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST_TO_PACK, compresslevel=5)
    app.add_middleware(AnswerLimits, limit_s=query_limit_s)
    app.add_middleware(SecurityMiddleware, gate=gate, receiver=receiver)
    for router in (api.router, api.metrics_router, files.router, *views.ROUTERS):
        app.include_router(router)
    app.mount(static_path(), StaticFiles(directory=STATIC), name="static")
    for kind in (PerfdbError, ValueError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _refuse)
    return app


class _DatabaseInWords:
    """Answers with a sentence where a page failed over what the database holds."""

    def __init__(self, app: ASGIApp, served: ServedHistory) -> None:
        self._app, self._served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            ours = isinstance(error, TemplateError)  # whatever a file from elsewhere holds
            explained = await asyncio.to_thread(self._served.explained, error, certain=ours)
            if explained is None:
                raise
            await (await _refuse(Request(scope), explained))(scope, receive, send)


def status_of(error: Exception) -> int:
    """Return the HTTP status that says whose fault an error is."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, RequestValidationError):
        return 422
    if isinstance(error, StoreError):
        return 503
    if isinstance(error, (UsageError, ValueError)) and not isinstance(error, SettingsError):
        return 400
    return 500


def sentence_of(error: Exception) -> str:
    """Return an error in words: which value is wrong, and why."""
    if isinstance(error, HTTPException):
        return str(error.detail)
    if isinstance(error, RequestValidationError):
        return "; ".join(slip(each) for each in error.errors()[:5])
    return str(error)


async def _refuse(request: Request, error: Exception) -> Response:
    status, sentence = status_of(error), sentence_of(error)
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, TimeLimitError):
        headers["Retry-After"] = "5"
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": sentence}, status, headers)
    took_long = isinstance(error, TimeLimitError)
    page = await asyncio.to_thread(error_page, request, status, sentence, took_long=took_long)  # it reads
    page.headers.update(headers)
    return page
