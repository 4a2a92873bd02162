"""A history goes whole from one database into another, and again only what is missing.

Of: cli/database.py, store/upkeep/comparing.py, store/upkeep/copying.py, store/upkeep/portable.py.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.cli import main
from perfdb.errors import AbsentError, NewerSchemaError, StoreError
from perfdb.records import Sample, Session, Step
from perfdb.store import schema
from perfdb.store.engine import open_engine
from perfdb.store.ingest import apply_records, insert_sessions, journal_offset
from perfdb.store.models import metadata
from perfdb.store.upkeep import copying
from perfdb.store.upkeep.comparing import Copied
from perfdb.store.upkeep.copying import copy_history
from perfdb.store.upkeep.portable import KEYS

BOTH = ("sqlite", "postgresql")


@pytest.fixture
def source(request: pytest.FixtureRequest, filled_file: Path, filled_database: str) -> str:
    """Give the rich history in a database of the kind asked for, to read."""
    return f"sqlite:///{filled_file}" if request.param == "sqlite" else filled_database


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path, create_database: Callable[..., str]) -> str:
    """Give an empty database of the kind asked for."""
    return f"sqlite:///{tmp_path}/new/copy.sqlite3" if request.param == "sqlite" else create_database()


@pytest.fixture
def old_and_new(filled_file: Path, tmp_path: Path) -> tuple[str, str]:
    """Give a history that may be changed, and its copy."""
    here = f"sqlite:///{shutil.copy(filled_file, tmp_path / 'old.sqlite3')}"
    there = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    copy_history(here, there)
    return here, there


def by_table(copied: list[Copied]) -> dict[str, Copied]:
    return {each.table: each for each in copied}


def changed(copied: list[Copied]) -> dict[str, tuple[int, int, int]]:
    """Return added, updated and kept of the tables where one of them is not 0."""
    found = {each.table: (each.added, each.updated, each.kept) for each in copied}
    return {table: counts for table, counts in found.items() if any(counts)}


def execute(url: str, *statements: str) -> None:
    engine = open_engine(url, role="migration")
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def a_session(session_id: str, **changes: Any) -> Session:
    at = 1_785_500_000.0
    found = Session(
        session_id=session_id,
        pipeline="later",
        start_time=at,
        total_duration=3.0,
        status="completed",
        success=True,
        steps=(
            Step(step_name="one", start_time=at, duration=1.0, success=True),
            Step(step_name="two", start_time=at + 1, duration=2.0, success=True, seq=1),
        ),
        samples=(Sample(time=at, cpu_percent=50.0, rss_bytes=10**9),),
        tags=("nightly",),
    )
    return replace(found, **changes)


def insert(url: str, *found: Session) -> None:
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, found)
    engine.dispose()


def test_every_table_is_copied() -> None:
    assert set(KEYS) == set(metadata.tables)


@pytest.mark.parametrize("source", BOTH, indirect=True)
@pytest.mark.parametrize("target", BOTH, indirect=True)
def test_all_of_it_arrives_and_a_second_time_nothing(source: str, target: str, tmp_path: Path) -> None:
    if source.startswith("sqlite"):
        source = f"sqlite:///{shutil.copy(source.removeprefix('sqlite:///'), tmp_path / 'annotated.sqlite3')}"
        perfdb.History(source).annotate("deploy 1.4", pipeline="design")
    seen: list[tuple[int, int]] = []
    first = copy_history(source, target, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (108, 108)
    for each in first:
        assert (each.added, each.updated, each.kept, each.wrong) == (each.rows, 0, 0, 0), each
        assert each.source_checksum == each.target_checksum, each
    empty = {each.table for each in first if each.rows == 0}
    assert empty <= {"outbox", "silences", "baselines", *(["annotations"] if "sqlite" not in source else [])}
    again = copy_history(source, target)
    assert changed(again) == {}
    assert [each.target_checksum for each in again] == [each.source_checksum for each in first]
    assert schema.check(target) == []


@pytest.mark.parametrize("target", BOTH, indirect=True)
def test_the_copy_answers_like_the_original(filled_file: Path, target: str) -> None:
    here = perfdb.History(f"sqlite:///{filled_file}")
    copy_history(here.url, target)
    there = perfdb.History(target)
    assert there.session_rows() == here.session_rows()
    assert there.step_rows() == here.step_rows()
    assert there.alerts("all").equals(here.alerts("all"))
    slow = "20260101_120070"
    assert there.explain(slow).frame.equals(here.explain(slow).frame)


def test_checksums_see_a_single_bit(old_and_new: tuple[str, str]) -> None:
    here, there = old_and_new
    execute(
        there,
        "UPDATE steps SET duration = duration + 1e-9 WHERE duration = (SELECT max(duration) FROM steps)",
    )
    copied = by_table(copy_history(here, there))
    assert copied["steps"].source_checksum != copied["steps"].target_checksum
    assert copied["steps"].kept > 0
    assert copied["sessions"].kept == 0


@pytest.mark.parametrize("target", BOTH, indirect=True)
def test_what_is_new_is_added(filled_file: Path, tmp_path: Path, target: str) -> None:
    here = f"sqlite:///{shutil.copy(filled_file, tmp_path / 'old.sqlite3')}"
    copy_history(here, target)
    insert(here, a_session("later-1"))
    perfdb.History(here).tag("night-05", "warmup")
    copied = copy_history(here, target)
    assert changed(copied) == {
        "series": (3, 0, 0),
        "sessions": (1, 0, 0),
        "steps": (2, 0, 0),
        "samples": (1, 0, 0),
        "session_tags": (2, 0, 0),
    }
    there = perfdb.History(target)
    assert there.session("night-05").tags == ("warmup",)
    assert there.trends(pipeline="nightly <etl>").equals(
        perfdb.History(here).trends(pipeline="nightly <etl>")
    )


@pytest.mark.parametrize("target", BOTH, indirect=True)
def test_what_went_on_is_brought_on(filled_file: Path, tmp_path: Path, target: str) -> None:
    here = f"sqlite:///{shutil.copy(filled_file, tmp_path / 'old.sqlite3')}"
    copy_history(here, target)
    records = [
        {"type": "step", "session_id": "runs", "seq": 1, "step_name": "endless", "lane": 0}
        | {"start_time": 1_785_500_000.0, "duration": 12.0, "success": True},
        {"type": "end", "session_id": "runs", "total_duration": 13.0, "status": "completed", "success": True},
    ]
    engine = open_engine(here, role="writer")
    with engine.begin() as connection:
        apply_records(connection, {"journal_id": "alive"}, records, offset=10**6)
    engine.dispose()
    copied = copy_history(here, target)
    assert changed(copied) == {"sessions": (0, 1, 0), "journals": (0, 1, 0)}
    assert all(each.source_checksum == each.target_checksum for each in copied)
    assert perfdb.History(target).session("runs") == perfdb.History(here).session("runs")


def test_what_the_target_knows_better_it_keeps(old_and_new: tuple[str, str]) -> None:
    here, there = old_and_new
    desk = Triage(perfdb.History(there))
    alert = desk.alerts()[0]
    desk.decide(alert.id, "acknowledged", "seen")
    perfdb.History(there).tag("last", "mine")
    copied = copy_history(here, there)
    assert {each.table for each in copied if each.added or each.updated} == set()
    assert by_table(copied)["alerts"].kept >= 1
    assert not any(each.wrong for each in copied)
    assert desk.story(alert.id).alert.state == "acknowledged"
    assert perfdb.History(there).session().tags == ("mine",)


def test_decisions_about_alerts_follow(old_and_new: tuple[str, str]) -> None:
    here, there = old_and_new
    desk = Triage(perfdb.History(here))
    alert = desk.alerts()[0]
    decided = desk.decide(alert.id, "expected", "a larger model")
    desk.silence(3600, rule="vision-slow", reason="known")
    copied = by_table(copy_history(here, there))
    assert (copied["alerts"].updated, copied["alerts"].kept) == (len(decided), 0)
    assert copied["baselines"].added == copied["baselines"].rows > 0
    assert copied["silences"].added == 1
    assert Triage(perfdb.History(there)).story(alert.id) == desk.story(alert.id)


def test_alerts_are_numbered_anew_and_say_so(filled_file: Path, tmp_path: Path) -> None:
    here = f"sqlite:///{shutil.copy(filled_file, tmp_path / 'old.sqlite3')}"
    there = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    execute(here, "DELETE FROM alert_events WHERE alert_id < 3", "DELETE FROM alerts WHERE id < 3")
    copied = by_table(copy_history(here, there))
    assert copied["alerts"].source_checksum == copied["alerts"].target_checksum
    for alert in Triage(perfdb.History(there)).alerts("all"):
        assert "perfdb alerts explain" not in alert.message or f"alerts explain {alert.id}" in alert.message


def test_an_open_alert_of_the_targets_own_stands_for_the_sources(old_and_new: tuple[str, str]) -> None:
    here, there = old_and_new
    Triage(perfdb.History(here)).decide(Triage(perfdb.History(here)).alerts()[0].id, "expected")
    execute(there, "UPDATE alerts SET opened_at = opened_at + 1 WHERE active")
    before = perfdb.History(there).alerts("all")
    copied = copy_history(here, there)
    assert by_table(copied)["alerts"].kept > 0
    assert [each.table for each in copied if each.wrong] == []
    after = perfdb.History(there).alerts("all")
    assert set(before["id"]) <= set(after["id"])
    assert len(after) < len(before) + by_table(copied)["alerts"].rows


def test_messages_that_wait_stay_with_who_sends_them(old_and_new: tuple[str, str]) -> None:
    here, there = old_and_new
    message = "INSERT INTO outbox (channel, kind, payload, created_at, next_at, attempts, state) VALUES "
    execute(here, message + "('team', 'digest', '{}', 1, 1, 0, 'waiting')")
    execute(here, message + "('team', 'digest', '{}', 2, 2, 1, 'sent')")
    copied = by_table(copy_history(here, there))
    assert (copied["outbox"].rows, copied["outbox"].added) == (1, 1)


@pytest.mark.parametrize("target", BOTH, indirect=True)
def test_a_copy_that_was_cut_off_is_made_again(filled_file: Path, target: str) -> None:
    here = f"sqlite:///{filled_file}"
    killed = """
import os, sys
from perfdb.store.upkeep import copying
copying._SESSIONS = 10
copying.copy_history(sys.argv[1], sys.argv[2], lambda done, total: done >= 50 and os._exit(9))
"""
    done = subprocess.run([sys.executable, "-c", killed, here, target], timeout=120)
    assert done.returncode == 9
    engine = open_engine(target, role="reader")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sessions")).scalar() == 50
        assert journal_offset(connection, "dead") == 0  # read so far: not before all its rows are there
    engine.dispose()
    copied = copy_history(here, target)
    assert by_table(copied)["sessions"].added == 58
    assert all(each.source_checksum == each.target_checksum for each in copied)


@pytest.mark.parametrize("source", BOTH, indirect=True)
def test_the_source_is_one_moment_and_may_be_written_to(
    source: str, tmp_path: Path, create_database: Callable[..., str]
) -> None:
    if source.startswith("sqlite"):
        here = f"sqlite:///{shutil.copy(source.removeprefix('sqlite:///'), tmp_path / 'old.sqlite3')}"
    else:
        here = create_database(source.rpartition("/")[2])
    there = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    written = iter(range(10))

    def write(done: int, total: int) -> None:
        insert(here, a_session(f"meanwhile-{next(written)}"))

    first = by_table(copy_history(here, there, write))
    assert (first["sessions"].rows, first["sessions"].added) == (108, 108)
    assert first["sessions"].source_checksum == first["sessions"].target_checksum
    assert by_table(copy_history(here, there))["sessions"].added == 1


def test_a_damaged_copy_is_noticed(filled_file: Path, tmp_path: Path) -> None:
    there = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    schema.ensure_schema(there)
    execute(
        there,
        "CREATE TRIGGER forgets AFTER INSERT ON steps WHEN NEW.seq = 1 "
        "BEGIN DELETE FROM steps WHERE session_pk = NEW.session_pk AND seq = 1; END",
    )
    assert by_table(copy_history(f"sqlite:///{filled_file}", there))["steps"].wrong > 0


# --- the command --------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["db", "copy", *arguments])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


@pytest.mark.parametrize("target", BOTH, indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET total_duration = 1e18 WHERE id = 1",
        "UPDATE steps SET cpu_s = -1e300 WHERE seq = 0",
        "UPDATE series SET mode = '[]' WHERE id = 1",
        "UPDATE sessions SET session_id = '../../x' WHERE id = 1",
    ],
)
def test_a_file_with_what_readers_refuse_does_not_close_the_target_to_them(
    filled_file: Path, tmp_path: Path, target: str, change: str
) -> None:
    sound, hostile = (shutil.copy(filled_file, tmp_path / name) for name in ("a.sqlite3", "b.sqlite3"))
    copy_history(f"sqlite:///{sound}", target)
    with closing(sqlite3.connect(hostile)) as connection, connection:
        connection.execute("UPDATE sessions SET session_id = 'new-' || session_id")
        connection.execute(change)
    before = len(perfdb.History(target).sessions(last=1_000))
    with pytest.raises(StoreError, match=r"is not copied: .* holds what perfdb never writes"):
        copy_history(f"sqlite:///{hostile}", target)
    assert len(perfdb.History(target).sessions(last=1_000)) == before
    assert len(perfdb.History(target).trends()) > 1


def test_a_text_that_no_server_keeps_is_said_before_anything_is_copied(
    filled_file: Path, tmp_path: Path, create_database: Callable[..., str]
) -> None:
    hostile, server = shutil.copy(filled_file, tmp_path / "a.sqlite3"), create_database()
    with closing(sqlite3.connect(hostile)) as connection, connection:
        connection.execute("UPDATE sessions SET error_message = 'a' || char(0) || 'b'")
    with pytest.raises(StoreError, match=r"is not copied: sessions.error_message holds"):
        copy_history(f"sqlite:///{hostile}", server)
    with pytest.raises(AbsentError):
        perfdb.History(server).sessions()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET start_time = 'NaN' WHERE id = 1",
        "UPDATE steps SET duration = 'Infinity' WHERE seq = 0",
        "UPDATE series SET step_name = repeat('x', 30000) WHERE id = (SELECT max(id) FROM series)",
        "UPDATE series SET mode = '{bad}' WHERE id = 1",
        "UPDATE environments SET host = repeat('x', 200000)",
        "UPDATE sessions SET error_message = repeat('x', 70000000) WHERE id = 1",
        "UPDATE sessions SET attributes = jsonb_build_object('x', repeat('x', 70000000)) WHERE id = 1",
        "UPDATE steps SET events = '[3]' WHERE seq = 0",
        "INSERT INTO pruned_measures VALUES (1, 'x')",
    ],
)
def test_nor_does_a_server_that_holds_it_close_a_file_to_them(
    filled_file: Path, tmp_path: Path, create_database: Callable[..., str], change: str
) -> None:
    own, server = f"sqlite:///{tmp_path / 'a.sqlite3'}", create_database()
    copy_history(f"sqlite:///{filled_file}", server)
    schema.ensure_schema(own)
    insert(own, a_session("own"))
    engine = open_engine(server, role="migration")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sessions SET session_id = 'new-' || session_id")
        assert connection.exec_driver_sql(change).rowcount
    with pytest.raises(StoreError, match=r"is not copied: .* (never writes|a name of more)"):
        copy_history(server, own)
    assert list(perfdb.History(own).sessions()["session_id"]) == ["own"]


def test_the_command_prints_rows_and_checksums(
    filled_file: Path, create_database: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = create_database().replace("postgres@", "postgres:secret@")
    code, out, err = run(capsys, str(filled_file), url)
    assert code == 0
    assert out.split()[:6] == ["table", "rows", "added", "updated", "kept", "checksum"]
    (line,) = (each for each in out.splitlines() if each.startswith("sessions"))
    assert line.split()[1:5] == ["108", "108", "0", "0"]
    assert line.endswith("equal")
    assert err.endswith("All rows are there, and equal.\n")
    assert "secret" not in out + err
    code, out, err = run(capsys, str(filled_file), url, "--json")
    rows = {row["table"]: row for row in json.loads(out)["rows"]}
    assert code == 0
    assert (rows["steps"]["added"], rows["steps"]["wrong"]) == (0, 0)
    assert rows["steps"]["source_checksum"] == rows["steps"]["target_checksum"]


def test_the_command_says_what_differs(
    filled_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new.sqlite3"
    assert run(capsys, str(filled_file), str(target))[0] == 0
    perfdb.History(target).tag("last", "mine")
    perfdb.History(target).tag("last~1", "mine")
    execute(
        f"sqlite:///{target}", "UPDATE sessions SET error_message = 'changed' WHERE session_id = 'hostile'"
    )
    code, _, err = run(capsys, str(filled_file), str(target))
    assert code == 0
    assert "1 of them" in err
    execute(
        f"sqlite:///{target}",
        "DELETE FROM sessions WHERE session_id = 'hostile'",
        "CREATE TRIGGER forgets AFTER INSERT ON steps BEGIN DELETE FROM steps WHERE seq = 1 AND "
        "session_pk = NEW.session_pk; END",
    )
    code, _, err = run(capsys, str(filled_file), str(target))
    assert code == 2
    assert "does not hold what was written" in err


def test_the_command_refuses_what_makes_no_sense(
    filled_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "into itself" in run(capsys, str(filled_file), str(filled_file))[2]
    assert "no database" in run(capsys, str(tmp_path / "none.sqlite3"), str(tmp_path / "x.sqlite3"))[2]
    assert not (tmp_path / "x.sqlite3").exists()
    assert "me:***@" in run(capsys, str(filled_file), "postgresql://me:secret@127.0.0.1:1/db")[2]
    assert "me:***@" in run(capsys, "postgresql://me:secret@127.0.0.1:1/db", str(tmp_path / "x.sqlite3"))[2]


def test_a_target_that_refuses_cuts_the_copy_off(
    filled_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new.sqlite3"
    schema.ensure_schema(f"sqlite:///{target}")
    execute(
        f"sqlite:///{target}",
        "CREATE TRIGGER full BEFORE INSERT ON steps BEGIN SELECT RAISE(ABORT, 'no space left'); END",
    )
    code, _, err = run(capsys, str(filled_file), str(target))
    assert code == 2
    assert "was cut off: no space left; what has arrived is whole: run it again" in err
    execute(f"sqlite:///{target}", "DROP TRIGGER full")
    assert run(capsys, str(filled_file), str(target))[0] == 0


def test_an_older_source_is_upgraded_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released = sorted((Path(__file__).parents[1] / "databases").glob("*.sqlite3"))[0]
    old = shutil.copy(released, tmp_path / "old.sqlite3")
    before = Path(old).read_bytes()
    code, _, err = run(capsys, str(old), str(tmp_path / "new.sqlite3"))
    assert code == 2
    assert f"perfdb db upgrade -d {old}" in " ".join(err.split())
    assert Path(old).read_bytes() == before
    assert not (tmp_path / "new.sqlite3").exists()


def test_a_newer_target_is_left_alone(filled_file: Path, tmp_path: Path) -> None:
    there = f"sqlite:///{shutil.copy(filled_file, tmp_path / 'new.sqlite3')}"
    execute(there, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(NewerSchemaError, match="0999"):
        copy_history(f"sqlite:///{filled_file}", there)


@pytest.mark.parametrize("dies_at", [5, 40, 95])
def test_a_large_session_goes_on_where_its_copy_was_cut_off(
    tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    monkeypatch.setattr(copying, "_PIECE", 10)
    here = f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'old.sqlite3')}"
    there = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    steps = tuple(
        Step(step_name="work", start_time=1.7e9 + seq, duration=0.5, success=True, seq=seq)
        for seq in range(100)
    )
    large = Session(
        session_id="large", pipeline="p", start_time=1.7e9, total_duration=9.0, status="completed",
        success=True, steps=steps,
    )  # fmt: skip
    engine = open_engine(here, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, [large, replace(large, session_id="small", steps=steps[:3])])
    engine.dispose()

    class CutOffError(Exception):
        pass

    values = copying._Copy._values

    def cut_off(self: Any, table: Any, row: Any) -> dict[str, Any]:
        if table.name == "steps" and row.seq == dies_at:
            raise CutOffError
        return values(self, table, row)

    with monkeypatch.context() as patched:
        patched.setattr(copying._Copy, "_values", cut_off)
        with pytest.raises(CutOffError):
            copy_history(here, there)
    assert not any(each.wrong for each in copy_history(here, there))
    assert len(perfdb.History(there).session("large").steps) == 100
    assert len(perfdb.History(there).session("small").steps) == 3


def test_no_transaction_of_a_copy_is_long(filled_file: Path, tmp_path: Path) -> None:
    """Other writers wait for as long as one takes: it is bounded by its rows, whatever the source holds."""
    source, target = (f"sqlite:///{tmp_path / name}" for name in ("many.sqlite3", "new.sqlite3"))
    shutil.copy(filled_file, tmp_path / "many.sqlite3")
    for into, values in (
        ("series (pipeline, step_name, mode)", "'p', 'step ' || i, '{}'"),
        ("journals (journal_id, byte_offset, quarantined, updated_at)", "'j' || i, 5, 0, 1.7e9"),
        ("samples (session_pk, time)", "(SELECT min(id) FROM sessions), 1.9e9 + i"),
        ("session_tags (session_pk, name)", "(SELECT min(id) FROM sessions), 'tag ' || i"),
        ("alert_events (alert_id, at, event)", "(SELECT min(id) FROM alerts), 1.7e9 + i, 'seen'"),
    ):
        execute(
            source,
            "WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 1500) "
            f"INSERT INTO {into} SELECT {values} FROM number",
        )
    rows, longest = 0, 0

    def begun(*_: Any) -> None:
        nonlocal rows
        rows = 0

    def asked(_: Any, __: Any, statement: str, given: Any, ___: Any, many: bool) -> None:
        nonlocal rows, longest
        if not statement.lstrip().upper().startswith(("SELECT", "CREATE")):
            rows += len(given) if many else 1
            longest = max(longest, rows)

    schema.ensure_schema(target)
    event.listen(Engine, "begin", begun)
    event.listen(Engine, "before_cursor_execute", asked)
    try:
        assert not any(each.wrong for each in copy_history(source, target))
    finally:
        event.remove(Engine, "begin", begun)
        event.remove(Engine, "before_cursor_execute", asked)
    assert 100 < longest <= 400  # 200, and the rows of the session that they belong to


def test_alerts_go_over_in_pieces_and_whole(filled_file: Path, tmp_path: Path) -> None:
    source, target = (f"sqlite:///{tmp_path / name}" for name in ("many.sqlite3", "new.sqlite3"))
    shutil.copy(filled_file, tmp_path / "many.sqlite3")
    columns = ", ".join(
        column.name if column.name != "limit" else '"limit"'
        for column in metadata.tables["alerts"].columns
        if column.name not in ("id", "rule", "state", "active", "inhibited_by")
    )
    execute(
        source,
        f"""WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 120)
        INSERT INTO alerts (id, rule, state, active, inhibited_by, {columns})
        SELECT 1000 + i, 'many ' || i, 'resolved', 0, iif(i % 2, 1001 + i, NULL), {columns}
        FROM number, (SELECT * FROM alerts ORDER BY id LIMIT 1)""",
    )
    schema.ensure_schema(target)
    execute(
        target,
        "CREATE TRIGGER full BEFORE INSERT ON alerts WHEN (SELECT count(*) FROM alerts) >= 70"
        " BEGIN SELECT RAISE(ABORT, 'no space left'); END",
    )
    with pytest.raises(StoreError, match="no space left"):
        copy_history(source, target)
    engine = open_engine(target, role="reader")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alerts")).scalar() == 50
    execute(target, "DROP TRIGGER full")
    copied = by_table(copy_history(source, target))
    assert copied["alerts"].source_checksum == copied["alerts"].target_checksum
    inhibited = (
        "SELECT count(*) FROM alerts a JOIN alerts b ON b.id = a.inhibited_by WHERE a.rule LIKE 'many %'"
        " AND CAST(substr(b.rule, 6) AS INT) = CAST(substr(a.rule, 6) AS INT) + 1"
    )
    with engine.connect() as connection:
        assert connection.execute(text(inhibited)).scalar() == 60
    engine.dispose()
    assert by_table(copy_history(source, target))["alerts"].added == 0
