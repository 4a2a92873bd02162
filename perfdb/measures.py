"""What is measured of every session and step beside its duration: one entry per measure.

Reports, tables, frames, rules and pages go through this table. A further measure takes an entry here, a field
of ``records.Session`` and ``records.Step``, a migration, and a counter in ``recording/counters.py``.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any


class Measure:
    """One measure.

    Args:
        name: of the field, the column and a rule's ``metric``.
        unit: ``s`` or ``bytes``.
        words: what people read; ``short`` where they read it beside a value.
        is_judged: whether rules may name it, and pages show it.
    """

    __slots__ = ("is_judged", "name", "short", "unit", "words")

    def __init__(self, name: str, unit: str, words: str, *, short: str = "", is_judged: bool = True) -> None:
        self.name = name
        self.unit = unit
        self.words = words
        self.short = short or words
        self.is_judged = is_judged


MEASURES = (
    Measure("cpu_s", "s", "CPU time", short="CPU"),
    Measure("rss_peak_bytes", "bytes", "peak memory"),
    Measure("rss_mean_bytes", "bytes", "mean memory", is_judged=False),
    Measure("cpu_wait_s", "s", "wait for a CPU", is_judged=False),
)
NAMES = tuple(each.name for each in MEASURES)
JUDGED = tuple(each for each in MEASURES if each.is_judged)
METRICS = ("duration", *(each.name for each in JUDGED))  # of rules; others are attributes
UNITS = {"duration": "s", **{each.name: each.unit for each in MEASURES}}


def measured(thing: Any) -> dict[str, Any]:
    """Return the measures of a record, or of a row that has such columns."""
    return {name: getattr(thing, name) for name in NAMES}
