"""Copy a database into one file that opens anywhere, while others write to it.

SQLite's own copy takes all pages in one step of one reader: in WAL mode a reader stops no writer, and a
copy in several steps would begin anew whenever somebody writes. PostgreSQL goes over row by row.
The file gets its name when it is whole, verified and on the disk.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from perfdb.errors import StoreError
from perfdb.outputs import free_name, place_of, take_place, write_output
from perfdb.settings import sqlite_url
from perfdb.sharing import share
from perfdb.store.engine import broken_file, connected, shown_url, sqlite_path
from perfdb.store.schema import HEAD, revision

_SPARE_BYTES = 16 << 20
_PIECE = 1 << 20
_LEFT_S = 3_600.0  # an unfinished copy that nobody has written to for so long is nobody's


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
        return revision_of(url) == HEAD
    except StoreError:
        return False


def back_up(url: str, target: Path, *, force: bool = False) -> Backup:
    """Write a verified copy of the database to ``target``, for its owner only.

    Args:
        url: the database; it is only read, as of one moment.
        target: a file, a folder that gets a file with the date in its name, or a device or FIFO, to which
            the finished copy is written. A symbolic link is followed.
        force: replace an existing file, in one piece; the copy takes over its owner and mode.

    Raises:
        StoreError: the file exists, the disk is full, the database is missing or damaged; nothing is left.
    """
    source = sqlite_path(url)
    if target.is_dir():
        target = free_name(target / time.strftime("perfdb-%Y%m%d-%H%M%S.sqlite3"))
    if source is not None and target.exists() and os.path.samefile(source, target):
        raise StoreError(f"{target} is the database itself: name another file for the backup")
    schema = revision_of(url)
    try:
        place = place_of(target)
        if place is not None and os.path.lexists(place) and not force:
            raise StoreError(f"{target} exists: name another file, or say --force to replace it")
        with unfinished_copy(url, place) as (unfinished, counts):
            made = Backup(
                path=target,
                size=unfinished.stat().st_size,
                sessions=counts.get("sessions", 0),
                steps=counts.get("steps", 0),
                schema=schema,
            )
            if place is not None:
                _give_name(unfinished, place, force=force)
            else:
                with open(unfinished, "rb") as file:
                    write_output(target, iter(partial(file.read, _PIECE), b""))
            return made
    except OSError as error:
        raise StoreError(f"the backup {target} cannot be written: {error.strerror or error}") from error


@contextmanager
def unfinished_copy(url: str, place: Path | None) -> Iterator[tuple[Path, dict[str, int]]]:
    """Give a verified copy and its rows per table: a private file, which has to be given its name.

    It lies beside ``place``, or among the temporary files; what is left of it in the end is removed.
    """
    folder = Path(tempfile.gettempdir()) if place is None else place.parent
    name = "perfdb" if place is None else place.name
    _remove_left(folder, name)
    path = folder / f".{name}.{os.getpid()}.{os.urandom(4).hex()}.part"
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    share(path, path)
    try:
        try:
            counts = _copy_sqlite(url, path) if sqlite_path(url) is not None else _copy_rows(url, path)
            _require_rows(path, counts)
        except sqlite3.Error as error:  # a column that computes what is too large, for one
            raise StoreError(f"{shown_url(url)} cannot be checked ({error}): it is not copied") from error
        yield path, counts
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def _remove_left(folder: Path, name: str) -> None:
    """Remove copies whose process was killed: a live one writes to its copy."""
    with suppress(OSError):
        for left in folder.glob(f".{glob.escape(name)}.*.part"):
            is_ours = re.fullmatch(r"\d+\.[0-9a-f]{8}", left.name[len(name) + 2 : -len(".part")])
            if is_ours and time.time() - left.lstat().st_mtime > _LEFT_S:
                left.unlink()


def _copy_sqlite(url: str, target: Path) -> dict[str, int]:
    """Copy the pages; return the rows per table at that moment."""
    source = sqlite_path(url)
    try:
        with connected(url, role="reader") as connection:
            reader: Any = connection.connection.driver_connection
            reader.execute("BEGIN")  # counts and copy see one moment
            pages, size = (
                reader.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
            )
            _require_space(target.parent, pages * size)
            if source is not None and source.stat().st_blocks * 512 < pages * size // 2:
                _require_sound(reader)  # mostly a hole: a small file from elsewhere might fill the disk
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                reader.backup(copy, pages=-1)
                # one file that is whole by itself, on read-only media too; a writer makes it WAL again
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
            _require_whole(target)  # pages that stand in it many times would be counted without an end
            counts = count_rows(reader)
            reader.execute("COMMIT")
            return counts
    except (sqlite3.Error, DBAPIError) as error:
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if source is not None and code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise broken_file(source, cause) from error
        raise StoreError(f"{source} could not be copied: {cause}; no partial backup was kept") from error


def _copy_rows(url: str, target: Path) -> dict[str, int]:
    """Copy the rows of a server's database into a file; return how many each table has there."""
    from perfdb.store.upkeep.copying import copy_history

    wrong = {each.table: each.wrong for each in copy_history(url, sqlite_url(target)) if each.wrong}
    if wrong:
        raise StoreError(f"rows of the backup differ from the database's ({wrong}): make it again")
    connection = sqlite3.connect(target, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=DELETE")
        _require_whole(target)
        return count_rows(connection)
    finally:
        connection.close()


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the rows of every table, also of a schema that is not this perfdb's."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    names = {name: name.replace('"', '""') for (name,) in tables}
    return {
        name: connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]
        for name, quoted in names.items()
    }


def verify(path: Path, counts: dict[str, int]) -> None:
    """Check that a copy is whole and has so many rows."""
    _require_whole(path)
    _require_rows(path, counts)


def _require_whole(path: Path) -> None:
    with closing(_connect(path)) as connection:
        _require_sound(connection)


def _require_sound(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"the copy is damaged as the database is ({found}); run: perfdb doctor")


def _require_rows(path: Path, counts: dict[str, int]) -> None:
    with closing(_connect(path)) as connection:
        copied = count_rows(connection)
    if copied != counts:
        raise StoreError(f"the copy has {copied} rows, not {counts}: make it again")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def revision_of(url: str) -> str:
    """Return the schema revision of a database of perfdb."""
    try:
        with connected(url, role="reader") as connection:
            found = revision(connection)
    except DBAPIError as error:
        raise StoreError(f"{shown_url(url)} cannot be read: {error.orig}") from error
    if found is None:
        raise StoreError(f"{shown_url(url)} has no tables of perfdb: it is no history")
    return found


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_BYTES:
        raise StoreError(
            f"{folder} has {free / 1e6:.1f} MB left and the backup takes {size / 1e6:.1f} MB: "
            "choose another disk"
        )


def _give_name(unfinished: Path, place: Path, *, force: bool) -> None:
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    if force:
        take_place(unfinished, place)
    else:
        try:
            os.link(unfinished, place)  # unlike a rename it never replaces what came meanwhile
        except FileExistsError:
            raise StoreError(f"{place} was made by somebody else meanwhile: name another file") from None
        except OSError:  # a disk without links
            os.rename(unfinished, place)
    keep_folder(place.parent)


def keep_folder(folder: Path) -> None:
    """Have the names of a folder on the disk."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
