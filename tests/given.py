"""A database that a test hands to what asks one: apart from conftest.py, which nobody imports."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import Connection


class Given:
    """A database of which a test has the one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reading(self) -> AbstractContextManager[Connection]:
        return nullcontext(self._connection)

    writing = reading
