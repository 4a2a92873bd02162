"""What is claimed holds: of sentences, levels, units, pictures and causes, and of what nobody can know.

A claim is a function of a history that yields in words what an answer says wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from perfdb.records import Session
from tests.answers import claims_of_alerts as of_alerts
from tests.answers import claims_of_pages as of_pages
from tests.answers.histories import HOUR, session
from tests.answers.known import cases
from tests.answers.surfaces import Asked

pytestmark = pytest.mark.long  # hundreds of cases

Check = Callable[[Asked], Iterator[str]]
EVERY_ONE = ("few", "lone", "many", "failing", "failing_newest", "cached", "two_modes", "three_pipelines",
             "nested", "parallel", "gaps", "reserved", "one_step", "split", "two_hosts")  # fmt: skip
CLAIMS: dict[Check, tuple[str, ...]] = {
    of_pages.sentences_of_pages: EVERY_ONE,
    of_pages.sentences_of_commands: EVERY_ONE,
    of_pages.our_words_are_not_names: ("reserved",),
    of_pages.parts_are_not_more_than_the_whole: EVERY_ONE,
    of_pages.steady_is_not_said_of_what_moved: EVERY_ONE,
    of_pages.pages_do_not_deny_a_move: ("many", "failing_newest", "nested", "gaps", "split", "wave"),
    of_pages.slope_and_sentence_agree: ("many", "nested", "split", "gaps"),
    of_pages.little_history_claims_nothing: ("few", "lone"),
    of_pages.what_is_usual_was_measured: EVERY_ONE,
    of_pages.usual_is_one_number: ("wave",),
    of_pages.health_is_not_good_over_what_is_bad: (*EVERY_ONE, "empty"),
    of_alerts.rates_are_not_times: EVERY_ONE,
    of_alerts.a_message_agrees_with_itself: ("failing", "failing_newest", "nested", "many", "wave"),
    of_alerts.alerts_and_regressions_agree: ("failing_newest", "nested", "many", "wave"),
    of_alerts.pictures_span_the_move: ("failing", "failing_newest", "nested", "many"),
    of_alerts.a_message_does_not_deny_its_own_move: EVERY_ONE,
    of_alerts.signs_of_a_picture_are_explained: ("gaps", "two_hosts", "nested"),
    of_alerts.what_comes_and_goes_is_no_move: ("two_hosts",),
    of_alerts.axes_are_of_the_runs: ("lone", "few", "gaps", "nested"),
    of_alerts.what_is_beyond_the_scale_is_said: ("gaps", "nested"),
    of_alerts.what_is_historic_is_said: ("many", "split"),
    of_alerts.check_rules_and_alerts_agree: EVERY_ONE,
    of_alerts.rules_see_the_runs_before_a_failure: ("failing_newest",),
    of_alerts.help_counts_the_default_rules: ("few",),
    of_pages.overview_shows_the_newest_runs: EVERY_ONE,
    of_pages.overview_paints_a_change_alike: ("failing", "nested", "two_modes", "three_pipelines", "cached"),
    of_pages.gains_are_not_less_than_what_is_held_up: EVERY_ONE,
    of_pages.compared_with_itself: ("few",),
    of_pages.usual_pairs_are_of_one_kind: ("three_pipelines", "two_modes"),
    of_pages.bars_are_what_adds_up: ("few", "nested", "parallel", "three_pipelines"),
    of_alerts.causes_name_the_step_that_moved: ("nested",),
    of_alerts.a_split_is_hinted_at: ("split",),
}
CHECKS = {check.__name__: check for check in CLAIMS}
CASES = [(name, check.__name__) for check, names in CLAIMS.items() for name in names]


@pytest.mark.parametrize(("name", "claim"), cases("claims", CASES))
def test_what_is_claimed_holds(histories: Callable[[str], Asked], name: str, claim: str) -> None:
    assert list(CHECKS[claim](histories(name))) == []


def test_sessions_without_a_step_are_answered_everywhere(
    answers_of: Callable[[str, list[Session]], Asked],
) -> None:
    made = [
        session(number, 1.7e9 + number * HOUR, [], total_duration=2.0 + number / 100) for number in range(30)
    ]
    asked = answers_of("bare", made)
    for words in (
        ("show", "last"), ("explain",), ("compare", "last~1", "last"), ("bottlenecks",), ("trends",),
        ("steps",), ("regressions",), ("failures",), ("common",), ("thresholds", "suggest"),
    ):  # fmt: skip
        assert asked.command(*words).code == 0, words
    for path in (
        "/",
        "/sessions",
        "/sessions/last",
        "/bottlenecks",
        "/trends",
        "/compare",
        "/common",
        "/alerts",
    ):
        asked.page(path)  # none is refused, none fails
