"""Copy a database into one file that opens anywhere, while others write to it.

SQLite's own copy takes all pages in one step of one reader: in WAL mode a reader stops no writer, and a
copy in several steps would begin anew whenever somebody writes. PostgreSQL goes over row by row.
The file gets its name when it is whole, verified and on the disk.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from perfdb.errors import StoreError
from perfdb.settings import sqlite_url
from perfdb.store.engine import broken_file, create_private_file, open_engine, shown_url, sqlite_path
from perfdb.store.schema import HEAD, revision

_SPARE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made and read again."""

    path: Path
    size: int  # bytes
    sessions: int
    steps: int
    schema: str


def is_current(url: str) -> bool:
    """Say whether the database is there, with the tables of this perfdb."""
    try:
        return _revision_of(url) == HEAD
    except StoreError:
        return False


def back_up(url: str, target: Path, *, force: bool = False) -> Backup:
    """Write a verified copy of the database to ``target``, for its owner only.

    Args:
        url: the database; it is only read, as of one moment.
        target: a file, or a folder that gets a file with the date in its name.
        force: replace an existing file, in one piece.

    Raises:
        StoreError: the file exists, the disk is full, the database is missing or damaged; nothing is left.
    """
    source = sqlite_path(url)
    if target.is_dir():
        target = target / time.strftime("perfdb-%Y%m%d-%H%M%S.sqlite3")
    if source is not None and target.exists() and os.path.samefile(source, target):
        raise StoreError(f"{target} is the database itself: name another file for the backup")
    if os.path.lexists(target) and not force:
        raise StoreError(f"{target} exists: name another file, or say --force to replace it")
    schema = _revision_of(url)
    try:
        with _unfinished(target) as unfinished:
            counts = _copy_sqlite(url, unfinished) if source is not None else _copy_rows(url, unfinished)
            _verify(unfinished, counts)
            made = Backup(
                path=target,
                size=unfinished.stat().st_size,
                sessions=counts.get("sessions", 0),
                steps=counts.get("steps", 0),
                schema=schema,
            )
            _give_name(unfinished, target, force=force)
            return made
    except OSError as error:
        raise StoreError(f"the backup {target} cannot be written: {error.strerror or error}") from error


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """Give a private file beside the target; what is left of it in the end is removed."""
    path = target.with_name(f".{target.name}.{os.getpid()}.part")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        yield path
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def _copy_sqlite(url: str, target: Path) -> dict[str, int]:
    """Copy the pages; return the rows per table at that moment."""
    source = sqlite_path(url)
    engine = open_engine(url, role="reader")
    try:
        raw = engine.raw_connection()
        reader: Any = raw.driver_connection
        try:
            reader.execute("BEGIN")  # counts and copy see one moment
            pages, size = (
                reader.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
            )
            _require_space(target.parent, pages * size)
            counts = _count(reader)
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                reader.backup(copy, pages=-1)
                # one file that is whole by itself, on read-only media too; a writer makes it WAL again
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
            reader.execute("COMMIT")
            return counts
        finally:
            raw.close()
    except (sqlite3.Error, DBAPIError) as error:
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if source is not None and code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise broken_file(source, cause) from error
        raise StoreError(f"{source} could not be copied: {cause}; nothing was left of the backup") from error
    finally:
        engine.dispose()


def _copy_rows(url: str, target: Path) -> dict[str, int]:
    """Copy the rows of a server's database into a file; return how many each table has there."""
    from perfdb.store.copying import copy_history

    wrong = {each.table: each.wrong for each in copy_history(url, sqlite_url(target)) if each.wrong}
    if wrong:
        raise StoreError(f"rows of the backup differ from the database's ({wrong}): make it again")
    connection = sqlite3.connect(target, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=DELETE")
        return _count(connection)
    finally:
        connection.close()


def _count(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the rows of every table, also of a schema that is not this perfdb's."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables}


def _verify(path: Path, counts: dict[str, int]) -> None:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"the copy is damaged as the database is ({found}); run: perfdb doctor")
        if (copied := _count(connection)) != counts:
            raise StoreError(f"the copy has {copied} rows, not {counts}: make it again")
    finally:
        connection.close()


def _revision_of(url: str) -> str:
    engine = open_engine(url, role="reader")
    try:
        with engine.connect() as connection:
            found = revision(connection)
    except DBAPIError as error:
        raise StoreError(f"{shown_url(url)} cannot be read: {error.orig}") from error
    finally:
        engine.dispose()
    if found is None:
        raise StoreError(f"{shown_url(url)} has no tables of perfdb: there is nothing to back up")
    return found


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_BYTES:
        raise StoreError(
            f"{folder} has {free >> 20} MB left and the backup takes {size >> 20} MB: choose another disk"
        )


def _give_name(unfinished: Path, target: Path, *, force: bool) -> None:
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    if force:
        os.replace(unfinished, target)
    else:
        try:
            os.link(unfinished, target)  # unlike a rename it never replaces what came meanwhile
        except FileExistsError:
            raise StoreError(f"{target} was made by somebody else meanwhile: name another file") from None
        except OSError:  # a disk without links
            os.rename(unfinished, target)
    with suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def restore(backup: Path, url: str) -> Backup:
    """Put a backup into the place of a SQLite database that nobody records into.

    A database that can be read is overwritten in one transaction: its readers see the one or the other. A
    damaged one is moved aside first, with its log. The caller has seen to it that no worker has the
    database open, because those remember row numbers, and that what is there is saved.

    Raises:
        StoreError: the backup is damaged, of a newer perfdb or no backup; the database is as it was.
    """
    target = sqlite_path(url)
    if target is None:
        raise StoreError(f"a file is not restored but copied: perfdb db copy {backup} {shown_url(url)}")
    _revision_of(sqlite_url(backup.absolute()))
    source = sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        counts = _count(source)
        _verify(backup, counts)
        if target.exists() and not _is_whole(target, url):
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.rename(f"{target}{suffix}", f"{target}.damaged{suffix}")
        _overwrite(source, target)
        _verify(target, counts)
    finally:
        source.close()
    return Backup(target, target.stat().st_size, counts["sessions"], counts["steps"], _revision_of(url))


def _is_whole(path: Path, url: str) -> bool:
    """Say whether the file is a database; refuse one of another program."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            return False
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return True  # it has just been made
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return False
        raise StoreError(f"{path} cannot be read: {error}") from error
    finally:
        connection.close()
    _revision_of(url)
    return True


def _overwrite(source: sqlite3.Connection, target: Path) -> None:
    create_private_file(target)
    connection = sqlite3.connect(target, timeout=5.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")  # the copy itself would wait for ever
        connection.execute("ROLLBACK")
        source.backup(connection, pages=-1)
    except sqlite3.Error as error:
        raise StoreError(f"{target} could not be overwritten: {error}; it is as it was") from error
    finally:
        connection.close()
