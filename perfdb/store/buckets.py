"""Many values as counts per bucket of 1 %, small enough to keep one set per series and day.

Bucket k holds the values from 1.01**k up to 1.01**(k+1), and its middle is within 0.5 % of each of them (as
in DDSketch); 0 and negative values have buckets of their own. Buckets of two sets add up.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import accumulate, chain, pairwise
from typing import Any

from perfdb.errors import StoreError

Packed = tuple[int, int, float, float | None, float | None, bytes | None]
"""A row: n, failures, total, low, high, and the buckets as ``Figures.packed`` gives them."""

ERROR_PERCENT = 0.5
_GAMMA = 1.01
_PER_LOG = 1 / math.log(_GAMMA)
_FIRST = 100_000  # of the positive values: keys are in the order of the values, and 0 is 0's
_KEYS = 2 * 2 * _FIRST  # that there can be
_MOST_BYTES = 8 * _KEYS
_SMALL_BYTES = 2_048
_FOREIGN = "a row of rollups is none that perfdb wrote; restore a backup (perfdb restore), or delete it"
_AT_ONCE = 1_000  # sets of figures whose buckets are in memory as arrays
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

    __slots__ = ("_contents", "failures", "high", "low", "n", "total")

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
        if not self._contents or limit >= self.high:
            return 0
        least = key_of(limit) + (middle_of(key_of(limit)) <= limit)
        keys, counts, _ = _arrays(self._contents)
        return int(counts[keys >= least].sum())

    @property
    def mean(self) -> float | None:
        """Of the values."""
        return self.total / self.n if self.n else None

    def percentiles(self, wanted: Sequence[tuple[float, int]]) -> list[float | None]:
        """Return percentiles of (share, least n), within ``ERROR_PERCENT``; None with too few values."""
        return percentiles_of_each([self], wanted)[0]


def percentiles_of_each(
    figures: Iterable[Together], wanted: Sequence[tuple[float, int]]
) -> list[list[float | None]]:
    """Return the percentiles of each: to ask hundreds of days one by one takes most of a page."""
    every = list(figures)
    return [
        row
        for first in range(0, len(every), _AT_ONCE)
        for row in _percentiles(every[first : first + _AT_ONCE], wanted)
    ]


def _percentiles(every: Sequence[Together], wanted: Sequence[tuple[float, int]]) -> list[list[float | None]]:
    import numpy as np

    found: list[list[float | None]] = [[None] * len(wanted) for _ in every]
    known = [place for place, each in enumerate(every) if each.n and each._contents]
    if not known:
        return found
    sets = [every[place]._contents for place in known]
    n, low, high = (
        np.array([getattr(every[place], name) for place in known]) for name in ("n", "low", "high")
    )
    keys, counts, of = _arrays(list(chain.from_iterable(sets)))
    if max(map(len, sets)) > 1:  # the same key of two sets has to stand side by side
        of = np.arange(len(sets)).repeat([len(each) for each in sets])[of]
        order = np.argsort(of * _KEYS + keys, kind="stable")
        keys, counts, of = keys[order], counts[order], of[order]
    reached = counts.cumsum()
    first, end = (np.searchsorted(of, np.arange(len(sets)), side=side) for side in ("left", "right"))
    before = np.concatenate(([0], reached))[first]

    def at(place: Any) -> Any:
        """Return the values at these places in the order of all."""
        bucket = np.minimum(np.searchsorted(reached, before + place, side="right"), end - 1)
        of_key, places = np.unique(keys[bucket], return_inverse=True)
        middles = np.array([middle_of(key) for key in of_key.tolist()])[places]
        inside = np.minimum(np.maximum(middles, low), high)
        return np.where(place == 0, low, np.where(place == n - 1, high, inside))

    for column, (share, least) in enumerate(wanted):
        exactly = share * (n - 1)
        place = np.floor(exactly).astype("int64")
        below, above = at(place), at(np.minimum(place + 1, n - 1))
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers that no float holds
            values = (below + (above - below) * (exactly - place)).tolist()
        for row, value, count in zip(known, values, n.tolist(), strict=True):
            if count >= least:
                found[row][column] = value
    return found


def _arrays(contents: Sequence[bytes]) -> tuple[Any, Any, Any]:
    """Return the keys and the counts of sets of buckets, and of which set each is.

    Raises:
        StoreError: perfdb never packed them.
    """
    import numpy as np

    sizes = np.array([len(content) // 8 for content in contents])
    steps, counts = (
        np.frombuffer(b"".join(halves), dtype="<i4")
        for halves in (
            [content[: len(content) // 2] for content in contents],
            [content[len(content) // 2 :] for content in contents],
        )
    )
    keys = steps.cumsum(dtype="int64")
    keys -= np.concatenate(([0], keys))[sizes.cumsum() - sizes].repeat(sizes)  # each set begins anew
    if max(-keys.min(), keys.max()) > key_of(sys.float_info.max):
        raise StoreError(_FOREIGN)
    return keys, counts.astype("int64"), np.arange(sizes.size).repeat(sizes)


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
    is_small = type(buckets) is bytes and len(buckets) <= _SMALL_BYTES
    return (_small_content(buckets) if is_small else b"") or _opened(buckets, _MOST_BYTES)


@lru_cache(maxsize=8_192)  # some 6 MB, 32 at most: a page that is asked again asks for the same days
def _small_content(buckets: bytes) -> bytes:
    """Return it where it is small, and nothing of another one."""
    try:
        return _opened(buckets, _SMALL_BYTES)
    except StoreError:
        return b""


def _opened(buckets: bytes, most: int) -> bytes:
    opened = zlib.decompressobj()
    try:
        content = opened.decompress(buckets, most)
    except (zlib.error, TypeError):
        content = b""
    if not content or len(content) % 8 or not opened.eof:
        raise StoreError(_FOREIGN)
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
