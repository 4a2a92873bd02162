"""`perfdb mcp`, asked by the official SDK's own client.

Of: cli/mcp.py.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.memory import create_connected_server_and_client_session

from perfdb import Intake, track
from perfdb.history.history import History
from perfdb.integrations import mcp
from perfdb.recording.report import to_report, write_report
from tests.commands import folder, make_session, perfdb

__all__ = ["folder", "perfdb"]
TOOLS = {
    "sessions", "session", "steps", "trends", "bottlenecks", "regressions", "compare", "explain",
    "violations", "failures", "alerts", "check", "measures", "hits",
}  # fmt: skip


@pytest.fixture
def history(perfdb: Callable[..., Any], folder: Path) -> History:
    for number in range(4):
        made = make_session(number, git_branch="main", error_message=None)
        write_report(to_report(made), folder / "reports")
    assert perfdb("import", "reports").code == 0
    return History()


@pytest.mark.process
def test_the_sdks_client_asks_over_stdin_and_stdout(history: History, folder: Path) -> None:
    async def asked() -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
        command = StdioServerParameters(
            command=sys.executable,
            args=["-c", "from perfdb.cli import main; main()", "mcp"],
            cwd=folder,
            env=environ,
        )
        async with stdio_client(command) as streams, ClientSession(*streams) as client:
            said = await client.initialize()
            assert said.serverInfo.name == "perfdb"
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == TOOLS
            for tool in tools:
                assert tool.annotations is not None
                assert tool.annotations.readOnlyHint
                assert "rows" in (tool.outputSchema or {})["properties"]
            answer = await client.call_tool("sessions", {"limit": 2})
            assert answer.structuredContent is not None
            assert [row["total_duration"] for row in answer.structuredContent["rows"]] == [7.0, 6.0]
            assert answer.structuredContent["left_out"] == 1

    anyio.run(asked)


def ask(history: History, *questions: tuple[str, dict[str, Any]]) -> list[Any]:
    async def asked() -> list[Any]:
        async with create_connected_server_and_client_session(mcp.server(history)._mcp_server) as client:
            return [await client.call_tool(name, arguments) for name, arguments in questions]

    return anyio.run(asked)


def test_every_question_has_an_answer_of_one_type(history: History) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "sessions": {"branch": "main"},
        "trends": {"measure": "rss_peak_bytes"},
    }
    questions = [(name, arguments.get(name, {})) for name in sorted(TOOLS - {"hits"})]
    for (name, _), answer in zip(questions, ask(history, *questions), strict=True):
        assert not answer.isError, (name, answer.content)
        said = answer.structuredContent
        assert {type(said[each]) for each in ("rows", "notes")} == {list}, name
        assert said["database"].endswith("perfdb.sqlite3")
        if name in ("sessions", "session", "steps", "bottlenecks", "compare", "explain", "measures"):
            assert said["rows"], name


def test_an_agent_hears_whom_a_move_hits(folder: Path) -> None:
    """One region is slower since a moment; before the first run there is nothing to hold it against."""
    moved, intake = 1_767_261_600.0, Intake()
    for number in range(80):
        is_slow = number % 2 == 1 and number >= 40
        made = make_session(
            0,
            session_id=f"run-{number}",
            start_time=moved + (number - 40) * 60.0,
            total_duration=3.0 if is_slow else 1.0 + number % 7 / 100,
            attributes={"region": "eu" if number % 2 else "us"},
            steps=(),
        )
        assert intake.record(made)
    assert intake.flush(30)
    moments = (moved, "2026-01-01T10:00:00Z", "2020-01-01")
    *found, early = ask(History(), *(("hits", {"when": when, "limit": 1}) for when in moments))
    for said in found:
        assert (said.structuredContent["rows"][0]["value"], said.structuredContent["left_out"]) == ("eu", 1)
        assert said.structuredContent["rows"][0]["sure"]
        assert {type(said.structuredContent[each]) for each in ("rows", "notes")} == {list}
        assert said.structuredContent["sentence"]
    assert early.isError


def test_null_is_as_good_as_absent(history: History) -> None:
    tools = anyio.run(mcp.server(history).list_tools)
    questions = [(tool.name, dict.fromkeys(tool.inputSchema["properties"])) for tool in tools]
    without = [(name, {}) for name, _ in questions]
    for (name, _), null, absent in zip(
        questions, ask(history, *questions), ask(history, *without), strict=True
    ):
        assert null.isError == absent.isError, (name, null.content)
        assert null.structuredContent == absent.structuredContent, name


def test_a_filter_that_is_misspelt_is_no_answer_to_everything(history: History) -> None:
    (said,) = ask(history, ("sessions", {"pipelin": "design"}))
    assert said.isError
    assert "no argument in sessions is called 'pipelin'; did you mean 'pipeline'?" in said.content[0].text


def test_an_error_repeats_no_long_argument(history: History) -> None:
    for said in ask(
        history, ("compare", {"by": "x" * 1_000_000}), ("session", {"session_id": "y" * 1_000_000})
    ):
        assert said.isError
        assert len(said.content[0].text) < 3_000


def test_what_cannot_be_answered_is_said_in_words(history: History) -> None:
    said = ask(
        history,
        ("session", {"session_id": "nothing"}),
        ("steps", {"pipeline": "desing"}),
        ("sessions", {"since": "yesterday-ish"}),
        ("sessions", {"limit": 100_000}),
        ("sessions", {"status": "late"}),
        ("compare", {"by": "nothing"}),
        ("bottlenecks", {"measure": "costs"}),
        ("delete", {}),
    )
    assert all(each.isError for each in said)
    assert "design" in said[1].content[0].text
    assert "7d" in said[2].content[0].text


def test_an_answer_is_bounded_and_has_no_credentials(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": "x" * 9_000, "api_key": "canary001", "note": "token=canary002"}] * 150
    monkeypatch.setattr(History, "session_rows", lambda *_, **__: rows)
    (answer,) = ask(history, ("sessions", {"limit": 200}))
    said = answer.structuredContent
    assert len(said["rows"]) + said["left_out"] == 150
    assert 0 < len(json.dumps(said["rows"])) <= mcp.MOST_BYTES + 1_000
    assert "canary" not in json.dumps(said)


def test_an_agent_reads_nothing_that_a_person_would_not_see(history: History) -> None:
    """Letters of tags and selectors of variants carry whole sentences, which no screen shows."""
    unseen = "\U000e0069\U000e0067\U000e0101\u202e\u200b\u3164\x1b]52;c;x\x07"
    with track("etl", console=False, monitor=False, **{unseen: unseen}) as run:
        run.step(unseen, given={unseen: [unseen]}).start().stop(error=ValueError(unseen))
    questions = [(name, {}) for name in ("sessions", "session", "steps", "trends", "bottlenecks", "failures")]
    for answer in ask(history, *questions, ("session", {"session_id": unseen})):
        said = json.dumps(answer.structuredContent, ensure_ascii=False)
        said += "".join(each.text for each in answer.content)
        assert re.findall("[\u200b\u202e\u3164\U000e0000-\U000e01ef]", said) == []


def test_an_answer_that_takes_too_long_is_given_up(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(mcp, "SECONDS", 0.05)
    monkeypatch.setattr(mcp, "GRACE_S", 0.05)
    monkeypatch.setattr(History, "alerts", lambda *_: released.wait(30))
    try:
        (answer,) = ask(history, ("alerts", {}))
        assert answer.isError
        assert "took longer" in answer.content[0].text
        assert "choose fewer sessions or a shorter time" in answer.content[0].text
    finally:
        released.set()
