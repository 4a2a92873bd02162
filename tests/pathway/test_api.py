"""The web service, served by uvicorn on loopback and asked with httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import perfdb
from perfdb.pathway import RealProductsPathway
from perfdb.pathway.api import create_app
from perfdb.pathway.doors import Guard
from perfdb.pathway.standin import faults

CANARY = "sk-canary0123456789abcdefCANARY"


@pytest.fixture
def api(served: Any, make_pathway: Any) -> httpx.Client:
    client: httpx.Client = served(create_app(lambda: make_pathway(max_image_bytes=200_000)))
    return client


def post(api: httpx.Client, picture: bytes, **fields: str) -> httpx.Response:
    return api.post("/designs", files={"image": ("room.jpg", picture, "image/jpeg")}, data=fields)


def test_a_design_comes_with_its_server_timing(api: httpx.Client, room: bytes) -> None:
    answer = post(api, room, design_style="modern", fast_mode="true")

    assert answer.status_code == 200
    assert answer.json()["success"] is True
    timing = answer.headers["server-timing"]
    for name in (
        "upload",
        "vision-analysis",
        "product-search",
        "composite-creation",
        "image-generation",
        "total",
    ):
        assert f"{name};desc=" in timing
    assert perfdb.History().session("last").fast_mode is True


def test_health_needs_nothing(api: httpx.Client) -> None:
    assert api.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("picture", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"hello", 415, "JPEG, PNG or WebP"),
        (b"\xff\xd8\xff" + bytes(210_000), 413, "larger than"),
        (b"\xff\xd8\xff" + bytes(400_000), 413, "larger than"),
    ],
)
def test_bad_uploads_are_refused_with_a_reason(
    api: httpx.Client, picture: bytes, status: int, words: str, room: bytes
) -> None:
    assert post(api, room, fast_mode="true").status_code == 200  # the pathway, and so its limit, is there
    before = len(perfdb.History().sessions())

    answer = post(api, picture)

    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert words in answer.json()["error"]["message"]
    assert len(perfdb.History().sessions()) == before


def test_a_truncated_upload_is_refused(api: httpx.Client, room: bytes) -> None:
    answer = post(api, room[: len(room) // 2])

    assert answer.status_code == 422
    assert "cut off" in answer.json()["error"]["message"]


def test_a_body_without_a_length_is_limited_too(api: httpx.Client, room: bytes) -> None:
    assert post(api, room, fast_mode="true").status_code == 200

    def endless() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        for _ in range(10):
            yield bytes(50_000)

    answer = api.post(
        "/designs", content=endless(), headers={"content-type": "multipart/form-data; boundary=b"}
    )

    assert answer.status_code == 413


def test_a_request_without_a_picture_is_a_422(api: httpx.Client) -> None:
    assert api.post("/designs", data={"design_style": "modern"}).status_code == 422


def test_a_failing_service_is_a_502_with_performance_data(
    api: httpx.Client, room: bytes, standin: Any
) -> None:
    standin.faults.always("image", faults.insufficient_quota())

    answer = post(api, room)

    assert answer.status_code == 502
    assert "quota" in answer.json()["error"]["message"]
    assert answer.json()["data"]["step_durations"]["Vision Analysis"] > 0


def test_what_the_service_refuses_is_a_422(api: httpx.Client, room: bytes, standin: Any) -> None:
    standin.faults.always("image", faults.moderation_blocked())

    assert post(api, room).status_code == 422


def test_how_long_a_service_asks_to_wait_is_passed_on(api: httpx.Client, room: bytes, standin: Any) -> None:
    standin.faults.next("vision", faults.rate_limited(after_s=200))

    answer = post(api, room)

    assert answer.status_code == 502
    assert answer.headers["retry-after"] == "200"


def test_requests_at_the_same_time_are_sessions_of_their_own(api: httpx.Client, room: bytes) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: post(api, room, fast_mode="true").json(), range(6)))

    assert all(answer["success"] for answer in answers)
    assert len({answer["data"]["performance_report"] for answer in answers}) == 6
    assert len(perfdb.History().sessions()) == 6


def test_without_keys_it_says_what_to_set(served: Any, home: Any, room: bytes) -> None:
    answer = post(served(create_app(RealProductsPathway)), room)

    assert answer.status_code == 503
    assert "OPENAI_API_KEY and SERPAPI_API_KEY are not set" in answer.json()["error"]["message"]


FOREIGN = (
    {"Host": "evil.example"},
    {"Host": "[::1]evil.example"},
    {"Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Referer": "https://evil.example/page"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_other_site_s_page_has_a_design_made(
    api: httpx.Client, room: bytes, headers: dict[str, str]
) -> None:
    answer = api.post("/designs", files={"image": ("room.jpg", room, "image/jpeg")}, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["success"] is False
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert len(perfdb.History().sessions()) == 0


def test_its_own_page_and_a_program_have_one_made(api: httpx.Client, room: bytes) -> None:
    own = {"Origin": str(api.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    picture = {"image": ("room.jpg", room, "image/jpeg")}
    for headers in (own, {}):
        answer = api.post("/designs", files=picture, data={"fast_mode": "true"}, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_name_of_its_own_is_answered_when_it_is_listed(
    served: Any, monkeypatch: pytest.MonkeyPatch, home: Any
) -> None:
    api = served(create_app())
    own = {"Host": "designs.example:443"}
    assert api.get("/health", headers=own).status_code == 403
    monkeypatch.setenv("PERFDB_ALLOW_HOSTS", "other.example, designs.example")
    assert api.get("/health", headers=own).status_code == 200
    assert api.get("/health", headers={"Host": "10.1.2.3"}).status_code == 200


def test_stand_in_services_need_no_keys(
    served: Any, home: Any, room: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_STAND_IN", "1")
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    answer = post(served(create_app()), room, fast_mode="true")

    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    assert CANARY not in answer.text


def test_a_stand_in_switch_of_another_form_is_refused_before_anything_is_paid(
    served: Any, home: Any, room: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_STAND_IN", "on please")
    answer = post(served(create_app()), room)

    assert answer.status_code == 503
    assert "PERFDB_STAND_IN" in answer.json()["error"]["message"]


def test_a_websocket_is_closed_and_a_lifespan_passed_on() -> None:
    seen: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def send(message: Any) -> None:
        sent.append(message)

    for kind in ("websocket", "lifespan"):
        asyncio.run(Guard(app, list)({"type": kind}, None, send))  # type: ignore[arg-type]

    assert seen == ["lifespan"]
    assert sent == [{"type": "websocket.close", "code": 1008}]
