"""Lines that were put aside, tried once more after what refused them, perfdb or the database, was mended."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from perfdb.recording.health import Health
from perfdb.recording.journal import Line, files_in
from perfdb.recording.quarantine import BAD_SUFFIX, Quarantine
from perfdb.store.database import FIRST_ROWS, Database
from perfdb.toml import Table
from perfdb.worker.recovery import (
    BUSY_TIMEOUT_S,
    Moved,
    believed,
    is_of_database,
    leave_alone,
    name_strangers,
    require_known,
)

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from perfdb.trust import Trust


def recover_quarantined(
    home: Path,
    database_url: str,
    *,
    alerts: Table | None = None,
    trust: Trust | None = None,
) -> Moved:
    """Bring in the lines that were put aside because of a bug or a refusal that was mended since.

    ``quarantined`` of the answer counts those that stay where they are: damaged, or refused again.

    Raises:
        StoreError: the database cannot be opened or upgraded.
        SQLAlchemyError: it takes no rows now.
    """
    moved, health = Moved(), Health()
    with Database(database_url, BUSY_TIMEOUT_S) as database:
        files, others = files_in(home / "journal", BAD_SUFFIX)
        name_strangers(others, health, moved)
        for path in believed(files, trust):
            try:
                _take_file_again(database, path, moved)
            except Exception as error:
                if is_of_database(error):
                    raise
                leave_alone(path, error, health, moved)
        if moved.finished:
            from perfdb.alerts.late import evaluate_historic

            evaluate_historic(database, moved.finished, alerts)
    return moved


def _take_file_again(database: Database, path: Path, moved: Moved) -> None:
    from perfdb.store.ingest import set_quarantined
    from perfdb.store.sessions import mark_interrupted

    with Quarantine.hold(path) as quarantine:
        require_known(quarantine.header)
        left: list[Line] = []
        lines = quarantine.lines()
        while batch := list(islice(lines, FIRST_ROWS)):
            left += _take_again(database, quarantine, batch, moved)
        journal_id = str(quarantine.header["journal_id"])
        with database.writing() as connection:
            set_quarantined(connection, journal_id, len(left))
            if not quarantine.has_living_writer:
                moved.interrupted += mark_interrupted(connection, journal_id)
        quarantine.keep_only(left)
        moved.quarantined += len(left)


def _take_again(database: Database, quarantine: Quarantine, lines: list[Line], moved: Moved) -> list[Line]:
    """Bring lines to the database; return those that it still does not take."""
    from perfdb.store.engine import is_transient
    from perfdb.store.ingest import apply_records

    left = [line for line in lines if line.record is None]
    lines = [line for line in lines if line.record is not None]
    if not lines:
        return left
    try:
        with database.writing() as connection:
            records = [line.record for line in lines if line.record is not None]
            applied = apply_records(connection, quarantine.header, records, offset=0)
    except Exception as error:
        if is_transient(error):
            raise
        if len(lines) == 1:
            return left + lines
        half = len(lines) // 2
        for part in (lines[:half], lines[half:]):
            left += _take_again(database, quarantine, part, moved)
        return left
    moved.records += len(lines)
    moved.finished += applied.finished
    return left
