"""What a person decides about alerts and baselines is a method of History, named as its command is.

Of: alerts/triage.py.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest

import perfdb
from perfdb import recorder
from perfdb.cli import main
from perfdb.cli.options import filter_options
from perfdb.filters import Filters

RULE = '[[alerts.rules]]\nname = "too-slow"\nkind = "max"\nlimit = 0.0\nseverity = "critical"\n'


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> perfdb.History:
    """Give a history in which an alert fires."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "perfdb.toml").write_text(RULE)
    record(1)
    return perfdb.History()


def record(runs: int) -> None:
    """Record runs, and wait until they are in the database and judged, on a busy machine too."""
    for _ in range(runs):
        with perfdb.track("etl") as run, run.step("load"):
            pass
    recorder.close(60.0)


def number_of(history: perfdb.History) -> Any:
    """Return the number of the alert as a frame holds it."""
    return history.alerts()["id"].iloc[0]


@pytest.mark.parametrize(
    ("decide", "state"),
    [
        (perfdb.History.acknowledge, "acknowledged"),
        (perfdb.History.expected, "expected"),
        (perfdb.History.false_alarm, "false alarm"),
    ],
)
def test_an_alert_is_decided_about(
    history: perfdb.History, decide: Callable[..., list[perfdb.Alert]], state: str
) -> None:
    number = number_of(history)
    (decided,) = decide(history, number, note="known")
    assert (decided.id, decided.state) == (number, state)
    story = history.alert(number)
    assert story.alert.state == state
    assert story.events[-1].note == "known"


def test_a_closed_alert_cannot_be_acknowledged(history: perfdb.History) -> None:
    number = number_of(history)
    history.false_alarm(number)
    with pytest.raises(perfdb.UsageError, match=f"perfdb alerts show {number}"):
        history.acknowledge(number)
    with pytest.raises(perfdb.NotFoundError, match="no alert"):
        history.acknowledge(10_000)


@pytest.mark.parametrize("number", ["1", 1.0, None])
def test_a_number_is_a_number(history: perfdb.History, number: Any) -> None:
    for decide in (history.acknowledge, history.alert, history.explain_alert):
        with pytest.raises(TypeError):
            decide(number)


def test_a_silence_lets_a_check_pass_until_it_ends(history: perfdb.History) -> None:
    number = number_of(history)
    assert [alert.id for alert in history.check().failing] == [number]
    silence = history.silence(number, seconds=60, reason="a release is on its way")
    assert history.check().failing == ()
    assert pd.DataFrame(history.silences())[["id", "alert_id"]].values.tolist() == [[silence, number]]
    assert history.unsilence(number) == 1
    assert history.silences() == []
    assert len(history.check(since="1h").failing) == 1
    assert history.check(since="2100-01-01").failing == ()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda h: h.silence(), "say what to silence"),
        (lambda h: h.unsilence(), "say what to end"),
        (lambda h: h.unpin(), "choose what to unpin"),
        (lambda h: h.pin(pipeline="none"), "nothing to pin"),
    ],
)
def test_a_decision_about_nothing_is_refused(
    history: perfdb.History, ask: Callable[[perfdb.History], Any], message: str
) -> None:
    with pytest.raises(perfdb.UsageError, match=message):
        ask(history)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda h: h.silence(1, seconds=0), "seconds=0"),
        (lambda h: h.silence(1, seconds=float("nan")), "seconds=nan"),
        (lambda h: h.check(fail_on="all"), "fail_on='all'"),
        (lambda h: h.check(since="soon"), "is not a moment"),
        (lambda h: h.pin(since="soon"), "is not a moment"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(
    history: perfdb.History, ask: Callable[[perfdb.History], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ask(history)


def test_a_baseline_is_pinned_and_let_go(history: perfdb.History) -> None:
    record(10)
    pinned = history.pin(step="load", note="as it is")
    assert [(pin.step_name, pin.n) for pin in pinned.pins] == [("load", 11)]
    frame = history.baselines()
    assert frame["note"].tolist() == ["as it is"]
    assert [pin.step_name for pin in history.unpin(*frame["id"])] == ["load"]
    assert history.baselines().empty


def test_the_command_line_decides_as_python_does(
    history: perfdb.History, capsys: pytest.CaptureFixture[str]
) -> None:
    number = number_of(history)
    with pytest.raises(SystemExit, match="0"):
        main(["alerts", "ack", str(number), "--note", "known"])
    assert f"Alert {number} is acknowledged" in capsys.readouterr().out
    assert history.alert(number).events[-1].note == "known"


# --- filters ------------------------------------------------------------------------------------------

ASKS = (
    "sessions", "steps", "session_rows", "step_rows", "each_session", "bottlenecks", "trends", "failures",
    "violations", "regressions", "suggest_thresholds", "report", "affordable", "pin",
)  # fmt: skip


def asked(history: perfdb.History, name: str, **filters: Any) -> Any:
    ask = getattr(history, name)
    if name == "affordable":
        return ask(1, **filters)
    found = ask(**filters)
    return list(found) if name == "each_session" else found


@pytest.mark.parametrize("name", ASKS)
def test_every_question_knows_the_same_filters(history: perfdb.History, name: str) -> None:
    values: dict[str, Any] = {
        "pipeline": "etl", "since": "1d", "until": "2100-01-01", "fast_mode": False, "status": "completed",
        "attribute": {"a": 1}, "tag": "x", "branch": "main", "mode": '{"fast_mode":false}',
    }  # fmt: skip
    assert set(values) == set(Filters.__annotations__)
    documented = inspect.getdoc(getattr(perfdb.History, name)) or ""
    for filter_name, value in values.items():
        assert filter_name in documented
        with suppress(perfdb.UsageError) if name == "pin" else nullcontext():  # too few runs
            asked(history, name, **{filter_name: value})
    with pytest.raises(TypeError, match="there is no filter 'pipelin': choose of pipeline, since, "):
        asked(history, name, pipelin="etl")
    with pytest.raises(ValueError, match="status='done'"):
        asked(history, name, status="done")


def test_the_filters_of_commands_and_pages_are_those_of_history() -> None:
    pytest.importorskip("fastapi")
    from perfdb.web import queries

    command = click.Command("x", params=[])
    decorated = filter_options(lambda: None)
    command.params = list(reversed(decorated.__click_params__))
    names = set(Filters.__annotations__)
    assert {param.name for param in command.params} == names
    assert set(queries.Filters.model_fields) == names
    assert set(queries.Filters().filters()) == names
