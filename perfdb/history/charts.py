"""Draw a chart of a history: choose the sessions that may be compared, and hand them to the drawer.

Failed, interrupted and running sessions and those tagged ``warmup``, ``ignore`` or ``cached`` do not count,
and a picture never mixes pipelines or modes: it shows those of the most sessions and says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from perfdb.errors import UsageError
from perfdb.filters import is_moment
from perfdb.records import ACKNOWLEDGED, COMPLETED, FAILED, FIRING, PENDING, Session
from perfdb.text import counted, inert, mode_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from perfdb.settings import Settings

KINDS = ("trend", "steps", "bottlenecks", "waterfall", "resources", "compare")
OF_ONE_SESSION = ("waterfall", "resources")
LAST = {"trend": 1_000, "steps": 200, "bottlenecks": 50, "compare": 200}
MOST_IN_DETAIL = 6_000


class Reader(Protocol):
    """What the gallery asks of a History."""

    # fmt: off
    @property
    def settings(self) -> Settings: ...  # noqa: D102
    @property
    def sessions(self) -> Callable[..., pd.DataFrame]: ...  # noqa: D102
    @property
    def steps(self) -> Callable[..., pd.DataFrame]: ...  # noqa: D102
    @property
    def affordable(self) -> Callable[..., int | None]: ...  # noqa: D102
    @property
    def compare(self) -> Callable[..., Any]: ...  # noqa: D102
    @property
    def count(self) -> Callable[..., int]: ...  # noqa: D102
    def session(self, session_id: str = "last") -> Session: ...  # noqa: D102
    def alerts(self, state: str = "open") -> pd.DataFrame: ...  # noqa: D102
    def baselines(self) -> pd.DataFrame: ...  # noqa: D102
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
    bounded = "since" in filters or "until" in filters
    if last is None and not (kind == "trend" and bounded):  # a window that was asked for is shown whole
        last = LAST[kind]
    if kind in ("steps", "bottlenecks"):  # they read all steps of the sessions
        last = history.affordable(last, **filters) or last
    choice = choose(history, last=last, **filters)
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
        shown = _thinned(choice)
        spent = time_spent(shown.sessions, _steps_of(history, shown))
        return steps(spent, shown.sessions["start_time"], context=shown.context)
    ranked = rank(choice.sessions, _steps_of(history, choice))
    return bottlenecks(ranked, context=_with_count(choice))


_NOTHING = "Record a run with perfdb.track(...), or try: perfdb demo"
_NOTHING_FITS = "No finished session matches. Loosen the filters, or list all sessions with: perfdb sessions"


def choose(history: Reader, *, last: int | None = None, **filters: Any) -> Choice | None:
    """Return the sessions of the pipeline and mode that most of the fitting ones have; None without any."""
    from perfdb.analysis.runs import counted_sessions, untagged

    sessions = history.sessions(last=last, **filters)
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
    if last is not None and len(sessions) == last:
        count = history.count(**filters)
        of = f"{last:,} of {counted(count, 'session')}" if count > last else counted(last, "session")
        words.append(f"of the newest {of}")
    return Choice(
        counted_sessions(chosen),
        untagged(chosen[chosen["status"] == FAILED]),
        pipeline,
        mode,
        ", ".join(word for word in words if word),
    )


def _thinned(choice: Choice) -> Choice:
    """Return the choice with evenly chosen sessions when a picture has no room for the details of all."""
    count = len(choice.sessions)
    if count <= MOST_IN_DETAIL:
        return choice
    places = [place * count // MOST_IN_DETAIL for place in range(MOST_IN_DETAIL)]
    context = f"{choice.context}, evenly chosen of {counted(count, 'session')}"
    return replace(choice, sessions=choice.sessions.iloc[places], context=context)


def _steps_of(history: Reader, choice: Choice, step: str | None = None) -> pd.DataFrame:
    """Return the steps of the chosen sessions that count."""
    first, last = choice.sessions["start_time"].min(), choice.sessions["start_time"].max()
    within = {name: value for name, value in (("since", first), ("until", last + 1e-3)) if is_moment(value)}
    found = history.steps(step=step, pipeline=choice.pipeline, **within)
    return found[found["session_id"].isin(choice.sessions["session_id"])]


def _trend(history: Reader, choice: Choice, step: str | None, by: str | None) -> Figure:
    from perfdb.analysis.slopes import slopes
    from perfdb.analysis.trend_view import changes_of, drift, per_session
    from perfdb.charts.trend import trend

    if by not in (None, "session", "time"):
        raise UsageError(f"by={by!r}: a trend is drawn by 'session' or by 'time'")
    if step is None:
        points = choice.sessions[["session_id", "start_time", "total_duration"]]
        points = points.rename(columns={"total_duration": "duration"})
    else:
        rows = _steps_of(history, choice, step) if len(choice.sessions) else history.steps(step=step, last=1)
        points = rows[rows["counted"]][["session_id", "start_time", "duration"]]
        begun = dict(zip(choice.sessions["session_id"], choice.sessions["start_time"], strict=True))
        points = points.assign(start_time=points["session_id"].map(begun).astype("float64"))
        points = points.sort_values("start_time", kind="stable")  # of the session, as everywhere
    points = points[points["duration"].notna()].reset_index(drop=True)
    durations, starts = (points[name].to_numpy(dtype=float) for name in ("duration", "start_time"))
    _, moments, values = per_session(points["session_id"].tolist(), starts, durations)
    return trend(
        points,
        what=step or f"A run of {choice.pipeline}",
        context=choice.context,
        by="time" if by == "time" else "session",
        failures=choice.failed[["start_time"]],
        limits=_limits(history.settings, choice, step),
        changes=[asdict(each) for each in changes_of(points["session_id"].tolist(), starts, durations)],
        alerts=_alerts(history, choice, step),
        pinned=_pinned(history, choice, step),
        drifted=drift(moments, *slopes(moments, values), values.size),
    )


def _limits(settings: Settings, choice: Choice, step: str | None) -> list[dict[str, Any]]:
    """Return the ``max`` rules on the duration of this step, or of the total."""
    from perfdb.alerts.config import read_alert_settings
    from perfdb.analysis.rules.limits import MAX
    from perfdb.analysis.series import SeriesName

    series = SeriesName(choice.pipeline, step, choice.mode)
    return [
        {"name": rule.name, "limit": rule.limit}
        for rule in read_alert_settings(settings.alerts, reading=True).rules
        if rule.kind == MAX.name and rule.metric == "duration" and rule.is_about(series)
    ]


def _pinned(history: Reader, choice: Choice, step: str | None) -> dict[str, Any] | None:
    """Return the pinned baseline of this series."""
    for row in history.baselines().to_dict("records"):
        name = row["step_name"] if isinstance(row["step_name"], str) else None
        if (row["pipeline"], row["mode"], name) == (choice.pipeline, choice.mode, step):
            return {"value": row["value"], "n": row["n"]}
    return None


def _alerts(history: Reader, choice: Choice, step: str | None) -> list[Mapping[Hashable, Any]]:
    """Return the alerts that are open on the duration of this series, also those for which others speak."""
    return [
        row
        for row in history.alerts(state="all").to_dict("records")
        if row.get("state", FIRING) in (PENDING, FIRING, ACKNOWLEDGED)
        and (row["pipeline"], row["mode"], row["metric"]) == (choice.pipeline, choice.mode, "duration")
        and (row["step_name"] if isinstance(row["step_name"], str) else None) == step
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
    from perfdb.charts.compare import compare

    if by is None:
        if len(session_ids) not in (0, 2):
            raise UsageError("compare takes two sessions, A and B, or by= an attribute that makes two groups")
        pair = history.compare(*session_ids)
        first, second = history.session(pair.a), history.session(pair.b)
        frame = pair.frame.rename(columns={"a_critical_s": "a", "b_critical_s": "b"})
        return compare(
            frame,
            name_a=_named(first),
            name_b=_named(second),
            title=_first_sentence(pair.sentence),
            context="the steps by their seconds on the critical path, which add up to the total",
            of="seconds on the critical path",
        )
    if session_ids:
        raise UsageError("compare takes two sessions, or by= an attribute; not both")
    groups = history.compare(by=by, last=LAST["compare"] if last is None else last, **filters)
    frame = groups.frame.rename(
        columns={
            "a_n": "n_a",
            "b_n": "n_b",
            "a_median": "a",
            "b_median": "b",
            "low_s": "low",
            "high_s": "high",
        }
    )
    totals = frame[frame["kind"] == "total"]
    most: dict[str, Any] = totals.iloc[int((totals["n_a"] + totals["n_b"]).to_numpy().argmax())].to_dict()
    words = [inert(most["pipeline"]), mode_text(most["mode"])]
    if groups.confounded:
        words.append(f"note: A and B also differ in {', '.join(map(inert, groups.confounded))}")
    return compare(
        frame[(frame["pipeline"] == most["pipeline"]) & (frame["mode"] == most["mode"])],
        name_a=f"{by} = {_word(groups.a)}",
        name_b=f"{by} = {_word(groups.b)}",
        title=_first_sentence(groups.sentence),
        context=", ".join(word for word in words if word),
    )


def _first_sentence(text: str) -> str:
    """Return what a head line has room for."""
    return text.partition(". ")[0].rstrip(".")


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _named(session: Session) -> str:
    return ", ".join(part for part in (session.session_id, mode_text(session.mode)) if part)
