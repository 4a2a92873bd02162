"""Row 31: a secret that a pipeline lets slip is on no disk, in no log, on no screen and in no notice."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

import perfdb
from perfdb.cli import main
from perfdb.recording.report import read_report
from perfdb.store.engine import open_engine

CANARY = "canary0"  # and two digits: one for each place
SETTINGS = """
redact = ["licence"]
[[alerts.rules]]
name = "slow sk-canary021abcdefgh"
kind = "max"
limit = 0.0
[[alerts.channels]]
name = "team"
kind = "webhook"
url = "{hook}/canary022"
secret = "canary023"
[[alerts.channels]]
name = "log"
kind = "log"
"""
PIPELINE = """
import logging, sys, time
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
import perfdb
tracker = perfdb.create_tracker(pipeline="etl sk-canary001abcdefgh", console=True)
tracker.start_pipeline(
    api_key="canary002", model="gpt", nested={"deep": [{"authToken": "canary003"}]}, licence_no="canary004",
    headers=[("Authorization", "canary005"), ("Accept", "*/*")], dsn="https://canary006@sentry.example.org/1",
)
tracker.set(url="https://me:canary007@example.org/?q=sofa", note="call sk-canary008abcdefgh now")
tracker.event("login sk-canary009abcdefgh", password="canary010")
try:
    with tracker.step("fetch https://me:canary011@example.org", **{"sk-canary012abcdefgh": 1}) as step:
        step.event("asked", cookie="canary013", where="https://example.org/?api_key=canary014&x=1")
        step.set(body='{"client_secret": "canary015"}', client="Client(token='canary016')")
        try:
            with step.attempt():
                raise ValueError("Bearer canary017abcdefgh was refused")
        except ValueError as first:
            raise RuntimeError("GET https://example.org/?access_token=canary018 failed") from first
except RuntimeError as error:
    failure = error
tracker.step("by hand").start().stop(error="wrong password: canary019")
perfdb.current().set(token="nobody listens")
open_step = tracker.step("open", private_key="canary020").start()
print(tracker.session, file=sys.stderr)
tracker.end_pipeline(success=False, error=failure)
tracker.save_performance_report()
tracker.print_summary()
tracker.start_pipeline(session_token="canary030", model="gpt")
with tracker.step("load sk-canary031abcdefgh"):
    time.sleep(0.03)
tracker.end_pipeline()
print(tracker.health(), tracker.alerts, tracker.session, file=sys.stderr)
perfdb.recorder.close(60)  # until the notices have left
"""


@pytest.fixture
def hook() -> Iterator[tuple[str, list[bytes]]]:
    """Give the address of a receiver of notices, and what it has received."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(str(self.headers).encode())
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500)  # so that the delivery has something to say
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def with_password(url: str) -> str:
    """Return the URL with a password, which this server does not ask for."""
    return url.replace("postgres@", "postgres:canary024@") if url.startswith("postgresql") else url


def found_in(text: bytes) -> set[str]:
    """Return the secrets that stand in a text, written backwards in base64 too."""
    plain = {text[at : at + 9].decode(errors="replace") for at in places(text, CANARY.encode())}
    coded = places(text, base64.b64encode(CANARY.encode())[:8])
    return plain | {f"base64 at {at}" for at in coded}


def places(text: bytes, part: bytes) -> list[int]:
    at, found = text.find(part), []
    while at >= 0:
        found.append(at)
        at = text.find(part, at + 1)
    return found


def everything_in(url: str) -> bytes:
    """Return what a database holds, as text."""
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        tables = [*inspect(connection).get_table_names(), *inspect(connection).get_view_names()]
        rows = [connection.execute(text(f'SELECT * FROM "{table}"')).all() for table in tables]
    engine.dispose()
    assert any("living" in str(row) or "gpt" in str(row) for row in rows), "the session is there"
    return repr(rows).encode()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., bytes]:
    """Give a function that runs a command and returns what it prints."""

    def run(*arguments: str) -> bytes:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return (said.out + said.err).encode()

    return run


def test_a_secret_is_nowhere(
    database_url: str,
    home: Path,
    hook: tuple[str, list[bytes]],
    say: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, received = hook
    settings = home.parent / "settings" / "perfdb.toml"  # the operator's own file may hold secrets
    settings.parent.mkdir()
    settings.write_text(SETTINGS.format(hook=address))
    monkeypatch.setenv("PERFDB_CONFIG", str(settings))
    monkeypatch.setenv("PERFDB_DATABASE_URL", with_password(database_url))
    monkeypatch.setenv("OPENAI_API_KEY", "canary025")
    program = home.parent / "settings" / "etl.py"
    program.write_text(PIPELINE)
    command = [sys.executable, str(program), "--api-key", "canary026", "--token=canary027"]
    done = subprocess.run(
        [*command, "DB_PASSWORD=canary028", "https://me:canary029@example.org"],
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert received, done.stderr.decode()[-3000:]
    screens = b"".join(
        say(*command.split())
        for command in (
            "sessions --json", "steps --json", "show last --data", "show last --json",
            "alerts list --state all", "alerts list --state all --json",
            "rules", "explain last", "export --format json -o all.json",
            "export --format csv -o all.csv", "export --format parquet -o all.parquet", "report -o all.html",
        )
    )  # fmt: skip
    written = {"output": done.stdout + done.stderr, "screens": screens, "notices": b"".join(received)}
    written |= {"database": everything_in(database_url)}
    files = [
        path for path in home.parent.rglob("*") if path.is_file() and settings.parent not in path.parents
    ]
    assert {path.suffix for path in files} >= {".json", ".csv", ".parquet", ".html"}
    written |= {path.name: path.read_bytes() for path in files}
    assert {name: found_in(text) for name, text in written.items() if found_in(text)} == {}
    assert b"[redacted]" in written["database"]


def test_a_search_that_finds_nothing_would_find_something() -> None:
    assert found_in(b"x canary017 y") == {"canary017"}


def test_what_was_written_before_anything_was_withheld_is_withheld_when_it_is_imported(
    home: Path, history: Callable[..., perfdb.History], say: Callable[..., bytes]
) -> None:
    step = {
        "step_name": "sk-canary001abcdefgh", "start_time": 1.0, "duration": 1.0, "success": False,
        "error_message": "Bearer canary002abcdefgh", "additional_data": {"api_key": "canary003", "kept": 5},
    }  # fmt: skip
    old = {"session_id": "old", "timestamp": "2025-07-30T14:30:22", "total_duration": 1.0, "steps": [step]}
    path = home.parent / "old.json"
    path.write_text(json.dumps(old))
    assert b"Imported 1 session" in say("import", str(path))
    assert read_report(path).steps[0].additional_data["api_key"] == "canary003"
    assert found_in((home / "perfdb.sqlite3").read_bytes()) == set()
    assert history().session("old").steps[0].additional_data == {"api_key": "[redacted]", "kept": 5}


def test_a_password_is_hidden_wherever_a_url_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (
        "postgresql://me:canary001@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=canary002&sslpassword=canary003",
    ):
        history: Any = perfdb.History(url)
        assert found_in(f"{history!r} {history.database}".encode()) == set()
        monkeypatch.setenv("PERFDB_DATABASE_URL", url)
        tracker = perfdb.create_tracker(console=False, monitor=False)
        tracker.start_pipeline()
        tracker.end_pipeline()
        assert found_in(repr((tracker.health(), vars(tracker))).encode()) == set()


def test_no_command_repeats_the_password_of_its_database(
    create_database: Callable[..., str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = make_url(create_database())
    in_options = plain.update_query_dict({"password": "canary002"})
    urls = [plain.set(password="canary001").render_as_string(hide_password=False), str(in_options)]
    assert "canary002" in urls[1]
    step = {"step_name": "a", "start_time": 1.0, "duration": 1.0}
    old = {"session_id": "old", "timestamp": "2025-07-30T14:30:22", "total_duration": 1.0, "steps": [step]}
    path = home.parent / "old.json"
    path.write_text(json.dumps(old))

    def said(*command: str) -> str:
        with pytest.raises(SystemExit):
            main(command)
        answer = capsys.readouterr()
        assert found_in((answer.out + answer.err).encode()) == set()
        return answer.err

    for url in urls:
        said("db", "upgrade", "-d", url)
        said("import", str(path), "-d", url)
        for command in ("show old", "steps", "tag old good", "doctor", "db current", "db check"):
            said(*command.split(), "-d", url)
    (home.parent / "perfdb.toml").write_text('mode_attributes = ["model"]')
    for url in urls:
        assert "perfdb db reindex -d " in said("sessions", "-d", url)
    engine = open_engine(urls[0], role="writer")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0013'")
    engine.dispose()
    for url in urls:
        assert "perfdb db upgrade -d " in said("sessions", "-d", url)


@pytest.mark.parametrize(
    "named",
    [
        "host=db.example user=me password=canary001",
        "postgresql:/me:canary001@db.example/name",
        "postgres:me:canary001@db.example/name",
        "me:canary001@db.example/name",
    ],
)
def test_what_is_meant_for_a_server_is_not_shown_as_a_path(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("sessions", "doctor", "tag last good", "export --format json", "db upgrade"):
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), "-d", named])
        answer = capsys.readouterr()
        assert ended.value.code != 0
        assert "postgresql://user:password@host/name" in answer.err
        assert found_in((answer.out + answer.err).encode()) == set()


def test_what_is_imported_is_withheld_in_every_column(
    database_url: str, home: Path, say: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_DATABASE_URL", database_url)
    step = {
        "step_name": "password=canary001", "start_time": 1.0, "duration": 1.0, "success": False, "seq": 1,
        "error_message": "--token canary002", "attempts": [], "additional_data": {
            "headers": [["X-Auth-Token", "canary003"]], "argv": ["run", "--api-key", "canary004"],
            "env": [{"name": "DB_PASSWORD", "value": "canary005"}], "url": "redis://:a/canary006@h/0",
        },
        "events": [{"name": "Bearer canary007abc", "time": 1.5, "data": {"b'client_secret'": "canary008"}}],
    }  # fmt: skip
    whole = {
        "schema_version": 1, "session_id": "whole", "pipeline": "living token=canary010", "start_time": 1.0,
        "total_duration": 1.0, "status": "completed", "success": True, "steps": [step],
        "perfdb_version": "token=canary011",
        "mode": '{"api_key":"canary012","password":12345,"model":"gpt"}',
        "tags": ["pw=canary013", "sk-learn-pipeline"],
        "host": "https://me:canary014@example.org", "python_version": "secret: canary015",
        "git_commit": "api_key=canary016", "command": "run -p canary017 --x",
        "attributes": {"auth": ["me", "canary018"]},
    }  # fmt: skip
    path = home.parent / "whole.json"
    path.write_text(json.dumps(whole))
    assert b"Imported 1 session" in say("import", str(path))
    held = everything_in(database_url)
    assert found_in(held) == set()
    assert b"12345" not in held
    assert b"sk-learn-pipeline" in held
    screens = say("show", "whole", "--data") + say("sessions", "--json") + say("show", "whole", "--json")
    assert found_in(screens) == set()


def test_tags_notes_and_reasons_are_withheld(
    database_url: str, home: Path, say: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_DATABASE_URL", database_url)
    settings = home.parent / "settings" / "perfdb.toml"
    settings.parent.mkdir()
    settings.write_text('[[alerts.rules]]\nname = "slow"\nkind = "max"\nlimit = 0.0\n')
    monkeypatch.setenv("PERFDB_CONFIG", str(settings))
    tracker = perfdb.create_tracker(pipeline="living", console=False, monitor=False)
    for _ in range(12):
        tracker.start_pipeline()
        with tracker.step("load"), tracker.step("sk-canary005abcdefgh"):
            pass
        tracker.end_pipeline()
    perfdb.recorder.close(60)
    said = say("tag", "last", "token=canary001") + say("tag", "last", "sk-learn-pipeline")
    said += say("sessions", "--tag", "token=canary001", "--json")
    assert b"token=[redacted]" in said
    listed = json.JSONDecoder().raw_decode(say("alerts", "list", "--json").decode())[0]
    alert = str(listed["rows"][0]["id"])
    said += say("alerts", "ack", alert, "--note", "login with password canary002")
    said += say("alerts", "silence", "--step", "load", "--for", "1h", "--reason", "X-Auth-Token: canary003")
    said += say("alerts", "silence", alert, "--for", "1h", "--reason", "DB_PASSWORD=canary004")
    said += say("alerts", "silence", "--step", "sk-canary005abcdefgh", "--for", "1h")
    said += say("baseline", "pin", "--note", "curl -u me:canary006 https://example.org")
    said += say("alerts", "show", alert) + say("alerts", "unsilence") + say("baseline", "list")
    held = everything_in(database_url)
    assert (found_in(said), found_in(held)) == (set(), set())
    assert b"sk-learn-pipeline" in held
    assert b"[redacted]" in say("untag", "last", "token=canary001")
    assert b"token=[redacted]" not in say("sessions", "--json")
