"""A database newer than the code: it is said with both revisions, left untouched, and the journal goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

import perfdb
from perfdb.errors import NewerSchemaError
from perfdb.store import schema
from perfdb.store.engine import open_engine, sqlite_path


def set_revision(url: str, revision: str) -> None:
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    engine.dispose()


@pytest.mark.parametrize("revision", ["0999", "ae1027a6acf"])
def test_row_12_newer_database(
    revision: str,
    migrated_url: str,
    monkeypatch: pytest.MonkeyPatch,
    history: Callable[[str], perfdb.History],
    journals: Callable[[], list[Path]],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    monkeypatch.setenv("PERFDB_DATABASE_URL", migrated_url)
    set_revision(migrated_url, revision)
    path = sqlite_path(migrated_url)
    before = path.read_bytes() if path is not None else None
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("kept in the journal"):
        pass
    tracker.end_pipeline()
    said = tracker.health()["database_error"]
    assert revision in said
    assert schema.HEAD in said
    for refused in (schema.ensure_schema, schema.upgrade, schema.check):
        with pytest.raises(NewerSchemaError, match=f"{revision}.*{schema.HEAD}"):
            refused(migrated_url)
    if path is not None:
        assert path.read_bytes() == before
    assert len(journals()) == 1
    set_revision(migrated_url, schema.HEAD)
    wait_until_well(tracker)
    assert list(history(migrated_url).steps()["step_name"]) == ["kept in the journal"]
