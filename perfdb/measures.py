"""What is measured beside the duration: the one table, and what any recorded number is called and counted in.

``MEASURES`` have a column of their own: reports, tables, frames, rules and pages go through them. A further
one takes an entry here, a field of ``records.Session`` and ``records.Step``, a migration, and a counter in
``recording/counters.py``. Every number among the attributes of a session or a step is a measure without an
entry: ``named`` tells its unit by its name, unless ``[measures]`` of the settings knows better. What of an
attribute is a number says ``number``; ``store/measuring.py`` says the same in SQL.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from perfdb.toml import Table

LOWER, HIGHER = "lower", "higher"
SUM, MAX, LAST = "sum", "max", "last"
HUGE = 1e300  # what is larger is no measurement, and sums of it would be infinite


class Measure:
    """One measure.

    Args:
        name: of the attribute, or of the field and the column; a rule's ``metric``.
        unit: ``s``, ``ms``, ``bytes``, ``usd``, ``tokens``, ``percent``, empty for a count, or a word.
        words: what people read; ``short`` where they read it beside a value.
        is_judged: whether rules may name it, and pages show it beside the duration.
        better: ``lower`` or ``higher``.
        total: how the values of steps make that of a session which has none: ``sum``, ``max`` or ``last``.
    """

    __slots__ = ("better", "is_judged", "name", "short", "total", "unit", "words")

    def __init__(
        self,
        name: str,
        unit: str,
        words: str,
        *,
        short: str = "",
        is_judged: bool = True,
        better: str = LOWER,
        total: str = SUM,
    ) -> None:
        self.name = name
        self.unit = unit
        self.words = words
        self.short = short or words
        self.is_judged = is_judged
        self.better = better
        self.total = total

    def __repr__(self) -> str:
        return f"Measure({self.name!r}, {self.unit!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Measure):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.name, self.unit))

    @property
    def is_duration(self) -> bool:
        """Whether it is what every question is about unless another measure is named."""
        return self.name == "duration"

    @property
    def has_column(self) -> bool:
        """Whether it has a column of its own, of sessions and of steps."""
        return self.name in NAMES

    @property
    def adds_up(self) -> bool:
        """If a session has the sum of its steps: the CPU time of a process is in all that run at once."""
        return self.total == SUM and not self.has_column

    @property
    def direction(self) -> str:
        """Where worse is: ``up`` or ``down``."""
        return "down" if self.better == HIGHER else "up"


DURATION = Measure("duration", "s", "duration")
MEASURES = (
    Measure("cpu_s", "s", "CPU time", short="CPU"),
    Measure("rss_peak_bytes", "bytes", "peak memory", total=MAX),
    Measure("rss_mean_bytes", "bytes", "mean memory", is_judged=False, total=MAX),
    Measure("cpu_wait_s", "s", "wait for a CPU", is_judged=False),
)
OF_ATTEMPTS = (  # where a step has attempts; else they may be attributes
    Measure("work_s", "s", "time in attempts"),
    Measure("wait_s", "s", "time between attempts"),
)
NAMES = tuple(each.name for each in MEASURES)
JUDGED = tuple(each for each in MEASURES if each.is_judged)
KEPT = ("duration", *NAMES)  # of sessions as of steps, in columns: no sum of its steps makes a session's
FIXED = (*KEPT, *(each.name for each in OF_ATTEMPTS))  # are measures whatever was recorded
METRICS = ("duration", *(each.name for each in JUDGED))  # of rules; others are attributes

SPENT = ("cost_usd", "input_tokens", "output_tokens", "cached_tokens", "image_tokens", "images")
"""What calls of models use up and cost, as ``perfdb.usage`` and prices name it: attributes of steps."""

_OF_DESIGN = tuple(
    Measure(name, "s", name.replace("_", " "))
    for name in ("image_processing_time", "image_generation_time", "download_time")
)
_KNOWN = {each.name: each for each in (DURATION, *MEASURES, *OF_ATTEMPTS, *_OF_DESIGN)}
_UNITS = {  # by the end of a name; whether the words of an attribute leave it out
    "_s": ("s", True),
    "_ms": ("ms", True),
    "_bytes": ("bytes", True),
    "_usd": ("usd", True),
    "_tokens": ("tokens", False),
    "_percent": ("percent", True),
}


def named(name: str, configured: Mapping[str, Measure] | None = None) -> Measure:
    """Return the measure of this name: as configured, of the table, or what its name says of an attribute."""
    found = (configured or {}).get(name) or _KNOWN.get(name)
    if found is not None:
        return found
    suffix = next((each for each in _UNITS if name.endswith(each) and name != each), "")
    unit, is_left_out = _UNITS.get(suffix, ("", False))
    words = (name.removesuffix(suffix) if is_left_out else name).replace("_", " ").strip() or name
    return Measure(name, unit, words, total=MAX if unit == "percent" or "peak" in words.split() else SUM)


def unit_of(name: str) -> str:
    """Return the unit of a measure by its name alone."""
    return named(name).unit


def configured(table: Table) -> dict[str, Measure]:
    """Return the measures that ``[measures]`` of the settings describes, by name.

    Raises:
        SettingsError: it says something else than ``unit``, ``label``, ``better`` and ``total``, or says
            that ``duration`` is anything but seconds of which fewer are better.
    """
    found = {}
    for name in table:
        said = table.table(name).read(_CHECKS)
        usual = named(name)
        if usual.is_duration and set(said) - {"label"}:
            raise table.error(
                "of the duration only the 'label' is free: it is in seconds, and fewer are better", name
            )
        words = said.get("label", usual.words)
        found[name] = Measure(
            name,
            said.get("unit", usual.unit),
            words,
            short=said.get("label", usual.short),
            is_judged=usual.is_judged,
            better=said.get("better", usual.better),
            total=said.get("total", usual.total),
        )
    return found


def _line(value: object) -> str:
    if isinstance(value, str) and value.strip() and len(value) <= 40 and value.isprintable():
        return value.strip()
    raise ValueError("must be a text of one line, of at most 40 characters")


def _unit(value: object) -> str:
    return "" if value == "count" else _line(value)


def _one_of(*known: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise ValueError(f"must be one of {', '.join(known)}")

    return check


_CHECKS: dict[str, Callable[[object], Any]] = {
    "unit": _unit,
    "label": _line,
    "better": _one_of(LOWER, HIGHER),
    "total": _one_of(SUM, MAX, LAST),
}


def number(value: object) -> float | None:
    """Return what an attribute is worth as a measure; None where it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -HUGE < value < HUGE else None


def measured(thing: Any) -> dict[str, Any]:
    """Return the measures of a record, or of a row that has such columns."""
    return {name: getattr(thing, name) for name in NAMES}
