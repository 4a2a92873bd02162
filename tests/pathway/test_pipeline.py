"""The pathway with the real SDKs against the stand-in services.

Of: pathway/generation.py, pathway/retries.py, pathway/search.py.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import perfdb
from perfdb.pathway import standin as stand_in_package
from perfdb.pathway.standin import faults
from perfdb.pathway.standin.named import named
from perfdb.pathway.standin.pictures import draw_room
from perfdb.vocabulary import DESIGN_STEPS

ONE_BY_ONE = "data:image/png;base64," + base64.b64encode(b"no picture").decode()


def test_a_design_answers_in_the_documented_shape(pathway: Any, room: bytes) -> None:
    response = pathway.generate(room, design_style="modern", design_type="interior redesign")

    assert list(response) == ["success", "data"]
    assert response["success"] is True
    data = response["data"]
    assert list(data) == [
        "final_design",
        "products_info",
        "performance_report",
        "total_duration",
        "step_durations",
    ]
    assert tuple(data["step_durations"]) == DESIGN_STEPS
    assert sum(data["step_durations"].values()) <= data["total_duration"]
    assert data["performance_report"].startswith("performance_tracking/performance_report_")
    assert len(data["products_info"]) == 6
    with Image.open(data["final_design"]) as design:
        assert design.size == (1536, 1024)


def test_the_design_is_a_session_in_the_history(pathway: Any, room: bytes) -> None:
    response = pathway.generate(room, design_style="japandi")

    session = perfdb.History().session("last")
    assert session.status == "completed"
    assert session.product_count == len(response["data"]["products_info"])
    assert session.attributes["design_style"] == "japandi"
    assert session.total_duration == pytest.approx(response["data"]["total_duration"], abs=1e-6)


def test_each_step_records_its_metrics(pathway: Any, room: bytes, steps_of: Any) -> None:
    response = pathway.generate(room, design_style="modern", design_type="interior redesign")
    (vision,), (search,), (composite,), (generation,) = (steps_of(response)[name] for name in DESIGN_STEPS)

    seen = vision["additional_data"]
    assert (seen["design_style"], seen["design_type"], seen["model"]) == (
        "modern",
        "interior redesign",
        "gpt-4o",
    )
    assert seen["input_tokens"] > 1000
    assert seen["output_tokens"] > 100
    assert seen["image_sha256"] == hashlib.sha256(room).hexdigest()
    assert search["additional_data"]["products_found"] == 6
    assert search["additional_data"]["parallel_workers"] == 6
    assert composite["additional_data"]["product_count"] == 6
    assert composite["additional_data"]["skipped_thumbnails"] == 0
    assert composite["additional_data"]["image_processing_time"] > 0
    made = generation["additional_data"]
    assert (made["quality"], made["size"]) == ("high", "1536x1024")
    assert (seen["cached_tokens"], made["image_tokens"], made["images"]) == (0, 388, 1)
    assert made["image_generation_time"] > 0
    assert (
        made["output_sha256"]
        == hashlib.sha256(Path(response["data"]["final_design"]).read_bytes()).hexdigest()
    )


def use(response: Any) -> dict[str, Any]:
    """Return what its report says that it used."""
    report = json.loads(Path(response["data"]["performance_report"]).read_text(encoding="utf-8"))
    used: dict[str, Any] = report["attributes"]["usage"]
    return used


def tokens(response: Any) -> tuple[int, int]:
    used = use(response)
    return used["input_tokens"], used["output_tokens"]


@pytest.mark.parametrize(("kind", "name"), [("vision", "content-number"), ("image", "half-picture")])
def test_what_is_asked_for_again_is_paid_for_again(
    pathway: Any, room: bytes, standin: Any, steps_of: Any, kind: str, name: str
) -> None:
    standin.faults.next(kind, *[named(kind, name)] * 2)

    response = pathway.generate(room)

    steps = steps_of(response)
    vision, image = (steps[step][0]["additional_data"] for step in ("Vision Analysis", "Image Generation"))
    assert response["success"]
    assert tokens(response) == (
        vision["input_tokens"] + image["input_tokens"],
        vision["output_tokens"] + image["output_tokens"],
    )
    if kind == "vision":
        assert 3 * 1100 <= vision["input_tokens"] <= 3 * 1160
        assert (image["input_tokens"], image["pictures"]) == (440, 1)
    else:
        assert (image["input_tokens"], image["output_tokens"]) == (3 * 440, 3 * 6200)
        assert use(response)["images"] == standin.pictures_made == 3


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("vision", faults.Fault(variant="content-number")),
        ("vision", faults.REFUSAL),
        ("image", faults.Fault(variant="half-picture")),
    ],
)
def test_what_a_failed_design_used_is_reported(
    pathway: Any, room: bytes, standin: Any, kind: str, fault: faults.Fault
) -> None:
    standin.faults.always(kind, fault)

    response = pathway.generate(room)

    assert not response["success"]
    assert tokens(response)[0] > 1100


@pytest.mark.parametrize("status", [200, 400, 500])
def test_tokens_of_an_answer_without_anything_else_count(
    make_pathway: Any, room: bytes, standin: Any, status: int
) -> None:
    body = {"error": {"message": "no"}, "data": [], "usage": {"input_tokens": 7, "output_tokens": 5}}
    standin.faults.always("image", faults.Fault(status=status, body=body))
    response = make_pathway(max_attempts=1).generate(room)

    assert not response["success"]
    assert tokens(response)[0] % 1000 > 100
    step = perfdb.History().session("last").steps[-1]
    assert (step.additional_data["input_tokens"], step.additional_data["output_tokens"]) == (7, 5)


def test_a_picture_that_is_made_once_is_counted_once(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("image", faults.Fault(variant="half-picture"))

    response = make_pathway(image_idempotency_header="Idempotency-Key").generate(room)

    assert use(response)["images"] == standin.pictures_made == 1
    assert tokens(response)[0] < 440 + 1160


def test_searches_that_are_asked_again_are_counted(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("search", named("search", "wrong-rows"), faults.server_error(500))

    response = pathway.generate(room)

    answered = [served for served in standin.requests("search") if served.status == 200]
    assert use(response)["searches"] == len(answered) == 7


def test_fast_mode_is_smaller_everywhere(pathway: Any, room: bytes, steps_of: Any, standin: Any) -> None:
    response = pathway.generate(room, fast_mode=True)
    steps = steps_of(response)

    assert response["success"]
    assert steps["Vision Analysis"][0]["additional_data"]["model"] == "gpt-4o-mini"
    assert len(steps["Product Query"]) == 3
    assert len(standin.requests("search")) == 3
    assert steps["Image Generation"][0]["additional_data"]["size"] == "1024x1024"


def test_searches_run_in_parallel_below_their_step(
    pathway: Any, room: bytes, steps_of: Any, standin: Any
) -> None:
    standin.faults.next("search", *[faults.slow(0.15)] * 6)

    steps = steps_of(pathway.generate(room))

    parent = steps["Product Search"][0]["seq"]
    queries = steps["Product Query"]
    assert {query["parent_seq"] for query in queries} == {parent}
    assert len({query["lane"] for query in queries}) == 6
    assert max(query["start_time"] for query in queries) < min(query["end_time"] for query in queries)


def test_each_query_is_named_on_the_console(
    standin: Any, home: Path, room: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    from perfdb.pathway import RealProductsPathway
    from perfdb.settings import load

    settings = load(console=True, monitor=False, wait_s=30)
    with RealProductsPathway(standin.settings(), perfdb_settings=settings) as pathway:
        response = pathway.generate(room)

    lines = capsys.readouterr().out.splitlines()
    started = {line for line in lines if "Starting step: Product Query: " in line}
    completed = [line for line in lines if "Completed step: Product Query: " in line]
    assert (len(started), len(completed)) == (6, 6)
    assert "   🔍 Starting step: Product Search" in lines
    assert any(re.fullmatch(r"   ✅ Completed step: Product Search \(\d+\.\d\ds\)", line) for line in lines)
    assert response["success"]


def test_retries_are_attempts_with_the_back_off_apart(
    pathway: Any, room: bytes, steps_of: Any, standin: Any
) -> None:
    standin.faults.next("vision", faults.rate_limited(after_s=0.08), faults.server_error(503))

    response = pathway.generate(room)

    assert response["success"]
    attempts = steps_of(response)["Vision Analysis"][0]["attempts"]
    assert [attempt["success"] for attempt in attempts] == [False, False, True]
    assert attempts[1]["wait"] >= 0.08
    assert "rate limiting (429 rate_limit_exceeded)" in attempts[0]["error_message"]


def test_a_search_is_tried_again(pathway: Any, room: bytes, steps_of: Any, standin: Any) -> None:
    standin.faults.next("search", faults.rate_limited(after_s=0.05))

    response = pathway.generate(room)

    retried = [query for query in steps_of(response)["Product Query"] if len(query["attempts"]) > 1]
    assert len(retried) == 1
    assert retried[0]["attempts"][1]["wait"] >= 0.05
    assert len(response["data"]["products_info"]) == 6


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.insufficient_quota(), "quota is used up"),
        (faults.unauthorized(), "OPENAI_API_KEY"),
        (faults.model_not_found("gpt-4o"), "set vision_model under [pathway]"),
        (faults.CUT_JSON, "vision_max_tokens"),
        (faults.REFUSAL, "refused the picture"),
        (faults.rate_limited(after_s=900), "rate limiting"),
    ],
)
def test_what_no_retry_can_help_fails_at_once(
    pathway: Any, room: bytes, standin: Any, fault: faults.Fault, words: str
) -> None:
    standin.faults.always("vision", fault)

    response = pathway.generate(room)

    assert response["success"] is False
    assert words in response["error"]["message"]
    assert response["error"]["step"] == "Vision Analysis"
    assert len(standin.requests("vision")) == 1


def test_a_failure_brings_the_same_performance_data(
    pathway: Any, room: bytes, steps_of: Any, standin: Any
) -> None:
    standin.faults.always("image", faults.server_error())

    response = pathway.generate(room)

    assert response["error"]["message"].endswith("(after 3 attempts)")
    assert response["data"]["final_design"] is None
    assert tuple(response["data"]["step_durations"]) == DESIGN_STEPS
    failed = steps_of(response)["Image Generation"][0]
    assert failed["success"] is False
    assert failed["error_message"] == f"ServiceError: {response['error']['message']}"
    assert perfdb.History().session("last").status == "failed"


def test_a_dropped_connection_is_tried_again(make_pathway: Any, room: bytes, standin: Any) -> None:
    for kind in ("vision", "search", "image"):
        standin.faults.next(kind, faults.DROPPED)

    assert make_pathway(image_idempotency_header="Idempotency-Key").generate(room)["success"]


def test_a_cut_off_answer_is_tried_again(make_pathway: Any, room: bytes, standin: Any) -> None:
    for kind in ("vision", "search", "image"):
        standin.faults.next(kind, faults.TRUNCATED)

    assert make_pathway(image_idempotency_header="Idempotency-Key").generate(room)["success"]


def test_a_page_instead_of_json_is_tried_again(pathway: Any, room: bytes, standin: Any) -> None:
    for kind in ("vision", "search", "image"):
        standin.faults.next(kind, faults.HTML_INSTEAD)

    assert pathway.generate(room)["success"]


def test_a_slow_answer_is_a_timeout(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("vision", faults.slow(0.5))
    pathway = make_pathway(vision_timeout_s=0.1, max_attempts=2)

    response = pathway.generate(room)

    assert "did not answer within" in response["error"]["message"]


def test_json_in_a_fence_is_read(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("vision", faults.FENCED_JSON)

    assert pathway.generate(room)["success"]


def test_no_results_at_all_say_what_was_looked_for(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("search", faults.NO_RESULTS)

    response = pathway.generate(room)

    assert "no product was found for" in response["error"]["message"]
    assert response["error"]["step"] == "Product Search"


def test_one_failing_search_does_not_fail_the_design(
    pathway: Any, room: bytes, steps_of: Any, standin: Any
) -> None:
    standin.faults.next("search", faults.serpapi_error(400, "Missing query `q` parameter."))

    response = pathway.generate(room)

    assert len(response["data"]["products_info"]) == 5
    assert steps_of(response)["Product Search"][0]["additional_data"]["failed_queries"] == 1


def test_an_account_without_searches_is_not_tried_again(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("search", faults.serpapi_error(429, "Your account has run out of searches."))

    response = pathway.generate(room)

    assert "run out of searches" in response["error"]["message"]
    assert len(standin.requests("search")) == 6


def test_broken_thumbnails_are_skipped_and_counted(
    make_pathway: Any, room: bytes, steps_of: Any, standin: Any
) -> None:
    pathway = make_pathway(max_attempts=1)
    standin.faults.next(
        "thumbnail",
        faults.TRUNCATED,
        faults.HTML_INSTEAD,
        faults.Fault(status=404, body="not found"),
        faults.Fault(variant="huge"),
    )

    response = pathway.generate(room)

    composite = steps_of(response)["Composite Creation"][0]["additional_data"]
    assert response["success"]
    assert (composite["product_count"], composite["skipped_thumbnails"]) == (2, 4)


def test_a_repeated_search_is_known_as_cached(pathway: Any, room: bytes, steps_of: Any, standin: Any) -> None:
    standin.latency.time_scale = 0.01
    steps_of(pathway.generate(room, fast_mode=True))
    standin._numbers.clear()  # the same room again: the same queries

    queries = steps_of(pathway.generate(room, fast_mode=True))["Product Query"]

    assert [query["additional_data"]["cached"] for query in queries] == [True] * 3


def test_a_broken_picture_is_a_failed_answer_with_a_reason(pathway: Any, room: bytes) -> None:
    response = pathway.generate(room[: len(room) // 2])

    assert "cut off or broken" in response["error"]["message"]
    assert response["error"]["status"] == 422


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_half_a_picture_of_the_image_model_is_no_success(
    pathway: Any, room: bytes, standin: Any, home: Path, format_: str
) -> None:
    file = io.BytesIO()
    draw_room(800, 600, furnished=True).save(file, format_)
    half = base64.b64encode(file.getvalue()[: len(file.getvalue()) // 2]).decode()
    standin.faults.always(
        "image", faults.Fault(status=200, body={"created": 1, "data": [{"b64_json": half}]})
    )

    response = pathway.generate(room)

    assert response["success"] is False
    assert "not a complete picture" in response["error"]["message"]
    assert response["data"]["final_design"] is None
    assert [*home.glob("designs/*.*")] == []


def test_no_key_reaches_disk_or_screen(
    pathway: Any, room: bytes, standin: Any, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    standin.faults.next("vision", faults.unauthorized(pathway.settings.openai_api_key))
    answers = [pathway.generate(room, summary=True)]
    standin.faults.always("search", faults.serpapi_error(401, f"bad key {pathway.settings.serpapi_api_key}"))
    answers.append(pathway.generate(room))
    standin.faults.always("search", faults.DROPPED)
    answers.append(pathway.generate(room))

    everything = repr(answers) + repr(pathway.settings) + "".join(capfd.readouterr())
    written = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert not any(answer["success"] for answer in answers)
    for key in (pathway.settings.openai_api_key, pathway.settings.serpapi_api_key):
        assert key not in everything
        assert key.encode() not in written


def test_several_threads_may_share_a_pathway(pathway: Any, room: bytes, steps_of: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda style: pathway.generate(room, design_style=style), "abcdefgh"))

    assert all(response["success"] for response in responses)
    assert len({response["data"]["performance_report"] for response in responses}) == 8
    for response in responses:
        assert len(steps_of(response)["Product Query"]) == 6


def test_more_requests_than_the_service_takes_are_answered_429(home: Path, room: bytes) -> None:
    with stand_in_package.StandIn(concurrency_limit=0) as server, server_pathway(server) as pathway:
        assert "rate limiting" in pathway.generate(room)["error"]["message"]


def server_pathway(server: Any) -> Any:
    from perfdb.pathway import RealProductsPathway
    from perfdb.settings import load

    return RealProductsPathway(
        server.settings(), perfdb_settings=load(console=False, monitor=False, wait_s=30)
    )
