"""WSGI middleware: each request of Flask or Django is a session.

app.wsgi_app = PerfdbMiddleware(app.wsgi_app)  # Flask
application = PerfdbMiddleware(get_wsgi_application())  # Django
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from perfdb.guard import raise_foreign
from perfdb.integrations.web import DisconnectedError, Request, Web, route_of_django

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class PerfdbMiddleware:
    """Records each request until the last part of its response was taken, or its client has gone.

    Args:
        app: the application.
        options: what ``perfdb.integrations.web.Web`` takes: ``home``, ``ignore``, ``share``, …
    """

    def __init__(self, app: Application, **options: Any) -> None:
        self._app = app
        self._web = Web(**options)

    def prepare(self) -> None:
        """Do what the first request would wait for; a server may fork afterwards."""
        self._web.prepare()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        root = environ.get("SCRIPT_NAME", "")
        request = self._web.request(
            environ.get("REQUEST_METHOD", ""),
            environ.get("PATH_INFO", "") or "/",
            environ.get("HTTP_TRACEPARENT", ""),
            lambda: _route_of(environ, root),
        )
        if request is None:
            return self._app(environ, start_response)

        def starting(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            number = status[:3]
            further = request.answers(int(number) if number.isdigit() else 0)
            headers = [*headers, *further]
            request.length = _length_of(headers)
            return start_response(status, headers, *exc_info)

        try:
            request.begin()
            body = self._app(environ, starting)
            kind = _OpenSizedBody if isinstance(body, Sized) else _OpenBody
            response = kind(body, request, done=environ.get("REQUEST_METHOD") == "HEAD" or _is_empty(body))
        except BaseException as error:
            try:
                request.end(error)
            except BaseException:  # of the host's, perhaps before anything was done
                request.end(error)
                raise
            raise
        return response


def _route_of(environ: Environ, root: str) -> str | None:
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)  # Flask
    found = str(rule.rule) if rule is not None else route_of_django(environ.get("PATH_INFO", ""))
    mounted_at = environ.get("SCRIPT_NAME", "").removeprefix(root)  # by a dispatcher inside
    return None if found is None else mounted_at + found


def _length_of(headers: Iterable[tuple[str, str]]) -> int | None:
    for name, value in headers:
        if str(name).lower() == "content-length" and str(value).isdecimal() and len(value) < 20:
            return int(value)
    return None


def _is_empty(body: Iterable[bytes]) -> bool:
    try:
        return isinstance(body, Sized) and not len(body)
    except (TypeError, AttributeError, NotImplementedError) as error:  # it has no length after all
        raise_foreign(error)
        return False


class _Body:
    """The parts of a response; its end is the session's."""

    _ended: type[_Body]
    _request: Request | None = None
    _error: BaseException | None = None

    def __init__(self, body: Iterable[bytes], request: Request, *, done: bool) -> None:
        self._body = body
        self._parts: Iterator[bytes] | None = None
        self._request = request
        self._done = done  # whether its client has all that it asked for
        self._taken = 0  # bytes

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._parts is None:
                self._parts = iter(self._body)
            part = next(self._parts)
            if isinstance(part, bytes):
                self._taken += len(part)
            return part
        except StopIteration:
            self._done = True
            raise
        except BaseException as error:
            self._error = error
            raise

    def close(self) -> None:
        """End the response: the server calls it, whatever happened."""
        error = self._error
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                close()
        except BaseException as raised:
            error = error or raised
            raise
        finally:
            try:
                self._end(error)
            except BaseException:  # of the host's, perhaps before anything was done
                self._end(error)
                raise
            finally:
                error = None

    def _end(self, error: BaseException | None) -> None:
        """End the session; may be called again."""
        request = self._request
        if request is None:
            return
        if error is None and not self._done and (request.length is None or self._taken < request.length):
            error = DisconnectedError("the client disconnected")
        request.end(error)
        self._request = self._error = None
        self.__class__ = self._ended  # without code that runs when it is freed


class _SizedBody(_Body):
    """One whose number of parts the server may ask for."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


class _OpenBody(_Body):
    """One that has not ended: nobody hears what a signal handler raises while it is freed."""

    def __del__(self) -> None:
        """End the session of a response that nobody closed, as test clients leave it."""
        self._end(self._error)


class _OpenSizedBody(_OpenBody, _SizedBody):
    """One whose number of parts the server may ask for."""


_OpenBody._ended, _OpenSizedBody._ended = _Body, _SizedBody
