"""Searches that were made already: asked once, distinguished in the history."""

from __future__ import annotations

from typing import Any

from perfdb.pathway.search_cache import SearchCache
from perfdb.pathway.standin import faults


def test_an_answer_is_kept_for_its_time() -> None:
    now = [100.0]
    cache: SearchCache[str] = SearchCache(60.0, lambda: now[0])
    cache.put("sofa", "found")

    now[0] += 59
    assert cache.get("sofa") == ("found", 59.0)
    now[0] += 2
    assert cache.get("sofa") is None
    assert cache.get("lamp") is None


def test_nothing_is_kept_unless_it_is_set() -> None:
    cache: SearchCache[str] = SearchCache(0.0)
    cache.put("sofa", "found")

    assert cache.get("sofa") is None


def test_the_cache_does_not_grow_for_ever() -> None:
    cache: SearchCache[int] = SearchCache(60.0)
    for number in range(1_500):
        cache.put(number, number)
        cache.get(0)

    assert cache.get(0) is not None
    assert cache.get(1) is None
    assert cache.get(1_499) is not None


def test_a_repeated_search_is_not_asked_again(
    make_pathway: Any, room: bytes, steps_of: Any, standin: Any
) -> None:
    pathway = make_pathway(search_cache_s=600)
    first = pathway.generate(room, fast_mode=True)
    asked = len(standin.requests("search"))
    standin._numbers.clear()  # the same room again: the same queries

    again = pathway.generate(room, fast_mode=True)

    assert len(standin.requests("search")) == asked == 3
    assert again["data"]["products_info"] == first["data"]["products_info"]
    steps = steps_of(again)
    for query in steps["Product Query"]:
        assert query["additional_data"]["cached"] is True
        assert query["additional_data"]["cache_age_s"] >= 0
    assert steps["Product Search"][0]["additional_data"]["cached"] is True
    assert steps["Product Search"][0]["additional_data"]["cached_queries"] == 3


def test_failed_and_empty_searches_are_asked_again(make_pathway: Any, room: bytes, standin: Any) -> None:
    pathway = make_pathway(search_cache_s=600, max_attempts=1)
    standin.faults.next("search", faults.NO_RESULTS, faults.server_error(500))
    pathway.generate(room, fast_mode=True)
    standin._numbers.clear()

    assert len(pathway.generate(room, fast_mode=True)["data"]["products_info"]) == 3
    assert len(standin.requests("search")) == 5


def test_every_search_is_asked_without_the_setting(pathway: Any, room: bytes, standin: Any) -> None:
    for _ in range(2):
        standin._numbers.clear()
        pathway.generate(room, fast_mode=True)

    assert len(standin.requests("search")) == 6
