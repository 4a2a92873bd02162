"""Web requests as sessions: what the ASGI and the WSGI middleware share.

A request is held back in memory until its route is known, because the route names its pipeline; with sampling
until it has ended.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from perfdb.errors import SettingsError
from perfdb.guard import raise_foreign, to_its_end
from perfdb.integrations.sessions import Recording, Sessions
from perfdb.recording.context import current, like, read_traceparent
from perfdb.recording.outcomes import message_of
from perfdb.settings import Settings
from perfdb.vocabulary import bounded

UNMATCHED = "<unmatched>"
METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT QUERY".split())  # others: OTHER
# Methods that hand an exception to a handler of the host's: no signal tells of what that one answers.
_HANDLERS = (
    ("flask", "Flask", "handle_user_exception"),  # errorhandler
    ("django.core.handlers.base", "BaseHandler", "process_exception_by_middleware"),
)
MOST_TIMINGS = 20  # steps of one Server-Timing header

_NO_TOKEN = re.compile(r"[^A-Za-z0-9!#$%&'*+.^_`|~-]+")


class DisconnectedError(GeneratorExit):
    """The client went away before it had the response."""


class Web:
    """What one middleware was told, and how it records.

    Args:
        home: folder of database and journals, as for ``perfdb.create_tracker``.
        database_url: another database.
        settings: complete settings instead of the above.
        ignore: paths that are not recorded, or globs of such: ``/health*``.
        share: the share of requests that is kept, 0 to 1, of those that neither fail nor are slow.
        slow_s: seconds from which a request is kept, whatever the share is.
        server_timing: whether responses name the steps that have ended.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range.
    """

    def __init__(
        self,
        *,
        home: str | Path | None = None,
        database_url: str | None = None,
        settings: Settings | None = None,
        ignore: Iterable[str] = (),
        share: float = 1.0,
        slow_s: float | None = None,
        server_timing: bool = True,
    ) -> None:
        if not 0.0 <= share <= 1.0:
            raise SettingsError(f"share = {share!r} is no share: give a number from 0 to 1")
        globs = (ignore,) if isinstance(ignore, str) else tuple(ignore)
        self._ignored = re.compile("|".join(map(translate, globs))).match if globs else None
        self._sessions = Sessions(home=home, database_url=database_url, settings=settings)
        self.health = self._sessions.health
        self.share = share
        self.slow_s = slow_s
        self.server_timing = server_timing
        _listen()

    def prepare(self) -> None:
        """Do what the first request would wait for."""
        self._sessions.prepare()

    def request(
        self, method: str, path: str, traceparent: str, find_route: Callable[[], str | None]
    ) -> Request | None:
        """Return a request whose session is to begin; None when it is not to be recorded.

        ``find_route`` returns the route as soon as it is known.
        """
        if self._sessions.settings.disabled or (self._ignored is not None and self._ignored(path)):
            return None
        method = method if method in METHODS else "OTHER"
        return Request(self, method, self._sessions.new(held=True), traceparent, find_route)

    def failed(self, doing: str, error: Exception) -> None:
        """Count a failure of perfdb's own."""
        self.health.failed(doing, error)


class Request:
    """One request that is being recorded."""

    __slots__ = (
        "_around",
        "_came",
        "_find_route",
        "_found",
        "_method",
        "_reason",
        "_traceparent",
        "_web",
        "length",
        "recording",
        "status",
    )

    def __init__(
        self,
        web: Web,
        method: str,
        recording: Recording,
        traceparent: str,
        find_route: Callable[[], str | None],
    ) -> None:
        self._web = web
        self._method = method
        self._traceparent = traceparent
        self._came = read_traceparent(traceparent)
        self._find_route = find_route
        self._found: str | None = None
        self._around = sys.exc_info()[1]  # what the caller is handling is none of ours
        self._reason: str | None = None  # of a failure that is answered
        self.recording = recording
        self.status = 0  # of the response, once it began
        self.length: int | None = None  # bytes of its body, if it says so

    def begin(self) -> None:
        """Begin the session, and make it current here; from now on ``end`` is due."""
        recording = self.recording
        came_with = {"traceparent": self._traceparent} if self._came is not None else {}
        recording.begin(_name(self._method, None), came_with)
        if recording.held is not None and self._web.share >= 1.0:
            recording.held.find_name = self._known_name

    def answers(self, status: int) -> list[tuple[str, str]]:
        """Note that the response begins; return further headers of it: the steps so far, and the trace."""
        self.status = status
        recording = self.recording
        if status >= 500 and (handled := sys.exc_info()[1]) is not self._around:
            recording.is_answered(handled)
        cause, recording.cause = recording.cause, None  # it holds frames, and those the response
        self._route()
        found = []
        try:
            if status >= 500 and cause is not None:
                self._reason = message_of(cause)
            live = recording._live
            if self._web.server_timing and live is not None and live.steps:
                steps = [each for each in live.steps if each.parent_seq is None and each.duration is not None]
                if steps:
                    timings = [_timing(each.name, each.duration or 0.0) for each in steps[:MOST_TIMINGS]]
                    found.append(("Server-Timing", ", ".join(timings)))
            if self._came is not None and live is not None:
                trace_id, _, flags = self._came
                span = sha256(live.session_id.encode()).hexdigest()[:16]
                found.append(("traceparent", f"00-{trace_id}-{span}-{flags}"))
        except Exception as error:
            raise_foreign(error)
            self._web.failed("telling a response's headers", error)
        return found

    def _known_name(self) -> str | None:
        route = self._route()
        return _name(self._method, route) if route is not None else None

    def _route(self) -> str | None:
        """Return the route; Flask forgets it before the response's last byte."""
        if self._found is not None:
            return self._found
        try:
            self._found = self._find_route()
            return self._found
        except Exception as error:
            raise_foreign(error)
            self._web.failed("finding a route", error)
            return None

    def end(self, error: BaseException | None = None) -> None:
        """End the session; without an exception the status says what became of it."""
        recording = self.recording
        failed: BaseException | str | None = error

        def conclude() -> None:
            nonlocal failed
            failed = self._conclude(error)

        try:
            to_its_end(self._web.health, "ending a request", conclude)
        finally:
            recording.cause = self._around = None  # they hold frames
            try:
                recording.end(failed)
            except BaseException:  # of the host's, perhaps before anything was done
                recording.end(failed)
                raise

    def _conclude(self, error: BaseException | None) -> BaseException | str | None:
        """Say how it went, and decide whether it is kept; return what it failed with. May be called again."""
        recording, web = self.recording, self._web
        code = self.status or (500 if error is not None else 0)
        failed: BaseException | str | None = error
        if error is None and not code:
            failed = "no response"
        elif error is None and code >= 500:
            failed = self._reason or f"HTTP {code}"
        if code and not isinstance(error, DisconnectedError):
            recording.set(status_code=code)
        recording.name(_name(self._method, self._route()))
        held = recording.held
        if held is not None:
            held.find_name = None  # what is left is written at once
        if held is not None and web.share < 1.0:
            called_off = isinstance(error, DisconnectedError)
            slow = web.slow_s is not None and (recording.total_duration or 0.0) >= web.slow_s
            if (failed is not None and not called_off) or slow:
                recording.set(sampled=1.0)
            elif random.random() < web.share:  # noqa: S311 (no secret)
                recording.set(sampled=web.share)
            else:
                held.drop()
        return failed


def _listen() -> None:
    """Hear of the exceptions that Flask and Django answer by themselves: nobody else does."""
    for name in ("flask.signals", "django.core.signals"):
        if (signals := sys.modules.get(name)) is not None:
            signals.got_request_exception.connect(_heard)
    for name, owner, method in _HANDLERS:
        if (module := sys.modules.get(name)) is not None:
            _hear_in(getattr(module, owner), method)


@cache
def _hear_in(owner: Any, name: str) -> None:
    handle = getattr(owner, name)

    def hearing(*args: Any, **kwargs: Any) -> Any:
        _heard(None)
        return handle(*args, **kwargs)

    setattr(owner, name, like(handle, hearing))


def _heard(sender: object, exception: BaseException | None = None, **_: Any) -> None:
    node = current.get()
    while node is not None:
        if isinstance(recording := getattr(node, "tracker", None), Recording):
            recording.is_answered(exception or sys.exc_info()[1])
            return
        node = node.outer


def filled(path: str, values: Mapping[str, Any]) -> str:
    """Return a path with the names of its parameters in place of their values."""
    names = {str(value): name for name, value in values.items()}
    return "/".join([f"{{{names[part]}}}" if part in names else part for part in path.split("/")])


def route_of_django(path: str) -> str | None:
    """Return the route of a path in the Django project of this process."""
    urls = sys.modules.get("django.urls")
    if urls is None:
        return None
    try:
        return "/" + str(urls.resolve(path).route).lstrip("/")
    except Exception as error:  # no such page, or no project
        raise_foreign(error)
        return None


@lru_cache(maxsize=4096)
def _name(method: str, route: str | None) -> str:
    return f"{method} {bounded(route) if route else UNMATCHED}"


@lru_cache(maxsize=4096)
def _token(name: str) -> tuple[str, str]:
    token = _NO_TOKEN.sub("_", name) or "_"
    said = name.encode("ascii", "replace").decode().replace("\\", "_").replace('"', "'")
    said = re.sub(r"[\x00-\x1f\x7f]", " ", said)
    return token, "" if token == name else f';desc="{said}"'


def _timing(name: str, duration: float) -> str:
    token, said = _token(name)
    return f"{token};dur={duration * 1000:.3f}{said}"
