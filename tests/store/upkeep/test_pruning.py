"""What pruning takes, what it keeps, and that it stops nobody, on both databases.

Of: store/upkeep/orphans.py, store/upkeep/retention.py, worker/upkeep.py.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from perfdb import recorder
from perfdb.errors import SettingsError
from perfdb.filters import DAY_S
from perfdb.recording.health import Health
from perfdb.records import Alert, Session, Step
from perfdb.settings import load
from perfdb.store import alerts as alerts_store
from perfdb.store import models, outbox
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.sessions import tag_session
from perfdb.store.upkeep import orphans
from perfdb.store.upkeep import retention as store
from perfdb.store.upkeep.pruning import Policy, age, find_shares, prune, read_policy, survey
from perfdb.toml import Table
from perfdb.worker.upkeep import Upkeep, stamp_of

NOW = 1_800_000_000.0


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    """Give the write end of an empty database of either kind."""
    database = Database(migrated_url, 10.0)
    yield database
    database.forget()


def session(number: int, *, days_old: float, **changes: Any) -> Session:
    start = NOW - days_old * DAY_S
    steps = tuple(
        Step(step_name=step, start_time=start + seq, duration=0.5, success=True, seq=seq)
        if isinstance(step, str)
        else step
        for seq, step in enumerate(changes.pop("steps", ("load", "work")))
    )
    values: dict[str, Any] = {
        "session_id": f"s{number}",
        "pipeline": "etl",
        "start_time": start,
        "total_duration": 2.0,
        "status": "completed",
        "success": True,
        "mode": "{}",
        "steps": steps,
        "host": "here",
    }
    return Session(**(values | changes))


def add(database: Database, *found: Session) -> None:
    with database.writing() as connection:
        insert_sessions(connection, found)


def left(database: Database) -> list[str]:
    with database.reading() as connection:
        return sorted(connection.execute(select(models.sessions.c.session_id)).scalars())


def rows(database: Database, *tables: Any) -> dict[str, int]:
    with database.reading() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }


def pruned(database: Database, policy: Policy, pipeline: str | None = None, now: float = NOW) -> list[str]:
    shares = find_shares(database, policy, now, pipeline)
    return sorted(session_id for gone in prune(database, shares, now) for session_id in gone)


def test_what_is_older_goes_with_all_that_is_its_own(database: Database) -> None:
    add(database, session(1, days_old=91), session(2, days_old=89))
    assert pruned(database, Policy(90 * DAY_S)) == ["s1"]
    assert left(database) == ["s2"]
    assert rows(database, models.steps) == {"steps": 2}


def test_the_newest_of_each_pipeline_and_mode_stay_whatever_their_age(database: Database) -> None:
    add(
        database,
        *(session(number, days_old=100 + number) for number in range(5)),
        session(5, days_old=300, mode='{"fast_mode":true}'),
        session(6, days_old=400, pipeline="rare"),
        session(7, days_old=500, pipeline="rare"),
    )
    assert pruned(database, Policy(90 * DAY_S, keep_last=2)) == ["s2", "s3", "s4"]
    assert pruned(database, Policy(keep_last=1)) == ["s1", "s7"]
    assert left(database) == ["s0", "s5", "s6"]


def test_only_the_pipeline_that_was_asked_for(database: Database) -> None:
    add(database, session(1, days_old=100), session(2, days_old=100, pipeline="other"))
    assert pruned(database, Policy(90 * DAY_S), pipeline="other") == ["s2"]


def alert(state: str, since: str, last: str) -> Alert:
    return Alert(
        id=0, rule="slow", kind="max", pipeline="etl", step_name="load", mode="{}", metric="duration",
        direction="up", severity="warning", state=state, active=state == "firing", value=2.0, n=1,
        baseline_n=0, since_session_id=since, since_time=NOW, last_session_id=last, last_time=NOW, hits=1,
        good=0, reopened=0, silenced=False, opened_at=NOW, updated_at=NOW, headline="slow", message="slow",
    )  # fmt: skip


def test_tagged_pinned_alerting_and_running_sessions_stay(database: Database) -> None:
    add(database, *(session(number, days_old=100) for number in range(8)))
    with database.writing() as connection:
        tag_session(connection, "s1", "release")
        alerts_store.save_alert(connection, alert("firing", since="s2", last="s3"))
        alerts_store.save_alert(connection, alert("resolved", since="s4", last="s4"))
        series_id = connection.execute(select(models.series.c.id).limit(1)).scalar_one()
        baseline = {"series_id": series_id, "metric": "duration", "since_time": NOW, "created_at": NOW}
        connection.execute(
            insert(models.baselines).values(since_session_id="s5", until_session_id="s7", **baseline)
        )
        running = update(models.sessions).where(models.sessions.c.session_id == "s6")
        connection.execute(running.values(status=models.RUNNING_CODE))
    ((_, found),) = survey(database, find_shares(database, Policy(90 * DAY_S), NOW))
    assert (found.pruned, found.kept, found.tagged, found.named, found.running) == (2, 6, 1, 4, 1)
    assert pruned(database, Policy(90 * DAY_S)) == ["s0", "s4"]
    assert left(database) == ["s1", "s2", "s3", "s5", "s6", "s7"]
    assert rows(database, models.alerts) == {"alerts": 2}


def test_a_tag_or_an_alert_between_the_look_and_the_delete_still_counts(database: Database) -> None:
    add(database, *(session(number, days_old=100) for number in range(1, 4)))
    (share,) = find_shares(database, Policy(90 * DAY_S), NOW)
    with database.reading() as connection:
        doomed = store.find_doomed(connection, share, None)
    with database.writing() as connection:
        tag_session(connection, "s2", "keep")
        alerts_store.save_alert(connection, alert("firing", since="s3", last="s3"))
        assert store.delete_sessions(connection, doomed, 60.0) == ["s1"]


def test_a_session_too_large_for_one_transaction_goes_in_pieces(database: Database) -> None:
    many = session(1, days_old=100, steps=tuple("load" for _ in range(450)))
    add(database, many, session(2, days_old=99), session(3, days_old=98))
    (share,) = find_shares(database, Policy(90 * DAY_S), NOW)
    with database.reading() as connection:
        doomed = store.find_doomed(connection, share, None)
    gone = []
    while doomed:
        with database.writing() as connection:
            gone.append(store.delete_sessions(connection, doomed, 0.0))
    assert gone[:4] == [[], [], [], []]  # a hundred steps each
    assert gone[4:] == ([["s1", "s2", "s3"]] if database.is_shared else [["s1"], ["s2"], ["s3"]])
    assert rows(database, models.sessions, models.steps) == {"sessions": 0, "steps": 0}


def test_a_large_session_that_was_tagged_meanwhile_keeps_its_steps(database: Database) -> None:
    add(database, session(1, days_old=100, steps=tuple("load" for _ in range(450))))
    pieces = prune(database, find_shares(database, Policy(90 * DAY_S), NOW), NOW)
    next(pieces)  # it was looked for
    with database.writing() as connection:
        tag_session(connection, "s1", "keep")
    assert [each for each in pieces if each] == []
    assert rows(database, models.sessions, models.steps) == {"sessions": 1, "steps": 450}


def test_names_environments_and_journals_of_nobody_go_too(database: Database) -> None:
    add(
        database,
        session(1, days_old=100, steps=("load", "step 4711"), host="gone"),
        session(2, days_old=10),
        session(3, days_old=100, pipeline="old"),
    )
    failing = Step(step_name="always fails", start_time=NOW, duration=1.0, success=False, seq=0)
    add(database, session(4, days_old=1, steps=(failing,), status="failed", success=False))
    with database.writing() as connection:
        for name, updated in (("idle", NOW - 40 * DAY_S), ("young", NOW - DAY_S)):
            connection.execute(
                insert(models.journals).values(
                    journal_id=name, byte_offset=1, quarantined=0, updated_at=updated
                )
            )
    pruned(database, Policy(90 * DAY_S))
    with database.reading() as connection:
        names = connection.execute(select(models.series.c.pipeline, models.series.c.step_name)).all()
        hosts = connection.execute(select(models.environments.c.host)).scalars().all()
        journals = connection.execute(select(models.journals.c.journal_id)).scalars().all()
    assert sorted(map(tuple, names), key=str) == [
        ("etl", "always fails"), ("etl", "load"), ("etl", "work"), ("etl", None),
    ]  # fmt: skip
    assert (hosts, journals) == (["here"], ["young"])


def test_messages_that_arrived_long_ago_go_too(database: Database) -> None:
    with database.writing() as connection:
        for days_old, state in ((31, "sent"), (31, "waiting"), (29, "sent")):
            outbox.put(connection, f"{state} {days_old}", {}, NOW - days_old * DAY_S)
            of_this = models.outbox.c.channel == f"{state} {days_old}"
            connection.execute(update(models.outbox).where(of_this).values(state=state))
    assert pruned(database, Policy(90 * DAY_S)) == []
    with database.reading() as connection:
        kept = connection.execute(select(models.outbox.c.channel)).scalars().all()
    assert sorted(kept) == ["sent 29", "waiting 31"]


def test_orphans_and_old_messages_go_in_pieces_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for held in ("HELD_S", "SHARED_HELD_S"):
        monkeypatch.setattr(f"perfdb.store.upkeep.pruning.{held}", 0.0)
    add(database, *(session(number, days_old=100, command=f"job {number}") for number in range(45)))
    with database.writing() as connection:
        for _ in range(45):
            outbox.put(connection, "mail", {}, NOW - 31 * DAY_S)
        connection.execute(update(models.outbox).values(state="sent"))
    left_over = []
    for _ in prune(database, find_shares(database, Policy(90 * DAY_S), NOW), NOW):
        with database.reading() as connection:
            counts = [
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (models.sessions, models.outbox, models.environments)
            ]
        if counts[0] == 0 and counts not in left_over:
            left_over.append(counts)
    assert left_over == [[0, 45, 45], [0, 25, 45], [0, 5, 45], [0, 0, 45], [0, 0, 25], [0, 0, 5], [0, 0, 0]]


def test_orphans_are_left_to_the_next_time_when_somebody_writes_all_the_time(
    tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "perfdb.sqlite3"
    path.write_bytes(migrated_file.read_bytes())
    database = Database(f"sqlite:///{path}", 10.0)
    add(database, session(1, days_old=100))
    pieces = prune(database, find_shares(database, Policy(90 * DAY_S), NOW), NOW)
    assert ["s1"] in (next(pieces), next(pieces))
    looked = orphans._orphan_series

    def look_while_somebody_writes(connection: Any) -> list[int]:
        found = looked(connection)
        add(database, session(2, days_old=1))
        add(database, session(time.monotonic_ns(), days_old=1))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(orphans, "_orphan_series", look_while_somebody_writes)
        assert sum(orphans.delete_orphans(database.url, NOW, 60.0)) == 0
    assert rows(database, models.series) == {"series": 3}
    assert "s2" in left(database)  # it could write while we looked
    database.forget()


def test_a_file_that_perfdb_made_gives_its_space_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/perfdb.sqlite3", 10.0)
    add(
        database, *(session(number, days_old=100, command="x" * 3000 + str(number)) for number in range(1000))
    )
    full = size(tmp_path / "perfdb.sqlite3")
    assert len(pruned(database, Policy(90 * DAY_S))) == 1000
    database.forget()
    assert size(tmp_path / "perfdb.sqlite3") < full / 3


def size(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size


def test_writers_and_pruning_share_the_database(database: Database) -> None:
    add(database, *(session(number, days_old=100) for number in range(1500)))
    written: list[str] = []
    done = threading.Event()

    def write() -> None:
        own = Database(database.url, 10.0)
        while not done.is_set() or len(written) < 20:
            number = 10_000 + len(written)
            add(own, session(number, days_old=1))
            written.append(f"s{number}")
        own.forget()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert len(pruned(database, Policy(90 * DAY_S))) == 1500
    finally:
        done.set()
        writer.join(60)
    assert left(database) == sorted(written)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [("90d", 90 * DAY_S), ("12w", 84 * DAY_S), ("36h", 1.5 * DAY_S), ("1.5d", 1.5 * DAY_S)],
)
def test_ages(words: str, seconds: float) -> None:
    assert age(words) == seconds


@pytest.mark.parametrize(
    "value", ["90", "d", "", "0d", "-3d", "nand", "infd", "5m", "90 days", 90, None, True]
)
def test_what_is_no_age_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="such as 90d"):
        age(value)


def test_a_mistake_in_the_settings_is_named_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line, said in (
        ('older_than = "ninety days"', r"perfdb.toml, line 2: 'older_than' in \[retention\] must be an age"),
        ("keep_last = 0", r"'keep_last' in \[retention\] must be a whole number from 1"),
        ('older = "90d"', r"unknown setting 'older' in \[retention\]; did you mean 'older_than'"),
    ):
        (tmp_path / "perfdb.toml").write_text(f"[retention]\n{line}\n")
        with pytest.raises(SettingsError, match=said):
            recorder.create_tracker(console=False)
    assert not read_policy(load().replaced(retention=Table({})).retention)


# --- by the worker ------------------------------------------------------------------------------------


@pytest.fixture
def upkeep(tmp_path: Path, migrated_file: Path) -> Iterator[Upkeep]:
    """Give the upkeep of a home with ten sessions of 1970 and a young one."""
    path = tmp_path / "perfdb.sqlite3"
    path.write_bytes(migrated_file.read_bytes())
    database = Database(f"sqlite:///{path}", 10.0)
    add(database, *(session(number, days_old=20_000) for number in range(10)))
    add(database, session(10, days_old=0, start_time=time.time()))
    yield Upkeep(tmp_path, Policy(90 * DAY_S), database, Health(strict=True))
    database.forget()


def finish(upkeep: Upkeep) -> int:
    """Take idle turns until nothing is left; return how many it took."""
    turns = 0
    while upkeep.turn(idle=True):
        turns += 1
    return turns


def test_the_worker_prunes_piece_by_piece_when_it_is_idle(upkeep: Upkeep, tmp_path: Path) -> None:
    home = sqlite3.connect(tmp_path / "perfdb.sqlite3")
    assert upkeep.turn(idle=False)  # it is due, and waits
    assert home.execute("SELECT count(*) FROM sessions").fetchone() == (11,)
    assert finish(upkeep) >= 1
    assert home.execute("SELECT session_id FROM sessions").fetchall() == [("s10",)]
    home.close()


def test_a_file_of_the_host_under_the_number_of_its_stamp_stays_as_it_is(
    upkeep: Upkeep, tmp_path: Path
) -> None:
    upkeep.turn(idle=True)
    (tmp_path / "own").write_text("of the host")
    own = os.open(tmp_path / "own", os.O_RDWR)
    os.dup2(own, upkeep._descriptor)  # as if the host had closed it, and opened its file
    finish(upkeep)
    assert (tmp_path / "own").read_text() == "of the host"
    os.close(upkeep._descriptor)  # still open
    os.close(own)


def test_it_does_so_once_a_day_for_all_processes_of_a_home(upkeep: Upkeep, tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from perfdb.recording.health import Health; "
        "from perfdb.store.upkeep.pruning import Policy; from perfdb.worker.upkeep import Upkeep; "
        "from perfdb.store.database import Database; "
        f"home = Path({str(tmp_path)!r}); "
        "database = Database(f'sqlite:///{home}/perfdb.sqlite3', 10.0); "
        "print(Upkeep(home, Policy(1e7), database, Health(strict=True)).turn(idle=True))"
    )

    def turn_of_another_process() -> str:
        return subprocess.run(
            [sys.executable, "-c", other], capture_output=True, text=True, check=True
        ).stdout.strip()

    upkeep.turn(idle=True)
    assert turn_of_another_process() == "False"  # this one is at it
    finish(upkeep)
    assert turn_of_another_process() == "False"  # today it was done
    stamp_of(tmp_path, upkeep._database.url).write_text(f"{time.time() - 1.1 * DAY_S}\n")
    assert turn_of_another_process() == "True"


def test_it_does_so_once_for_all_homes_of_a_database(database: Database, tmp_path: Path) -> None:
    add(database, *(session(number, days_old=20_000) for number in range(10)))
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    first, second = (Upkeep(home, Policy(90 * DAY_S), database, Health(strict=True)) for home in homes)
    if database.is_shared:
        assert first.turn(idle=True)
        assert finish(second) == 0  # another host is at it
        assert len(left(database)) == 10
    finish(first)
    assert left(database) == []
    add(database, session(1, days_old=20_000))
    assert finish(second) == 0  # today it was done
    assert left(database) == ["s1"]


def test_a_database_that_is_busy_delays_it(upkeep: Upkeep, tmp_path: Path) -> None:
    upkeep._database = Database(upkeep._database.url, 0.05)
    lock = sqlite3.connect(tmp_path / "perfdb.sqlite3", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    assert finish(upkeep) == 1  # the look, which waits for nobody
    assert upkeep._health.counts["delays"] == 1
    lock.execute("ROLLBACK")
    lock.close()
    assert not upkeep.turn(idle=True)  # and does not ask again at once
    upkeep._look_again = 0.0
    finish(upkeep)
    with upkeep._database.reading() as connection:
        assert connection.execute(select(models.sessions.c.session_id)).scalars().all() == ["s10"]
    upkeep._database.forget()


def test_a_recording_host_prunes_by_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "perfdb.toml").write_text('[retention]\nolder_than = "90d"\n')
    database = Database(load().database_url, 10.0)
    add(database, *(session(number, days_old=20_000) for number in range(10)))
    tracker = recorder.create_tracker(console=False)
    tracker.start_pipeline()
    tracker.end_pipeline()
    give_up = time.monotonic() + 30
    while len(left(database)) > 1 and time.monotonic() < give_up:
        time.sleep(0.05)
    assert left(database) == [tracker.session_id]
    assert tracker.health()["ok"]
    recorder.close()
    database.forget()


def test_a_short_program_prunes_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "perfdb.toml").write_text('[retention]\nolder_than = "90d"\n')
    database = Database(load().database_url, 10.0)
    # three pieces at least: the first of them may happen before the end
    add(database, *(session(number, days_old=20_000, pipeline=f"p{number % 3}") for number in range(9)))
    code = (
        "import perfdb, perfdb.worker.thread\n"
        "perfdb.worker.thread.EXIT_PRUNE_S = 60\n"  # however slow the machine is
        "with perfdb.track('short'): pass\n"
        "perfdb.recorder.close(60)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(left(database)) == 1
    database.forget()


def test_of_many_orphans_one_that_somebody_begins_to_use_meanwhile_stays(
    tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "perfdb.sqlite3"
    path.write_bytes(migrated_file.read_bytes())
    database = Database(f"sqlite:///{path}", 10.0)
    with database.writing() as connection:
        given = [{"pipeline": "p", "step_name": f"s{number}", "mode": "{}"} for number in range(3_000)]
        connection.execute(models.series.insert(), given)
    looked = orphans._orphan_series
    looks: list[list[int]] = []
    used: list[float] = []

    def look(connection: Any) -> list[int]:
        time.sleep(0.1)  # of a large history: what it found is used for as long
        looks.append(found := looked(connection))
        return found

    def rest(seconds: float) -> None:
        if seconds == orphans._LET_WRITE_S and not used:
            used.append(seconds)
            add(database, session(1, days_old=1, pipeline="p", steps=["s0"]))

    monkeypatch.setattr(orphans, "_orphan_series", look)
    monkeypatch.setattr(orphans, "time", SimpleNamespace(monotonic=time.monotonic, sleep=rest))
    monkeypatch.setattr(orphans, "_MANY", 1)
    assert sum(orphans.delete_orphans(database.url, NOW, 0.0)) == 2_999
    assert rows(database, models.series) == {"series": 2}
    assert len(looks[0]) > len(looks[1])
    database.forget()
