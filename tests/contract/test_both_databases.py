"""Every question has the same answer in SQLite and in PostgreSQL.

Of: cli/annotate.py, cli/annotations.py, cli/common.py, cli/measures.py, store/dialects.py.
"""

from __future__ import annotations

import io
import math
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.history.reports import Report
from perfdb.recording.report import to_report, write_report
from perfdb.testing import NOON, make_session

History = perfdb.History
Pair = tuple[History, History]

# What names the database itself; everything else must be equal.
OF_THE_DATABASE = {
    "url", "database", "settings", "is_explicit", "backup", "require_access", "affordable", "explained",
    "picture_folders", "is_lake",
}  # fmt: skip


def first(history: History) -> Any:
    """Return the number of an open alert."""
    return history.alerts()["id"].iloc[0]


def exported(history: History) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        count = history.export(Path(folder) / "steps.csv", format="csv", pipeline="nightly <etl>")
        return [count, (Path(folder) / "steps.csv").read_text(encoding="utf-8")]


def a_report() -> str:
    session = make_session(7, {"load": 1.0}, session_id="imported")
    return str(write_report(to_report(session), Path(tempfile.mkdtemp())))


READS: dict[str, Callable[[History], Any]] = {
    "sessions": lambda h: h.sessions(),
    "sessions of a pipeline": lambda h: h.sessions(pipeline="nightly <etl>", last=7),
    "sessions of a time": lambda h: h.sessions(since=1_767_270_000.0, until=datetime(2026, 1, 5)),
    "sessions of a mode": lambda h: h.sessions(fast_mode=True, last=5),
    "sessions failed": lambda h: h.sessions(status="failed"),
    "sessions interrupted": lambda h: h.sessions(status="interrupted"),
    "sessions running": lambda h: h.sessions(status="running"),
    "sessions with a tag": lambda h: h.sessions(tag="<b>bold</b>"),
    "sessions with attributes": lambda h: h.sessions(attribute={"model": "gpt-4o", "git_sha": "def"}),
    "sessions with a number": lambda h: h.sessions(attribute={"number": 12}),
    "sessions with hostile text": lambda h: h.sessions(attribute={"日本": "語", "nothing": None}),
    "sessions of nobody": lambda h: h.sessions(pipeline="none"),
    "session_rows": lambda h: h.session_rows(),
    "steps": lambda h: h.steps(),
    "steps of a name": lambda h: h.steps(step="Product Query", last=20),
    "step_rows": lambda h: h.step_rows(last=30),
    "session": lambda h: h.session(),
    "session before": lambda h: h.session("last~3"),
    "session by prefix": lambda h: h.session("20260101_120049"),
    "session hostile": lambda h: h.session("hostile"),
    "session cut off": lambda h: h.session("cut-off"),
    "each_session": lambda h: list(h.each_session()),
    "bottlenecks": lambda h: h.bottlenecks(last=None),
    "measures": lambda h: h.measures(last=None),
    "common": lambda h: h.common(pipeline="design", slowest=20.0),
    "hits": lambda h: h.hits(NOON + 3600, pipeline="design"),
    "hits of failures": lambda h: h.hits(NOON + 3600, failures=True),
    "annotations": lambda h: h.annotations(),
    "switches": lambda h: h.switches(),
    "pareto": lambda h: h.pareto(measure="products_found"),
    "spending": lambda h: h.spending(),
    "spent_by": lambda h: h.spent_by(h.sessions(last=20)["session_id"].tolist()),
    "replay_rules": lambda h: h.replay_rules(last=50),
    "trends of a measure": lambda h: h.trends(measure="products_found", by="day"),
    "bottlenecks of a measure": lambda h: h.bottlenecks(measure="products_found", last=None),
    "regressions of a measure": lambda h: h.regressions(measure="products_found", better=True),
    "compare of a measure": lambda h: h.compare(by="fast_mode", measure="products_found"),
    "explain of a measure": lambda h: h.explain("20260101_120070", measure="products_found"),
    "thresholds of a measure": lambda h: h.thresholds(measure="products_found"),
    "bottlenecks of a mode": lambda h: h.bottlenecks(last=40, fast_mode=False),
    "trends": lambda h: h.trends(),
    "trends of all": lambda h: h.trends(by="all"),
    "trends by day": lambda h: h.trends(by="day"),
    "trends by week": lambda h: h.trends(by="week", pipeline="nightly <etl>"),
    "trends of a step": lambda h: h.trends(step="Vision Analysis", fast_mode=False),
    "failures": lambda h: h.failures(),
    "failures of a step": lambda h: h.failures(step="Image Generation", last=50),
    "violations": lambda h: h.violations(last=None),
    "regressions": lambda h: h.regressions(),
    "regressions for the better": lambda h: h.regressions(better=True),
    "suggest_thresholds": lambda h: h.suggest_thresholds(),
    "thresholds": lambda h: h.thresholds(step="Vision Analysis"),
    "count": lambda h: [h.count(), h.count(pipeline="nightly <etl>", status="failed")],
    "differs_by": lambda h: h.differs_by(),
    "usual_pair": lambda h: h.usual_pair(),
    "usual_seconds": lambda h: h.usual_seconds(h.session("runs")),
    "usual_words": lambda h: h.usual_words(h.session("runs")),
    "stale_modes": lambda h: h.stale_modes(),
    "export": lambda h: exported(h),
    "compare": lambda h: h.compare("20260101_120049", "20260101_120060"),
    "compare by": lambda h: h.compare(by="git_sha", pipeline="design"),
    "compare by host": lambda h: h.compare(by="model", a="gpt-4o", b="gpt-4o-mini"),
    "explain": lambda h: h.explain("20260101_120070"),
    "alerts": lambda h: h.alerts(),
    "alerts of all states": lambda h: h.alerts("all"),
    "alerts resolved": lambda h: h.alerts("resolved"),
    "alert": lambda h: h.alert(first(h)),
    "alert of none": lambda h: h.alert(10_000),
    "explain_alert": lambda h: h.explain_alert(first(h)),
    "check": lambda h: h.check(),
    "check strictly": lambda h: h.check(fail_on="info", confirm=2),
    "check of all states": lambda h: h.check(state="all"),
    "baselines": lambda h: h.baselines(),
    "chart": lambda h: h.chart("trend", pipeline="design"),
    "chart steps": lambda h: h.chart("steps", pipeline="design"),
    "chart bottlenecks": lambda h: h.chart("bottlenecks", pipeline="design"),
    "chart waterfall": lambda h: h.chart("waterfall", "20260101_120049"),
    "chart compare": lambda h: h.chart("compare", "20260101_120049", "20260101_120060"),
    "chart_frame": lambda h: h.chart_frame("trend", pipeline="design"),
    "chart_frame of steps": lambda h: h.chart_frame("steps", pipeline="design"),
    "chart_frame of a waterfall": lambda h: h.chart_frame("waterfall", "20260101_120049"),
    "report": lambda h: h.report("20260101_120060"),
    "report of many": lambda h: h.report(last=20, pipeline="design"),
}

NOTES = (
    (60, "deploy 1.4", "design"),
    (0, "a new <machine> password=hunter2", None),
    (30, "elsewhere", "open"),
)

WRITES: dict[str, Callable[[History], Any]] = {
    "tag": lambda h: [
        h.tag("last~2", "ignore"),
        h.sessions(tag="ignore"),
        h.trends(pipeline="nightly <etl>"),
    ],
    "tag what is not there": lambda h: h.tag("nobody", "x"),
    "untag": lambda h: [h.untag("night-03", "ignore"), h.sessions(tag="ignore"), h.suggest_thresholds()],
    "prune": lambda h: [h.prune(keep_last=9), h.sessions(), h.steps()],
    "import_reports": lambda h: [
        [(each.added, each.known) for each in h.import_reports([a_report()])],
        h.session("imported"),
    ],
    "reindex": lambda h: [h.reindex(), h.sessions(), h.steps(), h.baselines(), h.stale_modes()],
    "untag what has none": lambda h: h.untag("last", "x"),
    "delete": lambda h: [h.delete("night-03", "hostile"), h.sessions(), h.steps(), h.trends()],
    "delete what runs": lambda h: h.delete("runs"),
    "acknowledge": lambda h: [h.acknowledge(first(h), note="seen"), h.alert(first(h))],
    "expected": lambda h: [h.expected(number := first(h)), h.alert(number), h.check()],
    "false_alarm": lambda h: [h.false_alarm(number := first(h)), answer(lambda: h.acknowledge(number))],
    "undo": lambda h: [
        h.expected(number := first(h)),
        h.undo(number, note="not yet"),
        h.alert(number),
        h.check(),
    ],
    "undo what nobody decided": lambda h: h.undo(first(h)),
    "silence": lambda h: [h.silence(first(h), seconds=60, reason="<b>"), h.alert(first(h)), h.check()],
    "silences": lambda h: [h.silence(rule="vision-slow", step="Vision Analysis"), h.silences()],
    "remove_annotation": lambda h: [
        h.annotate("deploy", at=1_767_268_800.0).text,
        h.remove_annotation(1),
        h.annotations(),
    ],
    "annotate": lambda h: [
        [h.annotate(words, at=1_767_268_800 + at, pipeline=of).text for at, words, of in NOTES],
        [replace(each, created_at=0.0) for each in h.annotations(pipeline="design")],
        h.remove_annotation(2),
        len(h.annotations()),
        answer(lambda: h.remove_annotation(2)),
    ],
    "unsilence": lambda h: [h.silence(first(h)), h.unsilence(first(h)), h.silences()],
    "pin": lambda h: [h.pin(pipeline="design", note="<b>"), h.baselines()],
    "pin of few": lambda h: h.pin(pipeline="open"),
    "unpin": lambda h: [h.pin(before="20260101_120049"), h.unpin(step="Vision Analysis"), h.baselines()],
}

TRIAGE: dict[str, Callable[[Triage, int], Any]] = {
    "settings": lambda d, alert: d.settings,
    "channel": lambda d, alert: d.channel("team"),
    "alerts": lambda d, alert: d.alerts("all"),
    "story": lambda d, alert: d.story(alert),
    "story of none": lambda d, alert: d.story(10_000),
    "decide": lambda d, alert: [d.decide(alert, "acknowledged", "seen"), d.story(alert)],
    "decide expected": lambda d, alert: [d.decide(alert, "expected"), d.story(alert), d.verdicts()],
    "undo": lambda d, alert: [
        d.decide(alert, "expected"),
        d.undo(alert, "not yet"),
        d.story(alert),
        d.verdicts(),
    ],
    "undo what nobody decided": lambda d, alert: d.undo(alert),
    "decide twice": lambda d, alert: [d.decide(alert, "false alarm"), d.decide(alert, "expected")],
    "silence": lambda d, alert: [d.silence(60, alert_id=alert, reason="<b>"), d.story(alert), d.check()],
    "silences": lambda d, alert: [d.silence(60, rule="vision-slow", step="Vision Analysis"), d.silences()],
    "unsilence": lambda d, alert: [
        d.silence(60, alert_id=alert),
        d.unsilence(alert_id=alert),
        d.silences(),
        d.story(alert),
    ],
    "verdicts": lambda d, alert: d.verdicts(),
    "rule": lambda d, alert: d.rule("vision-slow"),
    "verdicts of a rule": lambda d, alert: d.verdicts("vision-slow"),
    "would_have_flagged": lambda d, alert: d.would_have_flagged("vision-slow"),
    "judged_past": lambda d, alert: d.judged_past("vision-slow"),
    "rule_with": lambda d, alert: d.rule_with("vision-slow", {}),
    "rules": lambda d, alert: d.rules(),
    "replay": lambda d, alert: d.replay(last=50),
    "alerts_in_pieces": lambda d, alert: list(d.alerts_in_pieces("all")),
    "explanation": lambda d, alert: d.explanation(alert),
    "pin_baseline": lambda d, alert: [d.pin_baseline(pipeline="design", note="<b>"), pins(d), d.verdicts()],
    "pin_baseline of few": lambda d, alert: d.pin_baseline(pipeline="open"),
    "unpin_baseline": lambda d, alert: [
        d.pin_baseline(pipeline="design", before="20260101_120049"),
        d.unpin_baseline(step="Vision Analysis"),
        pins(d),
    ],
    "check": lambda d, alert: d.check(),
    "check_against": lambda d, alert: d.check_against("main", "topic"),
    "check strictly": lambda d, alert: d.check(fail_on="info", confirm=2),
}


def pins(desk: Triage) -> Any:
    return desk._history.baselines()


# When a person did something: the clock, which both databases were given at different times.
OF_NOW = {"at", "updated_at", "closed_at", "created_at", "expires_at", "notified_at"}


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def asked(questions: Mapping[str, object]) -> set[str]:
    return {name.split()[0] for name in questions}


def test_every_public_method_is_asked() -> None:
    assert asked(READS) | asked(WRITES) | OF_THE_DATABASE == public(History)
    assert asked(TRIAGE) == public(Triage)


def plain(value: Any, *, but: frozenset[str] | set[str] = frozenset()) -> Any:
    """Return the value as lists, dictionaries, texts and numbers; a float to 14 digits."""
    if isinstance(value, pd.DataFrame):
        kinds = {name: str(kind) for name, kind in value.dtypes.items()}
        return [kinds, [plain(row, but=but) for row in value.to_dict("records")]]
    if isinstance(value, pd.Series):
        return plain(value.to_dict(), but=but)
    if isinstance(value, Figure):
        picture = io.BytesIO()
        value.savefig(picture, format="png", dpi=50, metadata={"Software": None})
        return picture.getvalue()
    if isinstance(value, Report):
        # JSONB keeps the keys of an object, and not their order
        return sorted(re.split(r"<tr>|</tr>", re.sub(r"\d\d:\d\d", "", value.fragment)))
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return plain({name: each for name, each in named.items() if name not in but}, but=but)
    if isinstance(value, Mapping):
        return {str(name): plain(each, but=but) for name, each in value.items() if name not in but}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each, but=but) for each in value]
    if isinstance(value, float) or type(value).__module__ == "numpy":
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return float(f"{float(value):.14g}") if not isinstance(value, bool) else value
    return str(value) if value is pd.NA or value is pd.NaT else value


def answer(ask: Callable[[], Any]) -> Any:
    """Return the answer, or the error in one."""
    try:
        return ask()
    except perfdb.PerfdbError as error:
        return [type(error).__name__, str(error)]


@pytest.mark.parametrize("name", READS)
def test_reading_gives_the_same(both: Pair, name: str) -> None:
    sqlite, postgres = (plain(answer(lambda h=h: READS[name](h))) for h in both)
    assert sqlite == postgres


@pytest.mark.parametrize("name", WRITES)
def test_changing_does_the_same(both_to_change: Pair, name: str) -> None:
    sqlite, postgres = (plain(answer(lambda h=h: WRITES[name](h)), but=OF_NOW) for h in both_to_change)
    assert sqlite == postgres


@pytest.mark.parametrize("name", TRIAGE)
def test_triage_does_the_same(both_to_change: Pair, name: str) -> None:
    (alert, *_) = both_to_change[0].alerts()["id"]
    sqlite, postgres = (
        plain(answer(lambda h=h: TRIAGE[name](Triage(h), int(alert))), but=OF_NOW) for h in both_to_change
    )
    assert sqlite == postgres


def test_the_history_is_rich(both: Pair) -> None:
    for history in both:
        alerts = history.alerts("all")
        assert {"vision-slow", "change_point", "error_rate"} <= set(alerts["rule"])
        assert len(set(alerts["state"])) >= 2
        assert len(history.regressions()) > 0
        assert len(history.violations()) > 0
        session = history.session("20260101_120006")
        assert [len(step.attempts) for step in session.steps if step.step_name == "Product Search"] == [2]
        assert len({step.lane for step in session.steps}) > 1
        assert session.samples
