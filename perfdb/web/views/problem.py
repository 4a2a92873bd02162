"""The page of an error: why there is no other, and where one can go on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.guard import raise_foreign
from perfdb.web.answers import sessions as of_sessions
from perfdb.web.bar import WINDOW, bar_or_none
from perfdb.web.queries import SessionsQuery
from perfdb.web.views.page import PAGES, page
from perfdb.web.words import link

SAYS = {
    "Overview": "how every pipeline does now, and what moved",
    "Sessions": "every run: find, filter and compare",
    "Trends": "how long a step took over time, and since when it is different",
    "Bottlenecks": "which steps hold runs up",
    "In common": "what slow runs share that others do not have",
    "Compare": "two runs, two groups or two periods, step by step",
    "Alerts": "what crossed a limit or moved, and since when",
    "Rules": "what is watched, and what it would have told",
}
"""What each of ``PAGES`` answers."""

_TITLES = {
    400: "That cannot be answered",
    404: "There is no such thing here",
    422: "That cannot be answered",
    503: "The database does not answer",
}
_MOST_NEAR = 4
_MOST_COMPARED = 64  # letters of an address; what is longer is no name that a person types
_RECENT = 200  # sessions among which an id that is near is looked for


def error_page(request: Request, status: int, sentence: str, *, took_long: bool = False) -> HTMLResponse:
    """Return the page that says why there is no other, and what to do next."""
    if sentence == "Not Found":  # of the router, which does not say what
        sentence = f"No page has the address {request.url.path}."
    name = _page_of(request.url.path)
    ways = [(f"To {name}", PAGES[name])] if name else []
    return page(
        request, "problem.html", name, status=status, firing_count=0,
        title="That took too long" if took_long else _TITLES.get(status, "Something went wrong"),
        sentence=sentence, ways=[*ways, ("To the overview", "/")],
        shorter=_in_days(request, 7) if took_long else "",
        near=_near(request) if status == 404 else [],
        searched=request.url.path.rpartition("/")[2] if status == 404 else "",
        says=SAYS, can_search=status in (400, 404, 422),
    )  # fmt: skip


def _page_of(path: str) -> str:
    """Return the name of the page that an address belongs to; nothing for the overview and strangers."""
    return next((name for name, root in PAGES.items() if root == f"/{path.split('/')[1]}" != "/"), "")


def _in_days(request: Request, days: int) -> str:
    """Return the address of the same question about the newest days."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in WINDOW]
    return f"{request.url.path}?{urlencode([*kept, ('since', f'{days}d')])}"


def _near(request: Request) -> list[tuple[str, str]]:
    """Return what is called much like the end of the address; nothing where the database cannot be read."""
    try:
        known = dict(_known(request))
    except Exception as error:  # whatever the database holds: this page says what is wrong with it
        raise_foreign(error)
        return []
    wanted = request.url.path.strip("/").rpartition("/")[2]
    near = difflib.get_close_matches(wanted.casefold()[:_MOST_COMPARED], known, n=_MOST_NEAR)
    return [known[name] for name in near]


def _known(request: Request) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what can be meant by an address: how it is compared, and its words and address."""
    first, _, rest = request.url.path.strip("/").partition("/")
    if first == "sessions" and rest:
        newest = SessionsQuery.model_validate({"limit": _RECENT})
        for row in of_sessions.session_page(request.app.state.history, newest, counts=False).rows:
            yield row.session_id.casefold(), (row.session_id, link(f"/sessions/{row.session_id}"))
    else:
        for name, path in PAGES.items():
            for called in (name, path.strip("/")):
                yield called.casefold(), (name, path)
        for name in bar_or_none(request).pipelines:
            yield name.casefold(), (name, link(f"/pipelines/{name}"))
