"""What sessions cost, and what was spent today, on both databases and where people read it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection

from perfdb.cli import sessions as sessions_command
from perfdb.cli import show
from perfdb.records import Session, Step
from perfdb.store.ingest import insert_sessions
from perfdb.store.spending import spending, spent_by
from perfdb.testing import make_history

NOON = datetime(2026, 5, 6, 12).timestamp()  # local time
NOW = NOON + 3600


def run(number: int, dollars: float | None, at: float, status: str = "completed") -> Session:
    data: dict[str, Any] = (
        {} if dollars is None else {"cost_usd": dollars, "input_tokens": 90, "output_tokens": 10}
    )
    step = Step(step_name="ask", start_time=at, duration=1.0, seq=0, success=True, additional_data=data)
    return Session(
        session_id=f"run-{number}", pipeline="free" if dollars is None else "p", start_time=at,
        total_duration=1.0, success=status == "completed", status=status, steps=(step,),
    )  # fmt: skip


def history() -> list[Session]:
    """Thirty sessions of yesterday, twenty of today that cost twice as much; one failed, one cost nothing."""
    made = [run(number, 0.01, NOON - 86_400 + 60 * number) for number in range(30)]
    made += [run(30 + number, 0.02, NOON + 60 * number) for number in range(20)]
    return [*made, run(90, 0.5, NOON + 3000, "failed"), run(91, None, NOON)]


def test_what_was_spent_today_and_what_a_run_costs(connection: Connection) -> None:
    insert_sessions(connection, [run(91, None, NOON)])
    assert spending(connection, NOW) == []
    assert spent_by(connection, ["run-91", "nosuch"]) == {}
    insert_sessions(connection, history())
    (found,) = spending(connection, NOW)
    assert (found.pipeline, found.today_n, found.n, found.usual_n) == ("p", 21, 20, 30)
    assert found.today_usd == pytest.approx(0.9), "a call that failed was paid for"
    assert found.today_tokens == 2_100
    assert (found.run_usd, found.usual_usd) == (0.02, 0.01)
    assert found.change_percent == pytest.approx(100)
    assert spent_by(connection, ["run-1", "run-90"]) == {
        "run-1": {"cost_usd": 0.01, "tokens": 100.0},
        "run-90": {"cost_usd": 0.5, "tokens": 100.0},
    }


def titles(shown: Any) -> list[str]:
    return next(line.split() for line in shown.output.splitlines() if "started" in line)


def test_lists_have_cost_and_tokens_where_there_are_any(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_history(home, [run(91, None, NOON)])
    database = ["--database", str(home / "perfdb.sqlite3")]
    shown = CliRunner().invoke(sessions_command.command, database, env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert titles(shown) == "session started pipeline duration".split()
    make_history(home, history())
    shown = CliRunner().invoke(sessions_command.command, database, env={"COLUMNS": "120"})
    assert titles(shown) == "session started pipeline duration cost tokens".split()
    assert "a run costs $0.02 (median of 20), usually $0.01 (+100 %)" in shown.output
    one = CliRunner().invoke(show.command, ["run-1", *database], env={"COLUMNS": "120"})
    assert "cost $0.01  input tokens 90  output tokens 10" in one.output
    assert next(line for line in one.output.splitlines() if "ask" in line).endswith("$0.01")
