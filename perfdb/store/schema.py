"""Which tables the database has, and how it gets the right ones: by migration only.

At head nothing is imported and nothing locked. Otherwise one process migrates under
a lock while the others wait; a kill in the middle leaves the database as it was. A
newer or a foreign database is never touched.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from perfdb.errors import AbsentError, NewerSchemaError, SchemaError, StoreError
from perfdb.store.dialects import begin_migration, check_migration, seen_revision, shown, work_limit
from perfdb.store.engine import broken_file, connected, shown_url, sqlite_path
from perfdb.store.migrating import migrate, migrations_folder, without_talk
from perfdb.store.models import HEAD
from perfdb.store.sanity import require_own_names, require_own_objects

__all__ = [
    "HEAD",
    "check",
    "ensure_schema",
    "locked_connection",
    "migrations_folder",
    "require_schema",
    "revision",
    "upgrade",
]


_MOST_TO_CHECK = 100_000_000  # instructions of SQLite
_LONGEST_REVISION = 40  # characters; a file from elsewhere may hold any text
_LOCK = 0x70657266_6462  # "perfdb": one migration at a time per PostgreSQL database


def revision(connection: Connection) -> str | None:
    """Return the schema revision that the database says it has, None when it has no tables.

    Raises:
        StoreError: it holds tables, but not of perfdb.
    """
    if (seen := seen_revision(connection)) is not None:
        return seen
    names = set(inspect(connection).get_table_names())
    if "alembic_version" not in names:
        if names:
            raise StoreError(
                f"{shown(connection)} holds tables of another program ({', '.join(sorted(names)[:3])}); "
                "perfdb leaves it alone: give it a database of its own (PERFDB_DATABASE_URL)"
            )
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version LIMIT 1").first()
    return str(found[0])[:_LONGEST_REVISION] if found else None


def ensure_schema(url: str) -> None:
    """Make sure that the database has this perfdb's tables; at head this is one SELECT.

    Raises:
        NewerSchemaError: a newer perfdb made its tables; it is left untouched.
        StoreError: it is damaged, no database, of another program, or cannot be reached.
    """
    path = sqlite_path(url)
    if path is None or (path.exists() and path.stat().st_size):
        with _clear_errors(url), connected(url, role="reader") as connection:  # waits for no writer's lock
            if _is_at_head(connection):
                return
    upgrade(url)


def require_schema(connection: Connection) -> None:
    """Check that a reader finds the tables it knows; reading never migrates.

    Raises:
        AbsentError: there are none.
        SchemaError: they are older; the message says how to get them.
        NewerSchemaError: a newer perfdb made them.
    """
    found = revision(connection)
    if found is None:
        raise AbsentError(
            f"{shown(connection)} has no tables of perfdb yet; record or import a session first"
        )
    _refuse_newer(found, connection)
    if found != HEAD:
        raise SchemaError(
            f"{shown(connection)} has schema {found}, this perfdb reads {HEAD}; "
            f"run: perfdb db upgrade -d {shlex.quote(shown(connection))}"
        )
    require_own_objects(connection)
    require_own_names(connection)


def upgrade(url: str, until: str = "head") -> None:
    """Migrate the database to the revision ``until``, alone: others that start meanwhile wait.

    Raises:
        NewerSchemaError, StoreError: as ``ensure_schema``.
    """
    with _clear_errors(url), locked_connection(url) as connection:
        if until in ("head", HEAD) and _is_at_head(connection):
            return  # somebody else did it while we waited for the lock
        migrate(connection, revision(connection), until)


def check(url: str) -> list[str]:
    """Return how the tables differ from what this perfdb expects, one line each; empty is well."""
    with _clear_errors(url), connected(url, role="reader") as connection:
        with work_limit(connection, _MOST_TO_CHECK):
            require_schema(connection)
        return _differences(connection)


@contextmanager
def locked_connection(url: str) -> Iterator[Connection]:
    """Give a connection whose transaction shuts every other migration out; it commits at the end."""
    with connected(url, role="migration") as connection, connection.begin():  # SQLite: BEGIN IMMEDIATE
        begin_migration(connection, _LOCK)
        yield connection
        check_migration(connection)


def _is_at_head(connection: Connection) -> bool:
    found = revision(connection)
    if found is not None:
        _refuse_newer(found, connection)
        require_own_objects(connection, views=False)
    return found == HEAD


def _refuse_newer(found: str, connection: Connection) -> None:
    if found.isascii() and found.isdigit() and len(found) == len(HEAD):
        if found <= HEAD:
            return
        raise NewerSchemaError(
            f"{shown(connection)} has schema {found}, this perfdb knows up to {HEAD}; it is left untouched. "
            "Update perfdb (pip install -U perfdb), or use another database"
        )
    raise NewerSchemaError(
        f"{shown(connection)} has schema {found!r}, which this perfdb (up to {HEAD}) does not know; it is "
        "left untouched. Update perfdb, or use another database (PERFDB_DATABASE_URL)"
    )


@contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    """Turn the driver's errors into sentences that name the database."""
    try:
        yield
    except DBAPIError as error:
        path = sqlite_path(url)
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if path is not None and code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise broken_file(path, error.orig or error) from error
        raise StoreError(f"cannot prepare the database {shown_url(url)}: {error.orig}") from error


def _differences(connection: Connection) -> list[str]:
    from perfdb.store.models import metadata

    with without_talk():
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(difference) for difference in compare_metadata(context, metadata)]
