"""What the steps cost, and what a faster one would bring, by replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfdb.errors import NotFoundError
from perfdb.filters import Filters
from perfdb.history.names import require_names
from perfdb.history.values import rows_of
from perfdb.stopping import notes
from perfdb.store import browsing
from perfdb.text import counted, duration_text, inert
from perfdb.web.queries import BottlenecksQuery, WhatIfQuery
from perfdb.web.schemas import Bottleneck, BottlenecksAnswer, WhatIf

if TYPE_CHECKING:
    import pandas as pd

    from perfdb.web.served import ServedHistory


def bottlenecks(history: ServedHistory, query: BottlenecksQuery) -> BottlenecksAnswer:
    """Return the steps by their seconds on the critical path, in the last sessions of each pipeline."""
    require_names(history, pipeline=query.pipeline, tag=query.tag)
    with history.reading() as connection:
        names = [] if connection is None else browsing.pipelines(connection)
    groups = []
    for name in names if query.pipeline is None else [query.pipeline]:
        asked: Filters = {**query.filters(), "pipeline": name}
        found = history.bottlenecks(measure=query.measure or "duration", last=query.last, **asked)
        groups.append(rows_of(found))
    groups.sort(key=lambda rows: -max((row["value"] for row in rows if row["kind"] == "step"), default=0.0))
    rows = [row for group in groups for row in group]
    return BottlenecksAnswer(
        rows=[Bottleneck(**row) for row in rows],
        pipelines=names,
        note=" ".join(dict.fromkeys(notes())) or None,
    )


def what_if(history: ServedHistory, query: WhatIfQuery) -> WhatIf:
    """Return what the sessions of the table would have taken if a step had taken ``factor`` of its time.

    Raises:
        NotFoundError: no session that fits has this step.
    """
    from perfdb.analysis.bottlenecks import replayed_walls
    from perfdb.analysis.runs import counted_sessions

    require_names(history, pipeline=query.pipeline, step=query.step, tag=query.tag)
    asked = query.filters()
    kind = None
    while True:
        all_sessions, steps = history.sessions_and_steps(last=query.last, **asked)
        sessions = counted_sessions(all_sessions)
        having = sessions[
            sessions["session_id"].isin(set(steps.loc[steps["step_name"] == query.step, "session_id"]))
        ]
        kind = _kind(having, query)
        if kind is None or asked.get("pipeline") is not None:
            break
        asked = {**asked, "pipeline": kind[0]}  # so many of its sessions, as in the table
    if kind is None:
        raise NotFoundError(
            f"none of the last {query.last} sessions that fit has a step {query.step!r}; "
            "see /api/v1/bottlenecks for those there are"
        )
    pipeline, mode = kind
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


def _kind(having: pd.DataFrame, query: WhatIfQuery) -> tuple[Any, Any] | None:
    if query.mode is not None:
        having = having[having["mode"] == query.mode]
    if having.empty:
        return None
    groups = having.groupby(["pipeline", "mode"], sort=False).size()
    pipeline, mode = groups.index[int(groups.to_numpy().argmax())]
    return pipeline, mode


def _sentence(query: WhatIfQuery, n: int, wall: float, replayed: float) -> str:
    step = inert(query.step)
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
