"""Designs of the service as jobs: answered later, followed, cancelled, and limited.

Of: pathway/watching.py.
"""

from __future__ import annotations

import concurrent.futures.thread
import gc
import io
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

import perfdb
from perfdb.pathway import PathwaySettings, RealProductsPathway
from perfdb.pathway.api import create_app
from perfdb.pathway.standin import StandIn, faults
from perfdb.settings import load

LONG = faults.slow(1.0)


@pytest.fixture
def serve(served: Any, make_pathway: Any) -> Callable[..., httpx.Client]:
    def with_settings(**changes: Any) -> httpx.Client:
        client: httpx.Client = served(create_app(lambda: make_pathway(**changes)))
        return client

    return with_settings


@pytest.fixture
def api(serve: Any) -> httpx.Client:
    client: httpx.Client = serve()
    return client


def post(api: httpx.Client, picture: bytes, *, later: bool = False, **more: Any) -> httpx.Response:
    headers = {"Prefer": "respond-async"} if later else {}
    return api.post(
        "/designs",
        files={"image": ("room.jpg", picture, "image/jpeg")},
        data={"fast_mode": "true"} | more.pop("data", {}),
        headers=headers | more.pop("headers", {}),
        **more,
    )


def until(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
    return found


def ended(api: httpx.Client, place: str) -> dict[str, Any]:
    def state() -> dict[str, Any] | None:
        state: dict[str, Any] = api.get(place).json()
        return state if state["state"] not in ("queued", "running") else None

    found: dict[str, Any] = until(state)
    return found


def test_a_design_may_be_answered_later(api: httpx.Client, room: bytes) -> None:
    answer = post(api, room, later=True)

    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    state = ended(api, answer.headers["location"])
    assert state["state"] == "completed"
    assert list(state["result"]) == ["success", "data"]
    assert state["session_id"] == perfdb.History().session("last").session_id
    assert state["usage"]["input_tokens"] > 1000
    assert (state["usage"]["images"], state["usage"]["searches"], state["usage"]["cost"]) == (1, 3, None)
    picture = api.get(state["links"]["image"])
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (1024, 1024)


@pytest.mark.parametrize("place", ["params", "data"])
def test_async_may_be_asked_for_in_the_address_and_in_the_form(
    api: httpx.Client, room: bytes, place: str
) -> None:
    answer = post(api, room, **{place: {"async": "true"}})

    assert answer.status_code == 202
    assert ended(api, answer.json()["links"]["self"])["state"] == "completed"


def test_a_design_that_was_waited_for_can_be_fetched_too(api: httpx.Client, room: bytes) -> None:
    answer = post(api, room)

    assert list(answer.json()) == ["success", "data"]
    place = answer.headers["content-location"]
    assert api.get(place).json()["result"] == answer.json()
    assert api.get(f"{place}/image").status_code == 200


def test_a_deleted_picture_is_gone(api: httpx.Client, room: bytes) -> None:
    answer = post(api, room)
    os.unlink(answer.json()["data"]["final_design"])

    assert api.get(f"{answer.headers['content-location']}/image").status_code == 410


def test_a_running_design_says_its_step_and_what_is_usually_left(
    api: httpx.Client, room: bytes, standin: Any
) -> None:
    for _ in range(3):
        post(api, room)
    standin.faults.next("vision", LONG)
    place = post(api, room, later=True).headers["location"]

    state = until(lambda: (answer := api.get(place).json())["step"] == "Vision Analysis" and answer)

    assert state["state"] == "running"
    assert state["usual_left_s"] > 0
    assert state["links"]["image"] is None
    assert api.get(f"{place}/image").status_code == 409
    assert ended(api, place)["usual_left_s"] is None


def test_delete_cancels_before_the_next_paid_step(api: httpx.Client, room: bytes, standin: Any) -> None:
    standin.faults.next("vision", LONG)
    place = post(api, room, later=True).headers["location"]
    until(lambda: api.get(place).json()["step"] == "Vision Analysis")

    answer = api.delete(place)

    assert answer.status_code == 202
    assert answer.json()["cancelling"] is True
    state = ended(api, place)
    assert state["state"] == "cancelled"
    assert state["result"]["error"]["type"] == "cancelled"
    assert not standin.requests("search")
    session = perfdb.History().session("last")
    assert session.status == "interrupted"
    assert api.delete(place).status_code == 200
    assert api.get(f"{place}/image").status_code == 409


def test_a_back_off_ends_when_its_design_is_cancelled(api: httpx.Client, room: bytes, standin: Any) -> None:
    standin.faults.always("vision", faults.rate_limited(after_s=50))
    place = post(api, room, later=True).headers["location"]
    until(lambda: standin.requests("vision"))
    api.delete(place)

    assert ended(api, place)["state"] == "cancelled"
    assert len(standin.requests("vision")) == 1


def test_what_its_client_left_is_cancelled_before_the_next_paid_step(
    api: httpx.Client, room: bytes, standin: Any
) -> None:
    standin.faults.next("vision", LONG)
    with pytest.raises(httpx.ReadTimeout):
        post(api, room, timeout=httpx.Timeout(10, read=0.4))

    until(lambda: "interrupted" in set(perfdb.History().sessions()["status"]))
    assert not standin.requests("search")
    assert not standin.requests("image")


def test_one_that_waits_is_cancelled_at_once_and_never_begins(serve: Any, room: bytes, standin: Any) -> None:
    api = serve(max_designs=1)
    standin.faults.next("vision", LONG)
    first = post(api, room, later=True).headers["location"]
    until(lambda: api.get(first).json()["state"] == "running")
    second = post(api, room, later=True).headers["location"]
    assert api.get(second).json()["position"] == 0

    answer = api.delete(second)

    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    assert ended(api, first)["state"] == "completed"
    assert len(perfdb.History().sessions()) == 1


def test_beyond_the_queue_it_says_when_to_come_again(serve: Any, room: bytes, standin: Any) -> None:
    api = serve(max_designs=1, max_queued_designs=1)
    standin.faults.next("vision", LONG)
    places = [post(api, room, later=True).headers["location"] for _ in range(2)]

    answer = post(api, room)

    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "busy"
    assert int(answer.headers["retry-after"]) >= 1
    assert {ended(api, place)["state"] for place in places} == {"completed"}
    assert post(api, room).status_code == 200


def test_a_client_has_only_so_many_at_a_time_and_an_hour(serve: Any, room: bytes, standin: Any) -> None:
    api = serve(max_client_designs=1, max_client_designs_per_hour=2)
    standin.faults.next("vision", LONG)
    place = post(api, room, later=True).headers["location"]

    assert post(api, room).status_code == 429
    ended(api, place)
    assert post(api, room).status_code == 200
    answer = post(api, room)
    assert answer.status_code == 429
    assert "within an hour" in answer.json()["error"]["message"]
    assert 3000 < int(answer.headers["retry-after"]) <= 3600


def test_searches_of_all_designs_together_are_limited(serve: Any, room: bytes, standin: Any) -> None:
    api = serve(max_searches=2)
    standin.faults.always("search", faults.slow(0.05))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(api, room), range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4
    moments = [(each.start, 1) for each in standin.requests("search")]
    moments += [(each.end, -1) for each in standin.requests("search")]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert most <= 2


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Basic c2VjcmV0", "Bearer", "secret", "Bearer sécret"]
)
def test_with_a_token_only_who_shows_it_is_answered(serve: Any, room: bytes, header: str | None) -> None:
    api = serve(service_token="secret")
    headers = {} if header is None else {"Authorization": header.encode()}

    refused = post(api, room, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert api.get("/designs/1", headers=headers).status_code == 401
    assert api.get("/health").status_code == 200
    right = {"Authorization": "Bearer secret"}
    answer = post(api, room, headers=right)
    assert answer.status_code == 200
    assert api.get(f"{answer.headers['content-location']}/image", headers=right).status_code == 200
    assert len(perfdb.History().sessions()) == 1


def test_inside_of_another_app_the_token_counts_as_well(served: Any, make_pathway: Any, room: bytes) -> None:
    outer = FastAPI()
    outer.mount("/rooms", create_app(lambda: make_pathway(service_token="secret")))
    api = served(outer)
    picture = {"image": ("room.jpg", room, "image/jpeg")}

    assert api.get("/rooms/health").status_code == 200
    assert api.post("/rooms/designs", files=picture).status_code == 401
    api.headers["Authorization"] = "Bearer secret"
    answer = api.post("/rooms/designs?async=true", files=picture)
    assert answer.headers["location"].startswith("/rooms/designs/")
    assert ended(api, answer.headers["location"])["links"]["image"].startswith("/rooms/designs/")


@pytest.mark.parametrize("path", ["/designs/", "//designs", "/Designs", "/designs/../health", "/anything"])
def test_without_the_token_nothing_but_health_is_asked(serve: Any, path: str) -> None:
    api = serve(service_token="secret")
    with socket.create_connection((api.base_url.host, api.base_url.port)) as raw:
        raw.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        assert b" 401 " in raw.recv(100)


def test_the_decoding_of_an_upload_is_a_step_of_its_session(api: httpx.Client, room: bytes) -> None:
    answer = post(api, room)

    session = perfdb.History().session("last")
    upload = session.steps[0]
    assert upload.step_name == "Upload"
    assert upload.additional_data["image_width"] == 640
    assert "Upload" not in answer.json()["data"]["step_durations"]
    assert f"dur={upload.duration * 1000:.1f}" in answer.headers["server-timing"].split(",")[0]


def test_an_upload_that_turns_out_to_be_broken_is_no_failed_design(api: httpx.Client, room: bytes) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(room)).save(file, "PNG")
    picture = bytearray(file.getvalue())
    picture[len(picture) // 2 : len(picture) // 2 + 400] = bytes(400)  # its header and its end are right

    answer = post(api, bytes(picture))

    assert answer.status_code == 422
    assert answer.json()["error"]["step"] == "Upload"
    session = perfdb.History().session("last")
    assert session.status == "interrupted"
    assert "broken" in str(session.error_message)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_an_upload_that_is_cut_off_begins_no_session(api: httpx.Client, room: bytes, share: float) -> None:
    assert post(api, room[: int(len(room) * share)]).status_code == 422
    assert len(perfdb.History().sessions()) == 0


def test_health_does_not_wait_for_threads_that_begin(api: httpx.Client, room: bytes) -> None:
    post(api, room)  # the pathway is there now
    answers: list[httpx.Response] = []
    posting = [threading.Thread(target=lambda: answers.append(post(api, room))) for _ in range(3)]
    # whoever begins a thread of any pool holds this lock meanwhile, which takes long on a busy machine
    with concurrent.futures.thread._global_shutdown_lock:
        for thread in posting:
            thread.start()
        for _ in range(20):
            assert api.get("/health", timeout=30).status_code == 200
            assert api.get("/designs/unknown", timeout=30).status_code == 404
            time.sleep(0.05)
    for thread in posting:
        thread.join(60)

    assert [answer.status_code for answer in answers] == [200] * 3


def test_what_was_used_is_in_the_report(api: httpx.Client, room: bytes) -> None:
    answer = post(api, room)

    usage = perfdb.History().session("last").attributes["usage"]
    assert usage["output_tokens"] > 100
    assert usage["cost"] is None
    used = dict(each.split("=") for each in answer.headers["Design-Usage"].split(", "))
    assert used == {name: str(value) for name, value in usage.items() if value is not None}


class Waiting:
    """A pathway whose designs end when they are let go, in place of one whose services are slow."""

    def __init__(self, **changes: Any) -> None:
        self.settings = PathwaySettings(**changes)
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)

    def generate(self, image: Any, **_: Any) -> dict[str, Any]:
        self.begun.release()
        assert self.go.wait(60)
        data = {"final_design": None, "products_info": [], "performance_report": None}
        return {"success": True, "data": data | {"total_duration": 0.0, "step_durations": {}}}

    def close(self) -> None:
        pass


def test_health_answers_while_every_thread_has_a_design(served: Any, room: bytes) -> None:
    """With a thread of the framework's for each request 40 designs take them all, and health waits."""
    pathway: Any = Waiting(max_designs=5, max_queued_designs=55)
    api = served(create_app(lambda: pathway))
    with ThreadPoolExecutor(60) as pool:
        answers = [pool.submit(post, api, room) for _ in range(60)]
        for _ in range(5):
            assert pathway.begun.acquire(timeout=30)
        assert api.get("/health").json()["status"] == "ok"
        assert post(api, b"hello").status_code in (415, 503)
        assert not any(answer.done() for answer in answers)
        pathway.go.set()
        assert {answer.result().status_code for answer in answers} == {200}


def open_files() -> set[str]:
    """Return the sockets of this process, and its files that have no name any more."""
    found = set()
    for each in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{each}")
        except OSError:
            continue
        if target.startswith("socket:") or target.endswith("(deleted)"):
            found.add(target)
    return found


def left_of(before: set[threading.Thread]) -> list[str]:
    ours = ("perfdb-design", "perfdb-map", "AnyIO")
    return [each.name for each in set(threading.enumerate()) - before if each.name.startswith(ours)]


def test_many_designs_under_faults_leave_nothing_behind(
    served: Any, room: bytes, home: Path, make_pathway: Any
) -> None:
    before, threads = open_files(), set(threading.enumerate())
    statuses: list[int | None] = []
    with StandIn(time_scale=0.001) as standin:
        standin.faults.sometimes("vision", 0.2, faults.server_error(503))
        standin.faults.sometimes("search", 0.2, faults.DROPPED)
        standin.faults.sometimes("thumbnail", 0.2, faults.TRUNCATED)
        standin.faults.sometimes("image", 0.3, faults.moderation_blocked())
        settings = standin.settings(max_designs=6, composite_width=640)
        recorded = load(console=False, monitor=False, wait_s=30)
        api = served(create_app(lambda: RealProductsPathway(settings, perfdb_settings=recorded)))

        def one(number: int) -> int | None:
            if number % 6 == 5:  # goes away, whenever that is
                with suppress(httpx.HTTPError):
                    post(api, room, timeout=httpx.Timeout(30, read=0.001 * number))
                return None
            return post(api, room).status_code

        with ThreadPoolExecutor(24) as pool:
            statuses = list(pool.map(one, range(24)))
        served.stop()

    assert {status for status in statuses if status} <= {200, 422, 502}
    found = perfdb.History().sessions(last=100)
    assert set(found["status"]) <= {"completed", "failed", "interrupted"}
    completed, failed = (list(found["status"]).count(word) for word in ("completed", "failed"))
    assert statuses.count(200) <= completed <= statuses.count(200) + statuses.count(None)
    assert failed >= sum(status in (422, 502) for status in statuses)
    assert len(list((home / "designs").glob("*.png"))) == completed
    until(lambda: not left_of(threads))
    until(lambda: gc.collect() is not None and open_files() <= before)
