"""What several tests are given: apart from conftest.py, which nobody imports."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import Connection, func, select

from perfdb.store.models import outbox

# A report as the original performance_tracker.py wrote it.
SEED_REPORT = {
    "session_id": "20250730_143022",
    "total_duration": 45.23,
    "fast_mode": False,
    "success": True,
    "product_count": 6,
    "timestamp": "2025-07-30T14:30:22.123456",
    "steps": [
        {
            "step_name": "Vision Analysis",
            "start_time": 1698678622.123,
            "end_time": 1698678645.456,
            "duration": 23.333,
            "success": True,
            "error_message": None,
            "additional_data": {"design_style": "modern", "design_type": "interior redesign"},
        }
    ],
}


class Given:
    """A database of which a test has the one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reading(self) -> AbstractContextManager[Connection]:
        return nullcontext(self._connection)

    writing = reading


def delivery_counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Return per channel how many messages wait, were sent, or failed for good."""
    query = select(outbox.c.channel, outbox.c.state, func.count()).group_by(outbox.c.channel, outbox.c.state)
    counts: dict[str, dict[str, int]] = {}
    for channel, state, count in connection.execute(query):
        counts.setdefault(channel, {})[state] = count
    return counts
