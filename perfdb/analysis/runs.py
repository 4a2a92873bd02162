"""Which runs count, and what each of them spent: the frames that every question about the past starts from.

Pure. A run that is tagged ``warmup``, ``ignore`` or ``cached``, says ``cached=True``, failed, was interrupted
or still runs never enters durations; a failed one is counted as a failure. Modes are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from perfdb.analysis.series import Series
from perfdb.stopping import looking
from perfdb.vocabulary import COMPLETED, FAILED, UNCOUNTED_TAGS

_UNCOUNTED = frozenset(UNCOUNTED_TAGS)

OF_STEPS = frozenset(
    {"session_id", "pipeline", "step_name", "mode", "start_time", "duration", "status", "counted"}
)
"""The columns of steps that ``runs_of`` needs."""

Floats = npt.NDArray[np.float64]


def untagged(sessions: pd.DataFrame) -> pd.DataFrame:
    """Return the sessions that have none of the tags ``warmup``, ``ignore`` and ``cached``."""
    # an array, because an empty list would choose columns
    return sessions[np.array([_UNCOUNTED.isdisjoint(tags) for tags in sessions["tags"]], dtype=bool)]


def counted_sessions(sessions: pd.DataFrame) -> pd.DataFrame:
    """Return the sessions whose durations count, as the store says: see ``records.counts``."""
    return sessions[sessions["counted"]]


def is_among(session_ids: pd.Series[str], wanted: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Return which of these ids are wanted; ``isin`` makes an object of pyarrow of each first."""
    known = set(wanted.to_numpy(dtype=object) if isinstance(wanted, pd.Series) else wanted)
    return np.array([each in known for each in session_ids.to_numpy(dtype=object)], dtype=bool)


def runs_of(sessions: pd.DataFrame, steps: pd.DataFrame, *, of_days: bool = False) -> list[Series]:
    """Return the runs that count or failed: of each pipeline and mode the total first, then by time spent.

    Args:
        sessions: as ``History.sessions`` gives them.
        steps: as ``History.steps`` gives them for the same sessions.
        of_days: a run of a step stands at its own start, by whose day daily figures count it; else at that of
            its session, as in every series.
    """
    ended = untagged(sessions[sessions["status"].isin([COMPLETED, FAILED])])
    ids = ended["session_id"].to_numpy(dtype=object)
    place_of = {session_id: place for place, session_id in enumerate(ids)}
    of_step, known = pd.factorize(steps["session_id"])
    session = np.array([place_of.get(session_id, -1) for session_id in known], dtype=np.intp)[of_step]
    within = np.flatnonzero(session >= 0)
    session = session[within]

    def joined(of_total: pd.Series[Any], of_step: pd.Series[Any], kind: type) -> npt.NDArray[Any]:
        return np.concatenate([of_total.to_numpy(dtype=kind), of_step.to_numpy(dtype=kind)[within]])

    values = joined(ended["total_duration"], steps["duration"], float)
    counted = joined(ended["counted"], steps["counted"], bool)
    failed = joined(ended["status"] == FAILED, steps["status"] == FAILED, bool)
    starts = joined(ended["start_time"], steps["start_time"], float)
    if not of_days:
        starts[len(ids) :] = starts[: len(ids)][session]
    session_ids = np.concatenate([ids, ids[session]])
    rows = np.flatnonzero(counted | failed)
    rows = rows[np.argsort(starts[rows], kind="stable")]
    totals = ended.assign(step_name=pd.Series(None, ended.index, dtype=object))
    kind, texts = np.zeros(len(rows), dtype=np.int64), []
    for name in ("pipeline", "mode", "step_name"):
        codes, known_texts = _numbered(totals[name], steps[name].iloc[within])
        texts.append([*map(text_or_none, known_texts), None])  # where there is none the code is -1
        kind = kind * len(texts[-1]) + codes[rows] % len(texts[-1])
    kinds, sizes = np.unique(kind, return_counts=True)
    parts = np.split(rows[np.argsort(kind, kind="stable")], np.cumsum(sizes))[:-1]
    # a missing duration is no number to add, and one that does not count adds nothing
    spent = np.where(counted & ~np.isnan(values), values, 0.0)

    def series_of(kind: int, places: npt.NDArray[np.intp]) -> Series:
        rest, step = divmod(kind, len(texts[2]))
        pipeline, mode = divmod(rest, len(texts[1]))
        columns = (each[places].tolist() for each in (session_ids, starts, values, counted, failed))
        return Series(texts[0][pipeline] or "", texts[2][step], texts[1][mode] or "", "duration", *columns)

    found = [
        (series_of(kind, places), float(spent[places].sum()))
        for kind, places in looking(zip(kinds.tolist(), parts, strict=True))
    ]
    found.sort(
        key=lambda each: (
            each[0].pipeline, each[0].mode, each[0].step_name is not None, -each[1], str(each[0].step_name)
        )
    )  # fmt: skip
    return [series for series, _ in found]


def _numbered(*columns: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[object]]:
    """Return a number for each cell of columns in a row, -1 where there is none, and what has which number.

    No cell of pyarrow's texts becomes an object, of which there would be one for each step.
    """
    numbers: dict[object, int] = {}
    parts = []
    for column in columns:
        codes, known = pd.factorize(column)
        found = [*(numbers.setdefault(each, len(numbers)) for each in known), -1]
        parts.append(np.array(found, dtype=np.int64)[codes])
    return np.concatenate(parts), [*numbers]


def text_or_none(value: object) -> str | None:
    """Return the text of a cell, None for any of pandas's ways to say that there is none."""
    return value if isinstance(value, str) else None
