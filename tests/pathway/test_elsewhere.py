"""A design is made by one process of a service; the others tell of it what the history knows."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

import perfdb
from perfdb.pathway import elsewhere
from perfdb.pathway.api import create_app
from perfdb.pathway.standin import faults
from perfdb.pathway.standin.named import named

LATER = {"Prefer": "respond-async"}


@pytest.fixture
def workers(served: Any, make_pathway: Any) -> tuple[httpx.Client, httpx.Client]:
    """Return two services that know nothing of each other but the history."""
    first, second = (served(create_app(make_pathway)) for _ in range(2))
    return first, second


def begin(api: httpx.Client, room: bytes) -> str:
    answer = api.post("/designs", files={"image": ("room.jpg", room, "image/jpeg")}, headers=LATER)
    assert answer.status_code == 202
    return str(answer.headers["Location"])


def state_when(api: httpx.Client, place: str, *states: str) -> dict[str, Any]:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        answer = api.get(place)
        if answer.status_code == 200 and answer.json()["state"] in states:
            state: dict[str, Any] = answer.json()
            return state
        time.sleep(0.05)
    raise AssertionError(f"{place} is never {states}: {answer.text}")


def test_a_design_that_was_made_elsewhere_is_read_from_the_history(
    workers: tuple[httpx.Client, httpx.Client], room: bytes
) -> None:
    first, second = workers
    place = begin(first, room)
    own = state_when(first, place, "completed")

    found = state_when(second, place, "completed")

    assert (own["here"], found["here"]) == (True, False)
    for name in ("id", "session_id", "state", "usage", "links", "step", "position", "cancelling"):
        assert found[name] == own[name]
    assert abs(found["created_at"] - own["created_at"]) < 2
    assert found["result"] is None
    assert second.get(f"{place}/image").content == first.get(f"{place}/image").content
    assert second.delete(place).json()["state"] == "completed"


def test_one_that_is_made_elsewhere_runs_and_cannot_be_called_off_here(
    workers: tuple[httpx.Client, httpx.Client], room: bytes, standin: Any
) -> None:
    standin.faults.next("image", faults.slow(8))
    first, second = workers
    place = begin(first, room)

    found = state_when(second, place, "running")

    assert (found["ended_at"], found["links"]["image"]) == (None, None)
    assert second.get(f"{place}/image").json()["error"]["type"] == "not_ready"
    refused = second.delete(place)
    assert (refused.status_code, refused.json()["error"]["type"]) == (409, "elsewhere")
    assert first.delete(place).status_code == 202
    assert state_when(second, place, "cancelled", "completed")["session_id"] == found["session_id"]


def test_a_failed_one_is_failed_everywhere(
    workers: tuple[httpx.Client, httpx.Client], room: bytes, standin: Any
) -> None:
    standin.faults.always("image", named("image", "moderation"))
    first, second = workers
    place = begin(first, room)
    state_when(first, place, "failed")

    assert state_when(second, place, "failed")["links"]["image"] is None
    assert second.get(f"{place}/image").status_code == 409


def test_one_that_nobody_tells_of_yet_is_to_be_asked_for_again(
    workers: tuple[httpx.Client, httpx.Client], room: bytes
) -> None:
    first, _ = workers
    begin(first, room)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/image")):
        young = first.request(method, f"/designs/{elsewhere.new_id()}{path}")
        old = first.request(method, f"/designs/20200101_000000_{'a' * 32}{path}")
        strange = first.request(method, f"/designs/..%2f..%2fetc{path}")
        assert (young.status_code, old.status_code, strange.status_code) == (404, 404, 404)
        assert young.headers["Retry-After"]
        assert "Retry-After" not in old.headers


def test_who_reads_the_history_learns_no_id(workers: tuple[httpx.Client, httpx.Client], room: bytes) -> None:
    first, second = workers
    place = begin(first, room)
    session_id = state_when(first, place, "completed")["session_id"]

    session = perfdb.History().session(session_id)
    assert place.rpartition("_")[2] not in repr(session)
    assert second.get(f"/designs/{session_id}").status_code == 404
    wrong = place[:-1] + ("0" if place[-1] != "0" else "1")
    assert second.get(wrong).status_code == 404
