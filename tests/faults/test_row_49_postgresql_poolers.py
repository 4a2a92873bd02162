"""PostgreSQL behind pgbouncer, in another encoding, with one connection: no step is lost, or it says no."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import text

import perfdb
from benchmarks.cluster import Cluster, _free_port
from perfdb.cli.database import command as db_command
from perfdb.cli.recover import command as recover_command
from perfdb.errors import StoreError
from perfdb.store.database import Database
from perfdb.store.engine import is_transient, open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from tests.commands import make_session

PROGRAMS = 3
STEPS = 300
POOL = 3

WRITER = f"""
for _ in range(3):
    tracker.start_pipeline()
    steps({STEPS // 3})
    tracker.end_pipeline()
deadline = time.monotonic() + 100
while tracker.health()["backlog_bytes"] and time.monotonic() < deadline:
    time.sleep(0.02)
print("quarantined", tracker.health()["quarantined"])
"""


@pytest.fixture
def pgbouncer(cluster: Cluster) -> Iterator[Callable[[str, str], str]]:
    """Give a function that puts a pooler of a mode before a database; it returns the new URL."""
    program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no pgbouncer is installed: what it does to a connection is not tested")
    started: list[subprocess.Popen[bytes]] = []
    folder = Path(tempfile.mkdtemp(prefix="perfdb-pooler-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")

    def pooled(url: str, mode: str) -> str:
        port, name = _free_port(), url.rpartition("/")[2]
        (folder / "users").write_text('"postgres" ""\n')
        (folder / "ini").write_text(
            f"[databases]\n{name} = host=127.0.0.1 port={cluster.port} dbname={name}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nlogfile = {folder}/log\n"
            f"auth_type = trust\nauth_file = {folder}/users\npool_mode = {mode}\nmax_client_conn = 200\n"
            f"default_pool_size = {POOL}\nserver_round_robin = 1\n"  # no client finds the session it had
        )
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen([*prefix, program, str(folder / "ini")], cwd="/", **quiet))
        through = f"postgresql://postgres@127.0.0.1:{port}/{name}"
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(through, connect_timeout=2).close()
                return through
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2_000:]
                time.sleep(0.05)

    yield pooled
    for each in started:
        each.terminate()
        each.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_row_49_behind_a_pooler(
    pgbouncer: Callable[[str, str], str],
    create_database: Callable[[], str],
    start: Callable[[str], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    mode: str,
) -> None:
    direct = create_database()
    through = pgbouncer(direct, mode)
    monkeypatch.setenv("PERFDB_DATABASE_URL", through)
    programs = [start(WRITER) for _ in range(PROGRAMS)]
    said = [each.communicate(timeout=200) for each in programs]
    assert [out.split()[-1] for out, _ in said] == ["0"] * PROGRAMS, said
    assert list((home / "journal").glob("*.bad")) == []
    assert CliRunner().invoke(recover_command).exit_code == 0
    found = perfdb.History(through)
    assert len(found.steps(last=1_000)) == PROGRAMS * STEPS
    assert list(found.sessions()["status"]) == ["completed"] * 3 * PROGRAMS


def test_row_49_limits_stay_with_us_behind_a_pooler(
    pgbouncer: Callable[[str, str], str], create_database: Callable[[], str]
) -> None:
    """What we set for our transactions must not meet the next program that the pooler serves."""
    through = pgbouncer(create_database(), "transaction")
    ensure_schema(through)
    engine = open_engine(through, role="writer", busy_timeout_s=0.25)
    for _ in range(2 * POOL):
        with engine.begin() as connection:
            assert connection.execute(text("SHOW lock_timeout")).scalar() == "250ms"
    with psycopg.connect(through, autocommit=True) as other:
        other.prepare_threshold = None
        for _ in range(2 * POOL):
            assert other.execute("SHOW lock_timeout").fetchone() == ("0",)
            assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
    engine.dispose()


@pytest.fixture
def odd_database(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """Give an empty database of the encoding that the test names."""
    name = f"odd_{request.param.lower()}"
    with psycopg.connect(f"{cluster.url}/postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        server.execute(f"CREATE DATABASE {name} ENCODING '{request.param}' TEMPLATE template0".encode())
    return f"{cluster.url}/{name}"


@pytest.mark.parametrize("odd_database", ["SQL_ASCII", "LATIN1"], indirect=True)
def test_row_49_a_database_that_does_not_hold_every_text_is_refused(
    odd_database: str,
    run: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
) -> None:
    with pytest.raises(StoreError, match=r"encoding (SQL_ASCII|LATIN1).*UTF8"):
        ensure_schema(odd_database)
    refused = CliRunner().invoke(db_command, ["upgrade", "-d", odd_database])
    assert isinstance(refused.exception, StoreError)
    monkeypatch.setenv("PERFDB_DATABASE_URL", odd_database)
    done = run(
        "tracker.start_pipeline(); steps(5, 'é 🎉'); tracker.end_pipeline()\n"
        "deadline = time.monotonic() + 60\n"
        "while not tracker.health()['database_error'] and time.monotonic() < deadline: time.sleep(0.02)\n"
        "print(tracker.health()['database_error'])"
    )
    assert done.returncode == 0
    assert "UTF8" in done.stdout
    assert list((home / "journal").glob("*.bad")) == []
    monkeypatch.delenv("PERFDB_DATABASE_URL")
    assert CliRunner().invoke(recover_command).exit_code == 0
    assert [step.step_name for step in perfdb.History().session("last").steps] == ["é 🎉"] * 5


def test_row_49_texts_arrive_whatever_encoding_the_client_asks_for(
    migrated_database: str,
    create_database: Callable[[str], str],
    run: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = create_database(migrated_database)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET client_encoding = 'LATIN1'".encode())
    monkeypatch.setenv("PERFDB_DATABASE_URL", url)
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    run("tracker.start_pipeline(); steps(5, 'é 🎉'); tracker.end_pipeline()")
    assert CliRunner().invoke(recover_command).exit_code == 0
    assert [step.step_name for step in perfdb.History(url).session("last").steps] == ["é 🎉"] * 5


def test_row_49_numbers_arrive_whole_whatever_the_database_shows_of_them(
    migrated_database: str, create_database: Callable[[str], str]
) -> None:
    url = create_database(migrated_database)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET extra_float_digits = -15".encode())
    made = make_session(1, start_time=1_764_573_912.123456)
    with Database(url) as database, database.writing() as connection:
        insert_sessions(connection, [made])
        assert connection.execute(text("SELECT start_time FROM sessions")).scalar() == made.start_time
    found = perfdb.History(url).session("last")
    assert (found.start_time, found.total_duration) == (made.start_time, made.total_duration)


def test_row_49_a_role_with_one_connection_recovers(
    create_database: Callable[[], str],
    run: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    cluster: Cluster,
    home: Path,
) -> None:
    direct = create_database()
    name = direct.rpartition("/")[2]
    with psycopg.connect(direct, autocommit=True) as server:
        server.execute(f"CREATE ROLE lonely_{name} LOGIN CONNECTION LIMIT 1".encode())
        server.execute(f"ALTER DATABASE {name} OWNER TO lonely_{name}".encode())
        server.execute(f"ALTER SCHEMA public OWNER TO lonely_{name}".encode())
    lonely = f"postgresql://lonely_{name}@127.0.0.1:{cluster.port}/{name}"
    monkeypatch.setenv("PERFDB_DATABASE_URL", lonely)
    for _ in range(3):
        run("tracker.start_pipeline(); steps(5); tracker.end_pipeline(); os._exit(1)")
    with psycopg.connect(lonely):  # somebody else has it
        refused = CliRunner().invoke(recover_command)
        assert isinstance(refused.exception, StoreError)
        assert "too many connections" in str(refused.exception)
    another = psycopg.connect(lonely)
    threading.Timer(0.3, another.close).start()  # the server forgets what was closed after a moment
    done = CliRunner().invoke(recover_command)
    assert done.exit_code == 0, done.exception
    assert len(perfdb.History(direct).steps()) == 15
    assert list((home / "journal").glob("*.journal")) == []


NOT_THE_BATCHS_FAULT = (
    psycopg.errors.DuplicatePreparedStatement,
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.FeatureNotSupported,  # cached plan must not change result type
    psycopg.errors.ProtocolViolation,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InFailedSqlTransaction,
    psycopg.errors.TooManyConnections,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.PipelineAborted,
    psycopg.InterfaceError,
    psycopg.OperationalError,
)
THE_BATCHS_FAULT = (
    psycopg.errors.NumericValueOutOfRange,
    psycopg.errors.CheckViolation,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.DatatypeMismatch,
    psycopg.errors.RaiseException,
    psycopg.DataError,
)


@pytest.mark.parametrize("kind", NOT_THE_BATCHS_FAULT, ids=lambda kind: kind.__name__)
def test_row_49_what_the_batch_is_not_to_blame_for_puts_no_line_aside(kind: type[psycopg.Error]) -> None:
    assert is_transient(kind("x"))


@pytest.mark.parametrize("kind", THE_BATCHS_FAULT, ids=lambda kind: kind.__name__)
def test_row_49_what_a_line_is_to_blame_for_holds_up_no_other(kind: type[psycopg.Error]) -> None:
    assert not is_transient(kind("x"))


def test_row_49_rights_that_are_taken_away_and_given_back(
    create_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, cluster: Cluster, home: Path
) -> None:
    direct = create_database()
    ensure_schema(direct)
    name = direct.rpartition("/")[2]
    with psycopg.connect(direct, autocommit=True) as server:
        server.execute(f"CREATE ROLE writer_{name} LOGIN".encode())
        server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO writer_{name}".encode())
        monkeypatch.setenv(
            "PERFDB_DATABASE_URL", f"postgresql://writer_{name}@127.0.0.1:{cluster.port}/{name}"
        )
        tracker = perfdb.create_tracker(console=False, monitor=False)
        tracker.start_pipeline()
        with tracker.step("work"):
            pass
        tracker.end_pipeline()
        deadline = time.monotonic() + 60
        while not (error := tracker.health()["database_error"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "permission denied" in error
        server.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO writer_{name}".encode())
        server.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO writer_{name}".encode())
    deadline = time.monotonic() + 60
    while tracker.health()["backlog_bytes"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert tracker.health()["quarantined"] == 0
    assert len(perfdb.History(direct).session("last").steps) == 1
