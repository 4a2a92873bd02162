"""How much one answer may take, and how many costly ones are worked on at a time.

The time of an answer is over wherever it is: in a query, or in what computes with its rows. A costly answer
waits for its turn, so that four of them take no more memory than two; who would wait too long is told.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from perfdb.gate import READING
from perfdb.stopping import limited

MOST_STEPS = 50_000  # that one answer reads
AT_ONCE = 1  # two of the largest together would take 300 MB
MOST_WAITING = 12
_COSTLY = ("bottlenecks", "what-if", "compare", "trends", "sessions", "rules")
_OPEN_ENDED = "/api/v1/events"


class AnswerLimits:
    """ASGI middleware that ends answers in time, and has the costly ones wait for each other.

    Args:
        app: what answers.
        limit_s: how long an answer may take.
    """

    def __init__(self, app: ASGIApp, limit_s: float) -> None:
        self._app = app
        self._limit_s = limit_s
        self._turns: asyncio.Semaphore | None = None
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when there is room for its answer."""
        limits = scope["type"] == "http" and scope["method"] in READING and scope["path"] != _OPEN_ENDED
        if not limits:
            await self._app(scope, receive, send)
            return
        with limited(seconds=self._limit_s, steps=MOST_STEPS):  # waiting for its turn is a part of it
            if _computes(scope["path"]):
                await self._in_turn(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        turns = self._turns = self._turns or asyncio.Semaphore(AT_ONCE)
        if self._waiting >= MOST_WAITING:
            await _busy(scope)(scope, receive, send)
            return
        self._waiting += 1
        try:
            await asyncio.wait_for(turns.acquire(), self._limit_s)
        except TimeoutError:
            await _busy(scope)(scope, receive, send)
            return
        finally:
            self._waiting -= 1
        try:
            await self._app(scope, receive, send)
        finally:
            turns.release()


def _computes(path: str) -> bool:
    """Say whether an answer reads and computes more than a list of a few rows."""
    first, _, rest = path.removeprefix("/api/v1").strip("/").partition("/")
    return first in _COSTLY and (first != "sessions" or bool(rest))


def _busy(scope: Scope) -> Response:
    reason = "the dashboard is busy with other answers and stopped this one: ask again in a moment"
    headers = {"Retry-After": "5"}
    if scope["path"].startswith("/api/"):
        return JSONResponse({"detail": reason}, 503, headers)
    return PlainTextResponse(f"perfdb: {reason}\n", 503, headers)
