"""What the steps cost, and what a faster one would bring, by replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from perfdb.analysis.rows import CostRow
from perfdb.errors import NotFoundError
from perfdb.filters import Filters
from perfdb.history.access import side_by_side
from perfdb.history.values import rows_of
from perfdb.measures import DURATION
from perfdb.stopping import all_notes
from perfdb.store import browsing
from perfdb.text import counted, duration_text, inert, step_label
from perfdb.web.queries import BottlenecksQuery, WhatIfQuery
from perfdb.web.schemas import Answer, RowOfMode

if TYPE_CHECKING:
    import pandas as pd

    from perfdb.web.served import ServedHistory


@dataclass(frozen=True)
class Bottleneck(CostRow, RowOfMode):
    """What one step costs the sessions of a pipeline and mode, see ``History.bottlenecks``."""


class BottlenecksAnswer(Answer):
    """The steps by the seconds they put on the critical path, the costliest first."""

    rows: list[Bottleneck]
    pipelines: list[str]
    note: str | None = None  # what was left out, because it is too much for one answer


class WhatIf(Answer):
    """What a session would take if a step took ``factor`` of its time: a replay, not a guess."""

    pipeline: str
    mode: str
    step_name: str
    factor: float
    sessions: int  # that were replayed
    wall_s: float | None  # mean, as recorded
    replayed_s: float | None  # mean, replayed
    gain_s: float | None
    gain_percent: float | None
    sentence: str


def bottlenecks(history: ServedHistory, query: BottlenecksQuery) -> BottlenecksAnswer:
    """Return the steps by their seconds on the critical path, in the last sessions of each pipeline."""
    query.require_names(history)
    with history.reading() as connection:
        names = [] if connection is None else browsing.pipelines(connection)
    found = history.bottlenecks(measure=query.measure or "duration", last=query.last, **query.filters())
    rows = rows_of(found)
    worst: dict[str, float] = {}
    for row in rows:
        if row["kind"] == "step":
            worst[row["pipeline"]] = max(worst.get(row["pipeline"], 0.0), row["value"])
    rows.sort(key=lambda row: -worst.get(row["pipeline"], 0.0))
    return BottlenecksAnswer(
        rows=[Bottleneck(**row) for row in rows],
        pipelines=names,
        note=all_notes(),
    )


def what_if(history: ServedHistory, query: WhatIfQuery) -> WhatIf:
    """Return what the sessions of the table would have taken if a step had taken ``factor`` of its time.

    Raises:
        NotFoundError: no session that fits has this step.
    """
    from perfdb.analysis.bottlenecks import OF_SESSIONS, columns_for, replayed_walls
    from perfdb.analysis.runs import counted_sessions, is_among

    def pipelines() -> list[str]:
        with history.reading() as connection:
            return [] if connection is None else browsing.pipelines_with(connection, query.step)

    _, names = side_by_side(history, lambda: query.require_names(history, query.step), pipelines)
    best = None
    for name in names if query.pipeline is None else [query.pipeline]:
        own: Filters = {**query.filters(), "pipeline": name}  # so many of its sessions, as in the table
        all_sessions, steps = history.sessions_and_steps(
            last=query.last, of_sessions=OF_SESSIONS, of_steps=columns_for(DURATION), **own
        )
        sessions = counted_sessions(all_sessions)
        of_step = steps.loc[steps["step_name"] == query.step, "session_id"]
        having = sessions[is_among(sessions["session_id"], of_step)]
        kind, count = _kind(having, query)
        if kind is not None and (best is None or count > best[1]):
            best = kind, count, sessions, steps
    if best is None:
        raise NotFoundError(
            f"none of the last {query.last} sessions that fit has a step {query.step!r}; "
            "see /api/v1/bottlenecks for those there are"
        )
    (pipeline, mode), _, sessions, steps = best
    chosen = sessions[(sessions["pipeline"] == pipeline) & (sessions["mode"] == mode)]
    walls = replayed_walls(chosen, steps, query.step, query.factor)
    wall = sum(before for before, _ in walls) / len(walls)
    replayed = sum(after for _, after in walls) / len(walls)
    gain = wall - replayed
    return WhatIf(
        pipeline=pipeline,
        mode=mode,
        step_name=query.step,
        factor=query.factor,
        sessions=len(walls),
        wall_s=wall,
        replayed_s=replayed,
        gain_s=gain,
        gain_percent=100 * gain / wall if wall else None,
        sentence=_sentence(query, len(walls), wall, replayed),
    )


def _kind(having: pd.DataFrame, query: WhatIfQuery) -> tuple[tuple[Any, Any] | None, int]:
    """Return the pipeline and mode that most of the sessions have, and how many of them."""
    if query.mode is not None:
        having = having[having["mode"] == query.mode]
    if having.empty:
        return None, 0
    groups = having.groupby(["pipeline", "mode"], sort=False).size()
    place = int(groups.to_numpy().argmax())
    pipeline, mode = groups.index[place]
    return (pipeline, mode), int(groups.iloc[place])


def _sentence(query: WhatIfQuery, n: int, wall: float, replayed: float) -> str:
    step = inert(step_label(query.step))
    if query.factor == 1:
        return f"A session takes {duration_text(wall)} in the mean of {counted(n, 'session')}."
    how = "took no time" if query.factor == 0 else f"took {100 * query.factor:.0f} % of its time"
    saved = wall - replayed
    change = f"{duration_text(abs(saved))} {'less' if saved >= 0 else 'more'}"
    if abs(saved) < 0.005 * wall:
        change = "as good as no change"
    return (
        f"If {step} {how}, a session would take {duration_text(replayed)} instead of {duration_text(wall)}: "
        f"{change}, in a replay of {counted(n, 'session')}."
    )
