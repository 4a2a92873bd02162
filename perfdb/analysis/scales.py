"""Where the lines of a scale lie, and what stands beside them: round steps of the unit that people would use.

Pure, and without numbers of pixels: charts, pages and reports draw the same scales.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_PARTS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0
_FROM_MINUTES = 2 * _MINUTE  # as ``text.duration_text`` has it: less is said in seconds
_STEPS_OF_TIME = (
    *(15.0, 30.0, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY),
)
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_SIGNS = {"$", "%", *(name for _, name in (*_PARTS, *_SIZES))}
_LEAST = 1e-290  # what is less is nothing: parts of it are no numbers any more
_MOST_PLACES = 6  # behind the point; what needs more is told as a power of ten


@dataclass(frozen=True, slots=True)
class Scale:
    """How one axis is divided.

    ``step`` is from line to line, ``part`` what counts as 1 in the numbers, both in the unit of the measure;
    ``unit`` goes with the numbers. Of a clock each label says its own: ``30 s``, ``1 min 30 s``.
    """

    step: float
    part: float
    unit: str
    is_clock: bool = False

    def number(self, value: float) -> str:
        """Return what stands at a line of an axis whose title has the unit."""
        if self.is_clock:
            return _clock_text(*(each / self.part * _MINUTE for each in (value, self.step)))
        if not round(value / self.step):
            return "0"
        places = max(0, -math.floor(math.log10(self.step / self.part) + 1e-9))
        shown = value / self.part
        return f"{shown:,.{places}f}" if places <= _MOST_PLACES and shown < 1e12 else f"{shown:.3g}"

    def label(self, value: float) -> str:
        """Return what stands at a line, with the sign of its unit; a word such as ``tokens`` is left out."""
        number = self.number(value)
        if number == "0" or self.unit not in _SIGNS:
            return number
        return f"${number}" if self.unit == "$" else f"{number} {self.unit}"

    def lines(self, low: float, high: float) -> list[float]:
        """Return where the lines between two values lie."""
        first, last = math.ceil(low / self.step - 1e-9), math.floor(high / self.step + 1e-9)
        return [place * self.step for place in range(first, last + 1)]


def scale(longest: float, unit: str, *, span: float | None = None, most: int = 7) -> Scale:
    """Return the scale of an axis.

    Args:
        longest: the largest value, in ``unit``; it says in which unit numbers are told.
        unit: of a measure, see ``measures.Measure``.
        span: from end to end of the axis; None: it begins at 0.
        most: steps of which the axis has at most so many.
    """
    per = 1e-3 if unit == "ms" else 1.0  # seconds in one of the unit, where it is of time
    longest = per * (longest if _LEAST < longest < math.inf else 1.0)
    room = longest if span is None or not _LEAST < span < math.inf else per * span
    if unit not in ("s", "ms"):
        named = {"usd": "$", "percent": "%"}.get(unit, unit)
        parts: tuple[tuple[float, str], ...] = _SIZES if unit == "bytes" else ((1.0, named),)
    elif longest >= _FROM_MINUTES:
        return Scale(_step_of_time(room / most) / per, _MINUTE / per, "", is_clock=True)
    else:
        parts = _PARTS
    part, name = next((each for each in parts if longest >= each[0]), parts[-1])
    return Scale(part * _round_step(room / part / most) / per, part / per, name)


def _round_step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= least * (1 - 1e-9))


def _step_of_time(least: float) -> float:
    """Return seconds that make a round part of a minute, an hour or a day."""
    known = next((each for each in _STEPS_OF_TIME if each >= least * (1 - 1e-9)), None)
    return _DAY * _round_step(least / _DAY) if known is None else known


def _clock_text(seconds: float, step: float) -> str:
    """Return seconds as ``text.duration_text`` divides them: there are no hours in less than two."""
    left = round(abs(seconds))
    said = ["−"] if seconds < 0 else []
    in_minutes = step < _HOUR and left < 2 * _HOUR
    for size, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1.0, "s"))[2 * in_minutes :]:
        count, left = divmod(left, int(size))
        said += [f"{count:,} {name}"] if count else []
    return " ".join(said) or "0"
