"""The past of one series, in the one shape that every question about it starts from.

Pure, and standard library only: ``store.series`` reads one, ``analysis.runs`` makes one of frames, and the
rules, the changes, the trends and the pages look at it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class SeriesName(NamedTuple):
    """Whose past it is; ``step_name`` None is the session's total."""

    pipeline: str
    step_name: str | None
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The runs of one series, oldest first, in sequences of one length.

    Attributes:
        pipeline: of the sessions; step_name: None is the session's total; mode: canonical JSON.
        metric: what the values are of; ``duration`` in s.
        session_ids: of the runs; start_times: of the sessions (epoch s).
        values: what a run took, in the metric's unit.
        counted: whether the value counts, see ``analysis.runs``; failed: whether the run is a failure.
    """

    pipeline: str
    step_name: str | None
    mode: str
    metric: str = "duration"
    session_ids: Sequence[str] = field(default=(), repr=False)
    start_times: Sequence[float] = field(default=(), repr=False)
    values: Sequence[float] = field(default=(), repr=False)
    counted: Sequence[bool] = field(default=(), repr=False)
    failed: Sequence[bool] = field(default=(), repr=False)

    @property
    def name(self) -> SeriesName:
        """Whose past it is."""
        return SeriesName(self.pipeline, self.step_name, self.mode)

    def place_of(self, moment: float) -> int:
        """Return how many runs began before a moment."""
        return bisect_left(self.start_times, moment)
