"""What happened around the runs: annotations that somebody made, and switches that the runs show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.errors import NotFoundError, UsageError
from perfdb.store.annotations import MOST_OF_A_KIND, annotated_at, switches
from perfdb.testing import NOON, make_history, make_session


def recorded(place: Any) -> perfdb.History:
    """A model that changes once, a commit per 40 runs, two hosts in turn, and another pipeline."""
    runs = [
        make_session(
            number,
            {"work": 1.0},
            git_commit=f"c{number // 40}",
            host=f"host-{number % 2}",
            attributes={"model": "old" if number < 70 else "new", "customer": f"c{number}"},
        )
        for number in range(120)
    ]
    other = [make_session(500 + number, pipeline="other", git_commit="else") for number in range(3)]
    return make_history(place, [*runs, *other])


def seen(history: perfdb.History, first: int, last: int) -> list[tuple[str, str, float]]:
    with history._reading() as connection:
        assert connection is not None
        found = switches(connection, "design", "{}", NOON + 60 * first, NOON + 60 * last)
    return [(each.kind, each.value, (each.at - NOON) / 60) for each in found]


def test_a_switch_is_the_first_run_with_a_value_that_those_before_did_not_have(tmp_path: Path) -> None:
    history = recorded(tmp_path)
    of_all = [("host", "host-1", 1.0), ("commit", "c1", 40.0), ("model", "new", 70.0), ("commit", "c2", 80.0)]
    assert seen(history, 0, 119) == of_all
    assert seen(history, 41, 75) == [("model", "new", 70.0)]
    assert seen(history, 90, 119) == []


def test_of_a_hundred_values_the_newest_are_told(tmp_path: Path) -> None:
    runs = [make_session(number, git_commit=f"c{number}") for number in range(100)]
    found = seen(make_history(tmp_path, runs), 0, 99)
    assert len(found) == MOST_OF_A_KIND
    assert found[-1][1] == "c99"


def test_an_annotation_is_found_by_its_words_and_its_pipeline(tmp_path: Path) -> None:
    history = recorded(tmp_path)
    made = history.annotate("  deploy \n 1.4 ", at=NOON, pipeline="design")
    history.annotate("deploy 1.5 token=ghp_abcdefghijklmnopqrstuvwxyz0123456789", at=NOON + 60)
    assert (made.text, made.at, made.pipeline) == ("deploy 1.4", NOON, "design")
    assert [each.text for each in history.annotations(pipeline="other")] == ["deploy 1.5 token=[redacted]"]
    assert [each.at for each in history.annotations(since=NOON + 1)] == [NOON + 60]
    with history._reading() as connection:
        assert connection is not None
        assert annotated_at(connection, "DEPLOY") == NOON + 60
        assert annotated_at(connection, "1.4") == NOON
        assert annotated_at(connection, "nosuch") is None
    now = history.annotate("now")
    assert abs(now.at - time.time()) < 60


@pytest.mark.parametrize("words", ["", "  ", "x" * 201])
def test_an_annotation_says_something(tmp_path: Path, words: str) -> None:
    with pytest.raises(UsageError, match="1 to 200"):
        recorded(tmp_path).annotate(words)


def test_what_is_not_there_cannot_be_annotated_or_removed(tmp_path: Path) -> None:
    history = recorded(tmp_path)
    with pytest.raises(NotFoundError, match="desing"):
        history.annotate("x", pipeline="desing")
    for number in (0, 7, -1, 1 << 70):
        with pytest.raises(NotFoundError, match="perfdb annotations"):
            history.remove_annotation(number)
