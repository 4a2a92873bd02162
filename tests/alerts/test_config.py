"""Rules and channels as a person writes them, and what is said about mistakes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfdb.alerts.config import DEFAULT_RULES, AlertSettings, read_alert_settings, rule_lines
from perfdb.analysis.rules import Rule
from perfdb.errors import SettingsError
from perfdb.toml import parse


def read(text: str, **environ: str) -> AlertSettings:
    return read_alert_settings(parse(text, source="perfdb.toml").table("alerts"), environ)


def test_nothing_said_means_the_default_rules() -> None:
    assert read("").rules == DEFAULT_RULES
    assert {rule.name: rule.severity for rule in DEFAULT_RULES} == {
        "error_rate": "warning",
        "fast_shift": "warning",
        "change_point": "warning",
        "pinned_baseline": "warning",
        "anomaly": "info",
        "trend": "info",
        "switching": "info",
    }


def test_the_example_of_the_manual() -> None:
    settings = read(
        """
        [[alerts.rules]]
        name = "vision-slow"
        kind = "max"
        step = "Vision Analysis"
        limit = 30.0
        severity = "critical"
        mode = { fast_mode = false }

        [[alerts.channels]]
        name = "team"
        kind = "webhook"
        url_env = "HOOK"
        """,
        HOOK="https://hooks.example.org/s3cret",
    )
    rule = settings.rules[0]
    assert (rule.limit, rule.mode, rule.severity) == (30.0, (("fast_mode", False),), "critical")
    assert settings.channels[0].url == "https://hooks.example.org/s3cret"
    assert "s3cret" not in repr(settings)


def test_a_default_rule_is_replaced_by_name_or_switched_off() -> None:
    settings = read(
        '[alerts]\noff = ["anomaly"]\n[[alerts.rules]]\nname = "fast_shift"\nkind = "fast_shift"\nhits = 4'
    )
    assert [rule.name for rule in settings.rules] == [
        "fast_shift", "error_rate", "change_point", "pinned_baseline", "trend", "switching",
    ]  # fmt: skip
    assert (settings.rules[0].hits, settings.rules[0].step) == (4, "*")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"\nkind = "mx"\nlimit = 1', r"line 3: 'kind' .*did you mean 'max'\?\), not 'mx'"),
        ('name = "a"\nkind = "max"\nlimt = 1', r"line 4: unknown setting 'limt' .*did you mean 'limit'"),
        ('name = "a/.."\nkind = "max"\nlimit = 1', r"line 2: 'name' .*no '\.' or '\.\.' between slashes"),
        ('name = "a"\nkind = "max"', r"line 1: rule 'a' of kind 'max' needs 'limit'"),
        ('kind = "max"\nlimit = 1', r"line 1: a rule needs 'name'"),
        ('name = "a"\nkind = "max"\nlimit = "3 s"', r"line 4: 'limit' .* must be a number"),
        ('name = "a"\nkind = "max"\nlimit = 1\nseverity = "warn"', r"line 5: .*'warning'"),
        ('name = "a"\nkind = "anomaly"\nseverity = "critical"', "line 4: .*information only"),
        ('name = "a"\nkind = "trend"\nlimit = 3', "line 4: unknown setting 'limit'"),
        ('name = "a"\nkind = "trend"\n[[alerts.rules]]\nname = "a"\nkind = "trend"', "line 4: two"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"perfdb.toml, {said}"):
        read(f"[[alerts.rules]]\n{text}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"\nkind = "webhook"', "needs 'url'"),
        ('name = "a"\nkind = "webhook"\nurl = "ftp://x"', "http"),
        ('name = "a"\nkind = "webhook"\nurl = "https:///x"', "names no host"),
        ('name = "a"\nkind = "webhook"\nurl = "https://me:pw@/x"', "names no host"),
        ('name = "a"\nkind = "webhook"\nurl = "https://h:port/x"', "cannot be"),
        ('name = "a"\nkind = "webhook"\nurl = "https://h:99999/x"', "cannot be"),
        ('name = "a"\nkind = "webhook"\nurl = "https://[::1/x"', "cannot be"),
        ('name = "a"\nkind = "webhook"\nurl = "https://a..b/x"', "cannot be"),
        ('name = "a"\nkind = "webhook"\nurl = "https://h/x y"', "a blank"),
        ('name = "a"\nkind = "mail"\nurl = "x"', "must be one of webhook, apprise, log, console"),
    ],
)
def test_a_channel_that_cannot_work_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(f"[[alerts.channels]]\n{text}")


@pytest.mark.parametrize("key", ["url_env", "secret_env"])
def test_a_channel_whose_variable_is_not_set_is_off(key: str) -> None:
    url = "" if key == "url_env" else 'url = "https://hooks.example.org/x"\n'
    text = f'[[alerts.channels]]\nname = "a"\nkind = "webhook"\n{url}{key} = "UNSET"'
    for environ in ({}, {"UNSET": ""}, {"UNSET": " "}):
        settings = read(text, **environ)
        assert settings.channels == ()
        assert [each.off for each in settings.channels_off] == ["channel 'a' is off: UNSET is not set"]
    assert read(text, UNSET="https://hooks.example.org/x").channels_off == ()


def test_a_reader_keeps_a_channel_whose_variable_only_the_programs_have() -> None:
    table = parse(
        '[[alerts.channels]]\nname = "a"\nkind = "webhook"\nurl_env = "UNSET"', source="perfdb.toml"
    )
    settings = read_alert_settings(table.table("alerts"), {}, reading=True)
    assert [each.name for each in settings.channels] == ["a"]


@pytest.mark.parametrize(
    "rule",
    [
        *DEFAULT_RULES,
        *read(
            """
[[alerts.rules]]
name = "slow \\"quoted\\" ☃"
kind = "max"
step = "Vision Analysis"
pipeline = "design"
limit = 30.5
severity = "critical"
mode = { fast_mode = false, "my model" = "gpt" }
hits = 2

[[alerts.rules]]
name = "costs"
kind = "relative"
metric = "cost_usd"
percent = 12
direction = "down"
"""
        ).rules[:2],
    ],
    ids=lambda rule: rule.name,
)
def test_the_lines_of_a_rule_are_read_as_the_same_rule(rule: Rule) -> None:
    again = next(each for each in read(rule_lines(rule)).rules if each.name == rule.name)
    assert again == replace(rule, default=False)
