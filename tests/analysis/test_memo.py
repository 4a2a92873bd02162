"""What is kept goes by its content, and no more is kept than was said; and an answer is never an old one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from perfdb.analysis.bottlenecks import bottlenecks, replayed_walls
from perfdb.analysis.memo import Memo, digest

Make = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
CONTENTS = st.lists(st.none() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text())


@given(CONTENTS, CONTENTS)
def test_equal_contents_have_one_digest_and_others_have_others(
    one: list[object], other: list[object]
) -> None:
    copied = ["".join(each) if isinstance(each, str) else each for each in one]
    assert digest(one) == digest(copied)
    said = [[(type(each), repr(each)) for each in content] for content in (one, other)]
    assert (digest(one) == digest(other)) == (said[0] == said[1])
    assert digest(one, other) != digest([*one, other])


def test_what_was_not_asked_for_longest_goes_first() -> None:
    memo, made = Memo[str](3), []

    def ask(name: str, weight: int = 1) -> None:
        assert memo.of(name.encode(), weight, lambda: made.append(name) or name) == name  # type: ignore[func-returns-value]

    for name in ("a", "b", "c", "a", "d", "a", "b"):
        ask(name)
    assert made == ["a", "b", "c", "d", "b"]
    ask("larger than all", weight=4)
    ask("a")
    assert made == ["a", "b", "c", "d", "b", "larger than all"]


def test_threads_that_ask_the_same_get_the_same() -> None:
    memo = Memo[int](50)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: memo.of(b"%d" % (n % 90), 1, lambda: n % 90), range(5_000)))
    assert found == [n % 90 for n in range(5_000)]


def test_a_session_that_changed_between_two_answers_is_told_as_it_is_now(make: Make) -> None:
    sessions, steps = make([{"load": 1.0, "parse": 3.0} for _ in range(12)])
    bottlenecks(sessions, steps)
    replayed_walls(sessions, steps, "load", 0.5)
    first = sessions["session_id"].iloc[0]
    of_first = steps["session_id"] == first
    changes = {
        "a step lasted longer": steps.assign(duration=steps["duration"].where(~of_first, 3.5)),
        "a step began later": steps.assign(start_time=steps["start_time"] + 0.25 * of_first),
        "a step has another name": steps.assign(step_name=steps["step_name"].where(~of_first, "load")),
        "a step is gone": steps[~(of_first & (steps["step_name"] == "load"))],
        "a session is gone": steps[~of_first],
    }
    for what, changed in changes.items():
        kept = sessions[sessions["session_id"] != first] if what == "a session is gone" else sessions
        # the same under other names was never asked for, and has nothing that is known of it
        renamed = changed.assign(step_name="~" + changed["step_name"])
        found, fresh = bottlenecks(kept, changed), bottlenecks(kept, renamed)
        fresh["step_name"] = fresh["step_name"].str.removeprefix("~")
        assert_frame_equal(found, fresh, obj=what)
        assert replayed_walls(kept, changed, "load", 0.5) == replayed_walls(kept, renamed, "~load", 0.5), what
