"""`perfdb tag`, `untag` and `delete`.

Of: cli/delete.py, cli/untag.py, history/erasing.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfdb import create_tracker, track
from perfdb.recorder import close
from perfdb.recording.journal import encode, frame
from perfdb.recording.quarantine import put_aside
from perfdb.records import Session


def ids(answer: Any) -> list[str]:
    return [row["session_id"] for row in answer.rows]


def test_a_tag_is_kept_and_filtered_by(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    answer = perfdb("tag", "last~2", "warmup")
    assert (answer.code, answer.out) == (0, f"Tagged {recorded[0].session_id}: warmup\n")
    assert ids(perfdb("sessions", "--tag", "warmup", "--json")) == [recorded[0].session_id]
    assert "[warmup]" in perfdb("sessions").out
    assert "[warmup]" in perfdb("show", recorded[0].session_id).out


def test_the_same_tag_twice_is_one(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    for _ in range(2):
        assert perfdb("tag", "last", "warmup").code == 0
    assert perfdb("show", "--json").rows[0]["tags"] == ["warmup"]


def test_a_tag_is_taken_away_once(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    perfdb("tag", "last", "warmup")
    assert perfdb("untag", "last", "warmup").code == 0
    again = perfdb("untag", "last", "warmup")
    assert again.code == 2
    assert "not tagged 'warmup'" in again.err


def test_an_unusable_tag_is_refused(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    assert perfdb("tag", "last", "").code == 2
    assert perfdb("tag", "last", "x" * 65).code == 2
    assert perfdb("tag", "last", "bell\a").code == 2


def test_delete_takes_the_session_and_nothing_else(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    answer = perfdb("delete", "last", "--yes")
    assert (answer.code, answer.out) == (0, f"Deleted 1 session: {recorded[2].session_id}\n")
    assert ids(perfdb("sessions", "--json")) == [recorded[1].session_id, recorded[0].session_id]
    assert {row["session_id"] for row in perfdb("steps", "--json").rows} == {
        recorded[1].session_id,
        recorded[0].session_id,
    }


def test_delete_without_somebody_to_ask_needs_yes(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    answer = perfdb("delete", "last")
    assert answer.code == 2
    assert "--yes" in answer.err
    assert len(perfdb("sessions", "--json").rows) == 3


def test_delete_is_all_or_nothing(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    assert perfdb("delete", "--yes", "last", "no-such-session").code == 2
    assert len(perfdb("sessions", "--json").rows) == 3


def test_a_running_session_is_not_deleted(perfdb: Callable[..., Any]) -> None:
    tracker = create_tracker(console=False, monitor=False)
    session_id = tracker.start_pipeline()
    try:
        give_up = time.monotonic() + 30
        while not ids(perfdb("sessions", "--json")) and time.monotonic() < give_up:
            time.sleep(0.05)
        answer = perfdb("delete", "--yes", session_id)
        assert answer.code == 2
        assert "still running" in answer.err
    finally:
        tracker.end_pipeline()
        close()
    assert perfdb("delete", "--yes", session_id).code == 0


def test_delete_takes_what_fits_and_nothing_else(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    assert perfdb("delete", "--yes").code == 2
    assert perfdb("delete", "last", "--status", "failed", "--yes").code == 2
    assert perfdb("delete", "--attribute", "number=7", "--yes").out == ""
    assert perfdb("delete", "--attribute", "number=1", "--yes").code == 0
    assert ids(perfdb("sessions", "--json")) == [recorded[2].session_id, recorded[0].session_id]


def test_one_customer_is_erased_everywhere(perfdb: Callable[..., Any]) -> None:
    Path("perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "slow"\nkind = "max"\nstep = "work"\nlimit = 0.0\n'
        '[[alerts.channels]]\nname = "team"\nkind = "log"\n',
        encoding="utf-8",
    )
    home, made = Path("performance_tracking"), {}
    for customer in ("acme", "other"):
        with track(customer, customer=customer, monitor=False) as run, run.step("work"):
            pass
        made[customer] = run.session_id
    close()
    step = {"type": "step", "seq": 9, "step_name": "late", "duration": 1.0}
    lines = [frame(encode({**step, "session_id": each})) for each in made.values()]
    put_aside(home / "journal" / "j.journal", {"journal_id": "j"}, lines)
    assert any(made["acme"].encode() in path.read_bytes() for path in home.rglob("*") if path.is_file())
    answer = perfdb("delete", "--attribute", "customer=acme", "--everywhere", "--yes")
    assert answer.code == 0, answer.err
    assert "1 report, 1 alert, 1 message and 1 line put aside" in answer.err
    assert ids(perfdb("sessions", "--json")) == [made["other"]]
    assert [row["pipeline"] for row in perfdb("alerts", "--json").rows] == ["other"]
    assert perfdb("prune", "--keep-last", "1000", "--compact").code == 0
    left = [path for path in home.rglob("*") if path.is_file() and made["acme"].encode() in path.read_bytes()]
    assert left == []
    assert any(made["other"].encode() in path.read_bytes() for path in home.rglob("*.bad"))


def test_erasing_that_stops_half_way_says_what_is_gone_and_goes_on_later(perfdb: Callable[..., Any]) -> None:
    made = []
    for _ in range(3):
        with track("acme", customer="acme", monitor=False) as run, run.step("work"):
            pass
        made.append(run.session_id)
    close()
    home = Path("performance_tracking")
    stuck = home / f"performance_report_{made[1]}.json"
    stuck.unlink()
    (stuck / "folder").mkdir(parents=True)  # what is no file cannot be unlinked
    erase = ("delete", "--attribute", "customer=acme", "--everywhere", "--yes")
    answer = perfdb(*erase)
    assert answer.code == 2
    told = " ".join(answer.err.split())
    assert "cannot be removed" in told
    assert "no session was deleted; erased before that: 2 reports." in told
    assert sorted(ids(perfdb("sessions", "--json"))) == sorted(made), "the filters find them again"
    (stuck / "folder").rmdir()
    stuck.rmdir()
    assert perfdb(*erase).code == 0
    assert ids(perfdb("sessions", "--json")) == []
