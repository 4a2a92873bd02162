"""The words of the pages: what an alert is about, how things are, times, changes and addresses.

Of: web/words.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from perfdb.analysis.series import Series
from perfdb.measures import unit_of
from perfdb.pages import words as page_words
from perfdb.web import words
from perfdb.web.answers.overview import _baseline, _Beside, _beside_chance, _series_now
from perfdb.web.health import firing, health, is_worse, reasons, what_moved, worse_over
from perfdb.web.schemas import AlertRow, Live, SeriesNow

NOON = 1_767_268_800.0


def alert(**changes: Any) -> AlertRow:
    values: dict[str, Any] = {
        "id": 7, "rule": "fast_shift", "kind": "fast_shift", "severity": "warning", "state": "firing",
        "is_open": True, "pipeline": "design", "step_name": "Vision", "metric": "duration", "mode": "{}",
        "direction": "up", "value": 23.0, "baseline": 10.0, "effect": 130.0, "limit": None,
        "n": 5, "baseline_n": 30, "hits": 5, "since_session_id": "a", "since_time": NOON,
        "last_session_id": "b", "last_time": NOON, "opened_at": NOON, "closed_at": None, "silenced": False,
        "inhibited_by": None, "headline": "", "message": "",
    }  # fmt: skip
    values |= changes
    return AlertRow(**{"unit": unit_of(values["metric"]), "label": values["metric"], **values})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Vision takes 2.3 × as long"),
        ({"effect": 12.4}, "Vision takes 12 % longer"),
        ({"effect": -30.0, "direction": "down"}, "Vision takes 30 % less long"),
        ({"step_name": None}, "design takes 2.3 × as long"),
        ({"kind": "max", "limit": 20.0}, "Vision is at 23.00 s, over its limit of 20.00 s"),
        ({"kind": "error_rate", "value": 0.3, "n": 20}, "Vision fails in 30 % of its last 20 runs"),
        (
            {"kind": "budget", "limit": 20.0, "value": 0.2, "n": 50},
            "Vision is over 20.00 s in 20 % of its last 50 runs",
        ),
        (
            {"metric": "score", "value": 120.0, "effect": None, "label": "quality", "unit": "points"},
            "quality of Vision is at 120 points",
        ),
        ({"metric": "tokens", "value": 120.0, "effect": 20.0}, "tokens of Vision is 20 % up"),
    ],
)
def test_an_alert_says_in_a_few_words_what_moved(changes: dict[str, Any], said: str) -> None:
    assert what_moved(alert(**changes)).striptags() == said


def test_a_name_is_shown_and_never_obeyed() -> None:
    assert "&lt;b&gt;" in what_moved(alert(step_name="<b>"))


def newest(ids: Sequence[str], values: list[float]) -> SeriesNow:
    """Return how the newest 20 runs of a series are, beside those before them."""
    starts = [NOON + n for n in range(len(ids))]
    good = Series("design", "Vision", "{}", "duration", ids, starts, values, [True] * len(ids))
    past = good.between(0, len(good) - 20)
    now = _series_now(good, _baseline(past, None, None, None), None, 20, None)
    return _beside_chance(_Beside(now, good, past, None, 20), now)


@pytest.mark.parametrize(
    ("spread", "per_session", "clear"), [(0.02, 1, True), (0.5, 1, False), (0.2, 1, True), (0.2, 5, False)]
)
def test_what_chance_among_the_runs_explains_is_not_called_slower(
    spread: float, per_session: int, clear: bool
) -> None:
    """19 % more of runs that differ by half, or of 20 runs of four sessions, is nothing to be told."""
    noise = random.Random(3)
    ids = [f"s{n // per_session}" for n in range(196 * per_session)]
    sessions = {each: noise.lognormvariate(0, spread) for each in ids}
    now = newest(ids, [sessions[each] * (1.0 if n < len(ids) - 20 else 1.3) for n, each in enumerate(ids)])
    assert now.change_percent is not None
    if now.change_percent >= 15:
        assert (now.clear, is_worse(now)) == (clear, clear)
        assert is_worse(now.model_copy(update={"alert_id": 7})), "an alert knows more"
    assert math.isinf(worse_over(now)) == (not now.clear)


def test_what_is_over_is_not_called_slower() -> None:
    """Twelve of the newest twenty runs were slow, and the last eight are as those before: it was mended."""
    noise = random.Random(3)
    factors = [1.0] * 60 + [1.5] * 12 + [1.0] * 8
    ids = [f"s{n}" for n in range(80)]
    over = newest(ids, [noise.lognormvariate(0, 0.03) * each for each in factors])
    assert over.change_percent is not None
    assert over.change_percent > 40
    assert not is_worse(over)
    assert is_worse(newest(ids[:72], [noise.lognormvariate(0, 0.03) * each for each in factors[:72]]))


def test_the_gravest_alert_is_named_and_what_nobody_need_hear_of_is_not() -> None:
    alerts = [
        alert(id=1, severity="info"),
        alert(id=2),
        alert(id=3, severity="critical", step_name="Search"),
        alert(id=4, silenced=True),
        alert(id=5, state="acknowledged"),
    ]
    assert [each.id for each in firing(alerts)] == [3, 2]
    said = health(alerts)
    assert said.level == "critical"
    assert said.sentence.striptags().startswith("2 alerts fire: Search takes 2.3 × as long since 01 Jan")
    assert "2 alerts are known, silenced or not yet confirmed. 1 alert is for information." in said.more


def test_no_alert_is_good_and_no_session_is_neither() -> None:
    nothing = Live(version=0, now=NOON, running=[], sessions=[], firing=0, newest_alert_id=None)
    assert health([], None).level == "good"
    assert health([], nothing).sentence == "Nothing is recorded yet"


def test_reasons_are_what_explains_and_what_changed() -> None:
    message = "Vision became slower. Usual before: 1 s to 2 s. Suspect: git_commit switched. Next: type this"
    assert reasons(alert(message=message)) == ["Suspect: git_commit switched."]


def test_times_are_utc_elements_that_a_script_can_read() -> None:
    assert words.when(1_704_110_405.0) == (
        '<time datetime="2024-01-01T12:00:05.000Z" title="2024-01-01 12:00:05 UTC" data-form="short">'
        '01 Jan 2024 12:00<span class="utc"> UTC</span></time>'
    )
    assert "3 days ago" in words.when(NOON, "ago", NOON + 3.5 * 86_400)


def test_numbers_are_written_as_they_are_said() -> None:
    assert [page_words.change(each) for each in (130.0, 12.0, -3.2, 0.2, None)] == [
        "2.3 ×",
        "+12 %",
        "−3 %",
        "0 %",
        "–",
    ]
    assert [page_words.percent(each) for each in (48.2, -0.3, None)] == ["48 %", "0 %", "–"]
    assert [page_words.seconds(each) for each in (1.5, -0.002, None)] == ["1.50 s", "−2 ms", "–"]


def test_an_address_has_what_was_asked_and_no_more() -> None:
    assert words.link("/sessions", tag=None, status="failed", attribute=["a=1", "b=2"], fast_mode=False) == (
        "/sessions?status=failed&attribute=a%3D1&attribute=b%3D2&fast_mode=false"
    )
    assert words.link("/alerts/7") == "/alerts/7"
