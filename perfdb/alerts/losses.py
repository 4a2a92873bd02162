"""Which series are slower than their pinned baselines now, which `perfdb regressions` tells beside moves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.analysis.rules import Level, Rule, Verdict, evaluate
from perfdb.analysis.rules.pinned import PINNED
from perfdb.analysis.series import Series, SeriesName
from perfdb.measures import DURATION, Measure
from perfdb.store.baselines import Pin, pinned
from perfdb.store.series import read_past
from perfdb.store.together import for_each

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Loss:
    """A series that is slower than its pinned baseline now, as the rule ``pinned`` finds it."""

    runs: Series
    pin: Pin
    verdict: Verdict


def losses_of(
    connection: Connection, *, step: str | None = None, measure: Measure = DURATION, **filters: Any
) -> list[Loss]:
    """Return the series that lost against their pinned baselines, however small each loss was.

    Args:
        connection: of any role.
        step: only this step, without the totals.
        measure: the baselines of this measure.
        filters: as ``store.series.read_past`` takes them.
    """
    pins = {
        (pin.pipeline, pin.step_name, pin.mode): pin
        for pin in pinned(connection)
        if pin.metric == measure.name
    }
    found = []
    pasts = for_each(
        connection, lambda pin: list(_since(connection, pin, step, measure, filters)), pins.values()
    )
    for pin, past in ((pin, past) for pin, found in zip(pins.values(), pasts, strict=True) for past in found):
        level = Level(pin.value, pin.spread, pin.n)
        rule = Rule(
            name="pinned",
            kind=PINNED.name,
            pinned=level,
            direction=measure.direction,
            **PINNED.defaults,
        )
        first = bisect_right(past.start_times, pin.until_time)  # not held against itself
        runs = past.between(first)
        verdict = evaluate(rule, runs.values)
        if verdict.hit:
            found.append(Loss(runs, pin, verdict))
    return found


def _since(
    connection: Connection, pin: Pin, step: str | None, measure: Measure, filters: Mapping[str, Any]
) -> Iterator[Series]:
    """Yield the runs that a pin is held against, if the filters choose its series."""
    own = {"pipeline": pin.pipeline, "mode": pin.mode}
    if any(filters.get(key) not in (None, value) for key, value in own.items()):
        return
    if step is not None and step != pin.step_name:
        return
    since = max(pin.until_time, filters.get("since") or 0.0)
    asked = {**filters, **own, "since": since}
    for past in read_past(connection, step=pin.step_name, measure=measure, **asked):
        if past.name == SeriesName(pin.pipeline, pin.step_name, pin.mode):
            yield past
            return
