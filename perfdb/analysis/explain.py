"""Why was this session slow: what each step added over its usual seconds on the critical path, and why.

The bars of the steps and of the rest add up exactly to the session's wall time minus the median of its
matched history: sessions of the same pipeline and mode that count and began before it. Medians of parts do
not add up to the median of the whole; what they leave has a row of its own, so that no part is blamed for it.
Where the totals have a wave, the seconds of the history are those it would have taken at the session's hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import pandas as pd

from perfdb.analysis.bottlenecks import most_at_once
from perfdb.analysis.measuring import by_step, of_session
from perfdb.analysis.rows import ExplainedStep, columns, frame_from
from perfdb.analysis.waves import Wave
from perfdb.critical_path import Span, name_seconds
from perfdb.measures import DURATION, Measure
from perfdb.records import Session, Step
from perfdb.stopping import look, looking
from perfdb.text import amount_text, counted, duration_text, inert, mode_text, size_text
from perfdb.vocabulary import MEDIANS, NOT_RUN, OTHER

LEAST_HISTORY = 5
_LARGE_PART = 0.3  # of the excess: a cause is named when it explains so much of it
_SAME = 0.05  # what is within 5 % of its usual time is as usual
_ALIKE = 1.1  # times the spread without a wave: more is not chance
_MICROSECOND = 1e-6
_SMALL = 0.01  # of the wall time: less is not worth a reason

_COLUMNS = columns(ExplainedStep)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the seconds of a session went that it usually does not need.

    Attributes:
        session_id: the session; pipeline, mode: what its history is matched by.
        wall_s: its duration; usual_s: the median of the history, None with fewer than 5 sessions of it.
        excess_s: wall_s - usual_s; percentile: of the wall time in the history, 0 to 100.
        n: how many sessions the history has.
        sentence: what is to be said first.
        frame: one row per step, the largest excess first, then what the medians leave, if they do, and
            ``Other`` (no step): ``step_name``; ``seconds`` on the critical path, ``usual_s`` their median,
            ``excess_s``, which adds up to the session's; ``percentile`` in the history, of which ``n``
            sessions have the step, missing with none; ``busy_s``; ``attempts`` made, ``retry_s`` in those
            that failed, ``wait_s`` between them (back-off), ``queue_s`` waiting for a free worker; ``cpu_s``
            and ``rss_peak_bytes`` with their medians; ``cause`` in words; ``kind``: step, medians (with
            nothing but ``excess_s``) or other; ``value``, ``usual`` and ``excess``: the same of any measure.
        measure: what is explained, in its ``unit``; of another than the duration all that ends with ``_s`` is
            None, and the values of the steps stand for their seconds.
        value, usual, excess: of the session.
    """

    session_id: str
    pipeline: str
    mode: str
    wall_s: float
    usual_s: float | None
    excess_s: float | None
    percentile: float | None
    n: int
    sentence: str
    frame: pd.DataFrame
    measure: str = DURATION.name
    unit: str = DURATION.unit
    value: float | None = None
    usual: float | None = None
    excess: float | None = None


class _Spent(NamedTuple):
    """What one session spent in one step name."""

    attempts: int
    retry_s: float
    wait_s: float
    queue_s: float
    cpu_s: float | None
    rss_peak_bytes: float | None
    busy_s: float

    def times(self, factor: float) -> _Spent:
        """Return it with all seconds so many times as long."""
        if factor == 1.0:
            return self
        return self._replace(
            retry_s=factor * self.retry_s,
            wait_s=factor * self.wait_s,
            queue_s=factor * self.queue_s,
            cpu_s=None if self.cpu_s is None else factor * self.cpu_s,
            busy_s=factor * self.busy_s,
        )


def explain(
    session: Session, past: Iterable[Session], measure: Measure = DURATION, wave: Wave | None = None
) -> Explanation:
    """Return why a session took as long as it did, or where its value of a measure lies.

    Args:
        session: with its steps.
        past: its history, with steps; what does not match, does not count or did not begin before it is
            passed over.
        measure: what is to be explained.
        wave: in the totals of its kind: what is usual is that of its hour and weekday. For the duration only.

    Raises:
        ValueError: the session has no total duration, because it still runs or was cut off; or no value.
    """
    if not measure.is_duration:
        return _explain_value(session, past, measure)
    if session.total_duration is None:
        raise ValueError(f"session {session.session_id} is {session.status}: it has no total to explain")
    wall = session.total_duration
    before = [each for each in past if _tells_of(each, session)]
    factors = _factors(wave, session, before)
    totals = [factor * (each.total_duration or 0.0) for factor, each in zip(factors, before, strict=True)]
    enough = len(before) >= LEAST_HISTORY
    usual = median(totals) if enough else None
    rows = _rows(session, wall, usual, before if enough else [], factors)
    return Explanation(
        session_id=session.session_id,
        pipeline=session.pipeline,
        mode=session.mode,
        wall_s=wall,
        usual_s=usual,
        excess_s=None if usual is None else wall - usual,
        percentile=percentile_of(wall, totals) if enough else None,
        n=len(before),
        sentence=_sentence(session, wall, usual, len(before), rows, wave),
        frame=frame_from(rows, ExplainedStep),
        value=wall,
        usual=usual,
        excess=None if usual is None else wall - usual,
    )


def _explain_value(session: Session, past: Iterable[Session], measure: Measure) -> Explanation:
    value = of_session(session, measure)
    if value is None:
        raise ValueError(f"session {session.session_id} has no {measure.name}: there is nothing to explain")
    before = [each for each in past if _tells_of(each, session)]
    known = [(each, total) for each in before if (total := of_session(each, measure)) is not None]
    totals = [total for _, total in known]
    enough = len(totals) >= LEAST_HISTORY
    usual = median(totals) if enough else None
    own, spent = by_step(session, measure), [by_step(each, measure) for each, _ in known]
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for part in (own, *spent) for name in part if name is not None):
        row: dict[str, Any] = dict.fromkeys(_COLUMNS)
        row |= {"step_name": name, "kind": "step", "value": own.get(name, 0.0), "cause": ""}
        row["n"] = sum(name in part for part in spent)
        if enough:
            values = [part.get(name, 0.0) for part in spent]
            row |= {"usual": median(values)}
            row["percentile"] = percentile_of(row["value"], values) if row["n"] else None
            row["excess"] = row["value"] - row["usual"]
            row["cause"] = "" if name in own else NOT_RUN
        rows.append(row)
    rows.sort(key=lambda row: -(row["excess"] if enough else row["value"]))
    if measure.adds_up:
        rest: dict[str, Any] = dict.fromkeys(_COLUMNS)
        rest |= {
            "step_name": OTHER,
            "kind": "other",
            "value": own.get(None, 0.0),
            "n": len(totals),
            "cause": "",
        }
        if usual is not None:
            rest["excess"] = (value - usual) - sum(row["excess"] for row in rows)
            rest["usual"] = rest["value"] - rest["excess"]
        if any(abs(rest[name] or 0.0) > 1e-9 * abs(value) for name in ("value", "excess")):
            rows.append(rest)
    frame = frame_from(rows, ExplainedStep)
    return Explanation(
        session_id=session.session_id,
        pipeline=session.pipeline,
        mode=session.mode,
        wall_s=session.total_duration or 0.0,
        usual_s=None,
        excess_s=None,
        percentile=percentile_of(value, totals) if enough else None,
        n=len(totals),
        sentence=_value_sentence(session, value, usual, len(totals), rows, measure),
        frame=frame,
        measure=measure.name,
        unit=measure.unit,
        value=value,
        usual=usual,
        excess=None if usual is None else value - usual,
    )


def _value_sentence(
    session: Session,
    value: float,
    usual: float | None,
    n: int,
    rows: Sequence[Mapping[str, Any]],
    measure: Measure,
) -> str:
    name = f"Session {inert(session.session_id)}: {inert(measure.words)} {amount_text(value, measure.unit)}"
    mode = mode_text(session.mode)
    of_kind = f"{inert(session.pipeline)}{f' ({mode})' if mode else ''}"
    if usual is None:
        return _too_few(name, n, of_kind)
    excess = value - usual
    known = (
        f"the median of {counted(n, 'earlier session')} of {of_kind} is {amount_text(usual, measure.unit)}"
    )
    if abs(excess) <= _SAME * abs(usual):
        return f"{name}, which is as usual: {known}."
    word = "more" if excess > 0 else "less"
    sentence = f"{name}, {amount_text(abs(excess), measure.unit)} {word} than usual ({known})"
    if measure.adds_up and rows:
        worst = max(rows, key=lambda row: row["excess"] / excess)
        share = worst["excess"] / excess
        part = f"{100 * share:.0f} %" if share < 0.995 else "all"
        step = "what is in no step" if worst["kind"] == "other" else inert(worst["step_name"])
        sentence += f": {step} accounts for {part} of it"
    return f"{sentence}."


def _tells_of(other: Session, session: Session) -> bool:
    """Say whether a session counts, is of the same kind, and began before."""
    alike = (other.pipeline, other.mode) == (session.pipeline, session.mode)
    before = other.start_time < session.start_time and other.session_id != session.session_id
    return other.counted and alike and before


def _factors(wave: Wave | None, session: Session, before: Sequence[Session]) -> list[float]:
    """Return how many times as long each session would have taken at the hour and weekday of this one."""
    if wave is None or not before:
        return [1.0] * len(before)
    own = float(wave.at([session.start_time])[0])
    return [math.exp(own - above) for above in wave.at([each.start_time for each in before]).tolist()]


def _follows_wave(seconds: Mapping[int, float], factors: Sequence[float]) -> bool:
    """Say whether the seconds of a step, by the places of the sessions, are not less alike with the factors.

    A part that always takes the same, in a run that takes longer at noon, is not slower at midnight. A few
    hours do not tell, and the wave of the whole is then taken for that of the step.
    """
    logs = [(math.log(each), math.log(factors[place])) for place, each in seconds.items() if each > 0]
    if len(logs) < LEAST_HISTORY:
        return True
    return _spread([one + factor for one, factor in logs]) <= _ALIKE * _spread([one for one, _ in logs])


def _spread(values: Sequence[float]) -> float:
    middle = median(values)
    return median(abs(each - middle) for each in values)


def percentile_of(value: float, history: Sequence[float]) -> float:
    """Return the share of the history below the value in percent; equals count half."""
    below = sum(each < value for each in history)
    return 100 * (below + 0.5 * sum(each == value for each in history)) / len(history)


def _rows(
    session: Session,
    wall: float,
    usual: float | None,
    before: Sequence[Session],
    factors: Sequence[float],
) -> list[dict[str, Any]]:
    history = _History(before, factors)
    own = _own_seconds(session, wall)
    spent = _spent_by_name(session.steps)
    rows: list[dict[str, Any]] = []
    names = [name for name in dict.fromkeys([*own, *history.names]) if name is not None]
    for name in looking(names):
        seconds, busy = own.get(name, (0.0, 0.0))
        row: dict[str, Any] = dict.fromkeys(_COLUMNS)
        row |= {"step_name": name, "kind": "step", "seconds": seconds}
        row |= spent.get(name, _NOTHING)._asdict() | {"busy_s": busy, "n": 0, "cause": ""}
        if usual is not None:
            past = history.critical(name)
            row |= {"usual_s": median(past), "n": history.times(name)}
            row["excess_s"] = seconds - row["usual_s"]
            row["percentile"] = percentile_of(seconds, past) if row["n"] else None
            row |= history.usual_of(name)
            row["cause"] = _cause(row, history.spent(name), wall, name in own)
        rows.append(row)
    rows.sort(key=lambda row: -(row["excess_s"] if usual is not None else row["seconds"]))
    left, _ = own[None]
    rest: dict[str, Any] = dict.fromkeys(_COLUMNS)
    rest |= {"step_name": OTHER, "kind": "other", "seconds": left, "n": len(before), "cause": ""}
    if usual is not None:
        rest["usual_s"] = median(history.critical(None))
        rest["excess_s"] = left - rest["usual_s"]
        over = (wall - usual) - sum(row["excess_s"] for row in [*rows, rest])
        if abs(over) >= _MICROSECOND:
            rows.append({"step_name": MEDIANS, "kind": "medians", "n": 0, "cause": "", "excess_s": over})
        else:
            rest["excess_s"] += over
    same = {"value": "seconds", "usual": "usual_s", "excess": "excess_s"}
    return [row | {name: row.get(of) for name, of in same.items()} for row in (*rows, rest)]


class _History:
    """What the sessions before spent, by step name; a session without the step spent 0 s in it.

    The seconds of a step count so many times, by the factor of each session, if the step follows the wave.
    """

    def __init__(self, sessions: Sequence[Session], factors: Sequence[float]) -> None:
        self._count = len(sessions)
        # by the places of the sessions that have the step; None is no step
        self._critical: dict[str | None, dict[int, float]] = {None: {}}
        self._spent: dict[str, list[_Spent]] = {}
        spent: dict[str, dict[int, _Spent]] = {}
        for place, session in enumerate(sessions):
            look()
            for name, (seconds, _) in _own_seconds(session, session.total_duration or 0.0).items():
                self._critical.setdefault(name, {})[place] = seconds
            for step_name, of_step in _spent_by_name(session.steps).items():
                spent.setdefault(step_name, {})[place] = of_step
        waving = {name for name, own in self._critical.items() if _follows_wave(own, factors)}
        for name in waving:
            self._critical[name] = {
                place: factors[place] * seconds for place, seconds in self._critical[name].items()
            }
        for step_name, own in spent.items():
            self._spent[step_name] = (
                [each.times(factors[place]) for place, each in own.items()]
                if step_name in waving
                else list(own.values())
            )

    @property
    def names(self) -> Iterable[str | None]:
        return self._critical

    def critical(self, name: str | None) -> list[float]:
        seconds = [0.0] * self._count
        for place, each in self._critical.get(name, {}).items():
            seconds[place] = each
        return seconds

    def times(self, name: str) -> int:
        return len(self._critical.get(name, {}))

    def spent(self, name: str) -> list[_Spent]:
        return self._spent.get(name, [])

    def usual_of(self, name: str) -> dict[str, float | None]:
        return {
            "usual_cpu_s": _median([each.cpu_s for each in self.spent(name)]),
            "usual_rss_peak_bytes": _median([each.rss_peak_bytes for each in self.spent(name)]),
        }


def _own_seconds(session: Session, wall: float) -> dict[str | None, tuple[float, float]]:
    spans = [Span(step.seq, step.parent_seq, step.start_time, step.end_time) for step in session.steps]
    names = [step.step_name for step in session.steps]
    seconds = name_seconds(names, spans, session.start_time, wall)
    return {name: (critical, busy) for name, critical, busy, _ in seconds}


# --- what a step spent, and why -----------------------------------------------------------------------


_NOTHING = _Spent(0, 0.0, 0.0, 0.0, None, None, 0.0)


def _spent_by_name(steps: Iterable[Step]) -> dict[str, _Spent]:
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(step.step_name, []).append(step)
    return {name: _spent(group) for name, group in groups.items()}


def _spent(steps: Sequence[Step]) -> _Spent:
    at_once = len(steps) > 1 and _workers(steps) > 1
    attempts = [attempt for step in steps for attempt in step.attempts]
    return _Spent(
        attempts=len(attempts),
        retry_s=sum(attempt.duration or 0.0 for attempt in attempts if attempt.success is False),
        wait_s=sum(attempt.wait or 0.0 for attempt in attempts),
        queue_s=_queued(steps) if len(steps) > 1 else 0.0,
        cpu_s=None if at_once else _sum(step.cpu_s for step in steps),  # each has the CPU time of all
        rss_peak_bytes=_largest(step.rss_peak_bytes for step in steps),
        busy_s=sum(step.duration or 0.0 for step in steps),
    )


def _workers(steps: Sequence[Step]) -> int:
    spans = [(step.start_time, step.end_time) for step in steps if step.end_time is not None]
    return most_at_once([start for start, _ in spans], [end for _, end in spans])


def _queued(steps: Sequence[Step]) -> float:
    """Return the seconds from the start of the first of parallel steps until the last got its worker."""
    queued = 0.0
    by_parent: dict[int | None, list[tuple[float, float]]] = {}
    for step in steps:
        if step.end_time is not None:
            by_parent.setdefault(step.parent_seq, []).append((step.start_time, step.end_time))
    for spans in by_parent.values():
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        workers = most_at_once(starts, ends)
        if 1 < workers < len(spans):  # more work than workers
            queued = max(queued, max(starts) - min(starts))
    return queued


def _cause(row: Mapping[str, Any], history: Sequence[_Spent], wall: float, ran: bool) -> str:
    """Return in words what explains the excess of a step, or nothing where it has none worth a word."""
    excess = row["excess_s"]
    if not ran:
        return NOT_RUN
    if excess < max(_SAME * row["usual_s"], _SMALL * wall):
        return ""
    if not history:
        return "never ran before"
    retries = row["retry_s"] + row["wait_s"]
    usual_retries = median(each.retry_s + each.wait_s for each in history)
    if retries - usual_retries >= _LARGE_PART * excess:
        usual = round(median(each.attempts for each in history))
        text = f"{counted(row['attempts'], 'attempt')} (usually {usual})"
        if row["retry_s"]:
            text += f", {duration_text(row['retry_s'])} in failed ones"
        return text + (f", {duration_text(row['wait_s'])} of back-off" if row["wait_s"] else "")
    queued = row["queue_s"] - median(each.queue_s for each in history)
    if queued >= _LARGE_PART * excess:
        return f"{duration_text(row['queue_s'])} until the last piece got a worker"
    memory, usual_memory = row["rss_peak_bytes"], row["usual_rss_peak_bytes"]
    pressure = ""
    if _known(memory) and usual_memory and memory > 1.5 * usual_memory and memory - usual_memory > 1e8:
        pressure = f"; memory {size_text(memory)} instead of {size_text(usual_memory)}"
    usual_busy = median(each.busy_s for each in history)
    longer = row["busy_s"] - usual_busy
    if longer < _LARGE_PART * excess:  # it took as long while others held the run up
        busy = f"{duration_text(row['busy_s'])}, usually {duration_text(usual_busy)}"
        return f"no longer than usual by itself ({busy}): usually others hold the run up meanwhile{pressure}"
    cpu, usual_cpu = row["cpu_s"], row["usual_cpu_s"]
    if not _known(cpu) or usual_cpu is None:
        return pressure.removeprefix("; ")
    if cpu - usual_cpu >= 0.5 * min(excess, longer):
        return f"more computing: {duration_text(cpu)} CPU instead of {duration_text(usual_cpu)}{pressure}"
    computing = f"CPU {duration_text(cpu)}, usually {duration_text(usual_cpu)}"
    return f"waiting, not computing ({computing}){pressure}"


def _too_few(name: str, n: int, of_kind: str) -> str:
    earlier = f"{'is' if n == 1 else 'are'} {counted(n, 'earlier session')}" if n else "is no earlier session"
    return (
        f"{name}. There {earlier} of {of_kind} "
        f"to compare it with; {LEAST_HISTORY} are needed to say what is usual."
    )


def _sentence(
    session: Session,
    wall: float,
    usual: float | None,
    n: int,
    rows: Sequence[Mapping[str, Any]],
    wave: Wave | None,
) -> str:
    name = f"Session {inert(session.session_id)} took {duration_text(wall)}"
    mode = mode_text(session.mode)
    of_kind = f"{inert(session.pipeline)}{f' ({mode})' if mode else ''}"
    if usual is None:
        return _too_few(name, n, of_kind)
    excess = wall - usual
    known = f"the median of {counted(n, 'earlier session')} of {of_kind} is {duration_text(usual)}"
    if wave is not None:
        known += f" at its {' and '.join(['hour'] * bool(wave.of_day) + ['weekday'] * bool(wave.of_week))}"
    if abs(excess) <= _SAME * usual:
        return f"{name}, which is as usual: {known}."
    word = "longer" if excess > 0 else "less"
    sentence = f"{name}, {duration_text(abs(excess))} {word} than usual ({known})"
    parts = (row for row in rows if row["kind"] != "medians")
    worst = max(parts, key=lambda row: row["excess_s"] / excess)
    share = worst["excess_s"] / excess
    if share <= _SAME:
        return f"{sentence}: no step accounts for it."
    part = f"{100 * share:.0f} %" if share < 0.995 else "all"
    step = "time outside of steps" if worst["kind"] == "other" else inert(worst["step_name"])
    sentence += f": {step} accounts for {part} of it"
    return sentence + (f", {worst['cause']}" if worst["cause"] else "") + "."


def _known(value: Any) -> bool:
    return value is not None and value is not pd.NA and value == value


def _sum(values: Any) -> float | None:
    known = [float(value) for value in values if _known(value)]
    return sum(known) if known else None


def _largest(values: Any) -> float | None:
    return max((float(value) for value in values if _known(value)), default=None)


def _median(values: Sequence[Any]) -> float | None:
    known = [float(value) for value in values if _known(value)]
    return median(known) if known else None
