"""The timer of daily figures: a worker rolls up days that are over, one per turn.

Before that, a server whose tables have filled all at once is made to count them.
Every worker has one, so it loads nothing of what only retention needs.
"""

from __future__ import annotations

from perfdb.recording.health import Health
from perfdb.recording.native import monotonic
from perfdb.store.database import Database, EndingError

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_AGAIN_S = 3600.0


class Rolling:
    """Rolls up days that are over for a worker: a day per turn, looked for once an hour. Never raises.

    Args:
        database: of the worker, used in its turn only.
        health: where failures are counted.
    """

    def __init__(self, database: Database, health: Health) -> None:
        self._database = database
        self._health = health
        self._days: Iterator[int] | None = None
        self._has_moved = False
        self._look_again = 0.0  # monotonic

    def turn(self, *, moved: int) -> bool:
        """Roll up one day if the worker is idle, and has brought anything; return whether there are more."""
        self._has_moved = self._has_moved or moved > 0
        if moved or not self._has_moved:
            return self._days is not None
        try:
            if self._days is None:
                if monotonic() < self._look_again:
                    return False
                from perfdb.store.rollups import roll_up

                self._look_again = monotonic() + _LOOK_AGAIN_S
                self._measure_tables()
                self._days = roll_up(self._database)
            if next(self._days, None) is None:
                self._days = None
        except EndingError:
            self._days, self._look_again = None, 0.0
        except Exception as error:
            self._health.delayed("the figures of past days wait", error)
            self._days = None
        return self._days is not None

    def _measure_tables(self) -> None:
        if self._database.is_shared:
            from perfdb.store.upkeep.space import measure_tables

            with self._database.writing() as connection:
                measure_tables(connection)

    def after_fork_in_child(self) -> None:
        """Leave it to the parent."""
        self._days, self._has_moved = None, False
