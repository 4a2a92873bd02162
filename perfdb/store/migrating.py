"""Run the migration scripts in one connection, beside whatever else the process does.

Alembic's command line keeps the connection in globals of the process (``op``, ``context``): of two threads
that migrate, one writes into the other's database, and a host that uses Alembic itself is such a thread.
Here every run has scripts and an ``op`` of its own, and says nothing in the host's log. The scripts are
read as text, because they may lie in a zip file.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, update

from perfdb.errors import StoreError
from perfdb.store.engine import drop_callbacks

_VERSION = Table(  # as Alembic makes it, which reads it too
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
_TALKERS = (
    "alembic.autogenerate",
    "alembic.autogenerate.compare",
    "alembic.ddl.postgresql",
    "alembic.runtime.migration",
    "alembic.runtime.plugins",
)

_quiet = threading.local()


def migrations_folder() -> Traversable:
    """Return the folder of the migration scripts: in a wheel, in a zip, or beside the package in a checkout.

    Raises:
        StoreError: it is missing.
    """
    package = Path(__file__).parents[1]
    for folder in (files("perfdb") / "migrations", package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file() and (folder / "versions").is_dir():
            return folder
    raise StoreError(
        f"the migration scripts of perfdb are missing beside {package}; install perfdb again (a program that "
        "was frozen needs the package's data files, too)"
    )


def migrate(connection: Connection, current: str | None, until: str) -> None:
    """Bring the tables from the revision ``current`` (None: there are none) to ``until``.

    Args:
        connection: in a transaction that the caller commits, and that shuts other migrations out.
        current: what the database has.
        until: a revision, or "head".

    Raises:
        StoreError: there are no such scripts.
    """
    scripts = _scripts()
    names = list(scripts)
    end = names[-1] if until == "head" else until
    if end not in scripts or (current is not None and current not in scripts):
        raise StoreError(f"there is no migration from {current or 'an empty database'} to {until}")
    with without_talk():
        from alembic.migration import MigrationContext
        from alembic.operations import Operations

        context = MigrationContext.configure(connection, opts={"transactional_ddl": True})

        class WithoutCallbacks(Operations):
            def invoke(self, operation: Any) -> Any:
                made = super().invoke(operation)
                columns = [*getattr(operation, "columns", ()), getattr(operation, "column", None)]
                for each in (*columns, *(made.columns if isinstance(made, Table) else ())):
                    if isinstance(each, Column):
                        drop_callbacks(each)
                return made

        operations = WithoutCallbacks(context)
        if current is None:
            _VERSION.create(connection, checkfirst=True)
        for name in names[names.index(current) + 1 if current else 0 : names.index(end) + 1]:
            script = _load(name, *scripts[name])
            script.__dict__["op"] = operations
            script.upgrade()
            if not connection.execute(update(_VERSION).values(version_num=name)).rowcount:
                connection.execute(_VERSION.insert().values(version_num=name))


@cache
def _scripts() -> dict[str, tuple[str, str]]:
    """Return path and text of each script by its revision, oldest first: names begin with it, and count."""
    found = [each for each in (migrations_folder() / "versions").iterdir() if each.name.endswith(".py")]
    return {
        each.name.partition("_")[0]: (str(each), each.read_text(encoding="utf-8"))
        for each in sorted(found, key=lambda each: each.name)
    }


def _load(name: str, path: str, text: str) -> ModuleType:
    with without_talk():
        script = ModuleType(f"perfdb.migrations.{name}")
        exec(compile(text, path, "exec", dont_inherit=True), script.__dict__)  # noqa: S102 (a file of our own)
    return script


@contextmanager
def without_talk() -> Iterator[None]:
    """Keep what Alembic says below a warning out of the host's log, in this thread only."""
    for name in _TALKERS:
        _let_be_quiet(logging.getLogger(name))
    before = getattr(_quiet, "now", False)
    _quiet.now = True
    try:
        yield
    finally:
        _quiet.now = before


@cache
def _let_be_quiet(talker: logging.Logger) -> None:
    """Let a logger ask this thread before it makes a record, which code of the host's may refuse to be."""
    is_enabled = talker.isEnabledFor

    def is_wanted(level: int) -> bool:
        return (level >= logging.WARNING or not getattr(_quiet, "now", False)) and is_enabled(level)

    talker.isEnabledFor = is_wanted  # type: ignore[method-assign]
