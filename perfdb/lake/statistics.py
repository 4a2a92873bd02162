"""How long steps and sessions take over a whole lake: exactly, or within 0.5 % by roll-ups, which is said.

Over a period each task answers for its days alone. Over everything
the tasks first count logarithmic buckets, unless the roll-ups have, and then fetch the durations of those
buckets in which a percentile lies: few of all, so that no process has to hold a series.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from perfdb.analysis.series import Percentile, SeriesName, Statistics, neighbours
from perfdb.errors import StoreError
from perfdb.lake import engine, rollups
from perfdb.lake.engine import File
from perfdb.lake.percentiles import Between, Runs
from perfdb.lake.place import HISTORY, Place
from perfdb.lake.rollups import BUCKET, COUNTS, FAILED, GAMMA, Counted, Key, Summed, period_of, where_of
from perfdb.lake.rows import DAY_US, series_of
from perfdb.stopping import notes

_ALL = 1 << 62  # µs: everything is less
_AT_ONCE = 2_000_000  # rows of which a process holds the durations
_FROM_ROLLUPS = 8_000_000  # rows, from which on roll-ups answer


def statistics(
    place: Place,
    percentiles: Sequence[Percentile],
    *,
    by: str,
    step: str | None = None,
    pipeline: str | None = None,
    exactly: bool | None = None,
) -> list[Statistics]:
    """Return the statistics of each series, or of its periods.

    Args:
        place: of the lake.
        percentiles: shares, each with the least n for which it is given.
        by: ``all``, ``day`` or ``week``.
        step: only this step.
        pipeline: only this pipeline.
        exactly: from the files; else from the roll-ups; None: exactly while that is cheap.
    """
    table = place.open(HISTORY)
    with place.in_words("read"):
        files = engine.files_of(table) if table is not None else []
        own, answered, rest = rollups.current(place, files)
        dropped = answered - {file.day for file in files}
        many = sum(file.rows for file in files) > _FROM_ROLLUPS
        if not files and not own.files:
            return []
        if dropped or ((many and by == "all") if exactly is None else not exactly):
            notes().append(
                f"Percentiles are within {rollups.WITHIN_PERCENT} %: they are from daily roll-ups."
            )
            return _from_rollups(place, own, rest, percentiles, by, step, pipeline)
        if by == "all" and many:
            return _in_two_passes(place, files, own if not rest else Summed(), percentiles, step, pipeline)
        names = rollups.names_of(place, own, rest)
        return _at_once(place, files, own if not rest else Summed(), names, percentiles, by, step, pipeline)


# --- exactly ----------------------------------------------------------------------------------------------


def _at_once(
    place: Place,
    files: Sequence[File],
    own: Summed,
    names: Mapping[int, SeriesName],
    percentiles: Sequence[Percentile],
    by: str,
    step: str | None,
    pipeline: str | None,
) -> list[Statistics]:
    questions = []
    for first, last, some in _spans(files, by):
        own_days = rollups.keep_to_their_days(some)
        within = None if first is None or last is None or own_days else (first, last)
        shares = tuple(share for share, _ in percentiles)
        counts_failures = not own.files  # which have counted them
        questions.append((some, Runs(shares, by, own_days, within, pipeline, step, counts_failures)))
    failed = rollups.read_failures(place, own, by=by, pipeline=pipeline, step=step)
    leasts = [max(least, 1) for _, least in percentiles]
    rows: list[Statistics] = []
    for part in engine.ask_each(place, questions):
        for series, first_day, n, counted, mean, found in part:
            failures = failed.pop((series, first_day), counted)
            kept = [value if n >= least else None for value, least in zip(found, leasts, strict=True)]
            rows.append(Statistics(names[series], first_day, n, failures, mean, kept))
    return rows + [
        Statistics.of(names[series], day, (), number, percentiles) for (series, day), number in failed.items()
    ]


def _spans(files: Sequence[File], by: str) -> Iterator[tuple[int | None, int | None, list[File]]]:
    """Yield spans of whole periods, and all files that have a run in them."""
    if by == "all":
        yield None, None, list(files)
        return
    length = DAY_US if by == "day" else 7 * DAY_US
    offset = 0 if by == "day" else 4 * DAY_US  # Mondays
    ends: list[int] = []
    rows = 0
    for file in sorted(files, key=lambda each: each.first_us):
        rows += file.rows
        if rows > _AT_ONCE:
            end = (file.first_us - offset) // length * length + offset
            if not ends or end > ends[-1]:
                ends.append(end)
                rows = file.rows
    bounds = [-_ALL, *ends, _ALL]
    for first, last in pairwise(bounds):
        some = [file for file in files if file.first_us < last and file.last_us >= first]
        if some:
            yield first, last, some


def _in_two_passes(
    place: Place,
    files: Sequence[File],
    own: Summed,
    percentiles: Sequence[Percentile],
    step: str | None,
    pipeline: str | None,
) -> list[Statistics]:
    if own.files:
        counted = rollups.read_buckets(place, own, by="all", pipeline=pipeline, step=step)
    else:
        counted = _count_buckets(place, files, "all", step, pipeline)
    ranks: list[list[tuple[float, list[tuple[int, tuple[int, int]]]] | None]] = []  # see ``_ranks``
    bounds: dict[int, set[tuple[int, int]]] = {}
    for key, n, _, _, buckets, counts in counted:
        of_series = [_ranks(n, share, least, buckets, counts) for share, least in percentiles]
        ranks.append(of_series)
        pairs = {pair for _, each in filter(None, of_series) for _, pair in each}
        bounds[series_of(*key[:3])] = pairs
    found = _between(place, files, {name: sorted(pairs) for name, pairs in bounds.items()}, pipeline)
    rows: list[Statistics] = []
    for (key, n, failures, total, _, _), of_series in zip(counted, ranks, strict=True):
        of_key = [_value(found, series_of(*key[:3]), each) if each else None for each in of_series]
        rows.append(_made(key, n, failures, total, of_key))
    return rows


def _ranks(
    n: int, share: float, least: int, buckets: Sequence[int], counts: Sequence[int]
) -> tuple[float, list[tuple[int, tuple[int, int]]]] | None:
    """Return a percentile's part, and ranks with the µs between which they lie; None with too few runs."""
    if n < max(least, 1):
        return None
    low, part = neighbours(n, share)
    upto = list(accumulate(counts))
    pair = [low, min(low + 1, n - 1)]
    return part, [(rank, _us_of(int(buckets[bisect_right(upto, rank)]))) for rank in pair]


def _us_of(bucket: int) -> tuple[int, int]:
    """Return the least and the most µs that may be in a bucket, whichever logarithm put them there."""
    if bucket < 0:
        return -_ALL, 0
    return math.floor(GAMMA ** (bucket - 1) * (1 - 1e-9)), math.ceil(GAMMA**bucket * (1 + 1e-9))


def _between(
    place: Place,
    files: Sequence[File],
    bounds: Mapping[int, Sequence[tuple[int, int]]],
    pipeline: str | None,
) -> dict[tuple[int, int, int], tuple[int, Any]]:
    """Return what ``Between`` does, of all files."""
    import numpy as np

    found: dict[tuple[int, int, int], list[tuple[int, Any]]] = {}
    for part in engine.ask_each(
        place, [(some, Between(bounds, pipeline)) for some in engine.pieces(files, _AT_ONCE)]
    ):
        for name, of_part in part.items():
            found.setdefault(name, []).append(of_part)
    return {
        name: (sum(shorter for shorter, _ in parts), np.sort(np.concatenate([some for _, some in parts])))
        for name, parts in found.items()
    }


def _value(
    found: Mapping[tuple[int, int, int], tuple[int, Any]],
    series: int,
    ranks: tuple[float, list[tuple[int, tuple[int, int]]]],
) -> float:
    part, pair = ranks
    values = []
    for rank, bounds in pair:
        shorter, between = found[series, *bounds]
        if not 0 <= rank - shorter < len(between):
            raise StoreError("the lake cannot be read: its roll-ups and its files count different runs")
        values.append(float(between[rank - shorter]))
    return (values[0] + (values[1] - values[0]) * part) / 1e6


def _count_buckets(
    place: Place, files: Sequence[File], by: str, step: str | None, pipeline: str | None
) -> list[Counted]:
    """Return what ``rollups.read_buckets`` does, of the files themselves."""
    period = period_of(by, rollups.run_day_of(files))
    sql = f"""
        SELECT series, {period} AS period, CASE WHEN {COUNTS} THEN {BUCKET} END AS bucket,
            count(*) AS count, count(*) FILTER ({FAILED}) AS failures,
            coalesce(sum(duration_us) FILTER ({COUNTS}), 0)::DOUBLE AS sum_us
        FROM h WHERE {where_of(pipeline, step)} GROUP BY ALL"""
    names = rollups.names_of(place, Summed(), files)
    found: dict[Key, tuple[dict[int, int], list[float]]] = {}
    for part in engine.ask_each(place, [(some, sql) for some in engine.pieces(files, _AT_ONCE)]):
        columns = [part.column(name).to_pylist() for name in part.column_names]
        for series, first, bucket, count, failures, total in zip(*columns, strict=True):
            counts, sums = found.setdefault((*names[series], first), ({}, [0, 0.0]))
            sums[0] += failures
            sums[1] += total
            if bucket is not None:
                counts[bucket] = counts.get(bucket, 0) + count
    rows: list[Counted] = []
    for key, (counts, (failed, total)) in found.items():
        buckets = sorted(counts)
        n = sum(counts.values())
        if n or failed:
            rows.append((key, n, int(failed), total, buckets, [counts[bucket] for bucket in buckets]))
    return rows


def _made(key: Key, n: int, failures: int, total_us: float, found: Sequence[float | None]) -> Statistics:
    pipeline, step_name, mode, first_day = key
    name = SeriesName(pipeline, step_name, mode)
    return Statistics(name, first_day, n, failures, total_us / n / 1e6 if n else None, found)


# --- from the roll-ups --------------------------------------------------------------------------------------


def _from_rollups(
    place: Place,
    own: Summed,
    rest: Sequence[File],
    percentiles: Sequence[Percentile],
    by: str,
    step: str | None,
    pipeline: str | None,
) -> list[Statistics]:
    found = rollups.read_buckets(place, own, by=by, pipeline=pipeline, step=step)
    if rest or by == "day":  # days that were not summed up yet; days in two partitions
        counted = _count_buckets(place, rest, by, step, pipeline) if rest else []
        found = _together([*found, *counted])
    rows: list[Statistics] = []
    for key, n, failures, total, buckets, counts in found:
        upto = list(accumulate(counts))
        kept = [
            rollups.quantile_of(buckets, upto, n, share) if n >= max(least, 1) else None
            for share, least in percentiles
        ]
        rows.append(_made(key, n, failures, total, kept))
    return rows


def _together(counted: Sequence[Counted]) -> list[Counted]:
    """Add up what is of the same series and period."""
    merged: dict[Key, tuple[Counted, dict[int, int]]] = {}
    twice = {key for key, number in Counter(each[0] for each in counted).items() if number > 1}
    if not twice:
        return list(counted)
    for each in counted:
        key, n, failures, total, buckets, counts = each
        known, by_bucket = merged.get(key, ((key, 0, 0, 0.0, [], []), {}))
        for bucket, count in zip(buckets, counts, strict=True):
            by_bucket[bucket] = by_bucket.get(bucket, 0) + count
        merged[key] = ((key, known[1] + n, known[2] + failures, known[3] + total, [], []), by_bucket)
    return [
        (*known[:4], sorted(by_bucket), [by_bucket[bucket] for bucket in sorted(by_bucket)])
        for known, by_bucket in merged.values()
    ]
