"""The bar of every page: which time, pipeline and mode. All of it is in the address, and is read here alone.

``since`` and ``until`` are moments as in ``History.sessions``, ``all``, ``commit:0a1b2c3`` (since its first
run) or ``deploy:1.4`` (since what was annotated so); ``last`` is so many runs; ``pipeline`` and ``mode`` are
names. A page hands what it is asked to ``asked``, and its links keep the window: see ``words.link``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from perfdb.errors import FilterError, NotFoundError
from perfdb.filters import moment_of, zone_named
from perfdb.guard import raise_foreign
from perfdb.history.access import side_by_side
from perfdb.store import browsing
from perfdb.store.annotations import annotated_at, read_annotations
from perfdb.store.reading import find_session_id
from perfdb.store.together import together
from perfdb.text import mode_text, shortened
from perfdb.web.answers.alerts import open_alerts
from perfdb.web.queries import slip
from perfdb.web.served import ServedHistory
from perfdb.web.words import keeping, link

WINDOW = ("since", "until", "last")
NAMES = (*WINDOW, "pipeline", "mode")
FORM = ("window", "from", "to", "zone", "series", "of", "pick")
"""Fields of forms that stand for others: an address with one of them is changed into one without."""

PRESETS = (
    ("since=1h", "the last hour"),
    ("since=today", "today"),
    ("since=24h", "24 hours"),
    ("since=7d", "7 days"),
    ("since=30d", "30 days"),
    ("since=90d", "90 days"),
    ("since=365d", "a year"),
    ("since=all", "all time"),
    ("last=50", "the last 50 runs"),
    ("last=100", "the last 100 runs"),
    ("last=500", "the last 500 runs"),
    ("last=2000", "the last 2,000 runs"),
)
DATES = "dates"
ZONE_COOKIE = "perfdb_zone"
_ADDRESS = re.compile(r"/(?![/\\])[^\x00-\x20\x7f]*")
_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_MOST_LAST = 100_000
_MOST_KINDS = 1_000
_MARKS_OFFERED = 6

Question = TypeVar("Question", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bar:
    """What the bar says: as it stands in the address, and what that means; and what can be chosen."""

    given: Mapping[str, str]
    since: float | None = None
    until: float | None = None
    zone: tzinfo = UTC
    pipelines: Sequence[str] = ()
    modes: Sequence[str] = ()
    marks: Sequence[tuple[str, str]] = ()  # what a window can begin with, and its words

    @property
    def pipeline(self) -> str | None:
        """The pipeline that is chosen."""
        return self.given.get("pipeline")

    @property
    def mode(self) -> str | None:
        """The mode that is chosen, as canonical JSON."""
        return self.given.get("mode")

    @property
    def window(self) -> dict[str, str]:
        """What of the address is about time."""
        return {name: self.given[name] for name in WINDOW if name in self.given}

    @property
    def is_timed(self) -> bool:
        """Whether the window has a beginning or an end."""
        return self.since is not None or self.until is not None

    @property
    def asked(self) -> dict[str, str]:
        """All of it as questions take it: moments in ISO, with their zone."""
        moments = {"since": self.since, "until": self.until}
        return dict(self.given) | {
            name: moment_at_or_before(at).isoformat() for name, at in moments.items() if at is not None
        }

    @property
    def chosen(self) -> str:
        """Which entry of the list of windows is chosen."""
        if len(self.window) == 1 and "until" not in self.window:
            name, value = next(iter(self.window.items()))
            if (word := f"{name}={value}") in dict(PRESETS) or name == "last" or ":" in value[:8]:
                return word
        return DATES if self.window else ""

    def windows(self, usual: str) -> list[tuple[str, str]]:
        """Return what can be chosen, each as the form sends it; ``usual`` is what a page shows by itself."""
        offered = [("", usual), *(each for each in PRESETS if each[1] != usual)]
        marks = [(f"since={moment}", words) for moment, words in self.marks]
        known = dict([*offered, *marks])
        own = [] if self.chosen in (*known, DATES) else [(self.chosen, _in_words(self.chosen))]
        return [*offered, *own, *marks, (DATES, "between dates…")]

    def link(self, path: str, **more: Any) -> str:
        """Return the address of another page with the same bar."""
        return link(path, **{**self.given, **more})

    def at_any_time(self, path: str) -> str:
        """Return the address of a page with the same bar, but for the window."""
        with keeping({}):
            return link(path, **{name: value for name, value in self.given.items() if name not in WINDOW})

    def local(self, moment: float | None) -> str:
        """Return a moment as a field for date and time has it, in the viewer's zone."""
        if moment is None or moment <= 0:
            return ""
        return f"{datetime.fromtimestamp(moment, self.zone):%Y-%m-%dT%H:%M}"


def _in_words(chosen: str) -> str:
    """Return a window that is no preset, as the list of windows says it."""
    name, _, value = chosen.partition("=")
    if name != "last" or not value.isdecimal() or len(value) > len(str(_MOST_LAST)):
        return f"{name} {value}"
    return "the last run" if int(value) == 1 else f"the last {int(value):,} runs"


def moment_at_or_before(at: float) -> datetime:
    """Return an instant to the microsecond, never after it: its own run lies in a window that it begins."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment - timedelta(microseconds=1) if moment.timestamp() > at else moment


def saved_views(history: ServedHistory) -> list[tuple[str, str]]:
    """Return the names and addresses of the views that the settings have for everybody.

    Raises:
        SettingsError: one of them is no address of a page.
    """
    table = history.settings.views
    for name, address in table.items():
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise table.error(
                f"view '{name}' is an address of a page that begins with /, such as /sessions", name
            )
    return list(table.items())


def bar_of(request: Request) -> Bar:
    """Return what the bar of this address says.

    Raises:
        ValueError: a moment is of no form that can be meant, or there is no such commit.
    """
    known: Bar | None = getattr(request.state, "bar", None)
    if known is None:
        known = request.state.bar = _read(request)
    return known


def _read(request: Request) -> Bar:
    given = {
        name: value.strip() for name, value in request.query_params.items() if name in NAMES and value.strip()
    }
    history: ServedHistory = request.app.state.history
    zone = zone_of(request.cookies.get(ZONE_COOKIE))
    with history.reading() as connection:
        kinds, marks = together(
            connection,
            lambda: [] if connection is None else browsing.total_series(connection, most=_MOST_KINDS),
            lambda: [] if connection is None else _marks(connection, given.get("pipeline")),
        )
        moments = {
            name: _moment(connection, name, given[name], zone) for name in ("since", "until") if name in given
        }
    own = [mode for _, pipeline, mode in kinds if given.get("pipeline") in (None, pipeline)]
    return Bar(
        given,
        **moments,
        zone=zone,
        pipelines=sorted({pipeline for _, pipeline, _ in kinds}),
        modes=sorted(set(own), key=lambda mode: (mode_text(mode), mode)),
        marks=marks,
    )


def _look_up(history: ServedHistory, session_id: str | None) -> None:
    with history.reading() as connection, suppress(NotFoundError):
        if connection is not None and session_id is not None:
            find_session_id(connection, session_id)


def _marks(connection: Any, pipeline: str | None) -> list[tuple[str, str]]:
    """Return the newest annotations and commits, as a window can begin with them."""
    newest, commits = together(
        connection,
        lambda: read_annotations(connection, pipeline=pipeline, newest=_MARKS_OFFERED),
        lambda: browsing.newest_commits(connection, most=_MARKS_OFFERED),
    )
    said = newest[::-1]
    return [
        *dict.fromkeys((f"deploy:{each.text}", f"since {shortened(each.text, 40)}") for each in said),
        *((f"commit:{commit}", f"since commit {commit[:10]}") for commit in commits),
    ]


def _moment(connection: Any, name: str, text: str, zone: tzinfo) -> float:
    if text == "all":
        return 0.0
    kind, colon, word = text.partition(":")
    try:
        if colon and kind == "commit":
            found = None if connection is None else browsing.first_run_of_commit(connection, word)
            if found is None:
                raise FilterError(f"no session ran on a commit {word[:80]!r}")
            return found
        if colon and kind == "deploy":
            found = None if connection is None else annotated_at(connection, word)
            if found is None:
                raise FilterError(f"nothing is annotated with {word[:80]!r}; see: perfdb annotations")
            return found
        return moment_of(text, zone=zone)
    except FilterError as error:
        raise ValueError(f"{name}: {error}") from None


def moment_in(request: Request, name: str) -> float | None:
    """Return a moment that a field of the page itself names, in the forms of the bar; None without one.

    Raises:
        ValueError: it is of no form that can be meant, or there is no such commit.
    """
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    history: ServedHistory = request.app.state.history
    with history.reading() as connection:
        return _moment(connection, name, text, bar_of(request).zone)


def zone_of(name: str | None) -> tzinfo:
    """Return a viewer's zone; UTC where a browser said none that there is."""
    if name is None or not _ZONE.fullmatch(name) or name == "local":
        return UTC
    try:
        return zone_named(name) or UTC
    except ValueError:
        return UTC


def asked(question: type[Question], request: Request, *others: str, **fixed: Any) -> Question:
    """Return what a page was asked; fields of a form that were left empty are not asked at all.

    Args:
        question: one of ``queries``; of the bar it is asked what it has fields for.
        request: whose address has the fields.
        others: fields of the page itself.
        fixed: what the page decides.

    Raises:
        ValueError: a field has a value of another form.
    """
    given: dict[str, Any] = {
        name: value
        for name, value in request.query_params.items()
        if value.strip() and name not in (*others, *NAMES)
    }
    if "attribute" in given:
        given["attribute"] = [each for each in request.query_params.getlist("attribute") if each.strip()]
    fields = question.model_fields
    bar = {name: value for name, value in bar_of(request).asked.items() if name in fields}
    if bar.get("last", "").isdecimal() and (most := _most(fields["last"])) < int(bar["last"]) <= _MOST_LAST:
        bar["last"] = str(most)  # another page shows more of them
    try:
        return question.model_validate(bar | given | fixed)
    except ValidationError as error:
        raise ValueError(slip(error.errors()[0])) from None


def _most(field: Any) -> int:
    return next((each.le for each in field.metadata if hasattr(each, "le")), _MOST_LAST)


class BarRoute(APIRoute):
    """A page, of one moment of a server; its forms may say a window in words.

    It is then asked again, by an address that says it.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **named: Any) -> None:
        @wraps(endpoint)
        def of_one_moment(request: Request, **given: Any) -> Any:
            history: ServedHistory = request.app.state.history
            with history._at_one_moment():
                if history.is_far:  # what every page shows, and whom this one is about
                    side_by_side(
                        history,
                        lambda: bar_or_none(request),
                        lambda: open_alerts(history),
                        lambda: _look_up(history, given.get("session_id")),
                    )
                return endpoint(request=request, **given)

        # an older FastAPI looks the names of its annotations up in this module
        of_one_moment.__signature__ = signature(endpoint, eval_str=True)  # type: ignore[attr-defined]
        super().__init__(path, of_one_moment, **named)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers, with the change of address before it."""
        answer = super().get_route_handler()

        async def settle_and_answer(request: Request) -> Response:
            if not any(name in request.query_params for name in FORM):
                return await answer(request)
            return RedirectResponse(_settled(request), 303)

        return settle_and_answer


def _settled(request: Request) -> str:
    """Return the address that says what the fields of a form stand for.

    Raises:
        ValueError: no page of this dashboard wrote one of them.
    """
    asked_for = request.query_params
    kept: dict[str, Any] = {}
    for name, value in asked_for.multi_items():
        if value.strip() and name not in FORM:
            kept.setdefault(name, []).append(value)
    window = asked_for.get("window")
    if window is not None or asked_for.get("from") or asked_for.get("to"):
        for name in WINDOW:
            kept.pop(name, None)
        kept |= _window(window or DATES, asked_for)
    if kept.get("measure") == ["duration"]:
        del kept["measure"]
    if picked := asked_for.getlist("pick"):
        if len(picked) != 2:
            raise ValueError(f"choose two sessions to compare, not {len(picked)}")
        kept["a"], kept["b"] = sorted(picked)  # ids begin with the time of the start
    if chosen := asked_for.get("series"):
        kept |= _series(chosen, asked_for)
    return link(request.url.path, **kept)


def _window(window: str, asked_for: Mapping[str, str]) -> dict[str, str]:
    if window != DATES:
        name, equals, value = window.partition("=")
        if not equals or name not in ("since", "last"):
            raise ValueError(f"{window[:80]!r} is no choice of this page: choose one of the list")
        return {name: value}
    zone = zone_of(asked_for.get("zone"))
    found = {}
    for name, field in (("since", "from"), ("until", "to")):
        if text := asked_for.get(field, "").strip():
            moment = datetime.fromtimestamp(moment_of(text, zone=zone), UTC)
            found[name] = f"{moment:%Y-%m-%dT%H:%MZ}"
    return found


def _series(chosen: str, asked_for: Mapping[str, str]) -> dict[str, str | None]:
    """Return the series that is meant: the list's, or what the bar made of the one that was shown."""
    names = ("pipeline", "step", "mode")
    wanted = dict(zip(names, key_of(chosen, 3), strict=True))
    if asked_for.get("of") != chosen:
        return wanted
    pipeline, mode = asked_for.get("pipeline") or None, asked_for.get("mode") or None
    step = wanted["step"] if pipeline in (None, wanted["pipeline"]) else None
    return {"pipeline": pipeline, "step": step, "mode": mode}


def key_of(text: str, size: int) -> list[str | None]:
    """Return what a field of a form that stands for several values holds.

    Raises:
        ValueError: no page of this dashboard wrote it.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if (
        not isinstance(found, list)
        or len(found) != size
        or not all(isinstance(each, str | None) for each in found)
    ):
        raise ValueError(f"{text[:80]!r} is no choice of this page: choose one of the list")
    return found


def bar_or_none(request: Request) -> Bar:
    """Return the bar for a page that says what is wrong: an empty one, if the bar itself is."""
    try:
        return bar_of(request)
    except Exception as error:  # whatever the database holds: this page says what is wrong with it
        raise_foreign(error)
        return Bar({})
