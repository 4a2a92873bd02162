"""The waterfall: shares that add up, bars in their place, lines that fit.

Of: cli/text.py.
"""

from __future__ import annotations

import re

import pytest

from perfdb.cli import text
from perfdb.cli.waterfall import waterfall
from perfdb.records import Attempt, Session, Step


@pytest.fixture(autouse=True)
def unicode_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with the full set of signs, whatever encoding the tests run under."""
    monkeypatch.setattr("perfdb.cli.waterfall.can_print", lambda _: True)
    monkeypatch.setattr("perfdb.cli.text.can_print", lambda _: True)


def step(name: str, start: float, duration: float | None, **more: object) -> Step:
    values: dict[str, object] = {"success": None if duration is None else True, **more}
    return Step(step_name=name, start_time=start, duration=duration, **values)  # type: ignore[arg-type]


def session(*steps: Step, total: float | None = 10.0, status: str = "completed") -> Session:
    return Session(
        session_id="s", pipeline="p", start_time=0.0, total_duration=total, status=status, steps=steps
    )


def draw(found: Session, *, columns: int = 80, now: float = 10.0, most: int = 60) -> list[str]:
    return list(waterfall(found, columns=columns, now=now, most=most))


def line_of(lines: list[str], name: str) -> str:
    return next(line for line in lines if name in line)


def shares(lines: list[str]) -> float:
    top = [line for line in lines if not re.search("[├└]", line)]
    return sum(float(share) for line in top for share in re.findall(r"([\d.]+) %", line))


def test_shares_of_steps_and_the_rest_are_the_whole() -> None:
    lines = draw(session(step("a", 0.0, 6.0), step("b", 6.0, 3.0, seq=1)))
    assert "60.0 %" in line_of(lines, " a ")
    assert "10.0 %" in line_of(lines, "Other")
    assert shares(lines) == pytest.approx(100.0)


def test_parallel_steps_share_the_time_they_hold_up() -> None:
    lanes = [step(f"q{n}", 0.0, float(n), seq=n, parent_seq=0, lane=n) for n in range(1, 5)]
    lines = draw(session(step("search", 0.0, 10.0), *lanes))
    assert "100.0 %" in line_of(lines, "search")
    assert "▒" in line_of(lines, "q1")
    assert "█" in line_of(lines, "q4")
    assert "beside it" in lines[-1]


def test_a_bar_stands_where_its_step_was() -> None:
    lines = draw(session(step("first", 0.0, 5.0), step("second", 5.0, 5.0, seq=1)))
    first, second = line_of(lines, "first"), line_of(lines, "second")
    assert first.rindex("█") + 1 == second.index("█")


def test_the_shortest_step_is_seen() -> None:
    lines = draw(session(step("blink", 5.0, 0.0), step("long", 0.0, 10.0, seq=1)))
    assert re.search("[█▒]", line_of(lines, "blink"))


def test_waiting_between_attempts_is_drawn_and_said() -> None:
    tries = (
        Attempt(start_time=0.0, duration=1.0, success=False, error_message="429"),
        Attempt(start_time=7.0, duration=3.0, wait=6.0),
    )
    lines = draw(session(step("search", 0.0, 10.0, attempts=tries)))
    assert "···" in line_of(lines, "search")
    assert "2 attempts, 6.00 s waiting between them" in "\n".join(lines)


def test_children_follow_their_parent() -> None:
    lines = draw(
        session(step("a", 0.0, 5.0), step("b", 5.0, 5.0, seq=1), step("inner", 1.0, 1.0, seq=2, parent_seq=0))
    )
    names = [line[2:].split()[0] for line in lines[1:4]]
    assert names == ["a", "└", "b"]


def test_guides_and_depth_show_what_belongs_to_what() -> None:
    deep = session(
        step("a", 0.0, 5.0),
        step("b", 0.0, 2.0, seq=1, parent_seq=0),
        step("c", 0.0, 1.0, seq=2, parent_seq=1),
        step("d", 2.0, 3.0, seq=3, parent_seq=0),
        step("e", 5.0, 5.0, seq=4),
    )
    names = [re.match(r"..([│├└ ]*\w)", line)[1] for line in draw(deep)[1:6]]  # type: ignore[index]
    assert names == ["a", "├ b", "│ └ c", "└ d", "e"]
    lines = list(waterfall(deep, columns=80, now=10.0, most=60, depth=1))
    assert [line[2] for line in lines[1:3]] == ["a", "e"]
    assert "  and 3 steps inside: --depth 2" in lines


def test_of_a_choice_the_tree_stays_and_the_others_are_counted() -> None:
    deep = session(
        step("a", 0.0, 5.0),
        step("b", 0.0, 2.0, seq=1, parent_seq=0),
        step("c", 2.0, 3.0, seq=2, parent_seq=0),
        step("d", 5.0, 5.0, seq=3),
    )
    lines = list(waterfall(deep, columns=80, now=10.0, most=60, only={0, 2}))
    assert [line[2:5].rstrip() for line in lines[1:3]] == ["a", "└ c"]
    assert any(line.startswith("  and 2 more steps: perfdb show") for line in lines)


def test_a_running_step_reaches_to_now() -> None:
    lines = draw(session(step("slow", 0.0, None), total=None, status="running"), now=4.0)
    assert "100.0 %" in line_of(lines, "slow")
    assert "─ 4.00 s" in lines[0]
    assert "█► " in line_of(lines, "slow")
    assert "open: so far 4.00 s" in lines[2]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_longer_than_the_screen(columns: int) -> None:
    steps = [
        step("a name that is much longer than any screen " * 5, 0.1 * n, 0.1, seq=n, lane=n % 9)
        for n in range(30)
    ]
    found = session(*steps, step("描" * 100, 3.0, 1.0, seq=30, success=False, error_message="e" * 500))
    assert max(text.width(line) for line in draw(found, columns=columns)) <= columns


def test_thousands_of_steps_are_cut_and_counted() -> None:
    lines = draw(session(*(step(f"s{n}", n / 500, 1 / 500, seq=n) for n in range(5000))))
    assert "and 4940 more steps" in "\n".join(lines)
    assert len(lines) < 70


def test_a_session_without_length_is_drawn() -> None:
    assert draw(session(step("nothing", 0.0, 0.0), total=0.0))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.0, "0 s"),
        (0.00085, "850 µs"),
        (0.0123, "12.3 ms"),
        (0.99949, "999 ms"),
        (0.9996, "1.00 s"),
        (23.333, "23.33 s"),
        (119.99, "119.99 s"),
        (125, "2 min 05 s"),
        (7200, "2 h 00 min"),
    ],
)
def test_durations_as_a_person_says_them(seconds: float | None, said: str) -> None:
    assert text.duration_text(seconds) == said


def test_long_lists_and_mappings_are_named_by_their_size() -> None:
    facts = {
        "files": [f"folder/{n}.png" for n in range(12)],
        "usage": dict.fromkeys(map(str, range(30))),
        "x": [1, 2],
    }
    assert text.facts_text(facts) == "files=[12 items], usage={30 keys}, x=[1, 2]"
