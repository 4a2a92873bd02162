"""Who is let in, from where, and what a page may load.

Of: gate.py, web/app.py.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import perfdb
from perfdb.web.security import Gate, SecurityMiddleware

TOKEN = "a-token-of-enough-length"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8787",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "127.0.0.1/evil",
        "[::1",
        "[::1]evil.example",
        "[::1]:8787evil.example",
        "[::1].evil.example",
        "[::1]:80:80",
        "[127.0.0.1]",
        "127.0.0.1:80:80",
        "127.0.0.1:",
        "127.0.0.1:99999",
        "127.0.0.1, evil.example",
        "localhost..",
        "localhost%00",
        "user:pass@localhost",
        "127.1",
        "0x7f000001",
        "127.0.0.1:port",
        "10.0.0.1",
        "",
    ],
)
def test_a_foreign_host_is_refused_on_every_route(dashboard: Any, host: str) -> None:
    for path in (
        "/",
        "/sessions",
        "/static/x.css",
        "/api/v1/overview",
        "/api/v1/openapi.json",
        "/no/such/thing",
    ):
        assert dashboard.client.get(path, headers={"Host": host}).status_code == 403
    answer = dashboard.client.post("/api/v1/alerts/1/acknowledge", json={}, headers={"Host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:8787", "localhost."])
def test_this_machine_s_names_are_answered_at_any_port(dashboard: Any, host: str) -> None:
    assert dashboard.client.get("/api/v1/health", headers={"Host": host}).status_code == 200


def test_further_names_and_addresses_are_answered_only_when_asked_for(
    history: perfdb.History, serve: Callable[..., Any]
) -> None:
    dashboard = serve(history, hosts=["perf.example"], any_address=True)
    for host in ("perf.example", "PERF.example:443", "10.1.2.3:8787"):
        assert dashboard.client.get("/api/v1/health", headers={"Host": host}).status_code == 200
    assert dashboard.client.get("/api/v1/health", headers={"Host": "other.example"}).status_code == 403


CHANGES = ("acknowledge", "expected", "false-alarm", "undo", "silence", "unsilence")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_needs_a_matching_origin_and_the_token(dashboard: Any, change: str) -> None:
    path = f"/api/v1/alerts/1/{change}"
    before = dashboard.get("alerts/1")
    token = {"X-Perfdb-Token": dashboard.app.state.gate.change_token}
    own = {"Origin": dashboard.url}
    for headers in (
        {},
        token,
        own,
        own | {"X-Perfdb-Token": "guessed"},
        token | {"Origin": "null"},
        token | {"Origin": "https://evil.example"},
        token | {"Origin": dashboard.url + ".evil.example"},
        token | own | {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = dashboard.client.post(path, json={}, headers=headers)
        assert answer.status_code == 403, headers
        assert answer.json()["detail"]
    assert dashboard.client.get(path, headers=token | own).status_code == 405
    assert dashboard.get("alerts/1") == before


@pytest.mark.parametrize(
    "path", ["/", "/sessions", "/alerts", "/api/v1/health", "/api/v1/sessions", "/api/v1/events", "/nothing"]
)
def test_head_is_answered_as_get_without_a_body(dashboard: Any, path: str) -> None:
    answer = dashboard.client.head(path)
    assert answer.status_code == (404 if path == "/nothing" else 200)
    assert answer.content == b""
    assert "content-security-policy" in answer.headers
    if not path.endswith("/events"):  # which has no end
        assert answer.headers["content-type"] == dashboard.client.get(path).headers["content-type"]
    assert dashboard.client.head("/api/v1/alerts/1/silence").status_code == 405


def test_reading_leaves_every_byte_of_the_history_alone(dashboard: Any, history: perfdb.History) -> None:
    paths = [
        path
        for path, operations in dashboard.get("openapi.json")["paths"].items()
        if "get" in operations and not path.endswith("/events")
    ]

    def recorded() -> list[str]:
        return [frame.to_json(date_format="iso") for frame in (history.alerts("all"), history.sessions())]

    before = recorded()
    for path in paths:
        known = {"session_id": "last", "alert_id": "1", "name": "anomaly"}
        answer = dashboard.client.get(path.format(**known), params={"step": "Search", "factor": 0.5})
        assert answer.status_code in (200, 422), answer.text
    assert recorded() == before


def test_every_answer_carries_the_headers_that_keep_others_out(dashboard: Any) -> None:
    for path in ("/api/v1/health", "/no/such/page", "/api/v1/sessions/nothing"):
        headers = dashboard.client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "Access-Control-Allow-Origin" not in headers
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert dashboard.client.options("/api/v1/alerts/1/acknowledge", headers=asked).status_code == 403


def test_the_one_style_that_a_page_may_have_is_the_one_that_stands_in_it(dashboard: Any) -> None:
    answer = dashboard.client.get("/")
    (sheet,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in answer.headers["Content-Security-Policy"]
    assert 'rel="stylesheet"' not in answer.text


SENT_BY_OTHERS = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
)
A_LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
A_CLICK = {"Sec-Fetch-User": "?1"}
COSTLY = ("/bottlenecks", "/compare", "/trends", "/sessions/last", "/api/v1/bottlenecks", "/api/v1/health")


def test_another_site_s_page_has_nothing_computed(dashboard: Any) -> None:
    for path in ("/", "/sessions", *COSTLY):
        for headers in SENT_BY_OTHERS:
            answer = dashboard.client.get(path, headers=headers)
            assert answer.status_code == 403, (path, headers)
            assert answer.headers["X-Frame-Options"] == "DENY"
    for path in ("/bottlenecks", "/compare", "/api/v1/bottlenecks", "/api/v1/health"):
        assert dashboard.client.get(path, headers=A_LINK).status_code == 403, path
    assert dashboard.client.get("/api/v1/health", headers=A_LINK | A_CLICK).status_code == 403


def test_a_link_from_another_site_leads_to_its_page(dashboard: Any) -> None:
    for path in ("/", "/sessions", "/alerts", "/sessions/last", "/trends", "/rules"):
        assert dashboard.client.get(path, headers=A_LINK).status_code == 200
    for path in ("/bottlenecks", "/compare?a=last&b=last"):
        assert dashboard.client.get(path, headers=A_LINK | A_CLICK).status_code == 200
    for site in ("same-origin", "none"):
        assert (
            dashboard.client.get("/api/v1/bottlenecks", headers={"Sec-Fetch-Site": site}).status_code == 200
        )


def test_an_answer_that_broke_carries_the_headers_too(dashboard: Any) -> None:
    def broken() -> None:
        raise RuntimeError("a fault of ours")

    for path in ("/broken", "/api/broken"):
        dashboard.app.add_api_route(path, broken)
        answer = dashboard.client.get(path)
        assert answer.status_code == 500
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "a fault of ours" not in answer.text


def test_only_what_names_its_version_is_kept_by_the_browser(dashboard: Any) -> None:
    def keeping(path: str) -> str:
        return str(dashboard.client.get(path).headers["Cache-Control"])

    script = re.search(r'src="(/static/[0-9a-f]{12}/\w+\.js)"', dashboard.client.get("/").text)
    assert script is not None
    assert "immutable" in keeping(script[1])
    for path in ("/", "/api/v1/health", script[1].replace("times", "nothing"), "/static/times.js"):
        assert keeping(path) == "private, no-cache"


def test_a_websocket_is_closed_unseen() -> None:
    async def app(*arguments: Any) -> None:
        pytest.fail("it reached the app")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(SecurityMiddleware(app, Gate())({"type": "websocket"}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.fixture
def guarded(history: perfdb.History, serve: Callable[..., Any]) -> Any:
    return serve(history, token=TOKEN)


def test_with_a_token_nothing_is_answered_without_it(guarded: Any) -> None:
    for path in ("/", "/api/v1/health", "/api/v1/openapi.json", "/static/x.css"):
        assert guarded.client.get(path).status_code == 401
        assert guarded.client.get(path, params={"token": "wrong"}).status_code == 401
    for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"X-Perfdb-Token": TOKEN}):
        assert guarded.client.get("/api/v1/health", headers=headers).status_code == 200


def test_a_link_with_the_token_opens_the_page_once_and_leaves_a_cookie(guarded: Any) -> None:
    answer = guarded.client.get("/sessions", params={"token": TOKEN, "status": "failed"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/sessions?status=failed"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert guarded.client.get("/api/v1/health").status_code == 200


@pytest.mark.parametrize(
    "others",
    ['prefs={"a": 1}', "theme", "name=Zoë", 'odd="open', "a,b=1", "a@b=1", 'q="a\\"b"', "="],
)
def test_the_cookie_is_found_among_those_of_others_on_this_host(guarded: Any, others: str) -> None:
    """Cookies know no ports: those of other servers on localhost come along, in forms of their own."""
    answer = guarded.client.get("/sessions", params={"token": TOKEN})
    own = answer.headers["Set-Cookie"].partition(";")[0]
    guarded.client.cookies.clear()
    for cookies in (f"{others}; {own}", f"{own}; {others}", f"{others};{own};{others}"):
        headers = {"Cookie": cookies.encode()}
        assert guarded.client.get("/api/v1/health", headers=headers).status_code == 200
    for cookies in (f"{others}; {own}x", f"x{own}", f"{others}; {own.partition('=')[0]}"):
        headers = {"Cookie": cookies.encode()}
        assert guarded.client.get("/api/v1/health", headers=headers).status_code == 401


def test_the_link_cannot_be_bent_towards_another_host(guarded: Any) -> None:
    for path in ("//evil.example/", "/\\evil.example/"):
        with httpx.Client(timeout=30) as client:
            request = client.build_request("GET", guarded.url)
            request.url = request.url.copy_with(raw_path=f"{path}?token={TOKEN}".encode())
            assert client.send(request).headers["Location"].startswith("/evil.example")


def test_a_body_that_is_too_long_is_refused(dashboard: Any) -> None:
    assert dashboard.change("alerts/1/acknowledge", {"note": "x" * 100_000}).status_code == 413


def test_a_question_that_takes_too_long_is_stopped_with_a_sentence(
    history: perfdb.History, serve: Callable[..., Any]
) -> None:
    dashboard = serve(history, query_limit_s=0.0)
    answer = dashboard.client.get("/api/v1/sessions", params={"attribute": "nobody=here"})
    assert answer.status_code == 503
    assert "stopped" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "5"
