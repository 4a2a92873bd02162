"""Writers of other hosts are taken for dead after a long silence, by the server's clock alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from perfdb.store import frames, leases
from perfdb.store.engine import open_engine
from perfdb.store.ingest import apply_records

HEADER = {"journal_id": "j1", "host": "studio", "pid": 12, "created": 1_785_500_000.0}
Records = list[dict[str, object]]


@pytest.fixture
def shared(shared_engine: Engine) -> Iterator[Connection]:
    """Give a connection to PostgreSQL inside a transaction, which is undone."""
    with shared_engine.connect() as connection:
        transaction = connection.begin()
        yield connection
        transaction.rollback()


@pytest.fixture
def running(run_records: Callable[..., Records]) -> Records:
    """A run with an open step that has not ended."""
    start, load, work, _end = run_records()
    opened = {name: work[name] for name in ("session_id", "seq", "step_name", "lane", "start_time")}
    return [start, load, {"type": "open", **opened}]


def record(connection: Connection, records: Sequence[Any], offset: int = 10) -> None:
    apply_records(connection, HEADER, records, offset=offset)


def fall_silent(connection: Connection, seconds: float = leases.LEASE_S + 1) -> None:
    connection.execute(text(f"UPDATE journals SET seen_at = seen_at - {seconds}"))


def states(connection: Connection) -> tuple[str, list[str]]:
    """Return the status of the session, and of its steps."""
    (status,) = frames.sessions_frame(connection)["status"]
    return status, frames.steps_frame(connection)["status"].tolist()


def test_every_batch_is_heard_of_on_the_servers_clock(shared: Connection, running: Records) -> None:
    record(shared, running)
    age = text("SELECT extract(epoch FROM clock_timestamp()) - seen_at FROM journals")
    assert 0 <= shared.execute(age).scalar_one() < 60
    fall_silent(shared, 3600)
    record(shared, [], offset=20)
    assert shared.execute(age).scalar_one() < 60


def test_a_writer_within_its_lease_lives(shared: Connection, running: Records) -> None:
    record(shared, running)
    fall_silent(shared, leases.LEASE_S - 60)
    assert leases.silent_writers(shared) == []
    assert leases.interrupt_silent(shared) == 0
    assert states(shared)[0] == "running"


def test_sessions_of_a_silent_writer_are_interrupted(shared: Connection, running: Records) -> None:
    record(shared, running)
    fall_silent(shared)
    (silent,) = leases.silent_writers(shared)
    assert (silent.journal_id, silent.host, silent.sessions) == ("j1", "studio", 1)
    assert silent.silent_s > leases.LEASE_S
    assert leases.interrupt_silent(shared) == 1
    assert states(shared) == ("interrupted", ["completed", "interrupted"])
    assert leases.silent_writers(shared) == []


def test_a_journal_whose_lock_can_be_seen_is_left_to_it(shared: Connection, running: Records) -> None:
    record(shared, running)
    fall_silent(shared)
    assert leases.silent_writers(shared, beside={"j1"}) == []
    assert leases.interrupt_silent(shared, beside={"j1"}) == 0


def test_a_late_end_undoes_it(
    shared: Connection, running: Records, run_records: Callable[..., Records]
) -> None:
    record(shared, running)
    fall_silent(shared)
    leases.interrupt_silent(shared)
    record(shared, run_records()[2:], offset=20)
    assert states(shared) == ("completed", ["completed", "completed"])


def test_a_writer_that_is_heard_of_again_gets_its_session_back(shared: Connection, running: Records) -> None:
    record(shared, running)
    fall_silent(shared)
    leases.interrupt_silent(shared)
    assert leases.renew(shared, ["j1"], ["s1"]) == 1
    assert states(shared) == ("running", ["completed", "running"])
    counted = text("SELECT counted FROM steps ORDER BY seq")
    assert shared.execute(counted).scalars().all() == [True, False]
    assert leases.interrupt_silent(shared) == 0
    assert leases.renew(shared, ["j1"], ["s1"]) == 0


def test_two_hosts_that_look_at_once_do_not_wait_for_each_other(
    create_database: Callable[..., str], migrated_database: str, running: Records
) -> None:
    url = create_database(migrated_database)
    one, other = (open_engine(url, role="writer", busy_timeout_s=1.0) for _ in range(2))
    with one.begin() as first:
        record(first, running)
        fall_silent(first)
    with one.begin() as first, other.begin() as second:
        assert leases.interrupt_silent(first) == 1
        assert leases.interrupt_silent(second) == 0
    one.dispose()
    other.dispose()


def test_sqlite_has_no_leases(migrated_file: Path, tmp_path: Path, running: Records) -> None:
    engine = open_engine(f"sqlite:///{shutil.copy(migrated_file, tmp_path)}", role="writer")
    with engine.begin() as connection:
        record(connection, running)
        assert connection.execute(text("SELECT seen_at FROM journals")).scalar() is None
        assert leases.silent_writers(connection) == []
        assert leases.interrupt_silent(connection) == 0
    engine.dispose()


def test_a_session_that_was_called_off_does_not_run_again(
    shared: Connection, run_records: Callable[..., Records]
) -> None:
    record(shared, run_records(status="interrupted", success=False))
    assert leases.renew(shared, ["j1"], ["s1"]) == 0
    assert states(shared)[0] == "interrupted"
