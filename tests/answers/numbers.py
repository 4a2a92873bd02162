"""What a text says in figures: a value in its base unit, and how far rounding can have moved it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Number:
    """A figure as it is shown: seconds for a time, percent for a share or a change, else as it is."""

    value: float
    within: float  # half of the last digit that is shown
    unit: str  # "s", "%" or ""

    def fits(self, value: float) -> bool:
        return abs(self.value - value) <= 1.001 * self.within + 1e-9


_SIGN = {"+": 1.0, "-": -1.0, "−": -1.0, "±": 1.0, "": 1.0}
_FORM = re.compile(
    r"(?<![\w.,~#])(?P<sign>[+−±-]?)\$?(?P<figure>\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)"
    r"(?:\s?(?P<unit>µs|us|ms|min|s|h|%|×|kB|MB|GB|B)(?![\w/])(?: (?P<more>\d\d) (?:s|min)(?!\w))?)?"
)
_SECONDS = {"µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def numbers(text: str) -> Iterator[Number]:
    """Yield the figures of a text."""
    for found in _FORM.finditer(text):
        yield _number(found)


def number(cell: str) -> Number | None:
    """Return the figure that a cell begins with; None for a cell without one, such as a dash."""
    found = _FORM.match(cell.strip().lstrip("("))
    return None if found is None else _number(found)


def _number(found: re.Match[str]) -> Number:
    digits = found["figure"].replace(",", "")
    value = float(digits) * _SIGN[found["sign"]]
    places = len(digits.partition("e")[0].partition(".")[2])
    within = 0.5 * 10.0**-places
    unit = found["unit"] or ""
    if unit == "×":  # so many times as long
        return Number(100 * (value - 1), 100 * within, "%")
    if unit == "%":
        return Number(value, within, "%")
    if unit == "ms" and value:  # three digits, of which zeros at the end are left out
        within = 0.5 * 10.0 ** (math.floor(math.log10(abs(value)) + 1e-9) - 2)
    if unit in _SECONDS:
        more = float(found["more"] or 0) * (1.0 if unit == "min" else 60.0)
        if unit in ("min", "h"):
            within = 0.5 / _SECONDS["min" if unit == "min" else "h"] * (1.0 if unit == "min" else 60.0)
        return Number(value * _SECONDS[unit] + math.copysign(more, value), within * _SECONDS[unit], "s")
    return Number(value * _BYTES.get(unit, 1.0), within * _BYTES.get(unit, 1.0), "")


def agree(shown: Any, true: Any) -> bool:
    """Say whether what a surface shows is the true value, as far as its rounding tells."""
    if isinstance(shown, Number):
        return isinstance(true, int | float) and shown.fits(float(true))
    if isinstance(shown, int | float) and isinstance(true, int | float):
        # reports round to the microsecond
        return math.isclose(shown, true, rel_tol=1e-6, abs_tol=1e-9) or shown == round(true, 6)
    return bool(shown == true)
