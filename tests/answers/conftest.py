"""Every history is made once for all workers; what it answers is kept for other questions."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import perfdb
from perfdb.alerts.config import read_alert_settings
from perfdb.alerts.evaluation import after_session
from perfdb.alerts.late import evaluate_historic
from perfdb.records import Session
from perfdb.settings import load_for_reading
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from tests.answers.histories import HISTORIES, LEAST_LIVE, LIVE, NOTED, NOTES, RULES, newest_start
from tests.answers.surfaces import Asked
from tests.once import Run

AT_ONCE = 500  # sessions in a transaction


def fill(url: str, sessions: list[Session], folder: Path, *, live: int = 0, judged: bool = True) -> None:
    """Import sessions into an empty database; the newest ``live`` come one by one, each judged at its end."""
    ensure_schema(url)
    settings = load_for_reading(home=folder).alerts
    imported, others = sessions[: len(sessions) - live], sessions[len(sessions) - live :]
    with Database(url, 30.0) as database:
        for place in range(0, len(imported), AT_ONCE):
            with database.writing() as connection:
                insert_sessions(connection, imported[place : place + AT_ONCE])
        if judged:
            evaluate_historic(database, [each.session_id for each in imported], settings)
        for each in others:
            with database.writing() as connection:
                insert_sessions(connection, [each])
            with database.writing() as connection:
                at = (each.end_time or each.start_time) + 1.0
                after_session(connection, each.session_id, read_alert_settings(settings), at)


def note(url: str, sessions: list[Session]) -> None:
    """Annotate what happened, and pin baselines."""
    history = perfdb.History(url)
    for text, number, pipeline in NOTES:
        history.annotate(text, at=sessions[number].start_time - 60.0, pipeline=pipeline)
    history.pin(to=sessions[59].session_id, last=50)


@pytest.fixture(scope="session")
def answers_folder(run_of_tests: Run) -> Path:
    """Give the folder that all questions are asked in; it has the rules."""

    def make() -> str:
        folder = run_of_tests.folder / "answers"
        folder.mkdir()
        (folder / "perfdb.toml").write_text(RULES, encoding="utf-8")
        (folder / "now.json").write_text(json.dumps(time.time()), encoding="utf-8")
        return str(folder)

    return Path(run_of_tests.once("answers_folder", make))


@pytest.fixture(scope="session")
def histories(run_of_tests: Run, answers_folder: Path, migrated_file: Path) -> Callable[[str], Asked]:
    """Give a function that returns a history by its name, to be asked: histories("nested")."""
    known: dict[str, Asked] = {}
    now = json.loads((answers_folder / "now.json").read_text(encoding="utf-8"))

    def asked(name: str) -> Asked:
        if name not in known:
            path = answers_folder / f"{name}.sqlite3"

            def make() -> str:
                sessions = list(HISTORIES[name](newest_start(now)))
                shutil.copy(migrated_file, path)
                fill(f"sqlite:///{path}", sessions, answers_folder, live=LEAST_LIVE * (name in LIVE))
                if name == NOTED:
                    note(f"sqlite:///{path}", sessions)
                (answers_folder / f"{name}.pickle").write_bytes(pickle.dumps(sessions))
                return str(path)

            run_of_tests.once(f"answers_{name}", make)
            sessions = pickle.loads((answers_folder / f"{name}.pickle").read_bytes())
            known[name] = Asked(name, f"sqlite:///{path}", sessions, now)
        return known[name]

    return asked


@pytest.fixture
def answers_of(
    answers_folder: Path, migrated_file: Path, tmp_path: Path
) -> Callable[[str, list[Session]], Asked]:
    """Give a function that returns sessions as a history of their own, without alerts, to be asked."""

    def asked(name: str, sessions: list[Session]) -> Asked:
        url = f"sqlite:///{shutil.copy(migrated_file, tmp_path / f'{name}.sqlite3')}"
        fill(url, sessions, answers_folder, judged=False)
        return Asked(name, url, sessions, time.time())

    return asked


@pytest.fixture(scope="module")
def answers_once(
    answers_folder: Path, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, list[Session]], Asked]:
    """Give what ``answers_of`` does, made once for the tests of a module that name it so."""
    known: dict[str, Asked] = {}
    folder = tmp_path_factory.mktemp("once")

    def asked(name: str, sessions: list[Session]) -> Asked:
        if name not in known:
            url = f"sqlite:///{shutil.copy(migrated_file, folder / f'{name}.sqlite3')}"
            fill(url, sessions, answers_folder, judged=False)
            known[name] = Asked(name, url, sessions, time.time())
        return known[name]

    return asked


@pytest.fixture(autouse=True)
def _in_the_folder(answers_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(answers_folder)
