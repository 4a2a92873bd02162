"""How much one answer may take, and how many costly ones are worked on at a time.

The time of an answer is over wherever it is: in a query, or in what computes with its rows. A costly answer
waits for its turn, so that four of them take no more memory than two; who would wait too long is refused. Of
all answers some are worked on at a time. Where more are wanted, the next is of the address that has the
fewest in work, and its newest: in a flood, the oldest is one that nobody waits for any more. Where too many
wait, the oldest of the address that has the most of them goes. So one address never takes the turns of
another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from perfdb.gate import READING
from perfdb.stopping import limited
from perfdb.web.connections import MOST_CONNECTIONS, origin

MOST_STEPS = 50_000  # that one answer reads
MOST_AT_ONCE = 16  # answers that are worked on
AT_ONCE = 1  # costly ones: two of the largest together would take 300 MB
MOST_WAITING = 12
_COSTLY = (
    "bottlenecks", "what-if", "compare", "trends", "sessions", "rules", "steps", "violations", "regressions",
    "pareto", "common", "hits", "measures", "csv", "report",
)  # fmt: skip
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
        self._turns = _Room(AT_ONCE, MOST_WAITING)
        self._room = _Room(MOST_AT_ONCE, MOST_CONNECTIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when there is room for its answer."""
        limits = scope["type"] == "http" and scope["method"] in READING and scope["path"] != _OPEN_ENDED
        if not limits:
            await self._app(scope, receive, send)
            return
        with limited(seconds=self._limit_s, steps=MOST_STEPS):  # waiting for its turn is a part of it
            costly = _computes(scope["path"])
            await self._within([self._turns, self._room] if costly else [self._room], scope, receive, send)

    async def _within(self, rooms: Sequence[_Room], scope: Scope, receive: Receive, send: Send) -> None:
        if not rooms:
            await self._app(scope, receive, send)
            return
        who = origin((scope.get("client") or ("",))[0])
        if not await rooms[0].enter(who, self._limit_s):
            await _busy(scope)(scope, receive, send)
            return
        try:
            await self._within(rooms[1:], scope, receive, send)
        finally:
            rooms[0].leave(who)


class _Room:
    """So many may be in at a time, and so many wait: each address has a fair share of both."""

    def __init__(self, most: int, most_waiting: int) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self._inside: Counter[str] = Counter()
        self._last = ""  # who was let in
        self._waiting: list[tuple[str, asyncio.Future[bool]]] = []  # the oldest first

    async def enter(self, who: str, seconds: float) -> bool:
        """Wait so long for a place; return whether there is one, which is to be left again."""
        if self._inside.total() < self._most:
            self._let_in(who)
            return True
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((who, place))
        if len(self._waiting) > self._most_waiting:
            self._send_one_away()
        try:
            await asyncio.wait([place], timeout=seconds)
        except asyncio.CancelledError:
            self._give_up(who, place)
            raise
        if place.done():
            return place.result()
        self._give_up(who, place)
        return False

    def leave(self, who: str) -> None:
        """Make room for the next one."""
        self._inside[who] -= 1
        self._inside += Counter()  # forgets who is no longer in
        if self._waiting:
            at = min(range(len(self._waiting)), key=self._order)
            who, place = self._waiting.pop(at)
            self._let_in(who)
            place.set_result(True)

    def _let_in(self, who: str) -> None:
        self._inside[who] += 1
        self._last = who

    def _order(self, at: int) -> tuple[int, bool, int]:
        who = self._waiting[at][0]
        return self._inside[who], who == self._last, -at

    def _send_one_away(self) -> None:
        most = max(Counter(each for each, _ in self._waiting).items(), key=lambda item: item[1])[0]
        at = next(at for at, (each, _) in enumerate(self._waiting) if each == most)
        self._waiting.pop(at)[1].set_result(False)

    def _give_up(self, who: str, place: asyncio.Future[bool]) -> None:
        if not place.done():
            self._waiting.remove((who, place))
        elif place.result():
            self.leave(who)


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
