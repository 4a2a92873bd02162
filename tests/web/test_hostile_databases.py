"""A database file from anybody: each verb and page answers sanely or says in a sentence that it cannot.

Of: store/sanity.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

import perfdb
from perfdb.cli import main
from perfdb.errors import StoreError
from perfdb.stopping import limited
from perfdb.store.browsing import count_all
from perfdb.store.engine import open_engine
from perfdb.store.sanity import VIEWS, find_nonsense, is_virtual, view_digest
from perfdb.store.upkeep.backup import count_rows
from perfdb.store.upkeep.copying import copy_history
from perfdb.store.upkeep.restoring import require_backup
from perfdb.web.app import create_app

LIMIT_S = 60  # what ends in time takes a hundredth of it; a hang would hold up the suite
ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT"
Make = Callable[[sqlite3.Connection], Any]


def sql(*statements: str) -> Make:
    return lambda connection: [connection.execute(each) for each in statements]


def endless(name: str) -> Make:
    """Put a view that never ends in the place of a table or view."""

    def make(connection: sqlite3.Connection) -> None:
        columns = [row[1] for row in connection.execute(f'PRAGMA table_xinfo("{name}")')]
        (kind,) = connection.execute("SELECT type FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        connection.execute(f"DROP {kind} {name}")
        named = ", ".join(f'n AS "{each}"' for each in columns)
        connection.execute(f"CREATE VIEW {name} AS {ENDLESS} {named} FROM r")

    return make


def deep(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE sessions SET attributes = ?", ("[" * 50_000 + "]" * 50_000,))
    connection.execute(
        "UPDATE steps SET additional_data = ? WHERE session_pk = 1", ('{"a":' * 5_000 + "1" + "}" * 5_000,)
    )


def huge(connection: sqlite3.Connection) -> None:
    names = ("p" * 1_000_000, "s" * 1_000_000)
    connection.execute("UPDATE series SET pipeline = ?, step_name = step_name || ?", names)


TIMES = {"9575": "240000000000.0 + {0}", "negative": "-1e12 + {0}", "1e300": "1e300", "infinite": "9e999"}
KINDS: dict[str, Make] = {
    "text for a session's numbers": sql(
        "UPDATE sessions SET total_duration = 'long', product_count = 'many', cpu_s = 'x', utc_offset = 'z', "
        "rss_peak_bytes = 'y', pid = 'p', fast_mode = 'maybe', success = 'so', counted = 'yes'"
    ),
    "text for a start": sql("UPDATE sessions SET start_time = 'abc'"),
    "text for a step's numbers": sql(
        "UPDATE steps SET start_time = 'abc', duration = 'long', lane = 'l', parent_seq = 'p', cpu_s = 'c'"
    ),
    "text for codes": sql("UPDATE sessions SET status = 'done'", "UPDATE steps SET status = 'done'"),
    "codes of nothing": sql("UPDATE sessions SET status = 77", "UPDATE steps SET status = -1"),
    "text in samples": sql("UPDATE samples SET cpu_percent = 'hot', rss_bytes = 'big'"),
    "text in alerts": sql(
        "UPDATE alerts SET value = 'v', baseline = 'b', n = 'n', opened_at = 'o', hits = 'h'"
    ),
    "words of nothing in alerts": sql("UPDATE alerts SET severity = 'awful', state = 'odd', kind = 'new'"),
    "blobs for names": sql(
        "UPDATE series SET pipeline = x'ff00fe', step_name = x'ff' || id WHERE step_name IS NOT NULL",
        "UPDATE sessions SET session_id = x'ff00' || id, error_message = x'ff00'",
    ),
    "ids that are paths": sql("UPDATE sessions SET session_id = '../../etc/' || id"),
    "broken JSON": sql(
        "UPDATE sessions SET attributes = '{broken'",
        "UPDATE steps SET additional_data = '[1,', attempts = '{', events = 'nope'",
        "UPDATE alerts SET details = '{'",
    ),
    "JSON of other shapes": sql(
        "UPDATE sessions SET attributes = '[1, 2]'",
        """UPDATE steps SET additional_data = '7', attempts = '{"a": 1}', events = '"x"'""",
        "UPDATE alerts SET details = '[]'",
    ),
    "JSON of odd items": sql(
        """UPDATE steps SET attempts = '[1, {"start_time": "x"}]', events = '[{"name": 5}]'""",
        """UPDATE alerts SET details = '{"usual": [1], "found": 7, "parts": 5, "until": []}'""",
    ),
    "JSON of items that lack something": sql(
        """UPDATE steps SET attempts = '[{"duration": 1}]', events = '[{"time": 1.5, "data": {}}]'"""
    ),
    "JSON with halves of letters": sql(
        r"""UPDATE sessions SET attributes = '{"a": "\ud800", "k\uDC00": "v", "git_branch": "\udfff"}'""",
        r"""UPDATE steps SET additional_data = '{"n": "\ud800", "x\ud801": 3}'""",
        r"""UPDATE steps SET events = '[{"name": "\ud800", "time": 1.5}]'""",
    ),
    "numbers that JSON lacks": sql("""UPDATE sessions SET attributes = '{"a": 1e999, "b": NaN}'"""),
    "JSON without a bottom": deep,
    "modes that are none": sql("UPDATE series SET mode = '{broken' || id"),
    **{
        f"times: {name}": sql(
            f"UPDATE sessions SET start_time = {time.format('id')}",
            f"UPDATE steps SET start_time = {time.format('session_pk')}",
            f"UPDATE alerts SET since_time = {time.format('id')}, opened_at = {time.format('id')}",
        )
        for name, time in TIMES.items()
    },
    "one time of 9575": sql("UPDATE sessions SET start_time = 240000000000.0 WHERE id = 3"),
    "one infinite time": sql("UPDATE sessions SET start_time = 9e999 WHERE id = 1"),
    "no durations": sql("UPDATE sessions SET total_duration = NULL", "UPDATE steps SET duration = NULL"),
    "infinite durations": sql(
        "UPDATE sessions SET total_duration = 9e999", "UPDATE steps SET duration = 1e300"
    ),
    "durations below 0": sql("UPDATE sessions SET total_duration = -5", "UPDATE steps SET duration = -3"),
    "the largest whole numbers": sql(
        "UPDATE sessions SET product_count = 9223372036854775807, utc_offset = 9223372036854775807",
        "UPDATE steps SET lane = 9223372036854775807, parent_seq = 9223372036854775807",
    ),
    "steps that are their own parents": sql("UPDATE steps SET parent_seq = seq"),
    "rows that refer to nothing": sql("UPDATE steps SET series_id = 99999"),
    **{f"endless {name}": endless(name) for name in ("v_sessions", "v_steps", "sessions", "alerts")},
    "endless alembic_version": endless("alembic_version"),
    "a computed column": sql("ALTER TABLE sessions ADD COLUMN more AS (hex(zeroblob(500000000)))"),
    **{f"no {name}": sql(f"DROP TABLE {name}") for name in ("sessions", "steps", "alerts")},
    "a blob for a text": sql("UPDATE sessions SET error_message = zeroblob(20000000) WHERE id = 1"),
    "messages of megabytes": sql(
        "UPDATE alerts SET headline = zeroblob(1000000) WHERE id < 3",
        "UPDATE sessions SET error_message = replace(hex(zeroblob(500000)), '0', 'x') WHERE id > 24",
    ),
    "names of a megabyte": huge,
    "facts of a host of megabytes": sql("UPDATE environments SET command = zeroblob(5000000)"),
    "modes without a bottom": sql(
        "UPDATE series SET mode = replace(hex(zeroblob(4000)), '0', '[') || id"
        " || replace(hex(zeroblob(4000)), '0', ']')"
    ),
    "pruned measures without a bottom": lambda connection: connection.execute(
        "INSERT INTO pruned_measures (content) VALUES (?)", (zlib.compress(b"[" * 1_000_000),)
    ),
}
READ = (
    "sessions", "steps --json", "show last --data", "show last --json", "chart trend --by time -o x.png",
    "chart waterfall -o x.png", "report --last 50 -o x.html", "bottlenecks", "trends", "trends --by day",
    "regressions", "explain", "compare last~1 last", "compare --by fast_mode", "violations",
    "thresholds suggest", "baseline", "alerts list --state all --json", "alerts show 1", "alerts explain 1",
    "alerts explain", "alerts unsilence", "rules", "check", "watch", "doctor", "db current", "db check",
    "export --format json -o x.json", "export --format csv -o x.csv",
    "export --format parquet --rows sessions -o x.parquet",
)  # fmt: skip
CHARTS = (
    "chart trend -o x.png", "chart trend --by time -o x.png", "chart steps -o x.png",
    "chart bottlenecks -o x.png", "chart waterfall -o x.png", "chart resources -o x.png",
    "chart compare -o x.png", "report -o x.html", "report --last 50 -o x.html", "sessions --json",
)  # fmt: skip
WRITE = (
    "tag last good", "untag last good", "delete --yes last", "prune --keep-last 1", "alerts ack 1",
    "alerts silence 1", "baseline pin", "db upgrade", "recover", "backup copy.sqlite3 --force", "import in",
)  # fmt: skip
PAGES = (
    "/", "/sessions", "/sessions?sort=slowest", "/sessions/last", "/trends", "/trends?period=week",
    "/trends?step=Vision+Analysis", "/bottlenecks", "/compare", "/compare?by=fast_mode", "/alerts?state=all",
    "/pareto?by=fast_mode&measure=cpu_s", "/alerts/1", "/rules", "/rules/vision-slow",
    *(f"/api/v1/{name}" for name in (
        "health", "overview", "live", "sessions", "sessions/last", "trends", "bottlenecks", "compare",
        "what-if?step=Vision+Analysis&factor=0.5", "alerts?state=all", "alerts/1", "rules",
        "rules/vision-slow", "steps", "violations", "regressions", "measures", "compare?a=last~1&b=last",
    )),
    "/metrics", "/bottlenecks?measure=cost_usd", "/trends?measure=product_count",
)  # fmt: skip


def a_third_of(questions: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Ask each kind a third of the questions, and each question of a third of the kinds: all take minutes."""
    return questions[list(KINDS).index(kind) % 3 :: 3]


class TooLong(BaseException):
    """It has not ended; no handler of ours may take it for an error of the database."""


@contextmanager
def within_limit(what: str) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong(what)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(recorded_home: Path, web_folder: Path) -> Path:
    shutil.copy(recorded_home / "perfdb.toml", web_folder)
    return web_folder


@pytest.fixture(scope="module")
def good(recorded_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one file with the newest sessions of the recorded history."""
    path = tmp_path_factory.mktemp("good") / "good.sqlite3"
    source = recorded_home / "performance_tracking" / "perfdb.sqlite3"
    with closing(sqlite3.connect(source)) as whole, closing(sqlite3.connect(path)) as copy:
        whole.backup(copy)
        copy.execute("PRAGMA foreign_keys = ON")
        copy.execute("DELETE FROM sessions WHERE id <= (SELECT max(id) FROM sessions) - 26")
        copy.commit()
        for table in ("steps", "samples", "session_tags"):
            moved = "UPDATE {} SET {} = {} - (SELECT min(id) - 1 FROM sessions)"
            copy.execute("PRAGMA foreign_keys = OFF")
            copy.execute(moved.format(table, "session_pk", "session_pk"))
        copy.execute("UPDATE sessions SET id = id - (SELECT min(id) - 1 FROM sessions)")
        copy.commit()
        copy.execute("PRAGMA journal_mode = DELETE")
    return path


def made(good: Path, path: Path, kind: str) -> Path:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copy(good, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("BEGIN")
        KINDS[kind](connection)
        connection.execute("COMMIT")
    return path


def answered(command: str, path: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """Run a command; it has ended in order, and what it could not do is said in a line."""
    capsys.readouterr()
    with within_limit(command), pytest.raises(SystemExit) as ended:
        main([*command.split(), "-d", str(path)])
    err = capsys.readouterr().err
    assert ended.value.code in ((0, 1, 2) if command.split()[0] in ("check", "doctor", "db") else (0, 2)), err
    assert "Traceback" not in err
    if ended.value.code == 2 and command.startswith("import"):
        assert "not imported: " in err or "perfdb: " in err
    elif ended.value.code == 2:
        assert len([line for line in err.splitlines() if line.startswith(("perfdb: ", "Error: "))]) == 1, err
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_every_reading_verb_answers_or_says_why_not(
    kind: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(good, folder / "evil.sqlite3", kind)
    for command in a_third_of(READ, kind):
        answered(command, path, capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_every_writing_verb_answers_or_says_why_not(
    kind: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "in").mkdir()
    report = {"session_id": "x", "total_duration": 1.0, "steps": [], "timestamp": "2026-01-01T00:00:00"}
    (folder / "in" / "x.json").write_text(json.dumps(report))
    for command in a_third_of(WRITE, kind):
        answered(command, made(good, folder / "evil.sqlite3", kind), capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_answers_or_says_why_not(kind: str, good: Path, folder: Path) -> None:
    path = made(good, folder / "evil.sqlite3", kind)
    with TestClient(create_app(perfdb.History(path)), base_url="http://127.0.0.1") as client:
        for page in a_third_of(PAGES, kind):
            with within_limit(page):
                answer = client.get(page)
            assert answer.status_code != 500, (page, answer.text[:500])
            assert "Traceback" not in answer.text
            assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("facts of a host of megabytes", "sessions --json"),
        ("pruned measures without a bottom", "prune --keep-last 1 --yes"),
    ],
)
def test_what_would_fill_the_memory_or_the_stack_is_refused(
    kind: str, command: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answered(command, made(good, folder / "evil.sqlite3", kind), capsys) == 2


def test_a_file_with_a_trigger_that_never_ends_is_not_written_to(
    good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path)) as connection:
        sums = f"SELECT sum(n) FROM ({ENDLESS} n FROM r)"
        connection.execute(f"CREATE TRIGGER t AFTER INSERT ON session_tags BEGIN {sums}; END")
        connection.execute(f"CREATE TRIGGER u BEFORE DELETE ON sessions BEGIN {sums}; END")
    for command in (
        "tag last good", "delete last --yes", "prune --keep-last 1 --yes", "alerts ack 1", "import more.json",
    ):  # fmt: skip
        assert answered(command, path, capsys) == 2, command


@pytest.mark.parametrize(
    ("table", "before", "after"),
    [
        ("session_tags", "name TEXT NOT NULL", "name TEXT NOT NULL CHECK (hex(zeroblob(9)) > 0)"),
        ("steps", "cpu_s DOUBLE", "cpu_s DOUBLE AS/* */(hex(zeroblob(9)))"),
        ("steps", "cpu_s DOUBLE", "cpu_s DOUBLE AS--\n(hex(zeroblob(9)))"),
        ("sessions", "pid BIGINT", "pid BIGINT DEFAULT (hex(zeroblob(9)))"),
        ("ix_sessions_start_time", "(start_time)", "(hex(zeroblob(id)))"),
        ("ix_sessions_start_time", "(start_time)", "(start_time) WHERE 'aa' LIKE '%a%a%b'"),
        ("ix_sessions_start_time", "(start_time)", '(start_time COLLATE "nobodys")'),
        ("ix_sessions_start_time", "(start_time)", "(start_time /**/)"),
        ("ix_sessions_start_time", "(start_time)", '("json" (session_id))'),
        ("sessions", "pid BIGINT", "pid BIGINT DEFAULT (time('now'))"),
        ("session_tags", "KEY (session_pk, name)", "KEY (session_pk, name) ON CONFLICT REPLACE"),
        ("sessions", "cpu_s DOUBLE", "cpu_s DOUBLE REFERENCES stale_days (day) ON DELETE CASCADE"),
        ("sessions", "REFERENCES series (id)", "REFERENCES series (id) ON DELETE CASCADE"),
        ("sessions", "REFERENCES environments (id)", "REFERENCES silences (id)"),
        ("sessions", "UNIQUE (session_id)", "UNIQUE (series_id)"),
        ("steps", "KEY (session_pk, seq)", "KEY (session_pk)"),
        ("steps", "cpu_s DOUBLE", "cpu_s DOUBLE UNIQUE"),
        ("ix_sessions_start_time", "CREATE INDEX", "CREATE UNIQUE INDEX"),
        ("steps", "cpu_s DOUBLE", "cpu_s DOUBLE" + '"DOUBLE"DOUBLE' * 500 + " DEFAULT (-1)"),
        ("steps", "cpu_s DOUBLE", "cpu_s " + "DOUBLE text TEXT " * 500 + " DEFAULT (-1)"),
    ],
)
def test_a_file_whose_rows_compute_act_or_keep_others_out_is_neither_read_nor_written_to(
    table: str, before: str, after: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (before, after, table)
        )
        assert changed.rowcount == 1
    for command in ("sessions", "steps", "db upgrade", "tag last good", "annotate deploy"):
        assert answered(command, path, capsys) == 2, command


def test_an_index_of_ones_own_is_no_obstacle(
    good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "mine.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE INDEX "As I like it" ON steps (series_id, "start_time" DESC)')
    for command in ("sessions", "tag last good", "backup copy.sqlite3"):
        assert answered(command, path, capsys) == 0, command


@pytest.mark.parametrize(
    "changes",
    [
        (
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET tbl_name = 'Steps' WHERE tbl_name = 'steps'",
            "UPDATE sqlite_master SET sql = replace(sql, 'TABLE steps', 'TABLE Steps') WHERE name = 'steps'",
            "UPDATE sqlite_master SET sql = replace(sql, 'cpu_s DOUBLE', 'cpu_s DOUBLE AS (hex(id))')",
            "UPDATE sqlite_master SET name = 'Steps' WHERE name = 'steps'",
        ),
        ("DROP VIEW v_steps", "CREATE VIEW V_Steps AS SELECT hex(zeroblob(9)) AS step_name"),
    ],
)
def test_names_of_ours_in_other_letters_are_looked_at_too(
    changes: tuple[str, ...], good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for change in changes:
            assert connection.execute(change).rowcount != 0, change
    for command in ("sessions", "steps"):
        assert answered(command, path, capsys) == 2, command


def test_a_revision_without_an_end_is_shown_in_short(
    good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES (?)", ("x" * 1_000_000,))
    for command in ("sessions", "db upgrade", "doctor"):
        with pytest.raises(SystemExit):
            main([*command.split(), "-d", str(path)])
        said = capsys.readouterr()
        assert len(said.out + said.err) < 5_000, command


@pytest.mark.parametrize("place", ["fifo", "folder", "device"])
def test_what_is_no_file_is_no_database(place: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "evil.sqlite3"
    if place == "fifo":
        os.mkfifo(path)
    elif place == "folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, 0o020666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("devices can be made by root only")
    kind = path.lstat().st_mode
    for command in (*READ, *WRITE):
        code = answered(command, path, capsys)
        assert code == 2 or command in ("doctor", "recover", "watch"), command
    with TestClient(create_app(perfdb.History(path)), base_url="http://127.0.0.1") as client:
        for page in PAGES:
            with within_limit(page):
                assert client.get(page).status_code in (200, 404, 503), page
    assert path.lstat().st_mode == kind


@pytest.mark.parametrize("is_link", [False, True])
def test_a_journal_that_names_another_file_deletes_it_for_nobody(
    is_link: bool, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite deletes what a journal calls its super-journal, once that one refers to no other journal.

    It looks for the journal beside the file at the end of all links.
    """
    asked, precious = folder / "evil.sqlite3", folder / "precious.txt"
    path = folder / "elsewhere" / "of.it" if is_link else asked
    path.parent.mkdir(exist_ok=True)
    shutil.copy(good, path)
    if is_link:
        asked.symlink_to(path)
    precious.write_text("mine")
    with closing(sqlite3.connect(path)) as connection:
        pages, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
    magic, name = bytes.fromhex("d9d505f920a163d7"), os.fsencode(precious)
    numbers = (0, 0, pages, 512, size)
    head = magic + b"".join(number.to_bytes(4) for number in numbers)
    locked = (0x40000000 // size + 1).to_bytes(4)
    tail = locked + name + len(name).to_bytes(4) + sum(name).to_bytes(4) + magic
    Path(f"{path}-journal").write_bytes(head.ljust(512, b"\0") + tail)
    for command in ("sessions", "tag last good", "recover", "db reindex", "backup copy.sqlite3"):
        answered(command, asked, capsys)
    assert answered("tag last good", asked, capsys) == 2
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "written",
    ["upper(type)", "CAST(type AS BLOB)", "type || char(0) || 'x'"],
    ids=["capitals", "bytes", "NUL"],
)
@pytest.mark.parametrize(
    "made",
    [
        "CREATE TRIGGER more AFTER INSERT ON session_tags BEGIN DELETE FROM steps; END",
        "CREATE INDEX more ON steps (hex(zeroblob(5)))",
    ],
    ids=["trigger", "index"],
)
def test_what_a_schema_writes_as_sqlite_never_does_hides_nothing(
    made: str, written: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite takes ``TRIGGER``, bytes and what stands before a NUL for ``trigger`` as well."""
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(made)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"UPDATE sqlite_master SET type = {written} WHERE name = 'more'")
    for command in ("tag last good", "db upgrade", "import in", "backup copy.sqlite3"):
        answered(command, path, capsys)
    assert answered("tag last good", path, capsys) == 2
    assert answered("db upgrade", path, capsys) == 2
    with pytest.raises(StoreError, match="as SQLite never writes it"):
        require_backup(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM session_tags WHERE name = 'good'").fetchone() == (0,)
        assert connection.execute("SELECT count(*) > 0 FROM steps").fetchone() == (1,)


def test_an_older_database_with_a_trigger_is_not_upgraded(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(Path(__file__).parents[1] / "databases" / "0009.sqlite3", path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER more AFTER UPDATE ON sessions BEGIN DELETE FROM steps; END")
    before = path.read_bytes()
    assert answered("db upgrade", path, capsys) == 2
    assert path.read_bytes() == before


def test_a_name_that_is_bytes_or_ends_at_a_nul_is_none_of_ours(good: Path, folder: Path) -> None:
    for place, name in enumerate(("CAST(name AS BLOB)", "name || char(0) || 'x'")):
        path = folder / f"evil{place}.sqlite3"
        shutil.copy(good, path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(f"UPDATE sqlite_master SET name = {name} WHERE name = 'steps'")
        with pytest.raises(StoreError, match="as SQLite never writes it"):
            perfdb.History(path).sessions()


def test_a_byte_order_mark_in_sql_hides_no_computed_column(good: Path, folder: Path) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE steps ADD COLUMN more AS \ufeff(hex(zeroblob(5)))")
    with pytest.raises(StoreError, match="not as perfdb creates it"):
        perfdb.History(path).sessions()


@pytest.mark.parametrize("between", [" ", "/**/", " \ufeff", "--\n", "/* ( */ "])
def test_a_virtual_table_is_known_whatever_stands_between_its_words(between: str) -> None:
    assert is_virtual(f"CREATE{between}VIRTUAL TABLE x USING fts5(a)")
    assert not is_virtual("CREATE TABLE x (a, 'CREATE VIRTUAL')")


def test_a_table_whose_name_is_sql_is_counted_as_one(good: Path, folder: Path) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    name = 'steps" a, "steps" b, "steps" c, "steps'
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute('CREATE TABLE "{}" (x)'.format(name.replace('"', '""')))
        with within_limit("count"):
            assert count_rows(connection)[name] == 0


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_a_pipe_in_the_place_of_a_log_holds_nothing_up(
    suffix: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    os.mkfifo(f"{path}{suffix}")

    def ask() -> None:
        with suppress(StoreError):
            perfdb.History(path).sessions()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()  # not here: no signal ends SQLite's waiting
    asking.join(LIMIT_S)
    assert not asking.is_alive()
    for command in ("sessions", "doctor", "tag last good", "backup copy.sqlite3", "import in"):
        answered(command, path, capsys)
    with TestClient(create_app(perfdb.History(path)), base_url="http://127.0.0.1") as client:
        with within_limit("/sessions"):
            assert client.get("/sessions").status_code == 503
        assert f"evil.sqlite3{suffix} is no regular file" in client.get("/api/v1/sessions").json()["detail"]


@pytest.mark.parametrize("kind", ["times: 9575", "one time of 9575", "no durations"])
def test_what_may_have_been_recorded_is_drawn(
    kind: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(good, folder / "evil.sqlite3", kind)
    for command in CHARTS:
        if kind == "no durations" and "compare" in command:
            continue  # it names the session that has not ended
        assert answered(command, path, capsys) == 0, command


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith(("JSON of", "broken"))])
def test_documents_that_perfdb_never_writes_are_found(kind: str, good: Path, folder: Path) -> None:
    engine = open_engine(f"sqlite:///{made(good, folder / 'evil.sqlite3', kind)}", role="reader")
    with engine.connect() as connection:
        assert "holds what perfdb never writes" in (find_nonsense(connection) or "")
    engine.dispose()


@pytest.mark.parametrize("command", READ)
def test_halves_of_letters_in_a_document_stop_no_answer(
    command: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(good, folder / "evil.sqlite3", "JSON with halves of letters")
    before = answered(command, good, capsys)
    assert answered(command, path, capsys) == before


def test_a_good_database_holds_no_nonsense_and_the_views_that_we_know(good: Path) -> None:
    engine = open_engine(f"sqlite:///{good}", role="reader")
    with engine.connect() as connection:
        assert find_nonsense(connection) is None
        found = connection.exec_driver_sql(
            "SELECT name, sql FROM main.sqlite_master WHERE type = 'view'"
        ).all()
        assert {name: view_digest(text) for name, text in found} == VIEWS
        pragmas = ("trusted_schema", "cell_size_check")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == [0, 1]
        assert connection.exec_driver_sql("SELECT count(tags) FROM v_sessions").scalar() == 26
    engine.dispose()


ON_SERVER = {
    "durations that are no numbers": "UPDATE sessions SET total_duration = 'NaN'",
    "infinite times": "UPDATE steps SET start_time = 'Infinity'",
    "times before all": "UPDATE sessions SET start_time = -1e300",
    "zones that are none": "UPDATE sessions SET utc_offset = 2147483647",
    "JSON of other shapes": "UPDATE sessions SET attributes = '[1, 2]'",
    "attempts that are no list": "UPDATE steps SET attempts = '{}'",
    "events of odd items": """UPDATE steps SET events = '[{"name": 5}]'""",
    "modes that are none": "UPDATE series SET mode = 'odd' || id",
    "ids that are paths": "UPDATE sessions SET session_id = '../' || id",
}


@pytest.fixture(scope="module")
def on_server(good: Path, cluster: Any) -> str:
    """Give the name of a database of a server with the same sessions, to copy."""
    url: str = cluster.create()
    copy_history(f"sqlite:///{good}", url)
    return url.rpartition("/")[2]


@pytest.mark.parametrize("kind", ON_SERVER)
def test_what_somebody_wrote_into_a_table_of_a_server_is_named(
    kind: str, on_server: str, create_database: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = create_database(on_server)
    history = perfdb.History(url)
    assert history.explained(ValueError("a bug of ours")) is None  # all is as we write it
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        connection.exec_driver_sql(ON_SERVER[kind])
    engine.dispose()
    assert "holds what perfdb never writes" in str(history.explained(ValueError("of the values")))
    for command in ("show last", "trends", "regressions", "explain last"):
        with pytest.raises(SystemExit):
            main([*command.split(), "-d", url])
        assert "Traceback" not in capsys.readouterr().err


def repeated(path: Path, name: str, *, fan: int = 200, levels: int = 4) -> None:
    """Let the tree of a table have the same page in it many times, so that a small file has 10^9 rows."""
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    pages = bytearray(path.read_bytes())
    leaf = pages[(root - 1) * size : root * size]
    if leaf[0] == 5:  # the first page below it
        cell = int.from_bytes(leaf[12:14])
        child = int.from_bytes(leaf[cell : cell + 4])
    else:
        pages += leaf
        child = len(pages) // size
    for level in range(levels):
        page = bytearray(size)
        page[0] = 5  # of a table, inside
        at = size
        for number in range(fan):
            at -= 5
            page[at : at + 5] = child.to_bytes(4) + bytes([number % 127])
            page[12 + 2 * number : 14 + 2 * number] = at.to_bytes(2)
        page[3:12] = fan.to_bytes(2) + at.to_bytes(2) + b"\0" + child.to_bytes(4)
        if level == levels - 1:
            pages[(root - 1) * size : root * size] = page
        else:
            pages += page
            child = len(pages) // size
    pages[28:32], pages[24:28] = (len(pages) // size).to_bytes(4), pages[92:96]
    path.write_bytes(pages)


@pytest.mark.parametrize("name", ["series", "sessions"])
def test_a_small_file_with_the_rows_of_a_thousand_large_ones_holds_nothing_up(
    name: str, good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    repeated(path, name)
    for command in ("sessions", "doctor", "db check", "export --format json -o x.json"):
        answered(command, path, capsys)
    assert answered("backup copy.sqlite3", path, capsys) == 2
    assert answered(f"restore --yes {path}", folder / "other.sqlite3", capsys) == 2
    with pytest.raises(StoreError, match="damaged"):
        copy_history(f"sqlite:///{path}", f"sqlite:///{folder / 'copy.sqlite3'}")
    with TestClient(create_app(perfdb.History(path)), base_url="http://127.0.0.1") as client:
        for page in ("/", "/sessions", "/api/v1/health"):
            with within_limit(page):
                assert client.get(page).status_code in (200, 503), page


def test_counting_all_sessions_of_such_a_file_is_stopped(folder: Path) -> None:
    path = folder / "evil.sqlite3"
    with closing(sqlite3.connect(path)) as connection:  # without an index in which it would count
        connection.execute("CREATE TABLE sessions (id INTEGER PRIMARY KEY, attributes TEXT)")
        connection.executemany("INSERT INTO sessions (attributes) VALUES (?)", [("x" * 50,)] * 500)
        connection.commit()
    repeated(path, "sessions")
    engine = open_engine(f"sqlite:///{path}", role="reader")
    with engine.connect() as reader, limited(seconds=0.2):
        with pytest.raises(OperationalError, match="interrupted"):
            count_all(reader)
        assert reader.execute(text("SELECT 1")).scalar() == 1  # goes on
    engine.dispose()


def test_a_virtual_table_is_no_table_of_ours_however_it_is_written(
    good: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "evil.sqlite3"
    shutil.copy(good, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DROP TABLE session_tags")
        connection.execute("CREATE VIRTUAL TABLE session_tags USING fts5(session_pk, name)")
        blanks = f"CREATE{' ' * 30}VIRTUAL"
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'CREATE VIRTUAL', ?)", (blanks,))
    for command in ("sessions", "tag last good"):
        assert answered(command, path, capsys) == 2, command
