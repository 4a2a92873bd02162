"""The ASGI and WSGI middleware, in applications of the real frameworks behind real servers.

Of: integrations/asgi.py, integrations/sessions.py, integrations/wsgi.py.
"""

from __future__ import annotations

import asyncio
import gc
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles

import perfdb
from perfdb.integrations import asgi, wsgi
from perfdb.recording.context import current
from perfdb.records import Session

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[], list[Session]]:
    """Return what reads all sessions of this home, oldest first."""

    def read() -> list[Session]:
        assert perfdb.Intake(home=tmp_path).flush(60)  # also what a killed process left
        history = perfdb.History(home=tmp_path)
        found = [history.session(each) for each in history.sessions()["session_id"]]
        return sorted(found, key=lambda session: session.start_time)

    return read


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def served_by_wsgi(app: Any) -> Iterator[str]:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def get_stderr(self) -> Any:
            return io.StringIO()

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(30)


def fastapi_app(gone: threading.Event, sent: list[str]) -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/v1/{tenant}")

    @router.get("/items/{id}")
    def item(tenant: str, id: int) -> int:  # noqa: A002
        with perfdb.current().step("load rows", id=id), perfdb.current().step("query"):
            sent.append(perfdb.context().traceparent)
        return id

    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> str:
        def clean() -> None:
            with perfdb.current().step("clean up"):
                pass

        tasks.add_task(clean)
        async with perfdb.current().step("answer"):
            return "soon"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> Any:
            for n in range(3):
                with perfdb.current().step("part", n=n):
                    await asyncio.sleep(0)
                yield b"x"

        return StreamingResponse(parts())

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def parts() -> Any:
            try:
                while True:
                    yield b"x" * 65536
                    await asyncio.sleep(0.001)
            finally:
                gone.set()

        return StreamingResponse(parts())

    @app.get("/broken")
    def broken() -> None:
        raise KeyError("rows")

    @app.get("/away")
    def away() -> PlainTextResponse:
        return PlainTextResponse("away", 503)

    async def mounted(request: Any) -> PlainTextResponse:
        return PlainTextResponse("x")

    app.include_router(router, prefix="/api")
    app.mount("/m/{who}", Starlette(routes=[Route("/z/{k}", mounted)]))
    return app


@pytest.mark.parametrize("around", [True, False], ids=["around it", "added to it"])
def test_a_request_is_a_session_named_by_its_route(
    tmp_path: Path, recorded: Callable[[], list[Session]], around: bool
) -> None:
    gone = threading.Event()
    sent: list[str] = []
    app: Any = fastapi_app(gone, sent)
    options: dict[str, Any] = {"home": tmp_path, "ignore": ["/health*"]}
    if around:
        app = asgi.PerfdbMiddleware(app, **options)
    else:
        app.add_middleware(asgi.PerfdbMiddleware, **options)
    with served(app) as url, httpx.Client(base_url=url) as client:
        item = client.get("/api/v1/acme/items/3", headers={"traceparent": TRACE})
        for path in (
            "/later",
            "/stream",
            "/away",
            "/m/bo/z/4",
            "/nothing",
            "/healthz",
            "/api/v1/acme/items/x",
        ):
            client.get(path)
        client.request("BREW", "/later")
        client.get("/broken")
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as connection:
            connection.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(65536)
        assert gone.wait(30)
    sessions = recorded()
    assert [(each.pipeline, each.status, each.attributes.get("status_code")) for each in sessions] == [
        ("GET /api/v1/{tenant}/items/{id}", "completed", 200),
        ("GET /later", "completed", 200),
        ("GET /stream", "completed", 200),
        ("GET /away", "failed", 503),
        ("GET /m/{who}/z/{k}", "completed", 200),
        ("GET <unmatched>", "completed", 404),
        ("GET /api/v1/{tenant}/items/{id}", "completed", 422),
        ("OTHER /later", "completed", 405),
        ("GET /broken", "failed", 500),
        ("GET /endless", "interrupted", None),
    ]
    first, later, stream, away, *_, broken, endless = sessions
    assert [(step.step_name, step.parent_seq) for step in first.steps] == [("load rows", None), ("query", 0)]
    assert first.attributes["traceparent"] == TRACE
    assert item.headers["traceparent"].startswith(TRACE[:36])
    assert item.headers["traceparent"] != TRACE
    assert [each[:36] for each in sent] == [TRACE[:36]]  # to whom the handler asks
    assert item.headers["server-timing"].startswith("load_rows;dur=")
    assert item.headers["server-timing"].endswith(';desc="load rows"')
    assert [step.step_name for step in later.steps] == ["answer", "clean up"]
    assert [step.additional_data for step in stream.steps] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert away.error_message == "HTTP 503"
    assert broken.error_message == "KeyError: 'rows'"
    assert endless.error_message == "DisconnectedError: the client disconnected"
    assert not list(tmp_path.glob("performance_report_*"))


async def answer(request: Any) -> PlainTextResponse:
    return PlainTextResponse("x")


def mounting_starlette(files: StaticFiles) -> Starlette:
    return Starlette(
        routes=[
            Route("/same/{x}/{y}", answer),
            Route("/pages/{name}.txt", answer),
            Route("/kept/{rest:path}", answer),
            Mount("/files", files),
            Mount("/of/{who}", routes=[Route("/z/{k}", answer)]),
            Host("other.example", Router([Route("/h/{q}", answer)])),
        ]
    )


def mounting_fastapi(files: StaticFiles) -> FastAPI:
    app, router, inner = FastAPI(), APIRouter(), FastAPI()
    inner.add_api_route("/x/{a}", lambda a: a)
    for each in (app, router):
        each.add_route("/same/{x}/{y}", answer)
        each.add_route("/pages/{name}.txt", answer)
        each.add_route("/kept/{rest:path}", answer)
    app.mount("/files", files)
    app.mount("/of", inner)
    app.mount("/star", mounting_starlette(files))
    app.include_router(router, prefix="/api")
    return app


STARLETTE = {
    "/same/1/1": "/same/{x}/{y}",
    "/pages/one.txt": "/pages/{name}.txt",
    "/kept/a/b": "/kept/{rest}",
    "/files/there.css": "/files/{path}",
    "/files/gone.css": "/files/{path}",
    "/of/bo/z/of": "/of/{who}/z/{k}",
    "/of/bo/gone": "/of/{who}/{path}",
    "/h/2": "/h/{q}",
}
FASTAPI = {
    **{path: route for path, route in STARLETTE.items() if not path.startswith(("/of/", "/h/"))},
    "/api/same/1/1": "/api/same/{x}/{y}",
    "/api/pages/one.txt": "/api/pages/{name}.txt",
    "/api/kept/a/b": "/api/kept/{rest}",
    "/of/x/3": "/of/x/{a}",
    "/of/gone": "/of/{path}",
    "/star/same/1/2": "/star/same/{x}/{y}",
    "/star/of/bo/z/4": "/star/of/{who}/z/{k}",
    "/star/gone": "/star/{path}",
}


@pytest.mark.parametrize(
    ("make", "asked"),
    [(mounting_starlette, STARLETTE), (mounting_fastapi, FASTAPI)],
    ids=["starlette", "fastapi"],
)
def test_whatever_is_mounted_or_included_clients_make_no_pipelines(
    tmp_path: Path,
    recorded: Callable[[], list[Session]],
    make: Callable[[StaticFiles], Any],
    asked: dict[str, str],
) -> None:
    (tmp_path / "there.css").touch()
    app = asgi.PerfdbMiddleware(make(StaticFiles(directory=tmp_path)), home=tmp_path)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
            for path in asked:
                await client.get(path, headers={"Host": "other.example"} if path == "/h/2" else {})

    asyncio.run(ask())
    pipelines = [session.pipeline for session in recorded()]
    assert dict(zip(asked, pipelines, strict=True)) == {path: f"GET {asked[path]}" for path in asked}


@pytest.mark.parametrize(
    ("after", "status", "message"),
    [
        (None, "interrupted", "DisconnectedError: the client disconnected"),
        (OSError("gone"), "interrupted", "DisconnectedError: the client disconnected"),
        (asyncio.CancelledError(), "interrupted", "DisconnectedError: the client disconnected"),
        (KeyError("rows"), "failed", "KeyError: 'rows'"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_follows_a_disconnect_is_a_failure_only_if_it_is_one(
    tmp_path: Path,
    recorded: Callable[[], list[Session]],
    after: BaseException | None,
    status: str,
    message: str,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        assert (await receive())["type"] == "http.disconnect"
        if after is not None:
            raise after
        await send({"type": "http.response.body"})

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    app = asgi.PerfdbMiddleware(application, home=tmp_path)
    with suppress(OSError, asyncio.CancelledError, KeyError):
        asyncio.run(app({"type": "http", "method": "GET", "path": "/"}, receive, send))
    (session,) = recorded()
    assert (session.status, session.error_message) == (status, message)


@pytest.mark.parametrize(
    ("method", "last", "status"),
    [("GET", True, "completed"), ("GET", False, "interrupted"), ("HEAD", False, "completed")],
)
def test_a_connection_that_ends_with_the_response_is_no_disconnect(
    tmp_path: Path, recorded: Callable[[], list[Session]], method: str, last: bool, status: str
) -> None:
    async def ask() -> None:
        left = asyncio.Event()

        async def receive() -> Any:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                left.set()  # as Hypercorn tells it: before the server has returned
                await asyncio.sleep(0)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            listening = asyncio.ensure_future(receive())
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "more_body": not last})
            await listening

        app = asgi.PerfdbMiddleware(application, home=tmp_path)
        await app({"type": "http", "method": method, "path": "/"}, receive, send)

    asyncio.run(ask())
    (session,) = recorded()
    assert (session.status, session.attributes.get("status_code")) == (
        status,
        200 if status == "completed" else None,
    )


def test_an_exception_that_becomes_an_answer_is_the_reason_of_the_failure(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    app = FastAPI(exception_handlers={KeyError: lambda request, error: PlainTextResponse("no rows", 503)})

    @app.get("/broken")
    def broken() -> None:
        raise KeyError("rows")

    @app.get("/away")
    def away() -> PlainTextResponse:
        return PlainTextResponse("away", 503)

    recording = asgi.PerfdbMiddleware(app, home=tmp_path)

    async def retrying(scope: Any, receive: Any, send: Any) -> None:
        try:
            raise ValueError("of whoever is around it")
        except ValueError:
            await recording(scope, receive, send)

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(retrying), base_url="http://a") as client:
            return [(await client.get(path)).status_code for path in ("/broken", "/away")]

    assert asyncio.run(ask()) == [503, 503]
    assert [(each.status, each.error_message) for each in recorded()] == [
        ("failed", "KeyError: 'rows'"),
        ("failed", "HTTP 503"),
    ]


def test_flask_and_its_streams(tmp_path: Path, recorded: Callable[[], list[Session]]) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop")

    @app.get("/items/<int:id>")
    def item(id: int) -> str:  # noqa: A002
        with perfdb.current().step("load"):
            return str(id)

    @app.get("/stream")
    def stream() -> Any:
        def parts() -> Iterator[str]:
            for _ in range(2):
                with perfdb.current().step("part"):
                    yield "x"

        return flask.Response(parts())

    @app.get("/broken")
    def broken() -> str:
        raise KeyError("rows")

    app.logger.disabled = True
    app.wsgi_app = wsgi.PerfdbMiddleware(app.wsgi_app, home=tmp_path)
    with served_by_wsgi(app) as url, httpx.Client(base_url=url) as client:
        answers = [client.get(path) for path in ("/items/3", "/stream", "/broken", "/nothing")]
        client.head("/stream")
    assert answers[0].headers["server-timing"].startswith("load;dur=")
    body = app.wsgi_app({**environ("/stream"), "wsgi.input": None}, lambda *_: None)
    next(iter(body))
    body.close()
    sessions = recorded()
    assert [(each.pipeline, each.status, each.attributes.get("status_code")) for each in sessions] == [
        ("GET /items/<int:id>", "completed", 200),
        ("GET /stream", "completed", 200),
        ("GET /broken", "failed", 500),
        ("GET <unmatched>", "completed", 404),
        ("HEAD /stream", "completed", 200),
        ("GET /stream", "interrupted", None),
    ]
    assert [step.step_name for step in sessions[1].steps] == ["part", "part"]
    assert sessions[2].error_message == "KeyError: 'rows'"
    assert current.get() is None  # nothing stays current


def test_what_a_handler_of_flask_answers_has_its_reason(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop")
    app.register_error_handler(KeyError, lambda error: ("no rows", 503))
    app.register_error_handler(ValueError, lambda error: ("no number", 422))
    rows: dict[str, str] = {}
    app.add_url_rule("/items", "items", lambda: rows["items"])
    app.add_url_rule("/number", "number", lambda: int("x"))
    app.add_url_rule("/away", "away", lambda: flask.abort(503))
    app.wsgi_app = wsgi.PerfdbMiddleware(app.wsgi_app, home=tmp_path)
    with served_by_wsgi(app) as url, httpx.Client(base_url=url) as client:
        codes = [client.get(path).status_code for path in ("/items", "/number", "/away")]
    assert codes == [503, 422, 503]
    sessions = recorded()
    assert [each.status for each in sessions] == ["failed", "completed", "failed"]
    assert sessions[0].error_message == "KeyError: 'items'"
    assert (sessions[2].error_message or "").startswith("ServiceUnavailable: 503")


def test_a_response_that_nobody_closes_ends_when_it_is_let_go(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop")
    app.register_error_handler(KeyError, lambda error: ("no rows", 503))
    rows: dict[str, str] = {}
    app.add_url_rule("/", "rows", lambda: rows["rows"])
    app.add_url_rule("/read", "read", lambda: "x")
    app.add_url_rule("/nothing", "nothing", lambda: ("", 204))
    app.add_url_rule("/stream", "stream", lambda: flask.Response(iter("xyz")))
    app.wsgi_app = wsgi.PerfdbMiddleware(app.wsgi_app, home=tmp_path)
    client = app.test_client()  # it closes nothing by itself
    assert client.get("/read").data == b"x"
    assert [client.get(path).status_code for path in ("/", "/read", "/nothing", "/stream")] == [
        503, 200, 204, 200,
    ]  # fmt: skip
    with client.get("/read"):
        pass
    del client
    gc.collect()
    assert current.get() is None
    assert [(each.pipeline, each.status) for each in recorded()] == [
        ("GET /read", "completed"),
        ("GET /", "failed"),
        ("GET /read", "completed"),
        ("GET /nothing", "completed"),
        ("GET /stream", "interrupted"),  # most of it is not taken
        ("GET /read", "completed"),
    ]


def test_a_body_whose_length_is_no_number_is_served(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    class Unsized(list[bytes]):
        def __len__(self) -> int:
            raise NotImplementedError

    def answering(environ: dict[str, Any], start_response: Any) -> Unsized:
        start_response("200 OK", [("Content-Length", "9" * 5_000)])
        return Unsized([b"x"])

    app = wsgi.PerfdbMiddleware(answering, home=tmp_path)
    body: Any = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *given: None)
    assert next(body) == b"x"
    assert next(body, b"") == b""
    body.close()
    assert [each.status for each in recorded()] == ["completed"]


def test_applications_that_a_dispatcher_mounts_are_told_apart(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    flask, middleware = pytest.importorskip("flask"), pytest.importorskip("werkzeug.middleware.dispatcher")
    shop, api = flask.Flask("shop"), flask.Flask("api")
    for each in (shop, api):
        each.add_url_rule("/items/<int:id>", "item", lambda id: str(id))  # noqa: A006
    app = wsgi.PerfdbMiddleware(middleware.DispatcherMiddleware(shop, {"/v1/api": api}), home=tmp_path)
    with served_by_wsgi(app) as url, httpx.Client(base_url=url) as client:
        codes = [client.get(path).status_code for path in ("/items/3", "/v1/api/items/3", "/v1/api/nothing")]
    assert codes == [200, 200, 404]
    assert [each.pipeline for each in recorded()] == [
        "GET /items/<int:id>", "GET /v1/api/items/<int:id>", "GET <unmatched>",
    ]  # fmt: skip


def environ(path: str) -> dict[str, Any]:
    from wsgiref.util import setup_testing_defaults

    found: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
    setup_testing_defaults(found)
    return found


def test_a_plain_application_and_its_exception(tmp_path: Path, recorded: Callable[[], list[Session]]) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/broken":
            raise ValueError("no")
        start_response("200 OK", [])
        return [b"a", b"b"]

    app = wsgi.PerfdbMiddleware(application, home=tmp_path)
    body = app(environ("/"), lambda *_: None)
    assert len(body) == 2  # type: ignore[arg-type]
    assert list(body) == [b"a", b"b"]
    body.close()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no"):
        app(environ("/broken"), lambda *_: None)
    assert [(each.pipeline, each.status) for each in recorded()] == [
        ("GET <unmatched>", "completed"),
        ("GET <unmatched>", "failed"),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Litestar's, of how a parameter may be declared
def test_litestar(tmp_path: Path, recorded: Callable[[], list[Session]]) -> None:
    litestar = pytest.importorskip("litestar")

    @litestar.get("/items/{id:int}", sync_to_thread=True)
    def item(id: int) -> int:  # noqa: A002
        with perfdb.current().step("load"):
            return id

    @litestar.get("/broken", sync_to_thread=False)
    def broken() -> int:
        raise KeyError("rows")

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await PlainTextResponse("")(scope, receive, send)

    mount = litestar.asgi("/mounted", is_mount=True, copy_scope=True)
    routed = litestar.Router("/v1", route_handlers=[mount(answer)])
    app = litestar.Litestar([item, broken, routed], logging_config=None)
    asked = ("/items/3", "/broken", "/nothing", "/v1/mounted/a/b", "//v1//mounted//a/", "/v1/mounted")
    with served(asgi.PerfdbMiddleware(app, home=tmp_path)) as url, httpx.Client(base_url=url) as client:
        codes = [client.get(f"{url}{path}").status_code for path in asked]
    assert codes == [200, 500, 404, 200, 200, 200]
    sessions = recorded()
    assert [(each.pipeline, each.status) for each in sessions] == [
        ("GET /items/{id}", "completed"),
        ("GET /broken", "failed"),
        ("GET <unmatched>", "completed"),
        *[("GET /v1/mounted/{path}", "completed")] * 3,
    ]
    assert [step.step_name for step in sessions[0].steps] == ["load"]


def test_django_on_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Callable[[], list[Session]]
) -> None:
    pytest.importorskip("django")
    import types

    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def item(request: Any, id: int) -> HttpResponse:  # noqa: A002
        with perfdb.current().step("load"):
            return HttpResponse(str(id))

    urls = types.ModuleType("urls_of_a_test")

    def broken(request: Any) -> HttpResponse:
        with perfdb.current().step("load"):
            raise KeyError("rows")

    def away(request: Any) -> HttpResponse:
        raise TimeoutError("rows")

    class Answering:
        def __init__(self, get_response: Any) -> None:
            self.get_response = get_response

        def __call__(self, request: Any) -> Any:
            return self.get_response(request)

        def process_exception(self, request: Any, error: Exception) -> HttpResponse | None:
            return HttpResponse("away", status=503) if isinstance(error, TimeoutError) else None

    urls.Answering = Answering  # type: ignore[attr-defined]
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("items/<int:id>/", item), path("broken", broken), path("away", away),
    ]  # fmt: skip
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    settings.configure(
        ROOT_URLCONF=urls,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="x" * 50,
        LOGGING_CONFIG=None,
        MIDDLEWARE=["urls_of_a_test.Answering"],
    )
    wsgi_app = wsgi.PerfdbMiddleware(get_wsgi_application(), home=tmp_path)
    with served_by_wsgi(wsgi_app) as url:
        assert httpx.get(f"{url}/items/3/").text == "3"
        assert httpx.get(f"{url}/nothing").status_code == 404
        assert httpx.get(f"{url}/broken").status_code == 500
        assert httpx.get(f"{url}/away").status_code == 503
    with served(asgi.PerfdbMiddleware(get_asgi_application(), home=tmp_path)) as url:
        assert httpx.get(f"{url}/items/3/").text == "3"
        assert httpx.get(f"{url}/broken").status_code == 500
        assert httpx.get(f"{url}/away").status_code == 503
    sessions = recorded()
    assert [(each.pipeline, each.error_message) for each in sessions] == [
        ("GET /items/<int:id>/", None),
        ("GET <unmatched>", None),
        ("GET /broken", "KeyError: 'rows'"),
        ("GET /away", "TimeoutError: rows"),
        ("GET /items/<int:id>/", None),
        ("GET /broken", "KeyError: 'rows'"),
        ("GET /away", "TimeoutError: rows"),
    ]
    names = [[step.step_name for step in each.steps] for each in sessions]
    assert names == [["load"], [], ["load"], [], ["load"], ["load"], []]


def test_sampling_keeps_failures_and_slow_ones_and_says_the_share(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        with perfdb.current().step("work"):
            time.sleep(0.25 if environ["PATH_INFO"] == "/slow" else 0)
        start_response("500 No" if environ["PATH_INFO"] == "/broken" else "200 OK", [])
        return [b""]

    for share in (0.0, 1e-9, 1.0 - 1e-9):
        app = wsgi.PerfdbMiddleware(application, home=tmp_path, share=share, slow_s=0.25)
        for path in ("/quick", "/broken", "/slow"):
            body = app(environ(path), lambda *_: None)
            list(body)
            body.close()  # type: ignore[attr-defined]
    sessions = recorded()
    assert [(each.attributes["status_code"], each.attributes["sampled"]) for each in sessions] == [
        *[(500, 1.0), (200, 1.0)] * 2,
        (200, 1.0 - 1e-9),
        *[(500, 1.0), (200, 1.0)],
    ]
    assert all([step.step_name for step in each.steps] == ["work"] for each in sessions)


def test_a_worker_that_is_killed_in_a_request_leaves_its_steps(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        environ["werkzeug.request"] = Chosen
        with perfdb.current().step("done"):
            pass
        os._exit(9)

    class Chosen:
        class url_rule:  # noqa: N801
            rule = "/items/<id>"

    app = wsgi.PerfdbMiddleware(application, home=tmp_path)
    app.prepare()
    if (pid := os.fork()) == 0:
        try:
            app(environ("/items/3"), lambda *_: None)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    (session,) = recorded()
    assert (session.pipeline, session.status) == ("GET /items/<id>", "interrupted")
    assert [step.step_name for step in session.steps] == ["done"]


UNCLOSED = """
import sys, time
import perfdb
from perfdb.integrations.wsgi import PerfdbMiddleware

def page(environ, start_response):
    start_response("200 OK", [])
    with perfdb.current().step("inner"):
        yield b"first"
        yield b"second"

app = PerfdbMiddleware(page, home=sys.argv[1], share=float(sys.argv[2]))
if sys.argv[3] == "rested":
    body = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    print(list(body), body.close())
    while perfdb.recorder._workers: time.sleep(0.01)
left = app({"REQUEST_METHOD": "POST", "PATH_INFO": "/"}, lambda *_: None)
next(left)
"""


@pytest.mark.parametrize(("share", "worker"), [("1.0", "new"), ("0.000001", "new"), ("1.0", "rested")])
def test_a_response_that_nobody_closed_before_the_exit_is_interrupted(
    tmp_path: Path, recorded: Callable[[], list[Session]], share: str, worker: str
) -> None:
    subprocess.run([sys.executable, "-c", UNCLOSED, str(tmp_path), share, worker], check=True, timeout=60)
    left = recorded()[-1]
    assert (left.pipeline, left.status) == ("POST <unmatched>", "interrupted")
    assert [step.step_name for step in left.steps] == ["inner"]
