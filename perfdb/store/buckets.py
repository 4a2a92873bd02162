"""Many values as counts per bucket of 1 %, small enough to keep one set per series and day.

Bucket k holds the values from 1.01**k up to 1.01**(k+1), and its middle is within 0.5 % of each of them (as
in DDSketch); 0 and negative values have buckets of their own. Buckets of two sets add up.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

from perfdb.analysis.series import Percentile
from perfdb.errors import StoreError

Packed = tuple[int, int, float, float | None, float | None, bytes | None]
"""A row: n, failures, total, low, high, and the buckets as ``Figures.packed`` gives them."""

ERROR_PERCENT = 0.5
_GAMMA = 1.01
_PER_LOG = 1 / math.log(_GAMMA)
_FIRST = 100_000  # of the positive values: keys are in the order of the values, and 0 is 0's
_MOST_BYTES = 8 * 2 * 2 * _FIRST  # of all buckets that there can be
_LAST = _FIRST + 71_332  # of the largest number
_APART = 2 * _LAST + 1  # the keys of one from those of the next
_AT_ONCE = 500  # whose numbers the processor keeps near
_BARE = 2  # values that low and high tell alone


@dataclass(slots=True)
class Figures:
    """What some values are together; ``failures`` are the runs that failed, which have no value here."""

    n: int = 0
    failures: int = 0
    total: float = 0.0
    low: float | None = None
    high: float | None = None
    counts: dict[int, int] = field(default_factory=dict)  # per key, see ``key_of``

    def add(self, values: Sequence[float], failures: int = 0) -> None:
        """Add runs."""
        self.failures += failures
        if not values:
            return
        self.n += len(values)
        self.total += math.fsum(values)
        self._widen(min(values), max(values))
        counts = self.counts
        for value in values:
            key = key_of(value)
            counts[key] = counts.get(key, 0) + 1

    def merge(self, other: Figures) -> None:
        """Add what others are together."""
        self.n += other.n
        self.failures += other.failures
        self.total += other.total
        if other.low is not None and other.high is not None:
            self._widen(other.low, other.high)
        counts = self.counts
        for key, count in other.counts.items():
            counts[key] = counts.get(key, 0) + count

    def packed(self) -> Packed:
        """Return them as a row; the buckets, keys and counts, are left out where low and high tell all."""
        buckets = None
        if self.n > _BARE:
            keys = sorted(self.counts)
            steps = [keys[0], *(after - before for before, after in pairwise(keys))]
            counts = (self.counts[key] for key in keys)
            buckets = zlib.compress(struct.pack(f"<{2 * len(keys)}i", *steps, *counts))
        return self.n, self.failures, self.total, self.low, self.high, buckets

    def _widen(self, low: float, high: float) -> None:
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)


class Together:
    """What the figures of several days are together, to ask for percentiles."""

    def __init__(self) -> None:
        self.n = self.failures = 0
        self.total, self.low, self.high = 0.0, math.inf, -math.inf
        self._contents: list[bytes] = []  # of the rows' buckets

    def add(self, figures: Packed) -> None:
        """Add the figures of a row."""
        n, failures, total, low, high, buckets = figures
        self.n += n
        self.failures += failures
        self.total += total
        if low is None or high is None:
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        if buckets is None:
            first, *rest = (key_of(value) for value in (low, high)[:n])
            steps = [first, *(key - first for key in rest)]
            self._contents.append(struct.pack(f"<{2 * len(steps)}i", *steps, *(1 for _ in steps)))
        else:
            self._contents.append(content_of(buckets))

    def merge(self, other: Together) -> None:
        """Add what others are together."""
        self.n += other.n
        self.failures += other.failures
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._contents += other._contents

    def over(self, limit: float) -> int:
        """Return how many values are above a limit; those in its own bucket are where its middle is."""
        if not self.n or limit >= self.high:
            return 0
        least = key_of(limit) + (middle_of(key_of(limit)) <= limit)
        return sum(int(counts[keys >= least].sum()) for keys, counts in map(_arrays, self._contents))

    @property
    def mean(self) -> float | None:
        """Of the values."""
        return self.total / self.n if self.n else None

    def percentiles(self, wanted: Sequence[Percentile]) -> list[float | None]:
        """Return percentiles within ``ERROR_PERCENT``; None with too few values."""
        return percentiles_of([self], wanted)[0]


def percentiles_of(many: Sequence[Together], wanted: Sequence[Percentile]) -> list[list[float | None]]:
    """Return the percentiles of each of many, which are the days of a series, or of all: in one go."""
    found: list[list[float | None]] = []
    for first in range(0, len(many), _AT_ONCE):
        found += _percentiles_of(many[first : first + _AT_ONCE], wanted)
    return found


def _percentiles_of(many: Sequence[Together], wanted: Sequence[Percentile]) -> list[list[float | None]]:
    import numpy as np

    found: list[list[float | None]] = [[None for _ in wanted] for _ in many]
    known = [place for place, each in enumerate(many) if each.n > 0 and each._contents]
    if not known:
        return found
    contents = [content for place in known for content in many[place]._contents]
    sizes = np.array([len(content) // 8 for content in contents])
    owners = np.repeat(np.arange(len(known)), [len(many[place]._contents) for place in known])
    ends = np.cumsum(sizes)
    # Of each content the steps, then the counts.
    both = np.frombuffer(b"".join(contents), dtype="<i4").astype("int64")
    places = np.arange(ends[-1]) + np.repeat(ends - sizes, sizes)
    counts, keys = both[places + np.repeat(sizes, sizes)], np.cumsum(both[places])
    keys -= np.repeat(np.r_[0, keys[ends[:-1] - 1]], sizes)
    # What belongs together lies together, in the order of the values.
    keys = np.clip(keys, -_LAST, _LAST) + _APART * np.repeat(owners, sizes)
    keys, inverse = np.unique(keys, return_inverse=True)
    reached = np.cumsum(np.bincount(inverse, weights=counts)).astype("int64")
    firsts = np.searchsorted(keys, _APART * np.arange(len(known) + 1) - _LAST)
    before = np.r_[0, reached][firsts[:-1]]

    number, low, high = (
        np.array([getattr(many[place], name) for place in known]) for name in ("n", "low", "high")
    )
    for column, (share, least) in enumerate(wanted):
        sought = share * (number - 1)
        below = np.floor(sought).astype("int64")
        pair = np.stack([below, np.minimum(below + 1, number - 1)])
        at = np.clip(np.searchsorted(reached, before + pair, "right"), firsts[:-1], firsts[1:] - 1)
        middles = [middle_of(key) for key in (keys[at] - _APART * np.arange(len(known))).ravel().tolist()]
        values = np.clip(np.reshape(middles, pair.shape), low, high)
        values = np.where(pair == 0, low, np.where(pair == number - 1, high, values))
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers that no float holds
            amounts = values[0] + (values[1] - values[0]) * (sought - below)
        for place, n, amount in zip(known, number.tolist(), amounts.tolist(), strict=True):
            if n >= least:
                found[place][column] = amount
    return found


def _arrays(content: bytes) -> tuple[Any, Any]:
    """Return the keys and the counts of buckets as arrays."""
    import numpy as np

    both = np.frombuffer(content, dtype="<i4")
    return both[: both.size // 2].cumsum(), both[both.size // 2 :].astype("int64")


def _unpacked(content: bytes) -> tuple[Sequence[int], Sequence[int]]:
    """Return by how much each key is above the one before, and the counts."""
    number = len(content) // 8
    both = struct.unpack(f"<{2 * number}i", content)
    return both[:number], both[number:]


def key_of(value: float) -> int:
    """Return the bucket of a value."""
    if value > 0:
        return _FIRST + math.floor(math.log(value) * _PER_LOG)
    return -_FIRST - math.floor(math.log(-value) * _PER_LOG) if value else 0


@cache
def middle_of(key: int) -> float:
    """Return the value that is within ``ERROR_PERCENT`` of all that are in a bucket."""
    if key == 0:
        return 0.0
    low = math.exp((abs(key) - _FIRST) / _PER_LOG)
    return math.copysign(2 * low * _GAMMA / (1 + _GAMMA), key)


def content_of(buckets: bytes) -> bytes:
    """Return the keys and counts of a row.

    Raises:
        StoreError: perfdb never packed them.
    """
    opened = zlib.decompressobj()
    try:
        content = opened.decompress(buckets, _MOST_BYTES)
    except (zlib.error, TypeError):
        content = b""
    if not content or len(content) % 8 or not opened.eof:
        raise StoreError(
            "a row of rollups is none that perfdb wrote; restore a backup (perfdb restore), or delete it"
        )
    return content


def unpacked(
    n: int, failures: int, total: float, low: float | None, high: float | None, buckets: bytes | None
) -> Figures:
    """Return the figures of a row."""
    counts: dict[int, int] = {}
    if buckets is not None:
        steps, of_each = _unpacked(content_of(buckets))
        counts = dict(zip(accumulate(steps), of_each, strict=True))
    else:
        for value in (low, high)[:n]:
            if value is not None:
                counts[key_of(value)] = counts.get(key_of(value), 0) + 1
    return Figures(n, failures, total, low, high, counts)
