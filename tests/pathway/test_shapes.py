"""Answers that are well-formed and make no sense end as a 502 with a reason, in a bounded response.

Of: pathway/errors.py, pathway/vision.py.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from perfdb.pathway import shapes
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.standin import faults
from perfdb.pathway.standin.named import named
from perfdb.pathway.vision import Dialect

ANYWHERE = ("empty", "list", "number", "null", "nested", "error-nonsense")
NONSENSE = [
    *((kind, name) for kind in ("vision", "search", "image") for name in ANYWHERE),
    *(("vision", name) for name in ("object", "no-message", "no-choices", "content-number", "surrogates")),
    *(("search", name) for name in ("nan-rating", "many-rows", "huge-thumbnails", "wrong-rows", "failed")),
    *(("image", name) for name in ("object", "b64-number", "b64-nonsense", "data-object", "data-empty")),
    ("image", "no-picture"),
    ("thumbnail", "empty"),
    ("thumbnail", "number"),
]


@pytest.mark.parametrize(("kind", "name"), NONSENSE)
def test_nonsense_is_a_502_with_a_reason(
    make_pathway: Any, room: bytes, standin: Any, kind: str, name: str
) -> None:
    standin.faults.always(kind, named(kind, name))

    response = make_pathway(max_attempts=2).generate(room)

    text = json.dumps(response, allow_nan=False)
    text.encode()  # no half of a character is in it
    assert len(text) < 100_000
    assert response["error"]["status"] == 502
    assert response["error"]["type"] == "service"
    assert "Traceback" not in response["error"]["message"]


@pytest.mark.parametrize("kind", ["vision", "image"])
def test_nonsense_about_tokens_is_left_out(
    pathway: Any, room: bytes, standin: Any, steps_of: Any, kind: str
) -> None:
    standin.faults.always(kind, named(kind, "usage-nonsense"))

    response = pathway.generate(room)

    assert response["success"]
    step = "Vision Analysis" if kind == "vision" else "Image Generation"
    assert "input_tokens" not in steps_of(response)[step][0]["additional_data"]


def page(*rows: Any) -> shapes.SearchAnswer:
    return shapes.read(shapes.SearchAnswer, json.dumps({"shopping_results": list(rows)}), "SerpAPI")


def test_one_row_of_nonsense_costs_only_that_row() -> None:
    rows = page({"title": "a", "rating": math.nan}, {"title": "b", "rating": 4.5}, "row", None).rows(8)

    assert [(row.title, row.rating) for row in rows] == [("b", 4.5)]


@pytest.mark.parametrize(
    "row",
    [
        {"title": "a", "rating": math.inf},
        {"title": "a", "rating": 1e9},
        {"title": "a", "extracted_price": -math.inf},
        {"title": "a", "thumbnail": "data:image/png;base64," + "A" * 70_000},
        {"title": ["a"]},
        {},
        7,
    ],
)
def test_rows_of_nonsense_only_are_an_error(row: Any) -> None:
    with pytest.raises(ServiceError, match="makes no sense") as caught:
        page(row).rows(8)
    assert "AAAA" not in str(caught.value)


def test_what_a_row_can_do_without_is_none_when_it_is_of_another_type() -> None:
    (row,) = page(
        {
            "title": "a",
            "rating": None,
            "reviews": "1.2K",
            "price": 12,
            "extracted_price": "12",
            "link": "javascript:alert(1)",
            "thumbnail": 5,
            "product_id": 99,
        }
    ).rows(8)

    assert (row.rating, row.reviews, row.extracted_price, row.link, row.thumbnail) == (None,) * 5
    assert (row.price, row.product_id) == ("12", "99")


def test_a_page_has_a_limit_of_rows() -> None:
    with pytest.raises(ServiceError, match="shopping_results"):
        page(*[{"title": "a"}] * (shapes.MAX_ROWS + 1))


def test_texts_are_one_line_without_control_characters() -> None:
    assert shapes.words("a\x00b\n\x1b[31m  c\ud800", 20) == "a b [31m c"
    assert len(shapes.words("x" * 10_000, 200)) == 200


@pytest.mark.parametrize("body", [None, 5, [1], {"error": 5}, {"error": {"message": 5, "code": [1]}}, "text"])
def test_an_error_of_any_shape_is_read(body: Any) -> None:
    assert shapes.said_in(body) == {}


# -- the parameters that a model takes ---------------------------------------------


@pytest.mark.parametrize("model", ["o3", "o4-mini", "gpt-5", "gpt-5.2-mini", "openai/gpt-5-nano"])
def test_a_model_that_thinks_is_asked_in_its_words(
    make_pathway: Any, room: bytes, standin: Any, model: str
) -> None:
    standin.strict = True

    response = make_pathway(vision_model=model, max_attempts=1).generate(room)

    assert response["success"], response["error"]
    assert len(standin.requests("vision")) == 1


def test_what_a_model_refuses_is_learned_once(make_pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.always("vision", named("vision", "refuses-max-tokens"))
    pathway = make_pathway(vision_model="house-model", max_attempts=1)

    assert pathway.generate(room)["success"]
    assert len(standin.requests("vision")) == 3  # max_tokens, then temperature, then it answers
    assert pathway.generate(room)["success"]
    assert len(standin.requests("vision")) == 4


def test_it_is_learned_from_words_when_no_parameter_is_named(
    make_pathway: Any, room: bytes, standin: Any
) -> None:
    refused = faults.openai_error(
        400, "invalid_request_error", None, "Unsupported parameter: 'max_tokens' is not supported."
    )
    standin.faults.next("vision", refused)

    assert make_pathway(max_attempts=1).generate(room)["success"]


def test_a_service_of_the_old_names_is_asked_in_those() -> None:
    dialect = Dialect.of("gpt-5")

    assert dialect.learn("max_completion_tokens")
    assert dialect.limit == "max_tokens"


def test_what_is_refused_in_both_words_is_an_error() -> None:
    dialect = Dialect.of("any")

    assert dialect.learn("max_tokens")
    assert not dialect.learn("max_completion_tokens")
    assert not dialect.learn("messages")
    assert not dialect.learn(None)


def test_a_second_thread_that_is_refused_the_same_asks_again() -> None:
    dialect = Dialect.of("any")

    assert dialect.learn("max_tokens")
    assert dialect.learn("max_tokens")
    assert dialect.limit == "max_completion_tokens"
