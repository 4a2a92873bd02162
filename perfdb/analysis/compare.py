"""Compare two sessions step by step, or two groups of sessions by what tells them apart.

Medians with a bootstrap interval and an effect size, because durations are skewed and a mean follows its
outliers. Pure and deterministic: the bootstrap draws from a seed of its own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from json.encoder import encode_basestring_ascii
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from perfdb.analysis.measuring import by_step, of_session
from perfdb.analysis.rows import GroupedRow, SideBySide, frame_from
from perfdb.analysis.runs import Floats, counted_sessions, runs_of
from perfdb.analysis.series import Series, SeriesName, quantile
from perfdb.critical_path import Span, name_seconds
from perfdb.filters import Either
from perfdb.measures import DURATION, Measure
from perfdb.records import Session
from perfdb.stopping import look, looking
from perfdb.text import amount_text, difference_text, duration_text, inert, mode_text
from perfdb.vocabulary import COMPLETED, OTHER, TOTAL

RESAMPLES = 5_000
LEAST_FOR_INTERVAL = 5
SEED = 20_260_101
PERIOD = "period"
_MOST_TRIED = 20  # newest values that are looked at for one that a pipeline has beside another
"""What two periods are told apart by, as if it were an attribute: ``before`` and ``after``."""

SEPARATES = 0.95  # an attribute that names the group of this share of the sessions is confounded with it
_SECONDS = {
    "a_s": "a_median", "b_s": "b_median", "more_s": "difference_s", "more_low_s": "low_s",
    "more_high_s": "high_s",
}  # fmt: skip
FACTS = ("host", "python_version", "perfdb_version", "git_commit", "command", "git_branch", "fast_mode")


@dataclass(frozen=True, slots=True)
class SessionComparison:
    """Two sessions side by side.

    Attributes:
        a: id of the first session; b: of the second.
        sentence: what is to be said first.
        frame: ``step_name`` (``Total`` first, ``Other`` is the time of no step), ``a_s``, ``b_s`` (busy
            seconds; missing where the step did not run), ``difference_s``, ``difference_percent``,
            ``a_critical_s``, ``b_critical_s`` and ``critical_difference_s``, whose steps and ``Other``
            add up to ``Total``; ``kind`` (total, step or other, whatever a step is called); ``a``, ``b`` and
            ``difference``: the same of any ``measure``, in its ``unit``, where ``Other`` is what is in no
            step; of another than the duration the seconds are missing. The largest difference first: of the
            duration that on the critical path.
    """

    a: str
    b: str
    sentence: str
    frame: pd.DataFrame


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """Two groups of sessions side by side.

    Attributes:
        by: the attribute that tells the groups apart; a: its value in the first group; b: in the second.
        sentence: what is to be said first.
        frame: per pipeline, mode and series: ``pipeline``, ``mode``, ``step_name`` (``Total`` first),
            ``a_n``, ``b_n``, ``a_median``, ``b_median``, ``difference_s`` (b - a), ``difference_percent``,
            ``low_s`` and ``high_s`` (95 % bootstrap interval of the difference, with 5 runs or more in
            both), ``effect``: Cliff's delta, from -1 (all of b are faster) to 1 (all are slower);
            ``kind``: total or step; ``difference``, ``low`` and ``high``: the same of any ``measure``, in
            its ``unit``, where ``_s`` is missing if that is not seconds; ``a_s`` and ``b_s``: median seconds
            of both groups, whatever the measure, with ``more_s``, ``more_low_s`` and ``more_high_s``.
        confounded: other attributes that tell the groups apart as well, so that the difference may be theirs;
            ``time`` when one group ended before the other began.
        left_out: values of ``by`` that are in neither group.
    """

    by: str
    a: object
    b: object
    sentence: str
    frame: pd.DataFrame
    confounded: tuple[str, ...] = ()
    left_out: tuple[object, ...] = field(default=())


def compare_sessions(a: Session, b: Session, measure: Measure = DURATION) -> SessionComparison:
    """Return what ``b`` did longer or shorter than ``a``, or had more or less of a measure, step by step.

    Raises:
        ValueError: one of them has no total duration, because it still runs or was cut off; or no value.
    """
    if not measure.is_duration:
        return _compare_values(a, b, measure)
    for session in (a, b):
        if session.total_duration is None:
            raise ValueError(f"session {session.session_id} is {session.status}: it has no total to compare")
    spent_a, spent_b = _spent(a), _spent(b)
    wall_a, wall_b = a.total_duration or 0.0, b.total_duration or 0.0
    rows = [_side_by_side(name, spent_a.get(name), spent_b.get(name)) for name in {**spent_a, **spent_b}]
    rows.sort(key=lambda row: (row[0] is None, -abs(row[-1])))
    longer, percent = wall_b - wall_a, _percent(wall_a, wall_b)
    total = (TOTAL, wall_a, wall_b, longer, percent, wall_a, wall_b, longer, "total")
    named = [(OTHER, *rest, "other") if name is None else (name, *rest, "step") for name, *rest in rows]
    longest = [(*row, *row[1:4], measure.name, measure.unit) for row in (total, *named)]
    frame = frame_from(longest, SideBySide)
    return SessionComparison(a.session_id, b.session_id, _session_sentence(a, b, rows), frame)


def _compare_values(a: Session, b: Session, measure: Measure) -> SessionComparison:
    totals = []
    for session in (a, b):
        value = of_session(session, measure)
        if value is None:
            raise ValueError(
                f"session {session.session_id} has no {measure.name}: there is nothing to compare"
            )
        totals.append(value)
    spent = by_step(a, measure), by_step(b, measure)
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(name for side in spent for name in side):
        first, second = (side.get(name) for side in spent)
        if name is None and not (first or second):
            continue
        is_other = name is None
        rows.append(_values(OTHER if is_other else name, "other" if is_other else "step", first, second))
    rows.sort(key=lambda row: (row["kind"] == "other", -abs(row["difference"] or 0.0)))  # type: ignore[arg-type]
    before, after = totals
    texts = [amount_text(each, measure.unit) for each in totals]
    more = f"{_more_of(after - before, measure.unit)}"
    sentence = f"{b.session_id}: {inert(measure.words)} {texts[1]}, {more} {a.session_id} ({texts[0]})"
    largest = rows[0] if rows and rows[0]["difference"] else None
    if largest is not None:
        part = difference_text(float(str(largest["difference"])), measure.unit)
        where = None if largest["kind"] == "other" else str(largest["step_name"])
        sentence += f"; {part} in {_part(where)}"
    if a.mode != b.mode or a.pipeline != b.pipeline:
        sentence += f". They are of different {'pipelines' if a.pipeline != b.pipeline else 'modes'}"
    columns = [
        "step_name", "a_s", "b_s", "difference_s", "difference_percent",
        "a_critical_s", "b_critical_s", "critical_difference_s", "kind", "a", "b", "difference",
    ]  # fmt: skip
    frame = pd.DataFrame([_values(TOTAL, "total", before, after), *rows], columns=columns)
    frame = frame.astype(dict.fromkeys((*columns[1:8], *columns[9:]), "float64"))
    frame = frame.assign(measure=measure.name, unit=measure.unit)
    return SessionComparison(a.session_id, b.session_id, f"{sentence}.", frame)


def _values(name: str | None, kind: str, a: float | None, b: float | None) -> dict[str, object]:
    known = a is not None and b is not None
    difference = b - a if a is not None and b is not None else None
    row: dict[str, object] = {"step_name": name, "kind": kind, "a": a, "b": b, "difference": difference}
    return row | {"difference_percent": _percent(a, b) if known else None}


def compare_groups(
    sessions: pd.DataFrame,
    steps: pd.DataFrame,
    *,
    by: str,
    a: object = None,
    b: object = None,
    mode_attributes: Sequence[str] = ("fast_mode",),
    measure: Measure = DURATION,
) -> GroupComparison:
    """Return how sessions with one value of an attribute compare with those of another.

    Args:
        sessions: as ``History.sessions`` gives them; only those that count are compared.
        steps: as ``History.steps`` gives them for the same sessions.
        by: an attribute of the sessions, or a column such as ``git_commit`` or ``host``.
        a: the value of the first group; None: when there are more than two values, the last but one
            that appeared, of those that a pipeline and mode has beside the second.
        b: the value of the second group; None: the one that appeared last.
        mode_attributes: what makes a mode. Modes are never mixed, but for ``by`` itself.
        measure: what the durations of these frames are: see ``measuring.measured``.

    Raises:
        ValueError: no session has the attribute, or there are not two values, or not these.
    """
    known = counted_sessions(sessions)
    values = attribute_of(known, by)
    words = inert(by)
    if known.size and not any(value is not None for value in values):
        values, of_step = _of_steps(known, steps, by, a, b)
        words += "" if of_step is None else f" of {inert(of_step)}"
    keys = keys_of(values)
    known = known.assign(group=pd.Series(keys, index=known.index, dtype=object))
    shown = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
    modes = {mode: without(mode, by) if by in mode_attributes else mode for mode in known["mode"].unique()}
    of_kind = zip(known["group"], known["pipeline"], known["mode"].map(modes), strict=True)
    first, second, left_out = _two_groups([each for each in of_kind if each[0] != "null"], by, a, b)
    chosen = known[known["group"].isin([first, second])]
    groups = dict(zip(chosen["session_id"], chosen["group"], strict=True))
    runs = runs_of(chosen, steps)
    if by in mode_attributes:
        runs = [replace(series, mode=without(series.mode, by)) for series in runs]
    frame = _group_frame(runs, groups, first)
    figures = {name: frame[f"{name}_s"] for name in ("difference", "low", "high")}
    if measure.is_duration:
        figures |= {name: frame[of] for name, of in _SECONDS.items()}
    frame = frame.assign(**figures, measure=measure.name, unit=measure.unit)
    if measure.unit != "s":
        frame = frame.assign(difference_s=math.nan, low_s=math.nan, high_s=math.nan)
    confounded = _confounded(chosen, first, by)
    sentence = _group_sentence(frame, words, shown[first], shown[second], confounded, measure)
    return GroupComparison(
        by, shown[first], shown[second], sentence, frame, confounded, tuple(shown[key] for key in left_out)
    )


def with_seconds(found: GroupComparison, seconds: GroupComparison) -> GroupComparison:
    """Return a comparison of any measure with the seconds of the same groups beside."""
    keys = ["pipeline", "mode", "kind", "step_name"]
    beside = seconds.frame[[*keys, *_SECONDS]]
    frame = found.frame.drop(columns=list(_SECONDS)).merge(beside, on=keys, how="left")
    totals = frame[(frame["kind"] == "total") & frame["difference"].notna()]
    sentence = found.sentence
    if len(totals) and (total := _said_first(frame, totals))["more_s"] == total["more_s"]:
        more = float(total["more_s"])
        sure = beyond_chance(total["more_low_s"], total["more_high_s"])
        chance = "" if sure or not more else ", which chance alone could explain"
        than = "as long as before" if not more else f"{difference_text(more)}{chance}"
        time = f"It takes {duration_text(float(total['b_s']))}, {than}."
        first, stop, rest = sentence.partition(". Beware:")
        sentence = f"{first.removesuffix('.')}. {time}{' Beware:' if stop else ''}{rest}"
    return replace(found, frame=frame, sentence=sentence)


# --- statistics ---------------------------------------------------------------------------------------


def cliffs_delta(a: Floats, b: Floats) -> float:
    """Return P(b > a) - P(b < a) over all pairs (Cliff 1993): 0 is no difference, 1 is all of b above a."""
    ordered = np.sort(a)
    below = np.searchsorted(ordered, b, "left")
    not_above = np.searchsorted(ordered, b, "right")
    return float((below + not_above - a.size).sum() / (a.size * b.size))


def resampled_medians(values: Floats, rng: np.random.Generator, size: int = RESAMPLES) -> Floats:
    """Return medians of ``size`` bootstrap samples without drawing them.

    A sample of n uniform places has its k-th smallest at a Beta(k, n + 1 - k) distributed place, so the
    middle one or two order statistics are drawn directly: the cost does not grow with n.
    """
    ordered, n = np.sort(values), values.size
    middle = (n + 1) // 2
    low = rng.beta(middle, n + 1 - middle, size)
    if n % 2:
        medians: Floats = ordered[(low * n).astype(np.intp)]
        return medians
    # the next order statistic is the smallest of the n - middle uniform places above this one
    high = 1 - (1 - low) * rng.random(size) ** (1 / (n - middle))
    places = np.minimum((np.stack([low, high]) * n).astype(np.intp), n - 1)
    both: Floats = ordered[places].mean(axis=0)
    return both


def difference_interval(a: Floats, b: Floats) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of median(b) - median(a); None with fewer than 5 runs in one."""
    if min(a.size, b.size) < LEAST_FOR_INTERVAL:
        return None
    rng = np.random.default_rng(SEED)
    differences = -resampled_medians(a, rng) + resampled_medians(b, rng)
    ordered = np.sort(differences)
    low, high = (quantile(ordered, share) for share in (0.025, 0.975))
    return low, high


def beyond_chance(low: float | None, high: float | None) -> bool:
    """Say whether a difference is more than chance explains: its interval is known and excludes 0."""
    return certainty(low, high) > 0


def certainty(low: float | None, high: float | None) -> float:
    """Return how many widths of its interval a difference is clear of 0; not above 0 where it may be none."""
    if low is None or high is None or not low <= high:
        return -math.inf
    if high == low:
        return math.inf if low else 0.0
    return max(low, -high) / (high - low)


# --- two sessions -------------------------------------------------------------------------------------

_Row = tuple[str | None, float | None, float | None, float | None, float | None, float, float, float]


def _spent(session: Session) -> dict[str | None, tuple[float, float]]:
    """Return (busy, critical) seconds per step name; those of no step are under None."""
    spans = [Span(step.seq, step.parent_seq, step.start_time, step.end_time) for step in session.steps]
    names = [step.step_name for step in session.steps]
    seconds = name_seconds(names, spans, session.start_time, session.total_duration or 0.0)
    return {name: (busy, critical) for name, critical, busy, _ in seconds}


def _side_by_side(name: str | None, a: tuple[float, float] | None, b: tuple[float, float] | None) -> _Row:
    critical_a, critical_b = (each[1] if each else 0.0 for each in (a, b))
    if name is None:
        busy_a, busy_b = critical_a, critical_b
        return name, busy_a, busy_b, busy_b - busy_a, None, critical_a, critical_b, critical_b - critical_a
    seconds_a, seconds_b = (each[0] if each else None for each in (a, b))
    known = seconds_a is not None and seconds_b is not None
    difference = (seconds_b or 0.0) - (seconds_a or 0.0) if known else None
    percent = _percent(seconds_a, seconds_b) if known else None
    return name, seconds_a, seconds_b, difference, percent, critical_a, critical_b, critical_b - critical_a


def _session_sentence(a: Session, b: Session, rows: Sequence[_Row]) -> str:
    difference = (b.total_duration or 0.0) - (a.total_duration or 0.0)
    sentence = (
        f"{b.session_id} took {duration_text(b.total_duration)}, {_more(difference)} {a.session_id} "
        f"({duration_text(a.total_duration)})"
    )
    same_way = [row for row in rows if row[-1] * difference > 0]
    if same_way:
        most = max(same_way, key=lambda row: abs(row[-1]))
        part = duration_text(abs(most[-1]))
        if abs(most[-1]) <= abs(difference):
            sentence += f"; {_part(most[0])} accounts for {part} of it"
        else:  # other steps made up for some of it
            ways = ("more", "less") if difference > 0 else ("less", "more")
            sentence += f"; on the critical path {_part(most[0])} took {part} {ways[0]}, and others {ways[1]}"
    ends = [f"{session.session_id} {session.status}" for session in (a, b) if session.status != COMPLETED]
    if a.status == b.status != COMPLETED:
        sentence += f". Both {a.status}"
    elif ends:
        sentence += f". Not alike: {' and '.join(ends)}"
    if a.mode != b.mode or a.pipeline != b.pipeline:
        what = "pipelines" if a.pipeline != b.pipeline else "modes"
        sentence += f". They are of different {what}"
    return sentence + "."


def _part(name: str | None) -> str:
    return "time outside of steps" if name is None else inert(name)


def _more(difference: float) -> str:
    if difference == 0:
        return "as long as"
    return f"{duration_text(abs(difference))} {'more' if difference > 0 else 'less'} than"


def _more_of(difference: float, unit: str) -> str:
    if difference == 0:
        return "the same as"
    return f"{amount_text(abs(difference), unit)} {'more' if difference > 0 else 'less'} than"


def _percent(before: float | None, after: float | None) -> float | None:
    return 100 * (after - before) / before if before and after is not None else None


# --- two groups ---------------------------------------------------------------------------------------


def attribute_of(sessions: pd.DataFrame, by: str) -> list[object]:
    """Return what each session has of an attribute, or of a column such as ``host``; None where nothing."""
    given = sessions["attributes"].tolist()
    if by not in (*FACTS, "pipeline", "attributes") or sessions[by].isna().all():
        return [each.get(by) if isinstance(each, dict) else None for each in given]
    return [
        attributes[by]
        if isinstance(attributes, dict) and by in attributes
        else None
        if value is None or value is pd.NA or value != value
        else value
        for attributes, value in zip(given, sessions[by].tolist(), strict=True)
    ]


def _of_steps(
    sessions: pd.DataFrame, steps: pd.DataFrame, by: str, a: object, b: object
) -> tuple[list[object], str | None]:
    """Return what the steps of one name have of an attribute, per session, and that name.

    It is the name with the wanted values, or else with two, of which the newest appeared last. A session
    whose steps of that name differ has none.
    """
    order = {session_id: place for place, session_id in enumerate(sessions["session_id"])}
    having: dict[str, dict[int, dict[str, object]]] = {}
    columns = (steps[name].tolist() for name in ("session_id", "step_name", "additional_data"))
    for session_id, name, data in zip(*columns, strict=True):
        value = data.get(by) if isinstance(data, Mapping) else None
        if value is not None and session_id in order:
            having.setdefault(name, {}).setdefault(order[session_id], {})[key_of(value)] = value
    best: tuple[tuple[int, int, int], str] | None = None
    for name, of_sessions in having.items():
        first: dict[str, int] = {}
        for place in sorted(of_sessions):
            for key in of_sessions[place]:
                first.setdefault(key, place)
        wanted = sum(key_of(_meant(each, list(first))) in first for each in (a, b) if each is not None)
        rank = (wanted, min(len(first), 2), max(first.values()))
        if best is None or rank > best[0]:
            best = rank, name
    if best is None:
        return [None] * len(sessions), None
    found = having[best[1]]
    values = [
        next(iter(found[n].values())) if len(found.get(n, ())) == 1 else None for n in range(len(order))
    ]
    return values, best[1]


_AS_JSON = json.JSONEncoder(sort_keys=True, default=str)  # json.dumps makes one per value


def key_of(value: object) -> str:
    """Return a value as JSON, which tells the number 1 from the text."""
    if value is None:
        return "null"
    if type(value) is str:
        return encode_basestring_ascii(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return _AS_JSON.encode(value)


def keys_of(values: Sequence[object]) -> list[str]:
    """Return ``key_of`` of each value, made once of equal texts, whole numbers or truths."""
    if len(kinds := {*map(type, values)} - {type(None)}) > 1 or not kinds <= {str, int, bool}:
        return [key_of(value) for value in values]
    known = {value: key_of(value) for value in set(values)}
    return [known[value] for value in values]


def without(mode: str, by: str) -> str:
    """Return a mode without one of its attributes."""
    values = json.loads(mode)
    values.pop(by, None)
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def _two_groups(
    runs: Sequence[tuple[str, str, str]], by: str, a: object, b: object
) -> tuple[str, str, list[str]]:
    """Return the keys of both groups and of the values left out, in the order of their first appearance.

    Of values that nobody named those are taken that a pipeline and mode has both: others tell nothing. A
    number, or true or false, that no session has is the text that is written so.

    Args:
        runs: of each session its key, pipeline and mode.
        by: the attribute.
        a: the value of the first group, or None.
        b: the value of the second group, or None.
    """
    kinds: dict[str, set[tuple[str, str]]] = {}
    for key, *kind in runs:
        kinds.setdefault(key, set()).add((kind[0], kind[1]))
    seen = list(kinds)
    if not seen:
        raise ValueError(f"no session that counts has the attribute {by!r}")
    a, b = _meant(a, seen), _meant(b, seen)
    for value in (a, b):
        if value is not None and key_of(value) not in seen:
            some = ", ".join(seen[:8]) + (", …" if len(seen) > 8 else "")
            raise ValueError(f"no session that counts has {by} = {key_of(value)}; there are {some}")
    if len(seen) < 2:
        raise ValueError(
            f"all sessions that were looked at have {by} = {seen[0]}: there is nothing to compare them with"
        )
    named = [value is not None for value in (a, b)]
    firsts, seconds = ([key_of(value)] if value is not None else seen[::-1] for value in (a, b))
    if all(named):
        return firsts[0], seconds[0], [key for key in seen if key not in (firsts[0], seconds[0])]
    places = {key: place for place, key in enumerate(seen)}
    pairs = [
        (first, second)
        for second in seconds[:_MOST_TRIED]
        for first in firsts
        if first != second and (any(named) or places[first] < places[second])
    ]
    first, second = next((pair for pair in pairs if kinds[pair[0]] & kinds[pair[1]]), pairs[0])
    return first, second, [key for key in seen if key not in (first, second)]


def _meant(value: object, seen: Sequence[str]) -> object:
    """Return which of the values that a person may mean there is."""
    if isinstance(value, Either):
        return next((each for each in value if key_of(each) in seen), value[-1])
    is_text = value is None or isinstance(value, str) or key_of(value) in seen
    return value if is_text else key_of(value)


def _group_frame(runs: Iterable[Series], groups: Mapping[str, str], first: str) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    is_first = {session_id: key == first for session_id, key in groups.items()}
    found: dict[SeriesName, list[tuple[Floats, Floats]]] = {}
    for good in (series.good for series in runs):
        if len(good):
            side = np.fromiter(map(is_first.__getitem__, good.session_ids), dtype=bool, count=len(good))
            values = np.array(good.values, dtype=float)
            found.setdefault(good.name, []).append((values[side], values[~side]))
    for (pipeline, step_name, mode), sides in found.items():
        look()
        a, b = map(np.concatenate, zip(*sides, strict=True))
        median_a, median_b = (float(np.median(values)) if values.size else None for values in (a, b))
        row: tuple[object, ...] = (None, None, None, None, None)
        if median_a is not None and median_b is not None:
            low, high = difference_interval(a, b) or (None, None)
            difference = median_b - median_a
            row = (difference, _percent(median_a, median_b), low, high, cliffs_delta(a, b))
        name, kind = (TOTAL, "total") if step_name is None else (step_name, "step")
        rows.append((pipeline, mode, name, a.size, b.size, median_a, median_b, *row, kind))
    frame = frame_from([(*row, *(None,) * 10) for row in rows], GroupedRow)
    # the largest difference first, below the total of its pipeline and mode
    weight = frame["difference_s"].abs().fillna(-1.0).where(frame["kind"] != "total", np.inf)
    return (
        frame.assign(weight=weight)
        .sort_values(["pipeline", "mode", "weight"], ascending=[True, True, False], kind="stable")
        .drop(columns="weight")
        .reset_index(drop=True)
    )


def _confounded(chosen: pd.DataFrame, first: str, by: str) -> tuple[str, ...]:
    """Return the other attributes from which the group of a session could be guessed almost always.

    An attribute of which every session has its own value tells nothing and is passed over, as is one that
    says the same as ``by`` does, such as a session's of its steps.
    """
    groups, same = [key == first for key in chosen["group"]], chosen["group"].tolist()
    of_attributes = chain.from_iterable(chosen["attributes"].tolist())
    names = dict.fromkeys((*FACTS, "pipeline", *of_attributes))
    found = [
        str(name)
        for name in looking(names)
        if name != by
        and (values := attribute_of(chosen, str(name))).count(None) < len(values)
        and (keys := keys_of(values)) != same
        and _tells_apart(keys, groups)
    ]
    starts = chosen["start_time"].tolist()
    before = [start for start, is_first in zip(starts, groups, strict=True) if is_first]
    after = [start for start, is_first in zip(starts, groups, strict=True) if not is_first]
    if by != PERIOD and (max(before) < min(after) or max(after) < min(before)):
        found.append("time")
    return tuple(found)


def _tells_apart(values: Sequence[str], groups: Sequence[bool]) -> bool:
    distinct = set(values)
    if not 1 < len(distinct) <= max(2, len(values) // 3):
        return False
    together = Counter(zip(values, groups, strict=True))
    right = sum(max(together[value, True], together[value, False]) for value in distinct)
    return right >= SEPARATES * len(values)


def _group_sentence(
    frame: pd.DataFrame, by: str, a: object, b: object, confounded: Sequence[str], measure: Measure
) -> str:
    named_a, named_b = (inert(_shown(value)) for value in (a, b))
    if named_a == named_b:  # the text "1" and the number 1
        named_a, named_b = inert(key_of(a)), inert(key_of(b))
    groups = f"{by} = {named_b}"
    totals = frame[(frame["kind"] == "total") & frame["difference"].notna()]
    if totals.empty:
        return f"No pipeline and mode has sessions of both {groups} and {named_a}."
    total = _said_first(frame, totals)
    difference = float(total["difference"])
    before, after = (amount_text(float(total[f"{side}_median"]), measure.unit) for side in "ab")
    more, verb = f"{_more(difference)}", "took"
    if not measure.is_duration:
        more, verb = _more_of(difference, measure.unit), f"has {inert(measure.words)}"
    of_mode = mode_text(str(total["mode"]))
    what = "a session" if total["kind"] == "total" else f"the step {inert(total['step_name'])}"
    begins, beside = (f"With {groups}", f"with {named_a}") if by != PERIOD else ("Since then", "before")
    sentence = (
        f"{begins} {what} of {inert(total['pipeline'])}{f' ({of_mode})' if of_mode else ''} {verb} "
        f"{after} in the median, {more} {beside} ({before}); "
        f"n = {total['b_n']} and {total['a_n']}"
    )
    if total["low"] == total["low"]:
        sentence += f"; {_chance_words(total, totals if total['kind'] == 'total' else frame)}"
    else:
        sentence += "; too few to tell it from chance"
    if confounded:
        sentence += f". Beware: the groups differ as well in {', '.join(inert(name) for name in confounded)}"
    return sentence + "."


def _chance_words(row: pd.Series[Any], among: pd.DataFrame) -> str:
    """Return whether chance explains a difference that was chosen as the surest among these.

    Of many one lies beyond its own interval by chance: that of them all (Bonferroni's, of a normal
    distribution) is wider.
    """
    compared = int(among["low"].notna().sum())
    sure = certainty(row["low"], row["high"])
    if sure > clear_of(compared):
        return "more than chance explains"
    return "chance alone could explain it" + (f", as the surest of {compared}" if sure > 0 else "")


def clear_of(compared: int) -> float:
    """Return the certainty that the surest of so many differences has by chance in one case of 20."""
    wider = NormalDist().inv_cdf(1 - 0.025 / max(1, compared)) / NormalDist().inv_cdf(0.975)
    return (wider - 1) / 2


def _said_first(frame: pd.DataFrame, totals: pd.DataFrame) -> pd.Series[Any]:
    """Return what moved most surely, a total before any step; the total of the most sessions if none did.

    What chance alone could explain is said only where nothing else is surer.
    """
    surest = []
    for rows in (totals, frame[frame["difference"].notna()]):
        sure = [certainty(*each) for each in zip(rows["low"], rows["high"], strict=True)]
        surest.append((max(sure, default=0.0), clear_of(int(rows["low"].notna().sum())), rows, sure))
    for least in (True, False):
        for most, clear, rows, sure in surest:
            if most > (clear if least else 0.0):
                return rows.iloc[int(np.argmax(sure))]
    return totals.iloc[int((totals["a_n"] + totals["b_n"]).to_numpy().argmax())]


def row_of_sentence(frame: pd.DataFrame) -> int | None:
    """Return the place of the row that the sentence is about; None if nothing ran on both sides."""
    rows = frame.reset_index(drop=True)
    totals = rows[(rows["kind"] == "total") & rows["difference"].notna()]
    return None if totals.empty else int(str(_said_first(rows, totals).name))


def kind_of_sentence(frame: pd.DataFrame) -> tuple[str, str]:
    """Return the pipeline and mode that the sentence is about; with no run on one side those of the most."""
    totals = frame[frame["kind"] == "total"]
    known = totals[totals["difference"].notna()]
    said = _said_first(frame, totals if known.empty else known)
    return str(said["pipeline"]), str(said["mode"])


def _shown(value: object) -> str:
    return value if isinstance(value, str) else key_of(value)
