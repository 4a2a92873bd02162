"""Half a success says what is missing, and below the minimum it is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.pathway.standin import faults
from perfdb.pathway.standin.named import named

NOT_FOUND = named("thumbnail", "not-found")


def test_what_is_missing_stands_in_response_report_and_session(
    pathway: Any, room: bytes, standin: Any
) -> None:
    standin.faults.next("thumbnail", *[NOT_FOUND] * 2)
    standin.faults.next("search", faults.serpapi_error(400, "Missing query."))

    response = pathway.generate(room)

    expected = [
        {"step": "Product Search", "reason": "SerpAPI failed (400): Missing query.", "count": 1},
        {"step": "Composite Creation", "reason": "the shop answered 404", "count": 2},
    ]
    assert response["success"] is True
    assert response["data"]["warnings"] == expected
    report = json.loads(Path(response["data"]["performance_report"]).read_text(encoding="utf-8"))
    assert report["attributes"]["warnings"] == expected
    assert perfdb.History().session("last").attributes["warnings"] == expected


def test_a_whole_success_has_no_warnings(pathway: Any, room: bytes) -> None:
    assert "warnings" not in pathway.generate(room)["data"]


def test_an_empty_sheet_is_a_failure_before_it_is_paid_for(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("thumbnail", NOT_FOUND)

    response = pathway.generate(room)

    assert (response["success"], response["error"]["step"]) == (False, "Composite Creation")
    assert "only 0 of 6 products have a picture" in response["error"]["message"]
    assert response["data"]["warnings"][0]["count"] == 6
    assert standin.pictures_made == 0


@pytest.mark.parametrize(("least", "success"), [(5, True), (6, False), (16, False)])
def test_the_minimum_of_products_is_a_setting(
    make_pathway: Any, room: bytes, standin: Any, least: int, success: bool
) -> None:
    standin.faults.next("search", faults.serpapi_error(400, "Missing query."))

    response = make_pathway(min_products=least).generate(room)

    assert response["success"] is success
    if not success:
        assert f"min_products = {least}" in response["error"]["message"]
        assert response["error"]["step"] == "Product Search"


def test_the_minimum_counts_what_is_on_the_sheet(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("thumbnail", NOT_FOUND)

    response = make_pathway(min_products=6).generate(room)

    assert "only 5 of 6 products have a picture" in response["error"]["message"]


def test_none_is_needed_when_the_minimum_is_0(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("thumbnail", NOT_FOUND)

    response = make_pathway(min_products=0).generate(room)

    assert response["success"] is True
    assert response["data"]["warnings"][0]["count"] == 6


@pytest.mark.parametrize("name", ["dropped", "truncated", "html", "rate-limited", "server-error"])
def test_a_thumbnail_is_tried_again_as_a_search_is(
    pathway: Any, room: bytes, standin: Any, name: str
) -> None:
    standin.faults.next("thumbnail", named("thumbnail", name))

    response = pathway.generate(room)

    assert "warnings" not in response["data"]
    assert len(standin.requests("thumbnail")) == 7


def test_a_thumbnail_that_is_not_there_is_not(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("thumbnail", NOT_FOUND)
    pathway.generate(room)

    assert len(standin.requests("thumbnail")) == 6


def test_a_failed_session_says_it_too(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("search", faults.serpapi_error(400, "Missing query."))
    standin.faults.always("image", faults.insufficient_quota())

    pathway.generate(room)

    session = perfdb.History().session("last")
    assert session.status == "failed"
    assert session.attributes["warnings"][0]["step"] == "Product Search"


def test_when_to_ask_again_is_passed_on(pathway: Any, room: bytes, standin: Any) -> None:
    for kind in ("vision", "search", "image"):
        standin.faults.clear()
        standin.faults.always(kind, faults.rate_limited(after_s=200))
        assert pathway.generate(room)["error"]["retry_after_s"] == 200


@pytest.mark.parametrize(
    "value", ["1e400", "nan", "-1", "99999999999", "soon", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_a_time_to_wait_that_is_nonsense_is_none(
    make_pathway: Any, room: bytes, standin: Any, value: str
) -> None:
    standin.faults.always("vision", faults.Fault(status=429, body={}, headers={"retry-after": value}))

    assert "retry_after_s" not in make_pathway(max_attempts=2).generate(room)["error"]
