"""One rich history, recorded once by real trackers and brought into SQLite and PostgreSQL alike."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import perfdb
from benchmarks.cluster import Cluster
from perfdb.alerts.config import read_alert_settings
from perfdb.alerts.evaluation import after_session
from perfdb.recording.health import Health
from perfdb.recording.journal import Journal, journals_in
from perfdb.settings import load_for_reading
from perfdb.store.database import Database
from perfdb.store.schema import ensure_schema
from perfdb.store.sessions import mark_interrupted
from perfdb.testing import ManualClock
from perfdb.worker.shipping import move_batch
from tests.once import Run

NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC
DEAD, ALIVE = "dead", "alive"  # what became of the writers of the two journals

RULES = """
mode_attributes = ["fast_mode"]

[[alerts.rules]]
name = "vision-slow"
kind = "max"
step = "Vision Analysis"
limit = 3.4
severity = "critical"

[[alerts.rules]]
name = "products"
kind = "min"
step = "Product Search"
metric = "products_found"
limit = 4

[[alerts.rules]]
name = "total-budget"
kind = "budget"
limit = 9.0

[[alerts.channels]]
name = "team"
kind = "log"
"""

HOSTILE: dict[str, Any] = {
    "nothing": None,
    "numbers": [2**70, -1, 0, 1e16, 1.5e-7, 0.1 + 0.2, -0.0, float("nan"), float("inf")],
    "text": "NUL \0, a lone \ud800 surrogate, <script>alert(1)</script>, 🚀, \x1b[31m",
    "sql": "'; DROP TABLE steps; --",
    "bytes": b"\xff\x00",
    "deep": {"a": [{"b": {"c": ["d", {}]}}], "": "", 'quoted "key"': "\\"},
    "set": {3},
    "日本": "語",
    "long": "x" * 5_000,
}


class Keeper:
    """A writer that keeps its journal, and no database."""

    def __init__(self, folder: Path, name: str) -> None:
        header = {
            "journal_id": name,
            "created": NOON,
            "host": "studio <1>",
            "pid": 4321,
            "python_version": "3.11.7",
            "perfdb_version": "0.1.0",
            "git_commit": "0" * 40,
            "command": "python design.py --fast",
        }
        self.kept = Journal.create(folder, header)

    def journal(self) -> Journal:
        return self.kept

    def started(self, session: object) -> None: ...

    def ended(self, session: object) -> None: ...

    def left_to_wait(self, session: object, until: float) -> float:
        return 0.0

    def usual(self, session: object) -> dict[str, float]:
        return {}

    def status(self) -> dict[str, Any]:
        return {}


def tracker_with(writer: Keeper, clock: ManualClock, pipeline: str) -> Any:
    tracker: Any = perfdb.create_tracker(pipeline, home=writer.kept.path.parent, console=False, monitor=False)
    tracker._writer, tracker._clock = writer, clock
    return tracker


def record_design(tracker: Any, clock: ManualClock, number: int, chance: random.Random) -> None:
    """Record a run of four steps: nested, parallel, with attempts, events and samples; slow from 50 on."""
    slower = 1.6 if number >= 50 else 1.0
    tracker.start_pipeline(
        fast_mode=number % 5 == 4,
        session_id=f"20260101_12{number:04d}_{number:08x}",
        model="gpt-4o" if number % 2 else "gpt-4o-mini",
        git_sha="abc" if number < 50 else "def",
        number=number,
    )
    with tracker.step("Vision Analysis", design_style="modern") as step:
        clock.passed += chance.gauss(2.0, 0.1) * slower
        step.event("cache-miss", key=number)
        tracker._live.observe(clock.monotonic(), chance.uniform(0, 180), 10**9 + number)
    with tracker.step("Product Search") as step:
        if number % 3 == 0:
            with suppress(TimeoutError), step.attempt():
                clock.passed += 0.25
                raise TimeoutError("429 from the shop")
            clock.passed += 0.5
        with step.attempt():
            clock.passed += chance.gauss(1.0, 0.1)
        step.set(products_found=3 + number % 4, parallel_workers=2)

        def search(query: str) -> None:
            with tracker.step("Product Query", query=query):
                clock.passed += 0.125

        for query in ("sofa", "lamp"):
            thread = threading.Thread(target=perfdb.carry(search), args=(query,))
            thread.start()
            thread.join()
    try:
        with tracker.step("Image Generation"):
            clock.passed += chance.gauss(4.0, 0.3)
            if number % 11 == 7:
                raise ValueError("the model said <b>no</b>")
    except ValueError as error:
        tracker.end_pipeline(success=False, error=error)
    else:
        tracker.end_pipeline(success=True, product_count=6)
    clock.passed += 60


def record_etl(tracker: Any, clock: ManualClock, number: int, chance: random.Random) -> None:
    """Record a night; from the 20th on half of them fail."""
    tracker.start_pipeline(session_id=f"night-{number:02d}", customer="acme" if number % 2 else "Ünï <corp>")
    for name in ("load", "transform", "'; DROP TABLE steps; --"):
        with tracker.step(name, rows=number * 1000):
            clock.passed += chance.lognormvariate(0.0, 0.2)
    failed = number >= 20 and number % 2 == 0
    tracker.end_pipeline(success=not failed, error="no such table" if failed else None)
    clock.passed += 86_400


def record_everything(folder: Path) -> None:
    """Write the journals of a dead and of a living writer."""
    chance, clock = random.Random(7), ManualClock(NOON)
    dead, alive = Keeper(folder, DEAD), Keeper(folder, ALIVE)
    design, etl = (tracker_with(dead, clock, name) for name in ("design", "nightly <etl>"))
    for number in range(75):
        record_design(design, clock, number, chance)
    for number in range(30):
        record_etl(etl, clock, number, chance)
    hostile = tracker_with(dead, clock, "hostile 🚀")
    hostile.start_pipeline(session_id="hostile", **HOSTILE)
    with hostile.step("<script>alert('step')</script>", **HOSTILE):
        clock.passed += 1.0
    with hostile.step("x" * 3_000):
        clock.passed += 1.0
    hostile.end_pipeline(error="\x1b[31m\0\ud800")
    for name, writer in (("cut off", dead), ("runs", alive)):
        tracker = tracker_with(writer, clock, "open")
        tracker.start_pipeline(session_id=name.replace(" ", "-"))
        with tracker.step("done"):
            clock.passed += 1.0
        step = tracker.step("endless").start()
        tracker._live.announce(step)
        clock.passed += 10.0
    dead.kept.close()
    alive.kept.close()


@pytest.fixture(scope="session")
def journal_folder(run_of_tests: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the journals of a dead and of a living writer, the same in all workers."""

    def make() -> str:
        record_everything(run_of_tests.folder / "journal")
        return str(run_of_tests.folder / "journal")

    recorded = run_of_tests.once("journal_folder", make)
    return Path(shutil.copytree(recorded, tmp_path_factory.mktemp("recorded") / "journal"))


@pytest.fixture(scope="session")
def settings_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with rules and a channel of its own."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "perfdb.toml").write_text(RULES)
    return folder


@pytest.fixture(autouse=True)
def _in_settings_folder(settings_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(settings_folder)


def fill(url: str, journal_folder: Path, settings_folder: Path) -> None:
    """Bring the journals into a database, as a worker does, and judge every session at its end."""
    ensure_schema(url)
    database = Database(url, 30.0)
    for path in sorted(journals_in(journal_folder), reverse=True):
        journal = Journal.claim(path)
        assert journal is not None
        offset, health = 0, Health()
        while True:
            moved, offset, _ = move_batch(database, journal, health, offset)
            if not moved:
                break
        assert offset == journal.size
        if path.stem == DEAD:
            with database.writing() as connection:
                mark_interrupted(connection, DEAD)
        journal.close()
    settings = read_alert_settings(load_for_reading(home=settings_folder).alerts, reading=True)
    ended = [row for row in perfdb.History(url).session_rows() if row["end_time"] is not None]
    for row in sorted(ended, key=lambda row: row["end_time"]):
        with database.writing() as connection:
            after_session(connection, row["session_id"], settings, row["end_time"] + 0.5)
    database.forget()
    history = perfdb.History(url)
    history.tag("20260101_120000_00000000", "warmup")
    history.tag("night-03", "ignore")
    history.tag("night-03", "<b>bold</b>")
    history.tag("night-03", "Zoo")
    history.tag("night-03", "apple")


@pytest.fixture(scope="session")
def filled_file(
    request: pytest.FixtureRequest,
    run_of_tests: Run,
    settings_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Give a SQLite file with the whole history, to read or to copy."""

    def make() -> str:
        path = run_of_tests.folder / "filled.sqlite3"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(settings_folder)
            fill(f"sqlite:///{path}", request.getfixturevalue("journal_folder"), settings_folder)
        return str(path)

    made = run_of_tests.once("filled_file", make)
    return Path(shutil.copy(made, tmp_path_factory.mktemp("filled") / "perfdb.sqlite3"))


@pytest.fixture(scope="session")
def filled_template(
    request: pytest.FixtureRequest, run_of_tests: Run, postgres: str, settings_folder: Path
) -> str:
    """Give the name of a PostgreSQL database with the whole history, to copy; nobody connects to it.

    It sorts texts as people do, which SQLite does not.
    """

    def make() -> str:
        import psycopg

        with psycopg.connect(f"{postgres}/postgres", autocommit=True) as server:
            server.execute("CREATE DATABASE filled TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(settings_folder)
            fill(f"{postgres}/filled", request.getfixturevalue("journal_folder"), settings_folder)
        return "filled"

    return run_of_tests.once("filled_template", make)


@pytest.fixture(scope="session")
def filled_database(cluster: Cluster, filled_template: str) -> str:
    """Give the URL of a PostgreSQL database with the whole history, to read or to copy."""
    return cluster.create(filled_template)


Pair = tuple[perfdb.History, perfdb.History]


@pytest.fixture
def both(filled_file: Path, filled_database: str) -> Pair:
    """Give the history in SQLite and in PostgreSQL, to read."""
    return perfdb.History(f"sqlite:///{filled_file}"), perfdb.History(filled_database)


@pytest.fixture
def both_to_change(
    filled_file: Path, filled_template: str, tmp_path: Path, create_database: Callable[..., str]
) -> Pair:
    """Give copies of the history in SQLite and in PostgreSQL, to change."""
    path = shutil.copy(filled_file, tmp_path / "perfdb.sqlite3")
    url = create_database(filled_template)
    return perfdb.History(f"sqlite:///{path}"), perfdb.History(url)
