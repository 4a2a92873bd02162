"""The table of the kinds of rules: whoever asks about a kind finds all of it in its entry."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner

from perfdb.alerts.config import DEFAULT_RULES, read_alert_settings
from perfdb.alerts.messages import amount
from perfdb.analysis.rules import EVERY, KINDS, TABLE, Kind, Rule, Verdict, evaluate, kind_of
from perfdb.analysis.series import Series, SeriesName
from perfdb.cli import cli
from perfdb.records import Alert
from perfdb.toml import parse

MODE = '{"fast_mode":false}'
SECONDS = partial(amount, metric="duration")


def text_of(rule: Rule) -> str:
    return TABLE[rule.kind].limit_text(rule, SECONDS)


def test_default_rules_stand_in_their_entries() -> None:
    assert {rule.name: rule.kind for rule in DEFAULT_RULES} == {
        "error_rate": "error_rate",
        "fast_shift": "fast_shift",
        "change_point": "change_point",
        "pinned_baseline": "pinned",
        "anomaly": "anomaly",
        "trend": "trend",
        "switching": "switching",
    }
    assert all(TABLE[rule.kind].default is rule for rule in DEFAULT_RULES)


def test_a_limit_is_shown_in_its_own_unit() -> None:
    assert text_of(Rule(name="a", kind="max", limit=2.5)) == "2.50 s"
    assert text_of(Rule(name="a", kind="budget", limit=0.2)) == "200 ms"
    assert text_of(Rule(name="a", kind="error_rate", limit=0.05)) == "5 %"
    assert text_of(Rule(name="a", kind="relative", percent=40)) == "+40 %"
    assert text_of(Rule(name="a", kind="fast_shift")) == ""
    assert TABLE["error_rate"].value_text(0.35, SECONDS) == "35 %"


def test_a_rule_is_about_what_it_names_and_nothing_else() -> None:
    total, step = SeriesName("etl", None, MODE), SeriesName("etl", "Total", MODE)
    assert Rule(name="a", kind="max").is_about(total)
    assert not Rule(name="a", kind="max").is_about(step)
    assert Rule(name="a", kind="max", step="Total").is_about(step)
    assert not Rule(name="a", kind="max", step="Total").is_about(total)
    every = Rule(name="a", kind="max", step=EVERY, pipeline="etl", mode=(("fast_mode", False),))
    assert every.is_about(total)
    assert every.is_about(Series(pipeline="etl", step_name="load", mode=MODE))
    assert not every.is_about(SeriesName("other", None, MODE))
    assert not every.is_about(SeriesName("etl", None, '{"fast_mode":true}'))
    assert not replace(every, mode=(("model", None),)).is_about(total), "an attribute that the mode lacks"


@pytest.mark.parametrize("kind", KINDS)
def test_settings_take_what_the_entry_says(kind: str) -> None:
    entry = TABLE[kind]
    given = "".join(f"{name} = {max(low, 0.5)}\n" for name, (low, _) in entry.settings.items())
    text = f'[[alerts.rules]]\nname = "mine"\nkind = "{kind}"\n{given}'
    (rule, *_) = read_alert_settings(parse(text, source="perfdb.toml").table("alerts")).rules
    assert (rule.name, rule.kind) == ("mine", kind)
    assert rule.severity == ("info" if entry.information else "warning")
    assert not evaluate(rule, []).enough


@pytest.mark.parametrize("kind", KINDS)
def test_the_help_of_rules_names_every_kind(kind: str) -> None:
    said = " ".join(CliRunner().invoke(cli, ["rules", "--help"]).output.split())
    assert f"{kind}: {TABLE[kind].summary}." in said


def test_an_alert_of_a_kind_that_nobody_knows_is_worded_all_the_same() -> None:
    alert = Alert(
        rule="mine", kind="of another version", severity="warning", state="firing", pipeline="etl",
        step_name="load", metric="duration", mode=MODE, direction="up", value=2.0, baseline=1.0, effect=100.0,
        limit=None, bound=None, n=3, baseline_n=10, since_session_id="a", since_time=0.0, last_session_id="b",
        last_time=1.0, opened_at=1.0, updated_at=1.0,
    )  # fmt: skip
    said = kind_of(alert.kind).says(alert, SECONDS)
    assert said == "became slower: from 1.00 s (median of 10 runs) to 2.00 s (3 runs since), +1.00 s (+100 %)"


def test_a_kind_needs_nothing_but_its_entry() -> None:
    kind = Kind(
        name="odd", summary="", evaluate=lambda rule, values, frozen: Verdict(hit=True), window=1, finds="run"
    )
    assert kind.evaluate(Rule(name="a", kind="odd"), [1.0], None).hit
    assert kind.limit_text(Rule(name="a", kind="odd"), SECONDS) == ""
