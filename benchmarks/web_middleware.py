"""What the middleware costs a request: a minimal application with and without it, by turns.

    python -m benchmarks.web_middleware [--rounds 20] [--requests 50] [--pause 0.003] [--profile]

No server and no network: what is timed is the call of the application, one by one with a pause in between, in
which the worker brings the session to the database; ``--pause 0`` shows what a process that is never idle
pays. Beside it stands the CPU time of the whole process per request, until the database has it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import tempfile
import time
from typing import Any

import perfdb
from perfdb.integrations.asgi import PerfdbMiddleware as Asgi
from perfdb.integrations.wsgi import PerfdbMiddleware as Wsgi


class Route:
    path_format = "/items/{id}"


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    scope["route"] = Route
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


async def asgi_step(scope: Any, receive: Any, send: Any) -> None:
    with perfdb.current().step("load"):
        pass
    await asgi_app(scope, receive, send)


def wsgi_app(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [b"x"]


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def send(message: Any) -> None:
    pass


def call_asgi(app: Any, count: int, pause: float) -> float:
    async def many() -> float:
        taken = []
        for _ in range(count):
            scope = {"type": "http", "method": "GET", "path": "/items/3", "headers": [(b"host", b"x")]}
            begun = time.perf_counter()
            await app(scope, receive, send)
            taken.append(time.perf_counter() - begun)
            time.sleep(pause)
        return statistics.median(taken)

    return asyncio.run(many())


def call_wsgi(app: Any, count: int, pause: float) -> float:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        body = app({"PATH_INFO": "/items/3", "REQUEST_METHOD": "GET"}, lambda *_: None)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()
        taken.append(time.perf_counter() - begun)
        time.sleep(pause)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.003)
    parser.add_argument("--profile", action="store_true", help="say where the time of the ASGI calls goes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        rows = {
            "ASGI, recorded": (call_asgi, asgi_app, Asgi(asgi_app, home=home)),
            "ASGI, with a step": (call_asgi, asgi_app, Asgi(asgi_step, home=home)),
            "ASGI, not sampled": (call_asgi, asgi_app, Asgi(asgi_app, home=home, share=0.0)),
            "WSGI, recorded": (call_wsgi, wsgi_app, Wsgi(wsgi_app, home=home)),
        }
        for name, (call, bare, recorded) in rows.items():
            call(recorded, 20, 0.0)
            perfdb.recorder.close()
            extra, extra_cpu = [], []
            for _ in range(given.rounds):
                begun = time.process_time()
                without = call(bare, given.requests, given.pause)
                between = time.process_time()
                extra.append((call(recorded, given.requests, given.pause) - without) * 1e6)
                perfdb.recorder.close()
                extra_cpu.append((time.process_time() - 2 * between + begun) / given.requests * 1e6)
            low, middle, high = statistics.quantiles(extra, n=4)
            print(
                f"{name:20} +{middle:.0f} µs ({low:.0f}–{high:.0f}), CPU until the database has it ", end=""
            )
            print(f"+{statistics.median(extra_cpu):.0f} µs, {given.rounds} rounds of {given.requests}")
        if given.profile:
            profile = cProfile.Profile()
            profile.runcall(call_asgi, rows["ASGI, recorded"][2], 2000, 0.0)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            perfdb.recorder.close()


if __name__ == "__main__":
    main()
