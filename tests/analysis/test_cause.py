"""Where a move lies and what switched with it."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from perfdb.analysis.cause import contributions, find_cause, find_suspects, suspicion


def facts(before: Mapping[str, Any], after: Mapping[str, Any], n: int = 20) -> list[dict[str, Any]]:
    return [dict(before) for _ in range(n)] + [dict(after) for _ in range(n)]


def test_parts_add_up_to_the_move_and_the_rest_is_other() -> None:
    before = [{"load": 1.0 + n % 3 / 10, "work": 2.0, None: 0.1} for n in range(9)]
    after = [{"load": 1.0 + n % 3 / 10, "work": 4.0, None: 0.3} for n in range(9)]
    moved, parts = contributions(before, after)
    assert moved == pytest.approx(2.2)
    assert [part.step_name for part in parts] == ["work", None]
    assert sum(part.seconds for part in parts) == pytest.approx(moved)
    assert sum(part.percent or 0.0 for part in parts) == pytest.approx(100)
    assert parts[0].percent == pytest.approx(100 * 2.0 / 2.2)


def test_a_part_that_is_noise_is_in_other() -> None:
    before = [{"noisy": 1.0 + n % 9, "work": 2.0} for n in range(18)]
    after = [{"noisy": 1.1 + n % 9, "work": 4.0} for n in range(18)]
    assert [part.step_name for part in contributions(before, after)[1]] == ["work", None]


def test_of_many_steps_chance_seldom_names_another_beside_the_one_that_moved() -> None:
    """Thirty steps of noise, 100 times: with one bound for each, a third of the moves would name one."""
    named = 0
    for seed in range(100):
        random = Random(seed)
        rows = [{f"step {n}": random.gauss(5, 1) for n in range(30)} for _ in range(80)]
        before = [row | {"work": 10 + random.gauss(0, 1)} for row in rows[:40]]
        after = [row | {"work": 20 + random.gauss(0, 1)} for row in rows[40:]]
        parts = [part.step_name for part in contributions(before, after)[1]]
        assert parts[0] == "work"
        named += len(parts) > 2
    assert named <= 5


def test_many_small_parts_are_in_other() -> None:
    before = [{f"step {n}": 1.0 for n in range(30)}] * 3
    after = [{f"step {n}": 1.0 + n for n in range(30)}] * 3
    moved, parts = contributions(before, after)
    assert len(parts) == 9
    assert parts[-1].step_name is None
    assert sum(part.seconds for part in parts) == pytest.approx(moved)


def test_a_step_that_came_or_went_contributes() -> None:
    _, parts = contributions([{"a": 1.0}] * 3, [{"a": 1.0, "new": 0.5}] * 3)
    assert (parts[0].step_name, parts[0].seconds) == ("new", 0.5)


def test_a_total_that_stood_still_has_no_shares() -> None:
    _, parts = contributions([{"a": 5.0, "b": 5.0}] * 3, [{"a": 6.0, "b": 4.0}] * 3)
    assert {part.percent for part in parts} == {None}


def test_a_total_that_moved_within_its_noise_has_no_shares() -> None:
    before = [{"work": 1.0, "noisy": 1.0 + n % 9} for n in range(18)]
    after = [{"work": 1.5, "noisy": 0.8 + n % 9} for n in range(18)]
    _, parts = contributions(before, after)
    assert [(part.step_name, part.percent) for part in parts] == [("work", None), (None, None)]


def test_an_attribute_that_switched_at_the_same_session_is_named() -> None:
    (found,) = find_suspects(facts({"model": "gpt-4o", "host": "a"}, {"model": "gpt-4.1", "host": "a"}), 20)
    assert (found.name, found.before, found.after, found.offset) == ("model", "gpt-4o", "gpt-4.1", 0)
    assert suspicion((found,)) == "model switched from gpt-4o to gpt-4.1 at the same session"


def test_two_that_switched_together_are_confounded() -> None:
    rows = facts({"model": "a", "git_commit": "1" * 40}, {"model": "b", "git_commit": "2" * 40})
    cause = find_cause([{"x": 1.0}] * 20 + [{"x": 2.0}] * 20, rows, 20)
    assert cause.confounded
    assert cause.sentence == (
        "model switched from a to b at the same session; git_commit switched from 1111111111 to 2222222222 "
        "at the same session: confounded, any of them may be the cause"
    )


@pytest.mark.parametrize("of", ["", " of ask"])
def test_what_follows_from_the_model_is_no_cause_beside_it(of: str) -> None:
    old = {f"model{of}": "a", "cost_usd of ask": 0.04, "price_table of ask": "perfdb.toml"}
    new = {f"model{of}": "b", "cost_usd of ask": 0.08, "price_table of ask": "perfdb.toml 2026-02-01"}
    assert [each.name for each in find_suspects(facts(old, new), 20)] == [f"model{of}"]
    dearer = {**old, "price_table of ask": "perfdb.toml 2026-02-01"}
    assert [each.name for each in find_suspects(facts(old, dearer), 20)] == ["price_table of ask"]


def test_nothing_is_claimed_when_nothing_switched() -> None:
    rows = [{"model": "a", "number": n, "id": str(n)} for n in range(40)]
    assert find_suspects(rows, 20) == ()
    assert suspicion(()) == ""


@pytest.mark.parametrize("at", [3, 25, 37])
def test_a_switch_elsewhere_is_no_suspect(at: int) -> None:
    rows = [{"model": "a" if n < at else "b"} for n in range(40)]
    assert find_suspects(rows, 20) == ()


def test_a_switch_within_the_reach_says_how_far_it_is() -> None:
    rows = [{"model": "a" if n < 18 else "b"} for n in range(40)]
    (found,) = find_suspects(rows, 20, (17, 22))
    assert found.offset == -2
    assert suspicion((found,)) == "model switched from a to b 2 sessions earlier"


def test_what_switches_all_the_time_coincides_with_everything() -> None:
    assert find_suspects([{"style": n // 4} for n in range(40)], 20) == ()


def test_a_value_that_was_there_before_without_a_move_is_no_suspect() -> None:
    rows = [{"model": "b"}] * 15 + [{"model": "a"}] * 15 + [{"model": "b"}] * 10
    assert find_suspects(rows, 30) == ()


def test_commits_that_went_on_are_named_by_the_one_at_the_move() -> None:
    rows = [{"git_commit": f"{n // 10}" * 12} for n in range(60)]
    (found,) = find_suspects(rows, 30)
    assert (found.before, found.after) == ("2" * 12, "3" * 12)


def test_an_attribute_that_came_is_named() -> None:
    (found,) = find_suspects(facts({}, {"proxy": "on"}), 20)
    assert suspicion((found,)) == "proxy switched from none to on at the same session"


def test_a_share_that_moved_is_shown_as_a_share() -> None:
    rows = [{"fast_mode": n % 5 == 0} for n in range(40)] + [{"fast_mode": n % 5 != 0} for n in range(40)]
    (found,) = find_suspects(rows, 40)
    assert suspicion((found,)) == "fast_mode was true in 20% of the runs before and 80% since"


def test_one_switch_recorded_twice_is_one_suspect() -> None:
    rows = facts({"vision_model": "a", "model of Vision": "a"}, {"vision_model": "b", "model of Vision": "b"})
    assert [each.name for each in find_suspects(rows, 20)] == ["vision_model"]


def test_hostile_names_and_values_are_inert() -> None:
    (found,) = find_suspects(facts({"a\x1b[2J": "\n"}, {"a\x1b[2J": "\u202e"}), 20)
    assert "\x1b" not in suspicion((found,))
    assert "\n" not in suspicion((found,))
    assert "\u202e" not in suspicion((found,))


def test_a_move_needs_two_sides() -> None:
    with pytest.raises(ValueError, match="no two sides"):
        find_cause([{"a": 1.0}], [{}], 0)


@pytest.mark.parametrize(("every", "named"), [(400, ["release"]), (9, [])])
def test_a_switch_where_the_move_may_have_been_is_named_unless_it_is_there_by_chance(
    every: int, named: list[str]
) -> None:
    known = [{"release": (number + every - 188) // every} for number in range(400)]
    cause = find_cause([{"work": 1.0 + (number >= 200)} for number in range(400)], known, 200, (198, 202))
    assert cause.suspects == ()
    cause = find_cause(
        [{"work": 1.0 + (number >= 200)} for number in range(400)], known, 200, (198, 202), likely=(180, 205)
    )
    assert [(each.name, each.offset) for each in cause.suspects] == [(name, -12) for name in named]
