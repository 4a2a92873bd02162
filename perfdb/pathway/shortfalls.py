"""What a design had to do without, counted by step and reason: the ``warnings`` of its response."""

from __future__ import annotations

from collections import Counter
from typing import Any

_MOST = 50  # different reasons that are kept


class Shortfalls:
    """Collects them; safe to be used by one thread at a time."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, step: str, reason: str, count: int = 1) -> None:
        """Count ``count`` things that a step lacks for a reason."""
        key = (step, reason[:300])
        if len(self._counts) >= _MOST and key not in self._counts:
            key = (step, "other reasons")
        self._counts[key] += count

    def as_list(self) -> list[dict[str, Any]]:
        """Return them with ``step``, ``reason`` and ``count``, in the order in which they came."""
        return [
            {"step": step, "reason": reason, "count": count} for (step, reason), count in self._counts.items()
        ]
