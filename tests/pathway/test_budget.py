"""Time-outs are totals: whatever an outside service does, a call ends in time, and so does a design."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import perfdb
from perfdb.pathway import budget, composite, generation
from perfdb.pathway.errors import DesignTimeoutError, ServiceError
from perfdb.pathway.standin import faults
from perfdb.pathway.standin.named import named
from perfdb.vocabulary import DESIGN_STEPS

TIMEOUTS = ("vision_timeout_s", "search_timeout_s", "thumbnail_timeout_s", "image_timeout_s")
STEPS = dict(zip(("vision", "search", "thumbnail", "image"), DESIGN_STEPS, strict=True))


@pytest.mark.parametrize("way", ["silent", "drip-head", "drip-body", "drip-redirects"])
@pytest.mark.parametrize("kind", ["vision", "search", "thumbnail", "image"])
def test_an_answer_in_drips_is_a_time_out(
    make_pathway: Any, room: bytes, standin: Any, kind: str, way: str
) -> None:
    standin.faults.always(kind, named(kind, way))
    pathway = make_pathway(**{f"{kind}_timeout_s": 0.4}, max_attempts=1)

    began = time.monotonic()
    response = pathway.generate(room)

    assert time.monotonic() - began < 40  # such an answer takes 100 s or more
    assert "did not answer within 0.4 s" in response["error"]["message"]
    assert (response["error"]["step"], response["error"]["status"]) == (STEPS[kind], 502)


def test_a_design_has_a_time_of_its_own(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("search", named("search", "drip-body"))
    pathway = make_pathway(design_timeout_s=4)

    began = time.monotonic()
    error = pathway.generate(room)["error"]

    assert time.monotonic() - began < 40
    assert (error["type"], error["status"], error["step"]) == ("timeout", 504, "Product Search")
    assert "design_timeout_s" in error["message"]


def test_nothing_is_paid_for_after_the_end_of_a_design(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("thumbnail", named("thumbnail", "silent"))

    error = make_pathway(design_timeout_s=5).generate(room)["error"]

    assert (error["type"], error["step"]) == ("timeout", "Composite Creation")
    assert standin.pictures_made == 0


def test_a_wait_that_is_longer_than_the_design_is_not_begun(
    make_pathway: Any, room: bytes, standin: Any
) -> None:
    standin.faults.always("vision", faults.rate_limited(after_s=30))

    began = time.monotonic()
    error = make_pathway(design_timeout_s=5).generate(room)["error"]

    assert time.monotonic() - began < 25
    assert "rate limiting" in error["message"]
    assert len(standin.requests("vision")) == 1


def test_a_call_never_has_longer_than_its_design() -> None:
    with budget.within(0.0), budget.within(60.0) as call:
        assert call.expired
        with pytest.raises(TimeoutError):
            budget.left(None)
        with pytest.raises(DesignTimeoutError):
            budget.ensure_time()
    assert budget.left(3.0) == 3.0


@pytest.mark.parametrize("kind", ["vision", "search", "thumbnail", "image"])
@pytest.mark.parametrize("way", ["endless", "error-endless"])
def test_an_endless_answer_is_cut(make_pathway: Any, room: bytes, standin: Any, kind: str, way: str) -> None:
    standin.faults.always(kind, named(kind, way))

    response = make_pathway(max_attempts=1, max_image_bytes=400_000).generate(room)

    assert response["error"]["status"] == 502
    assert response["error"]["step"] == STEPS[kind]


def test_designs_that_time_out_leave_no_thread_behind(make_pathway: Any, room: bytes, standin: Any) -> None:
    for kind in STEPS:
        standin.faults.next(kind, *[named(kind, "drip-head")] * 6)
    before = {thread for thread in threading.enumerate() if not thread.name.startswith("Thread-")}
    pathway = make_pathway(**dict.fromkeys(TIMEOUTS, 0.3), max_attempts=1)
    for _ in range(4):
        pathway.generate(room)
    pathway.close()

    left = set(threading.enumerate()) - before
    ours = [thread.name for thread in left if thread.name.startswith("perfdb-map")]
    assert ours == []


def test_a_picture_that_timed_out_is_not_paid_for_twice(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("image", faults.slow(600))

    response = make_pathway(image_timeout_s=0.4).generate(room)

    assert "it may have been made and paid for, so it is not sent again" in response["error"]["message"]
    assert standin.pictures_made == 1


@pytest.mark.parametrize("way", ["dropped", "truncated"])
def test_neither_is_one_whose_connection_was_lost(
    pathway: Any, room: bytes, standin: Any, way: str, steps_of: Any
) -> None:
    standin.faults.next("image", named("image", way))

    response = pathway.generate(room)

    assert "was lost" in response["error"]["message"]
    assert "it may have been made and paid for, so it is not sent again" in response["error"]["message"]
    assert response["error"]["status"] == 502
    assert len(steps_of(response)["Image Generation"][0]["attempts"]) == 1
    assert len(standin.requests("image")) == standin.pictures_made == 1


@pytest.mark.parametrize("way", ["dropped", "truncated"])
def test_with_an_idempotency_key_a_lost_connection_is_made_anew(
    make_pathway: Any, room: bytes, standin: Any, way: str
) -> None:
    standin.faults.next("image", named("image", way))

    response = make_pathway(image_idempotency_header="Idempotency-Key").generate(room)

    assert response["success"], response
    assert (len(standin.requests("image")), standin.pictures_made) == (2, 1)


@pytest.mark.parametrize("kind", ["vision", "search", "thumbnail"])
def test_other_calls_are_sent_again_when_their_connection_was_lost(
    pathway: Any, room: bytes, standin: Any, kind: str
) -> None:
    standin.faults.next(kind, named(kind, "dropped"))

    assert pathway.generate(room)["success"]


@pytest.mark.parametrize("status", [502, 504, 520, 524])
def test_neither_is_one_for_which_a_proxy_had_no_answer(
    pathway: Any, room: bytes, standin: Any, status: int
) -> None:
    standin.faults.always("image", faults.server_error(status))

    assert "not sent again" in pathway.generate(room)["error"]["message"]
    assert len(standin.requests("image")) == 1


def test_with_an_idempotency_key_it_is_sent_again_and_made_once(
    make_pathway: Any, room: bytes, standin: Any, steps_of: Any
) -> None:
    standin.faults.next("image", faults.slow(600))

    response = make_pathway(image_timeout_s=3, image_idempotency_header="Idempotency-Key").generate(room)

    assert response["success"], response
    assert len(steps_of(response)["Image Generation"][0]["attempts"]) >= 2
    assert standin.pictures_made == 1


def test_a_connection_that_was_never_made_is_tried_again(
    make_pathway: Any, room: bytes, standin: Any
) -> None:
    pathway = make_pathway(max_attempts=2)
    standin.close()

    error = pathway.generate(room)["error"]

    assert "could not be reached" in error["message"]
    assert error["message"].endswith("(after 2 attempts)")


def test_a_picture_that_was_never_asked_for_is_asked_for_again(
    make_pathway: Any, room: bytes, standin: Any
) -> None:
    pathway = make_pathway(max_attempts=2)
    standin.close()
    sheet = composite.Composite(room, 640, 480)
    tracker = perfdb.create_tracker(console=False)
    tracker.start_pipeline()

    with tracker.step("Image Generation") as step, pytest.raises(ServiceError, match=r"\(after 2 attempts\)"):
        generation.generate_design(
            pathway._openai, sheet, pathway.settings, step, room_type="r", design_style="s", design_type="t"
        )

    tracker.end_pipeline(success=False)
