"""How long the stand-in services take: seeded log-normal times, scaled.

The n-th request of a kind always takes the same time, whatever else runs
beside it, so that a run can be repeated. Times are those of the real services
in seconds; ``time_scale`` turns them into seconds of waiting.
"""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

VISION = "vision"
SEARCH = "search"
IMAGE = "image"
THUMBNAIL = "thumbnail"
TIME_SCALE = 1 / 160  # of the demo: a design of 45 s takes 0.28 s
KINDS = (VISION, SEARCH, IMAGE, THUMBNAIL)


@dataclass(frozen=True, slots=True)
class Typical:
    """A log-normal time: half of the requests take less than ``median_s``."""

    median_s: float
    sigma: float


# Chosen so that the four steps of a normal design keep the shares of the documented run:
# about 23 s, 12.5 s (the slowest of some parallel searches), 2.3 s and 7 s.
TYPICAL: Mapping[str, Typical] = {
    "vision": Typical(20.5, 0.14),
    "vision-mini": Typical(8.5, 0.14),
    "search": Typical(9.2, 0.18),
    "search-cached": Typical(0.5, 0.25),
    "image": Typical(5.6, 0.12),
    "image-small": Typical(3.4, 0.12),
    "thumbnail": Typical(0.12, 0.3),
}


class LatencyModel:
    """Draws service times; safe to be asked from many threads.

    Args:
        seed: the same seed gives the same times.
        time_scale: seconds waited per second of the real service; 0 answers at once.
    """

    def __init__(self, seed: int = 0, time_scale: float = 1.0) -> None:
        if not (math.isfinite(time_scale) and time_scale >= 0):
            raise ValueError(f"time_scale is {time_scale!r}: give a number of 0 or more")
        self.time_scale = time_scale
        self._seed = seed
        self._drawn: Counter[str] = Counter()
        self._factors: dict[str, float] = {}
        self._lock = threading.Lock()

    def slow_down(self, kind: str, factor: float) -> None:
        """From now on let requests of a kind (``vision``, ``search`` …) take ``factor`` times as long."""
        if kind not in KINDS:
            raise ValueError(f"no kind of request is called {kind!r}: choose from {', '.join(KINDS)}")
        with self._lock:
            self._factors[kind] = factor

    def draw(self, variant: str) -> float:
        """Return the seconds to wait for the next request of a variant such as ``vision-mini``."""
        kind = variant.partition("-")[0]
        with self._lock:
            self._drawn[variant] += 1
            number = self._drawn[variant]
            factor = self._factors.get(kind, 1.0)
        typical = TYPICAL[variant]
        chance = random.Random(f"{self._seed}:{variant}:{number}")  # noqa: S311 - repeatable, not secret
        return typical.median_s * math.exp(typical.sigma * chance.gauss(0, 1)) * factor * self.time_scale
