"""What a database may hold that perfdb never writes: other objects, other values.

SQLite keeps any value in any column, and lets a view stand where a table stood. The objects are looked at
whenever a file is opened, at the price of one small query; the values when an answer has failed, those of a
server too: whoever may write to its tables may have put NaN there, or a list where an object stood.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import cache, lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

from perfdb.errors import StoreError
from perfdb.measures import MEASURES
from perfdb.records import ENVIRONMENT
from perfdb.store.dialects import is_file, shown, time_limit
from perfdb.store.models import VIEWS, from_json, metadata

_LAST_INSTANT = 253_402_300_799.0  # of the year 9999
_LONGEST = 1e10  # seconds; what perfdb writes is shorter
_LONGEST_NAME = 1_000  # bytes
_REFUSED_NAME = 20_000
_REPEATED = {  # what stands once in the file and many times in an answer, and the bytes that are refused
    "series": (_REFUSED_NAME, ("pipeline", "step_name", "mode")),
    "environments": (5 * _REFUSED_NAME, ENVIRONMENT),
}
_FINITE = (-1e300, 1e300)
_INSTANTS = ("time", "start_time", "created_at", "updated_at", "opened_at", "closed_at", "since_time",
             "last_time", "until_time", "expires_at", "sent_at", "next_at", "notified_at", "at")  # fmt: skip
VALUE_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_INSTANTS, (0.0, _LAST_INSTANT)),
    "end_time": (0.0, _LAST_INSTANT + _LONGEST),
    **dict.fromkeys(("total_duration", "duration", "cpu_percent"), (0.0, _LONGEST)),
    **{each.name: (0.0, _LONGEST) for each in MEASURES if each.unit == "s"},
    "utc_offset": (-86_399, 86_399),
    "lane": (0, (1 << 31) - 1),
    "seq": (0, 1 << 53),
    "parent_seq": (0, 1 << 53),
    "status": (0, 3),
}
_LISTS = {  # of objects, and what each of these has
    "attempts": {"start_time": "integer real", "duration": "integer real"},
    "events": {"name": "text", "time": "integer real"},
}
_NAMES = ("pipeline", "step_name", "mode", "session_id", "name")
_TABLES = frozenset((*metadata.tables, "alembic_version"))
_ON_OURS = re.compile(rf"\b(?:{'|'.join(_TABLES)})\b", re.IGNORECASE)
# What a table of ours, or an index on one, consists of beside the constraints and unique indexes that we
# make: anything else might work something out for each row that is read or written, delete rows with others,
# or keep rows out. The words are those of migrations; older SQLAlchemy puts the constant of a default in
# parentheses.
_WORDS = _TABLES.union(
    """create table index on not null default constraint without rowid where is and asc desc true false
    integer bigint smallint boolean double text varchar json blob alembic_version_pkc version_num""".split(),
    (column.name for table in metadata.tables.values() for column in table.columns),
)
# What may stand before a parenthesis; json, time and total are columns or types of ours, and functions.
_OPENING = _TABLES.union("default varchar text integer bigint where and not".split())
_tokens = re.compile(r"""[ \t\n(),=\d]+|'\w*'|"\w+"|\w+|.""", re.ASCII | re.DOTALL).findall
_is_no_word = re.compile(r"""[ \t\n(),=\d]+|'\w*'|(?:pk|fk|uq|ck|ix)_\w+""", re.ASCII).fullmatch
# a column that somebody has added, which only keeps values: `perfdb db check` tells of it
_names_column = re.compile(
    r""",[ \t\n]*"?\w+"?[ \t\n]+(?=(?:integer|bigint|smallint|boolean|double|text|varchar|json|blob)\b)""",
    re.ASCII | re.IGNORECASE,
)
_parts = re.compile(r"""\w+|[^\s\w"]""").findall  # versions differ in quotes and blanks
# SQLite takes a byte order mark for a blank
_BLANK = r"(?:[\s\ufeff]|/\*(?:[^*]|\*(?!/))*\*/|--[^\n]*\n)"
_is_virtual = re.compile(rf"CREATE{_BLANK}+VIRTUAL\b", re.IGNORECASE).match
_CHECKED_FOR_S = 2.0
_LOOKED_AT = 2_000  # sessions per statement: a server gives each a minute
_DENSEST = 256  # so many bytes does a server pack into one
LONGEST_VALUE = 64 * 1024 * 1024  # bytes; no report is longer


def view_digest(sql: str) -> str:
    """Return what two versions of SQLite give for the same view."""
    return blake2b(re.sub(r'[\s"]+', "", sql).lower().encode(), digest_size=8).hexdigest()


def copy_own_views(driver: sqlite3.Connection) -> None:
    """Give a connection that trusts no schema temporary views for ours, of the same names.

    SQLite lets only those call ``json_group_array``; what is not ours stays as it is, and is refused later.
    """
    names = ", ".join(f"'{name}'" for name in VIEWS)
    found = driver.execute(f"SELECT name, sql FROM sqlite_master WHERE type = 'view' AND name IN ({names})")
    for name, sql in found.fetchall():
        if view_digest(str(sql)) == VIEWS[name]:
            driver.execute(re.sub(r"\ACREATE VIEW", "CREATE TEMP VIEW", sql))


def objects_in(driver: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    """Yield kind, name and SQL ('' of what SQLite makes by itself) of all that a file says it holds.

    Raises:
        StoreError: one is written as SQLite reads it, too, but never writes it, in which it could hide: in
            capitals, as bytes, with what follows a NUL.
    """
    for kind, name, sql in driver.execute("SELECT type, name, sql FROM sqlite_master"):
        texts = [each for each in (name, sql) if isinstance(each, str) and "\0" not in each]
        if kind not in ("table", "index", "view", "trigger") or len(texts) < 1 + (sql is not None):
            raise StoreError(
                f"its schema names {name!r:.80}, a {kind!r:.80}, as SQLite never writes it: the file was "
                "changed by another program; give perfdb another one"
            )
        yield kind, name, sql or ""


def require_own_objects(connection: Connection, *, views: bool = True) -> None:
    """Check that what stands under the names of our tables and views is ours; a server's is trusted.

    Anything else might be computed without an end while it is read.

    Raises:
        StoreError: something else stands there.
    """
    if not is_file(connection):
        return
    for kind, name, sql in _objects_of(connection):
        if kind == "trigger" or not sql:
            continue
        if (view := name.lower()) in VIEWS:  # to SQLite they are the same
            is_ours = kind == "view" and view_digest(sql) == VIEWS[view] if views else True
        else:
            is_ours = is_plain(name, kind, sql)
        if not is_ours:
            raise StoreError(
                f"{shown(connection)}: {name} is not as perfdb creates it (it is a {kind}): the file was "
                "changed by another program; take a backup, or give perfdb another database"
            )


def _objects_of(connection: Connection) -> list[tuple[str, str, str]]:
    driver: Any = connection.connection.driver_connection
    try:
        return list(objects_in(driver))
    except StoreError as error:
        raise StoreError(f"{shown(connection)} is not used: {error}") from None


def is_virtual(sql: str) -> bool:
    """Say whether SQL of a schema makes a virtual table: what it holds is computed by a module of SQLite."""
    return _is_virtual(sql) is not None


@lru_cache(maxsize=256)  # the same few texts, whenever a database is opened
def is_plain(name: str, kind: str, sql: str) -> bool:
    """Say whether a table of ours, or an index on one, keeps values as ours does.

    It computes none for its rows, and has no key of its own: by one, rows would go with others, or stay out.
    """
    if name.lower() not in _TABLES and not (kind == "index" and _ON_OURS.search(sql)):
        return True
    if kind == "index":  # anybody may add one that is not unique
        if tuple(_parts(sql.lower())) in _own_unique_indexes():
            return True
        sql = re.sub(rf'INDEX "?{re.escape(name)}"?', "INDEX", sql, count=1)
    elif kind == "table":
        sql = _names_column.sub(",", _own_constraints(name.lower()).sub(" ", sql))
    else:
        return False
    words = [each.strip('"') for each in _tokens(sql.lower())]
    opening = [word for word, after in pairwise(words) if after.lstrip(" \t\n").startswith("(")]
    return all(_is_no_word(each) or each in _WORDS for each in words) and _OPENING.issuperset(opening)


@cache
def _own_unique_indexes() -> frozenset[tuple[str, ...]]:
    own = (index for table in metadata.tables.values() for index in table.indexes if index.unique)
    return frozenset(tuple(_parts(str(CreateIndex(each).compile(dialect=dialect())).lower())) for each in own)


@cache
def _own_constraints(table: str) -> re.Pattern[str]:
    """Return what matches the keys and checks of a table of ours, written by any version of SQLAlchemy."""
    found = ["PRIMARY KEY (version_num)"]
    for each in metadata.tables[table].constraints if table in metadata.tables else ():
        if isinstance(each, CheckConstraint):
            found.append(f"CHECK ({each.sqltext})")
        if not isinstance(each, (ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint)):
            continue
        columns = f"({', '.join(each.columns.keys())})"
        if isinstance(each, ForeignKeyConstraint):
            parent = ", ".join(key.column.name for key in each.elements)
            then = f" ON DELETE {each.ondelete}" if each.ondelete else ""
            found.append(f"FOREIGN KEY {columns} REFERENCES {each.referred_table.name} ({parent}){then}")
        else:
            found.append(f"{'PRIMARY KEY' if isinstance(each, PrimaryKeyConstraint) else 'UNIQUE'} {columns}")
    loose = (r'[\s"]*'.join(map(re.escape, _parts(each))) for each in found)
    return re.compile(rf"\b(?:{'|'.join(loose)})", re.IGNORECASE)


def require_nothing_that_acts(connection: Connection) -> None:
    """Check that no trigger would run while something is written: perfdb makes none in a SQLite file.

    Raises:
        StoreError: there is one.
    """
    if not is_file(connection):
        return
    found = next((name for kind, name, _ in _objects_of(connection) if kind == "trigger"), None)
    if found is not None:
        raise StoreError(
            f"{shown(connection)} has a trigger {found[:80]!r} that perfdb did not make: it is not written to"
        )


def require_own_names(connection: Connection) -> None:
    """Check that no name or fact of a host is longer than perfdb makes one: answers repeat them in each row.

    Raises:
        StoreError: one is.
    """
    if not is_file(connection):
        return
    for table, (most, names) in _REPEATED.items():
        sizes = [f"length(CAST({name} AS BLOB)) > {most}" for name in names]
        if connection.exec_driver_sql(f"SELECT 1 FROM {table} WHERE {' OR '.join(sizes)} LIMIT 1").first():
            raise StoreError(
                f"{shown(connection)} holds a name of more than {most} bytes, which perfdb never writes: "
                "it is not read; restore a backup, or delete the session that has it"
            )


def find_nonsense(connection: Connection) -> str | None:
    """Return in words the first value that perfdb never writes; None when none is found."""
    if not is_file(connection):
        return _find_on_server(connection)
    driver: Any = connection.connection.driver_connection
    with time_limit(connection, _CHECKED_FOR_S):
        try:
            return next(nonsense(driver), None)
        except (sqlite3.Error, DBAPIError):
            return None


def bounds_of_runs() -> dict[str, tuple[float, float]]:
    """Return the least and the most of the numbers of sessions and steps, by columns."""
    return {
        column.name: VALUE_BOUNDS.get(column.name, _FINITE)
        for name in ("sessions", "steps")
        for column in metadata.tables[name].columns
        if column.name in VALUE_BOUNDS or isinstance(column.type, Double)
    }


def required_of(table: str) -> set[str]:
    """Return the columns of a table that are never null."""
    return {column.name for column in metadata.tables[table].columns if not column.nullable}


def nonsense(driver: sqlite3.Connection) -> Iterator[str]:
    """Yield in words the values that perfdb never writes, a line for each column."""
    for table in metadata.tables.values():
        checks = {column.name: check for column in table.columns if (check := _check(table, column))}
        sums = ", ".join(f"coalesce(max({check}), 0)" for check in checks.values())
        found = driver.execute(f'SELECT {sums} FROM "{table.name}"').fetchone()
        for name, is_wrong in zip(checks, found, strict=True):
            if is_wrong:
                yield f"{table.name}.{name} holds what perfdb never writes"
    dangling = driver.execute("PRAGMA foreign_key_check").fetchone()
    if dangling is not None:
        yield f"rows of {dangling[0]} refer to rows that are not there"


def _find_on_server(connection: Connection) -> str | None:
    """Return the same of a server, which holds every value to the type of its column."""
    with time_limit(connection, _CHECKED_FOR_S):
        for table in metadata.tables.values():
            if (wrong := _wrong_on_server(connection, table)) is not None:
                return wrong
    return None


def nonsense_on_server(connection: Connection) -> Iterator[str]:
    """Yield in words the values of a server that readers of a file refuse, all large tables in pieces."""
    for table in metadata.tables.values():
        owner = "id" if table.name == "sessions" else "session_pk"
        if owner not in table.columns:
            yield from filter(None, [_wrong_on_server(connection, table)])
            continue
        last: int | None = 1 - (1 << 63)
        while last is not None:
            ends = f"SELECT id FROM sessions WHERE id > {last} ORDER BY id LIMIT {_LOOKED_AT}"
            until = connection.exec_driver_sql(f"SELECT max(id) FROM ({ends}) AS s").scalar()
            where = f"{owner} > {last}" if until is None else f"{owner} > {last} AND {owner} <= {until}"
            yield from filter(None, [_wrong_on_server(connection, table, where)])
            last = until
    for table_name, (most, names) in _REPEATED.items():
        long = " OR ".join(f"octet_length({name}) > {most}" for name in names)
        if connection.exec_driver_sql(f"SELECT 1 FROM {table_name} WHERE {long} LIMIT 1").first():
            yield f"{table_name} holds a name of more than {most} bytes"
    if not all(map(_is_object, connection.exec_driver_sql("SELECT mode FROM series").scalars())):
        yield "series.mode holds what perfdb never writes"


def _is_object(mode: str) -> bool:
    try:
        return isinstance(from_json(mode), dict)
    except (ValueError, StoreError):
        return False


def _wrong_on_server(connection: Connection, table: Table, where: str = "true") -> str | None:
    checks = {each.name: check for each in table.columns if (check := _server_check(table, each))}
    if not checks:
        return None
    sums = ", ".join(f"coalesce(bool_or({check}), false)" for check in checks.values())
    found = connection.exec_driver_sql(f'SELECT {sums} FROM "{table.name}" WHERE {where}').one()
    wrong = (f"{table.name}.{name}" for name, is_wrong in zip(checks, found, strict=True) if is_wrong)
    return next((f"{name} holds what perfdb never writes" for name in wrong), None)


def _server_check(table: Table, column: Column[Any]) -> str:
    """Return SQL that is true for a value that perfdb never writes, '' where the type leaves none."""
    name, kind = f'"{column.name}"', column.type
    if isinstance(kind, JSON):
        return f"({_is_long(name)} OR {_wrong_document(column.name)})"
    if isinstance(kind, Double) or column.name in VALUE_BOUNDS:
        low, high = VALUE_BOUNDS.get(column.name, _FINITE)
        return f"{name} NOT BETWEEN {low!r} AND {high!r}"  # to PostgreSQL NaN is more than anything
    if (table.name, column.name) == ("sessions", "session_id"):
        return f"{name} !~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'"
    if column.name in _NAMES:
        more = f" OR {name} !~ '^[{{].*[}}]$'" if column.name == "mode" else ""
        return f"(length({name}) > {_LONGEST_NAME}{more})"
    return _is_long(name) if isinstance(kind, Text) else ""


def _is_long(name: str) -> str:
    """Return SQL that is true for what readers of a file refuse; only what may be is unpacked for it."""
    perhaps = f"pg_column_size({name}) > {LONGEST_VALUE // _DENSEST}"
    return f"CASE WHEN {perhaps} THEN octet_length({name}::text) > {LONGEST_VALUE} ELSE false END"


def _wrong_document(column: str) -> str:
    name = f'"{column}"'
    if column not in _LISTS:
        return f"coalesce(jsonb_typeof({name}) <> 'object', false)"
    wrong = " OR ".join(
        f"coalesce(jsonb_typeof(one -> '{field}'), '') <> '{'string' if kinds == 'text' else 'number'}'"
        for field, kinds in _LISTS[column].items()
    )
    items = f"jsonb_array_elements({name}) AS each(one)"
    return (
        f"CASE WHEN jsonb_typeof({name}) = 'array' THEN EXISTS (SELECT 1 FROM {items} WHERE {wrong}) "
        f"ELSE {name} IS NOT NULL END"
    )


def _check(table: Table, column: Column[Any]) -> str:
    """Return SQL that is true for a value that perfdb never writes."""
    name, kind = f'"{column.name}"', column.type
    parts = [f"{name} IS NULL"] if not column.nullable and not column.primary_key else []
    if isinstance(kind, JSON):
        parts.append(f"{name} IS NOT NULL AND {_no_document(column.name)}")
    elif isinstance(kind, Boolean):
        parts.append(f"{name} IS NOT NULL AND {name} NOT IN (0, 1)")
    elif isinstance(kind, LargeBinary):
        parts.append(f"typeof({name}) NOT IN ('blob', 'null')")
    elif isinstance(kind, (Double, Integer)):
        types = "('integer', 'real', 'null')" if isinstance(kind, Double) else "('integer', 'null')"
        low, high = VALUE_BOUNDS.get(column.name, _FINITE)
        parts.append(f"typeof({name}) NOT IN {types} OR {name} NOT BETWEEN {low!r} AND {high!r}")
    else:
        parts.append(
            f"typeof({name}) NOT IN ('text', 'null') OR length({name}) < 0"
        )  # reads it: some are too long
        if column.name in _NAMES:
            parts.append(f"length({name}) > {_LONGEST_NAME}")
        if column.name == "mode":
            parts.append(f"NOT (CASE WHEN json_valid({name}) THEN json_type({name}) = 'object' ELSE 0 END)")
        if (table.name, column.name) == ("sessions", "session_id"):
            parts.append(f"{name} NOT GLOB '[A-Za-z0-9]*' OR {name} GLOB '*[^A-Za-z0-9_.-]*'")
    return "(" + " OR ".join(f"({part})" for part in parts) + ")"


def _no_document(column: str) -> str:
    name = f'"{column}"'
    shape, items = "object", ""
    if column in _LISTS:
        shape = "array"
        wrong = " OR ".join(
            f"coalesce(json_type(value, '$.{field}'), '') NOT IN ({', '.join(map(repr, kinds.split()))})"
            for field, kinds in _LISTS[column].items()
        )
        is_wrong = f"CASE WHEN type = 'object' THEN {wrong} ELSE 1 END"
        items = f" AND NOT EXISTS (SELECT 1 FROM json_each({name}) WHERE {is_wrong})"
    is_text = f"typeof({name}) = 'text' AND json_valid({name})"
    return f"NOT (CASE WHEN {is_text} THEN json_type({name}) = '{shape}'{items} ELSE 0 END)"


def unreadable(shown: str, wrong: str | None, error: BaseException) -> StoreError:
    """Return the error that says what is wrong with a database from which an answer could not be made."""
    if wrong is None:
        said = " ".join(str(error).split())[:200]
        return StoreError(
            f"{shown} could not be read ({type(error).__name__}: {said}): it may contain values that perfdb "
            "never writes; if perfdb wrote them, this is a bug in perfdb"
        )
    return StoreError(f"{shown} cannot be read: {wrong}; restore a backup, or delete such rows")
