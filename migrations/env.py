"""Run migrations from Alembic's command line, in the database that perfdb itself would use.

perfdb runs the same scripts without this file (``perfdb.store.migrating``); its lock is taken here too. A
program may hand in a locked connection of its own.
"""

from __future__ import annotations

from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import Connection

from perfdb.store import schema
from perfdb.store.models import metadata

config = context.config


def include_object(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Leave out tables of others, should the database hold any."""
    return not (kind == "table" and reflected and compare_to is None and name not in metadata.tables)


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=include_object,
        transactional_ddl=True,  # SQLite can, once the driver leaves BEGIN to us
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def configured_url() -> str:
    from perfdb import settings

    return settings.load().database_url


if context.is_offline_mode():
    context.configure(
        url=configured_url(),
        target_metadata=metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()
elif (given := config.attributes.get("connection")) is not None:
    run(given)
else:
    if config.config_file_name is not None:
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    with schema.locked_connection(configured_url()) as connection:
        run(connection)
