"""Row 34: an id that would lead out of the folder is refused at every entry, and makes no file anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.cli import main
from perfdb.errors import InvalidSessionIdError, NotFoundError
from perfdb.recording.journal import Journal, encode, frame
from perfdb.recording.report import report_name, write_report
from perfdb.worker.recovery import recover

EVIL: list[Any] = [
    "../evil", "..", ".", "", "/etc/evil", "a/b", "a\\b", "..\\evil", ".hidden", "-rf", "~root", "a\x00b",
    "a\n", "evil\u202e", "%2e%2e%2fevil", "C:evil", "x" * 129, " a", "\ud800", b"bytes", 3, True, ["a"],
    Path("evil"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_new_outside(home: Path) -> Any:
    """Look at the folders around the home before and after."""
    around = set(home.parent.parent.iterdir())
    yield
    assert set(home.parent.parent.iterdir()) == around
    assert [*home.parent.rglob("*evil*"), *Path("/etc").glob("*evil*"), *Path.home().glob("*evil*")] == []


@pytest.mark.parametrize("session_id", EVIL, ids=ascii)
def test_no_entry_takes_an_id_that_is_no_file_name(session_id: Any, home: Path) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    with pytest.raises(InvalidSessionIdError):
        tracker.start_pipeline(session_id=session_id)
    with pytest.raises(InvalidSessionIdError):
        report_name(session_id)
    with pytest.raises(InvalidSessionIdError):
        write_report({"session_id": session_id}, home)
    if isinstance(session_id, str) and session_id:
        with pytest.raises((NotFoundError, ValueError)):
            perfdb.History().session(session_id)
    assert not list(home.rglob("*.json"))


def test_no_command_takes_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with perfdb.track("etl") as run, run.step("load"):
        pass
    (home.parent / "in").mkdir()
    texts = [each for each in EVIL if isinstance(each, str) and each and "\x00" not in each]
    for number, session_id in enumerate(texts):
        report = {"session_id": session_id, "timestamp": "2025-07-30T14:30:22", "steps": []}
        (home.parent / "in" / f"{number}.json").write_text(json.dumps(report))
        commands = [
            ["show", "--", session_id], ["explain", "--", session_id], ["report", "--", session_id],
            ["tag", "--", session_id, "warmup"], ["delete", "--yes", "--", session_id],
            ["chart", "waterfall", "--", session_id],
        ]  # fmt: skip
        for command in commands:
            with pytest.raises(SystemExit) as ended:
                main(command)
            assert ended.value.code == 2, command
    with pytest.raises(SystemExit) as ended:
        main(["import", "in", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert ended.value.code == 2
    assert len(rows) == len(texts)
    assert all("session id" in row["error"] for row in rows)
    assert len(perfdb.History().sessions()) == 1


def test_a_journal_that_somebody_forged_brings_in_no_such_id(
    home: Path, history: Callable[..., perfdb.History]
) -> None:
    journal = Journal.create(home / "journal", {"journal_id": "20260101T000000-1-forged"})
    for session_id in (*[each for each in EVIL if not isinstance(each, (bytes, Path))], "good"):
        start = {"type": "start", "session_id": session_id, "pipeline": "etl", "start_time": 1.0}
        assert journal.write(encode(start))
        assert journal.write(encode({"type": "end", "session_id": session_id, "total_duration": 1.0}))
    assert journal.path.read_bytes().endswith(
        frame(encode({"type": "end", "session_id": "good", "total_duration": 1.0}))
    )
    journal.close()
    recover(home, f"sqlite:///{home}/perfdb.sqlite3")
    assert list(history().sessions()["session_id"]) == ["good"]
