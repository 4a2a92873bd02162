"""What holds for every page and every endpoint, read from the table of routes.

A name that nothing has, and a value that cannot be meant, are answered with a sentence and 4xx; never with
500, never with a page that draws nothing and says nothing.

Of: web/queries.py, web/views/asking.py, web/views/page.py.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute

from perfdb.web import api, queries, views
from tests.web.conftest import Dashboard

ROUTES = sorted(
    {
        route.path
        for router in (api.router, *views.ROUTERS)
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in route.methods and not route.path.endswith("/events")
    }
)
ASKED = {  # the last part of a route and what it may be asked
    "sessions": queries.SessionsQuery, "trends": queries.TrendQuery, "bottlenecks": queries.BottlenecksQuery,
    "what-if": queries.WhatIfQuery, "compare": queries.CompareQuery, "alerts": queries.AlertsQuery,
    "{name:path}": queries.RuleQuery, "common": queries.CommonQuery, "hits": queries.HitsQuery,
    "annotations": queries.AnnotationsQuery, "rules": queries.RulesQuery,
}  # fmt: skip
NEEDED = {"what-if": "step=Vision%20Analysis&factor=0.5&"}
KNOWN = {
    "{session_id}": "last",
    "{alert_id}": "1",
    "{name:path}": "vision-slow",
    "{pipeline:path}": "design",
}
HOSTILE = [
    "nosuch", "-1", "9" * 30, "1e999", "nan", "[1]", "{}", "[" * 500, "\x00", "\u202e", "\ud800", "<script>",
    "9999-12-31", "a=[[[[", "=", "'; --", "%", "x" * 5_000, '["design", "nosuch", "{}"]', "0001-01-01",
]  # fmt: skip
NAMES = ("pipeline", "step", "tag", "branch")


@pytest.fixture
def dashboard(shared_dashboard: Dashboard) -> Dashboard:
    """Give one dashboard for all: what is asked here changes nothing."""
    return shared_dashboard


def encoded(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def fields_of(route: str) -> list[str]:
    question = ASKED.get(route.rpartition("/")[2])
    return list(question.model_fields) if question else []


def fetch(dashboard: Any, address: str) -> Any:
    answer = dashboard.client.get(address)
    assert answer.status_code < 500, (address[:200], answer.text[:500])
    assert "Traceback" not in answer.text
    return answer


def sentence_of(answer: Any) -> str:
    """Return what an answer that is none says."""
    if answer.headers["content-type"].startswith("application/json"):
        return str(answer.json()["detail"])
    text = re.sub(r"<[^>]+>", " ", answer.text.partition("<main")[2])
    return " ".join(text.split())


def filled(route: str) -> str:
    return re.sub(r"{[\w:]+}", lambda found: KNOWN[found[0]], route)


def test_the_routes_are_known() -> None:
    assert len(ROUTES) > 15
    assert all(found in KNOWN for route in ROUTES for found in re.findall(r"{[\w:]+}", route))


def share_of(route: str) -> list[str]:
    """Return the values to ask a route for: a page and its endpoint, which read one model, share them."""
    api = route.startswith("/api/v1")
    sibling = route.removeprefix("/api/v1") if api else f"/api/v1{route}"
    return HOSTILE[int(api) :: 2] if sibling in ROUTES else HOSTILE


@pytest.mark.parametrize("route", [route for route in ROUTES if "{" in route])
def test_a_path_that_names_nothing_is_a_sentence(dashboard: Any, route: str) -> None:
    for value in HOSTILE:
        answer = fetch(dashboard, f"{route.partition('{')[0]}{encoded(value)}")
        assert answer.status_code in (400, 404, 422), (route, value[:50])
        assert len(sentence_of(answer)) > 10


@pytest.mark.parametrize("route", [route for route in ROUTES if fields_of(route)])
def test_no_value_of_any_field_breaks_an_answer(dashboard: Any, route: str) -> None:
    needed = NEEDED.get(route.rpartition("/")[2], "")
    extra = ["series", "window", "factor"] if not route.startswith("/api") else []
    for field in [*fields_of(route), *extra, "nosuch"]:
        for value in HOSTILE if field in extra else share_of(route):
            address = f"{filled(route)}?{needed}{encoded(field)}={encoded(value)}"
            answer = fetch(dashboard, address)
            if answer.status_code >= 400:
                assert answer.status_code in (400, 404, 409, 422), address[:200]
                assert len(sentence_of(answer)) > 10
            if field == "nosuch" and answer.request.url.path == filled(route):
                assert answer.status_code in (400, 422), address[:200]


@pytest.mark.parametrize(
    ("route", "field"),
    [(route, field) for route in ROUTES for field in fields_of(route) if field in NAMES],
)
@pytest.mark.parametrize("name", ["nosuch", "Vison Analysis", "x" * 300, "<script>"])
def test_a_name_that_nothing_has_is_404_with_words(dashboard: Any, route: str, field: str, name: str) -> None:
    needed = "factor=0.5&" if route.endswith("what-if") else ""
    needed += "step=Vision%20Analysis&" if route.endswith("what-if") and field != "step" else ""
    answer = fetch(dashboard, f"{route}?{needed}{field}={encoded(name)}")
    if field == "tag" and len(name) > 200:
        assert answer.status_code in (400, 422)
        return
    assert answer.status_code == 404, answer.text[:500]
    assert f"no {field} in" in sentence_of(answer)
    assert "<script>" not in answer.text.partition("<main")[2] or route.startswith("/api")
    if name == "Vison Analysis" and field == "step":
        assert "Vision Analysis" in sentence_of(answer)


def test_a_mode_or_a_choice_that_nothing_has_is_404(dashboard: Any) -> None:
    of_api = [route for route in ROUTES if route.startswith("/api") and "mode" in fields_of(route)]
    for address in (
        *(f"{route}?mode=%7B%22turbo%22:9%7D" for route in of_api if not route.endswith("what-if")),
        "/trends?mode=nosuch", "/api/v1/trends?mode=nosuch",
        "/bottlenecks?step=%5B%22design%22%2C%22nosuch%22%2C%22%7B%7D%22%5D",
    ):  # fmt: skip
        answer = fetch(dashboard, address)
        assert answer.status_code == 404
        assert len(sentence_of(answer)) > 10


def test_a_known_name_without_runs_is_an_answer(dashboard: Any) -> None:
    for route in ("/sessions", "/trends", "/bottlenecks"):
        for start in ("", "/api/v1"):
            answer = fetch(dashboard, f"{start}{route}?pipeline=design&until=2001-01-01")
            assert answer.status_code == 200
    assert "No run matches" in sentence_of(fetch(dashboard, "/trends?until=2001-01-01"))
