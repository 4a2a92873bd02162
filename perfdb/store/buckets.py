"""Many values as counts per bucket of 1 %, small enough to keep one set per series and day.

Bucket k holds the values from 1.01**k up to 1.01**(k+1), and its middle is within 0.5 % of each of them (as
in DDSketch); 0 and negative values have buckets of their own. Buckets of two sets add up.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from perfdb.analysis.series import neighbours
from perfdb.errors import StoreError

Packed = tuple[int, int, float, float | None, float | None, bytes | None]
"""A row: n, failures, total, low, high, and the buckets as ``Figures.packed`` gives them."""

ERROR_PERCENT = 0.5
_GAMMA = 1.01
_PER_LOG = 1 / math.log(_GAMMA)
_FIRST = 100_000  # of the positive values: keys are in the order of the values, and 0 is 0's
_MOST_BYTES = 8 * 2 * 2 * _FIRST  # of all buckets that there can be
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
    """What the figures of several days are together, to ask for percentiles; with numpy, for who reads."""

    def __init__(self) -> None:
        self.n = self.failures = 0
        self.total, self.low, self.high = 0.0, math.inf, -math.inf
        self._keys: list[Any] = []
        self._counts: list[Any] = []

    def add(self, figures: Packed) -> None:
        """Add the figures of a row."""
        import numpy as np

        n, failures, total, low, high, buckets = figures
        self.n += n
        self.failures += failures
        self.total += total
        if low is None or high is None:
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        if buckets is None:
            self._keys.append(np.array([key_of(value) for value in (low, high)[:n]]))
            self._counts.append(np.ones(min(n, _BARE), dtype="int64"))
        else:
            content = np.frombuffer(content_of(buckets), dtype="<i4")
            self._keys.append(content[: content.size // 2].cumsum())
            self._counts.append(content[content.size // 2 :].astype("int64"))

    def merge(self, other: Together) -> None:
        """Add what others are together."""
        self.n += other.n
        self.failures += other.failures
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._keys += other._keys
        self._counts += other._counts

    def over(self, limit: float) -> int:
        """Return how many values are above a limit; those in its own bucket are where its middle is."""
        if not self.n or limit >= self.high:
            return 0
        least = key_of(limit) + (middle_of(key_of(limit)) <= limit)
        pairs = zip(self._keys, self._counts, strict=True)
        return sum(int(counts[keys >= least].sum()) for keys, counts in pairs)

    @property
    def mean(self) -> float | None:
        """Of the values."""
        return self.total / self.n if self.n else None

    def percentiles(self, wanted: Iterable[tuple[float, int]]) -> list[float | None]:
        """Return percentiles of (share, least n), within ``ERROR_PERCENT``; None with too few values."""
        import numpy as np

        if not self.n:
            return [None for _ in wanted]
        keys, counts = self._keys[0], self._counts[0]
        if len(self._keys) > 1:
            every, counts = np.concatenate(self._keys), np.concatenate(self._counts)
            keys, places = np.unique(every, return_inverse=True)
            counts = np.bincount(places, weights=counts)
        sought = [(neighbours(self.n, share), least) for share, least in wanted]
        wanted_places = [min(place, self.n - 1) for (low, _), _ in sought for place in (low, low + 1)]
        reached = np.searchsorted(np.cumsum(counts), wanted_places, "right")
        at = {0: self.low, self.n - 1: self.high} if self.n > 1 else {0: self.low}
        for place, key in zip(wanted_places, keys[np.minimum(reached, keys.size - 1)].tolist(), strict=True):
            at.setdefault(place, min(max(middle_of(int(key)), self.low), self.high))
        found: list[float | None] = []
        for (low, part), least in sought:
            below, above = at[low], at[min(low + 1, self.n - 1)]
            found.append(below + (above - below) * part if self.n >= max(least, 1) else None)
        return found


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
        content = content_of(buckets)
        number = len(content) // 8
        found = struct.unpack(f"<{2 * number}i", content)
        key = 0
        for step, count in zip(found[:number], found[number:], strict=True):
            key += step
            counts[key] = count
    else:
        for value in (low, high)[:n]:
            if value is not None:
                counts[key_of(value)] = counts.get(key_of(value), 0) + 1
    return Figures(n, failures, total, low, high, counts)
