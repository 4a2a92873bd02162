"""How much one answer may take, and how many costly ones are worked on at a time.

The time of an answer is over wherever it is: in a query, or in what computes with its rows. A costly answer
waits for its turn, so that four of them take no more memory than two; who would wait too long is told. Of all
answers some are worked on at a time. Where more are wanted the newest request is next: in a flood, the oldest
is one that nobody waits for any more.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from perfdb.gate import READING
from perfdb.stopping import limited

MOST_STEPS = 50_000  # that one answer reads
MOST_AT_ONCE = 16  # answers that are worked on
AT_ONCE = 1  # costly ones: two of the largest together would take 300 MB
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
        self._room = _Room(MOST_AT_ONCE)

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
                await self._in_room(scope, receive, send)

    async def _in_room(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not await self._room.enter(self._limit_s):
            await _busy(scope)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._room.leave()

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
            await self._in_room(scope, receive, send)
        finally:
            turns.release()


class _Room:
    """So many may be in at a time; of those who wait the newest is let in first."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[asyncio.Future[None]] = []

    async def enter(self, seconds: float) -> bool:
        """Wait so long for a place; return whether there is one, which is to be left again."""
        if self._free > 0:
            self._free -= 1
            return True
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait([place], timeout=seconds)
        except asyncio.CancelledError:
            self._give_up(place)
            raise
        if place.done():
            return True
        self._give_up(place)
        return False

    def leave(self) -> None:
        """Make room for the next one."""
        if self._waiting:
            self._waiting.pop().set_result(None)
        else:
            self._free += 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if place.done():
            self.leave()
        else:
            self._waiting.remove(place)


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
