"""Draw a chart of a history: choose the sessions that may be compared, and hand them to the drawer.

Failed, interrupted and running sessions and those tagged ``warmup`` or ``ignore`` do not count,
and a picture never mixes pipelines or modes: it shows those of the most sessions and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from perfdb.errors import UsageError
from perfdb.records import COMPLETED, FAILED, Session
from perfdb.texts import counted, duration_text, inert, mode_text, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from perfdb.settings import Settings

KINDS = ("trend", "steps", "bottlenecks", "waterfall", "resources", "compare")
OF_ONE_SESSION = ("waterfall", "resources")
LAST = {"trend": 1_000, "steps": 200, "bottlenecks": 50}
TOTAL = "Total"
MOST_FOR_CHANGES = 20_000


class Reader(Protocol):
    """What the gallery asks of a History."""

    # fmt: off
    @property
    def settings(self) -> Settings: ...  # noqa: D102
    @property
    def sessions(self) -> Callable[..., pd.DataFrame]: ...  # noqa: D102
    @property
    def steps(self) -> Callable[..., pd.DataFrame]: ...  # noqa: D102
    def session(self, session_id: str = "last") -> Session: ...  # noqa: D102
    def alerts(self, state: str = "open") -> pd.DataFrame: ...  # noqa: D102
    # fmt: on


@dataclass(frozen=True, slots=True)
class Choice:
    """Sessions that may stand in one picture, oldest first, and the words for what they are."""

    sessions: pd.DataFrame  # those that count
    failed: pd.DataFrame
    pipeline: str
    mode: str
    context: str


def draw(
    history: Reader,
    kind: str,
    *session_ids: str,
    step: str | None = None,
    by: str | None = None,
    last: int | None = None,
    **filters: Any,
) -> Figure:
    """Return the figure; the arguments are those of ``History.chart``."""
    if kind not in KINDS:
        raise UsageError(f"there is no chart {kind!r}: choose one of {', '.join(KINDS)}")
    if session_ids and kind not in (*OF_ONE_SESSION, "compare"):
        raise UsageError(
            f"a chart of {kind} shows many sessions: choose them with last=, since=, pipeline=, …"
        )
    if kind in OF_ONE_SESSION:
        from perfdb.charts.resources import resources
        from perfdb.charts.waterfall import waterfall

        session = history.session(*session_ids[:1])
        return waterfall(session) if kind == "waterfall" else resources(session)
    if kind == "compare":
        return _compare(history, session_ids, by, last, filters)
    choice = choose(history, last=LAST[kind] if last is None else last, **filters)
    if choice is None:
        from perfdb.charts.style import sentence

        return sentence("Nothing recorded yet", _NOTHING if not filters else _NOTHING_FITS)
    if kind == "trend":
        return _trend(history, choice, step, by)
    from perfdb.analysis.bottlenecks import bottlenecks as rank
    from perfdb.analysis.time_spent import time_spent
    from perfdb.charts.bottlenecks import bottlenecks
    from perfdb.charts.steps import steps

    if kind == "steps":
        spent = time_spent(choice.sessions, _steps_of(history, choice))
        return steps(spent, choice.sessions["start_time"], context=choice.context)
    ranked = rank(choice.sessions, _steps_of(history, choice))
    return bottlenecks(ranked, context=_with_count(choice))


_NOTHING = "Record a run with perfdb.track(...), or try: perfdb demo"
_NOTHING_FITS = "No finished session fits. Loosen the filters, or see all with: perfdb sessions"


def choose(history: Reader, **filters: Any) -> Choice | None:
    """Return the sessions of the pipeline and mode that most of the fitting ones have; None without any."""
    from perfdb.analysis.runs import counted_sessions, untagged

    sessions = history.sessions(**filters)
    finished = sessions[sessions["status"].isin([COMPLETED, FAILED])]
    if finished.empty:
        return None
    groups = finished.groupby(["pipeline", "mode"], sort=False).size()
    pipeline, mode = groups.index[int(groups.to_numpy().argmax())]
    chosen = finished[(finished["pipeline"] == pipeline) & (finished["mode"] == mode)]
    others = len(groups) - 1
    words = [inert(pipeline), mode_text(mode)]
    if others:
        words.append(f"without {counted(len(finished) - len(chosen), 'session')} of other modes or pipelines")
    return Choice(
        counted_sessions(chosen),
        untagged(chosen[chosen["status"] == FAILED]),
        pipeline,
        mode,
        ", ".join(word for word in words if word),
    )


def _steps_of(history: Reader, choice: Choice, step: str | None = None) -> pd.DataFrame:
    """Return the steps of the chosen sessions that count."""
    first, last = choice.sessions["start_time"].min(), choice.sessions["start_time"].max()
    found = history.steps(step=step, pipeline=choice.pipeline, since=first, until=last + 1e-3)
    return found[found["session_id"].isin(choice.sessions["session_id"])]


def _trend(history: Reader, choice: Choice, step: str | None, by: str | None) -> Figure:
    from perfdb.analysis import find_change_points
    from perfdb.charts.trend import trend

    if by not in (None, "session", "time"):
        raise UsageError(f"by={by!r}: the runs of a trend stand by 'session' or by 'time'")
    if step is None:
        points = choice.sessions[["session_id", "start_time", "total_duration"]]
        points = points.rename(columns={"total_duration": "duration"})
    else:
        rows = _steps_of(history, choice, step) if len(choice.sessions) else history.steps(step=step, last=1)
        points = rows[rows["success"].fillna(False).astype(bool)][["session_id", "start_time", "duration"]]
        points = points.sort_values("start_time", kind="stable")
    points = points[points["duration"].notna()].reset_index(drop=True)
    durations = points["duration"].to_numpy(dtype=float)
    changes = (
        [asdict(each) for each in find_change_points(durations)] if len(points) <= MOST_FOR_CHANGES else []
    )
    return trend(
        points,
        what=step or f"A run of {choice.pipeline}",
        context=choice.context,
        by="time" if by == "time" else "session",
        failures=choice.failed[["start_time"]],
        limits=_limits(history.settings, choice, step),
        changes=changes,
        alerts=_alerts(history, choice, step),
    )


def _limits(settings: Settings, choice: Choice, step: str | None) -> list[dict[str, Any]]:
    """Return the ``max`` rules on the duration of this step, or of the total."""
    import json

    from perfdb.alerts.config import EVERY, read_alert_settings

    mode: Mapping[str, Any] = json.loads(choice.mode)
    return [
        {"name": rule.name, "limit": rule.limit}
        for rule in read_alert_settings(settings.alerts, reading=True).rules
        if rule.kind == "max"
        and rule.metric == "duration"
        and rule.step in (step, EVERY)
        and rule.pipeline in (None, choice.pipeline)
        and all(mode.get(name) == value for name, value in rule.mode or ())
    ]


def _alerts(history: Reader, choice: Choice, step: str | None) -> list[Mapping[Hashable, Any]]:
    """Return the alerts that are open on the duration of this series."""
    frame = history.alerts(state="open")
    return [
        row
        for row in frame.to_dict("records")
        if (row["pipeline"], row["mode"], row["metric"]) == (choice.pipeline, choice.mode, "duration")
        and (row["step_name"] or None) == step
    ]


def _with_count(choice: Choice) -> str:
    from perfdb.charts.style import period

    starts = choice.sessions["start_time"]
    if starts.empty:
        return choice.context
    return f"{choice.context}, {counted(len(starts), 'session')}, {period(starts.min(), starts.max())}"


def _compare(
    history: Reader,
    session_ids: tuple[str, ...],
    by: str | None,
    last: int | None,
    filters: Mapping[str, Any],
) -> Figure:
    if by is not None:
        return _compare_groups(history, by, last, filters)
    import pandas as pd

    from perfdb.charts.compare import compare

    if len(session_ids) == 1:
        raise UsageError("compare needs two sessions, or by= an attribute: compare A B")
    first, second = (history.session(each) for each in session_ids or ("last~1", "last"))
    rows: dict[str, list[float | None]] = {TOTAL: [first.total_duration, second.total_duration]}
    for place, session in enumerate((first, second)):
        for step in session.steps:
            if step.parent_seq is None and step.duration is not None:
                row = rows.setdefault(step.step_name, [None, None])
                row[place] = (row[place] or 0.0) + step.duration
    frame = pd.DataFrame(
        {
            "step_name": list(rows),
            "a": [row[0] for row in rows.values()],
            "b": [row[1] for row in rows.values()],
        }
    ).astype({"a": "float64", "b": "float64"})
    return compare(
        frame,
        name_a=_named(first),
        name_b=_named(second),
        title=_difference(frame, "B", "A"),
        context=first.pipeline
        if first.pipeline == second.pipeline
        else f"{first.pipeline} and {second.pipeline}",
        of="duration",
    )


def _named(session: Session) -> str:
    return ", ".join(part for part in (session.session_id, mode_text(session.mode)) if part)


def _difference(frame: pd.DataFrame, later: str, earlier: str) -> str:
    """Return the total's difference, and which step made most of it."""
    total = frame.iloc[0]
    a, b = float(total["a"]), float(total["b"])
    if not (a > 0 and b > 0):
        return f"{later} beside {earlier}"
    if abs(b - a) < 0.005 * a:
        return f"{later} takes as long as {earlier}: {duration_text(b)}"
    steps = frame.iloc[1:].fillna({"a": 0.0, "b": 0.0})
    moved = (steps["b"] - steps["a"]) * (1 if b > a else -1)
    by_most = ""
    if len(moved) and float(moved.max()) > 0:
        name = steps["step_name"].iloc[int(moved.to_numpy().argmax())]
        by_most = f", most of it in {shortened(inert(name), 50)}"
    change = f"{abs(100 * (b - a) / a):.0f} % {'slower' if b > a else 'faster'}"
    return f"{later} is {change} than {earlier} ({duration_text(a)} → {duration_text(b)}){by_most}"


def _compare_groups(history: Reader, by: str, last: int | None, filters: Mapping[str, Any]) -> Figure:
    raise NotImplementedError
