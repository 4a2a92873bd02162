"""Put a backup into the place of a SQLite database, once a copy of it has passed every check.

What is refused, and what fails, leaves everything as it was.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from perfdb.errors import InvalidSessionIdError, StoreError
from perfdb.outputs import free_name, place_of, take_place
from perfdb.search import open_file
from perfdb.settings import sqlite_url
from perfdb.sharing import share
from perfdb.store.engine import (
    QUERY_ERRORS,
    connected,
    damage_is_said,
    reason_of,
    shown_url,
    sqlite_path,
)
from perfdb.store.models import metadata
from perfdb.store.sanity import LONGEST_VALUE, is_plain, is_virtual, objects_in
from perfdb.store.schema import ensure_schema, upgrade
from perfdb.store.upkeep.backup import (
    Backup,
    back_up,
    count_rows,
    keep_folder,
    revision_of,
    unfinished_copy,
    verify,
)
from perfdb.store.upkeep.inspection import unreadable
from perfdb.vocabulary import check_session_id

_MAGIC = b"SQLite format 3\0"
_FIRST_TABLES = ("sessions", "steps", "samples", "series", "journals")  # of every schema there ever was
_CONDITIONS = re.compile(r"\b(?:CHECK|COLLATE|CONFLICT|DEFERRABLE|STRICT)\b")
_CONDITIONS_OF_INDEX = re.compile(r"\(.*\(|\bWHERE\b|\bCOLLATE\b", re.DOTALL)
_LOGS = ("-wal", "-shm", "-journal")


def restore(backup: Path, url: str, *, before: Path | None = None) -> Backup:
    """Put a backup into the place of a SQLite database that nobody records into.

    The backup is copied, brought up to date and checked first. A database that can be read is then
    overwritten in one transaction, because a rename would leave its log beside a file that it does not
    belong to: its readers see the one or the other. A damaged one is moved aside with its log, and the copy
    takes its place in one rename. The caller has seen to it that no worker has the database open, because
    those remember row numbers.

    Args:
        backup: the file; it is only read.
        url: the database.
        before: where what is there is saved, if it can be read.

    Raises:
        StoreError: the backup is damaged, of a newer perfdb or no backup; the database is as it was.
    """
    target = sqlite_path(url)
    if target is None:
        raise StoreError(
            f"restore replaces a file only; to copy it: perfdb db copy {backup} {shown_url(url)}"
        )
    require_backup(backup)
    try:
        place = place_of(target)
        if place is None:
            raise StoreError(f"{target} is no regular file: a database cannot stand there")
        readable = os.path.lexists(place) and _is_whole(place, url)
        with (
            _folder_of(place),
            unfinished_copy(sqlite_url(backup.absolute()), place) as (copy, _),
        ):
            counts = _bring_up_to_date(copy, backup)
            if readable:
                _take_page_size(copy, place)
                _replace_rows(copy, place, url, before)
            else:
                _take_place(copy, place)
    except OSError as error:
        raise StoreError(f"{target} cannot be replaced: {error.strerror or error}") from error
    verify(place, counts)
    return Backup(target, place.stat().st_size, counts["sessions"], counts["steps"], revision_of(url))


def require_backup(backup: Path) -> None:
    """Check that the file can be a backup, as far as that is visible without a copy.

    Raises:
        StoreError: it is none, or holds what acts by itself.
    """
    try:
        if not stat.S_ISREG(backup.stat().st_mode):
            raise StoreError(f"{backup} is no backup of perfdb: it is no regular file")
        with open_file(backup) as file:
            begins = file.read(len(_MAGIC))
    except OSError as error:
        raise StoreError(f"{backup} cannot be read: {error.strerror or error}") from None
    if not begins:
        raise StoreError(f"{backup} is no backup of perfdb: it is empty")
    if begins != _MAGIC:
        raise StoreError(f"{backup} is no backup of perfdb: it is not a SQLite database")
    url = sqlite_url(backup.absolute())
    revision_of(url)
    try:
        with connected(url, role="reader") as connection:
            driver: Any = connection.connection.driver_connection
            _refuse_what_acts(driver, backup)
    except QUERY_ERRORS as error:
        raise StoreError(f"{backup} cannot be read: {reason_of(error)}") from error


def _refuse_what_acts(connection: sqlite3.Connection, backup: Path) -> None:
    try:
        objects = list(objects_in(connection))
    except StoreError as error:
        raise StoreError(f"{backup} is not restored: {error}") from None
    for kind, name, sql in objects:
        if kind == "trigger" or is_virtual(sql):
            what = "trigger" if kind == "trigger" else "virtual table"
            raise StoreError(f"{backup} has a {what} {name!r} that perfdb did not make: it is not restored")
        if not is_plain(name, kind, sql):  # a check of the file would work it out
            raise StoreError(
                f"{backup}: the {kind} {name!r:.80} is not as perfdb creates it: it is not restored"
            )


def _bring_up_to_date(copy: Path, backup: Path) -> dict[str, int]:
    """Check the copy of a backup and give it the tables of this perfdb; return its rows per table."""
    with _words(backup), closing(_connect(copy)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{backup} is damaged ({found}): it is not restored")
        _refuse_what_acts(connection, backup)  # the file may have been exchanged since it was looked at
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for name in _FIRST_TABLES:  # an upgrade would stumble over what is missing
            if name not in tables:
                raise StoreError(f"{backup} is no whole backup of perfdb: the table {name} is missing")
        dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
        if dangling is not None:
            raise StoreError(f"{backup} is damaged: rows of {dangling[0]} refer to what it does not have")
    try:
        upgrade(sqlite_url(copy))
    except Exception as error:
        reason = " ".join(str(error).replace(str(copy), str(backup)).split())
        if isinstance(error, StoreError):
            raise type(error)(reason) from error
        raise StoreError(f"{backup} cannot be brought up to date: {reason}") from error
    with (
        _words(backup),
        tempfile.TemporaryDirectory(prefix="perfdb-") as folder,
        closing(_connect(copy)) as connection,
    ):
        connection.execute("PRAGMA journal_mode=DELETE")  # one file, to be renamed
        fresh = Path(folder) / "fresh.sqlite3"
        ensure_schema(sqlite_url(fresh))
        with closing(_connect(fresh)) as expected:
            wrong = next(_differences(connection, expected), None)
        wrong = wrong or next(unreadable(connection), None)
        if wrong is not None:
            raise StoreError(f"{backup} is no whole backup of perfdb: {wrong}")
        return count_rows(connection)


@contextmanager
def _words(backup: Path) -> Iterator[None]:
    try:
        with damage_is_said():
            yield
    except sqlite3.Error as error:
        raise StoreError(f"{backup} is no whole backup of perfdb: {error}") from error


def _differences(found: sqlite3.Connection, expected: sqlite3.Connection) -> Iterator[str]:
    """Yield in words what a database lacks, or has in another form; tables of others may be there too."""
    revisions = found.execute("SELECT count(*) FROM alembic_version").fetchone()[0]
    if revisions != 1:
        yield f"it has {revisions} schema revisions"
    for name in (*metadata.tables, "alembic_version"):
        columns, wanted = _columns(found, name), _columns(expected, name)
        if not columns:
            yield f"the table {name} is missing"
        for column in sorted(wanted.keys() | columns.keys()):
            if column not in columns:
                yield f"{name}.{column} is missing"
            elif wanted.get(column) != columns[column]:
                yield f"{name}.{column} is not as perfdb makes it"
        if name != "alembic_version" and _indexes(found, name) != _indexes(expected, name):
            yield f"the indexes of {name} are not as perfdb makes them"
        if columns and _conditions(found, name) != _conditions(expected, name):
            yield f"the table {name} has other conditions than perfdb makes"
    views, wanted_views = _views_of(found), _views_of(expected)
    for name in sorted(wanted_views.keys() | views.keys()):
        if views.get(name) != wanted_views.get(name):
            yield f"the view {name} is {'not as perfdb makes it' if name in views else 'missing'}"
    for (session_id,) in found.execute("SELECT session_id FROM sessions"):
        if not _is_session_id(session_id):  # it names files
            yield f"{session_id!r:.80} is no session id"


def _is_session_id(text: object) -> bool:
    """Tell whether a session may be called so."""
    try:
        return bool(check_session_id(text))
    except InvalidSessionIdError:
        return False


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, tuple[Any, ...]]:
    """Return type, NOT NULL, default, place in the key and whether it is computed, per column."""
    is_table = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchone()[0]
    rows = connection.execute(f'PRAGMA table_xinfo("{table}")') if is_table else ()
    return {
        name: (kind.upper(), null, default, key, hidden) for _, name, kind, null, default, key, hidden in rows
    }


def _indexes(connection: sqlite3.Connection, table: str) -> set[tuple[Any, ...]]:
    """Return what the unique indexes hold together: a write relies on each, and another would refuse some."""
    found = set()
    for _, name, unique, _, partial in connection.execute(f'PRAGMA index_list("{table}")').fetchall():
        if unique:
            columns = tuple(row[2] for row in connection.execute(f'PRAGMA index_info("{name}")'))
            found.add((columns, partial))
    return found


def _conditions(connection: sqlite3.Connection, table: str) -> tuple[Any, ...]:
    """Return what a table, or an index on it, says of each row: it might refuse, replace or fail writes."""
    statements = connection.execute(
        "SELECT type, upper(sql) FROM sqlite_master WHERE tbl_name = ? AND sql != ''", (table,)
    )
    words: Counter[str] = Counter()
    for kind, sql in statements.fetchall():
        words.update((_CONDITIONS if kind == "table" else _CONDITIONS_OF_INDEX).findall(sql))
    keys = {row[2:7] for row in connection.execute(f'PRAGMA foreign_key_list("{table}")')}
    return words, keys


def _views_of(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
    return {name: " ".join(sql.split()) for name, sql in rows}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)  # what no reader takes fails here
    return connection


# --- the place ----------------------------------------------------------------------------------------


@contextmanager
def _folder_of(place: Path) -> Iterator[None]:
    """Make the folders that are missing, and take them away again when nothing comes into them."""
    missing = [folder for folder in place.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        share(folder, folder)
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it is in use
                folder.rmdir()


def _is_whole(path: Path, url: str) -> bool:
    """Say whether the file is a database; refuse one of another program."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        with damage_is_said():
            is_whole = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        if not is_whole:
            return False
        if not _has_tables(connection):
            return True  # it has just been made
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return False
        raise StoreError(f"{path} cannot be read: {error}") from error
    finally:
        connection.close()
    revision_of(url)
    return True


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _take_page_size(copy: Path, place: Path) -> None:
    """Give the copy pages of the size that the database has: one in WAL mode cannot change it."""
    with closing(_connect(copy)) as source, closing(_connect(place)) as target:
        sizes = [each.execute("PRAGMA page_size").fetchone()[0] for each in (source, target)]
        if sizes[0] != sizes[1] and _has_tables(target):
            source.execute(f"PRAGMA page_size={sizes[1]}")
            source.execute("VACUUM")


def _replace_rows(copy: Path, place: Path, url: str, before: Path | None) -> None:
    """Overwrite a database in one transaction; what it held is saved before."""
    with closing(_connect(copy)) as source, closing(sqlite3.connect(place, timeout=5.0)) as connection:
        connection.isolation_level = None
        saved = before if _has_tables(connection) else None  # nothing to save in one that has just been made
        if saved is not None:
            back_up(url, saved)
        try:
            connection.execute("BEGIN IMMEDIATE")  # the copy itself would wait for ever
            connection.execute("ROLLBACK")
            source.backup(connection, pages=-1)
        except BaseException as error:
            if saved is not None:
                saved.unlink(missing_ok=True)
            if not isinstance(error, sqlite3.Error):
                raise
            raise StoreError(f"{place} could not be overwritten: {error}; it is as it was") from error


def _take_place(copy: Path, place: Path) -> None:
    """Give the copy the name; a damaged database, or the log of one that is gone, is moved aside."""
    moved: list[tuple[str, str]] = []
    aside = str(free_name(Path(f"{place}.damaged"), *_LOGS))
    try:
        if os.path.lexists(place):
            os.link(place, aside)
            moved.append((str(place), aside))
        for suffix in _LOGS:
            with suppress(FileNotFoundError):
                os.rename(f"{place}{suffix}", f"{aside}{suffix}")
                moved.append((f"{place}{suffix}", f"{aside}{suffix}"))
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
        take_place(copy, place)
    except BaseException:
        for name, other in reversed(moved):
            os.replace(other, name)
        raise
    keep_folder(place.parent)
