"""Read the history back as frames, or as plain rows.

Frames hold the columns of ``v_sessions`` and ``v_steps``, oldest first, with the same
values and types from both databases. pandas is imported by the functions that return one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Unpack

from sqlalchemy import CTE, Connection, Select, TableClause, column, select, table

from perfdb.errors import StoreError
from perfdb.filters import Chosen
from perfdb.measures import MEASURES, NAMES
from perfdb.records import ENVIRONMENT, FURTHER_OF_SESSION, FURTHER_OF_STEP
from perfdb.store.database import garbage_collected_later
from perfdb.store.filters import choose_sessions, steps_with
from perfdb.store.models import (
    COMPLETED_CODE,
    environments,
    from_json,
    series,
    session_tags,
    sessions,
    steps,
    storable_name,
    without_lone_surrogates,
)
from perfdb.store.reading import driver_rows, keys_in_turn, success_of
from perfdb.store.sanity import VALUE_BOUNDS
from perfdb.store.together import for_each, together
from perfdb.vocabulary import STATUSES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_EPOCH = datetime(1970, 1, 1)  # of UTC
_PIECE = 500  # sessions
_MEASURED = (NAMES[0], "cpu_percent", *NAMES[1:3])
# A view that exists takes further columns at its end only, in the order in which they came.
_LATER, _AND_LATER = NAMES[3:], ENVIRONMENT[5:]
SESSION_COLUMNS = (
    "session_id", "pipeline", "status", "mode", "fast_mode", "success", "product_count", "start_time",
    "end_time", "total_duration", "started_at", "ended_at", "error_message",
    *_MEASURED, "attributes", "tags",
    *(name for name in FURTHER_OF_SESSION if name not in _AND_LATER), *_LATER, *_AND_LATER, "counted",
)  # fmt: skip

STEP_COLUMNS = (
    "session_id", "pipeline", "step_name", "seq", "parent_seq", "lane", "start_time", "end_time", "duration",
    "success", "status", "error_message", "additional_data", "attempts", "events",
    *_MEASURED, "fast_mode", "mode", "started_at", "ended_at", *FURTHER_OF_STEP, *_LATER, "counted",
)  # fmt: skip

_OF_SERIES = ("pipeline", "step_name", "mode")


def _made_of(duration: str) -> dict[str, tuple[str, ...]]:
    """Return what of a row a column is made of, where that is not the column of the same name."""
    return {
        "cpu_percent": ("cpu_s", duration),
        "started_at": ("start_time",),
        **dict.fromkeys(("end_time", "ended_at"), ("start_time", duration)),
    }


_MADE_OF_SESSION = _made_of("total_duration") | {"tags": ()}
_MADE_OF_STEP: dict[str, tuple[str, ...]] = _made_of("duration") | {
    "session_id": (),
    "fast_mode": (),
    **dict.fromkeys(_OF_SERIES, ("series_id",)),
    "success": ("status", "duration"),
}

_V_SESSIONS = table("v_sessions", *map(column, SESSION_COLUMNS[:-1]))
_V_STEPS = table("v_steps", *map(column, STEP_COLUMNS[:-1]))
# A session that runs counts once it completes; its steps with it.
_SESSION_COUNTS = (
    sessions.c.counted & (sessions.c.status == COMPLETED_CODE) & sessions.c.total_duration.is_not(None)
).label("counted")


@garbage_collected_later()
def sessions_frame(
    connection: Connection,
    *,
    step: str | None = None,
    among: Sequence[int] | None = None,
    columns: Collection[str] = SESSION_COLUMNS,
    **filters: Unpack[Chosen],
) -> pd.DataFrame:
    """Return one row per session that fits, oldest first, with the columns of ``v_sessions`` and ``counted``.

    Args:
        connection: of any role.
        step: only sessions that have such a step.
        among: the keys of some hundred sessions, instead of filters.
        columns: only these are read.
        filters: see ``filters.choose_sessions``.

    Returns:
        Instants (epoch s), durations (s) and ``cpu_percent`` are float64, ``started_at`` and ``ended_at``
        datetime64[us, UTC]; counts, sizes and ``pid`` Int64; ``fast_mode`` and
        ``success`` boolean; ``counted`` (it is in baselines and trends) bool; ``attributes``
        dicts; ``tags`` lists of names, sorted; the rest is text. What is unknown is missing, never 0.

    Raises:
        ValueError: a filter has a value that cannot be meant.
    """
    chosen = (_chosen(connection, step, filters) if among is None else _of(among)).cte("chosen")
    wanted = [name for name in SESSION_COLUMNS if name in columns]
    read = dict.fromkeys(chain.from_iterable(_MADE_OF_SESSION.get(name, (name,)) for name in wanted))
    query = (
        select(sessions.c.id, *map(_of_session, read))
        .join(chosen, chosen.c.id == sessions.c.id)
        .join(series, series.c.id == sessions.c.series_id)
        .outerjoin(environments, environments.c.id == sessions.c.environment_id)
        .order_by(sessions.c.start_time, sessions.c.id)
    )
    found, tags = together(
        connection,
        lambda: _columns(connection, query),
        lambda: _tags(connection, chosen) if "tags" in wanted else {},
    )
    found["tags"] = [tags.get(pk, []) for pk in found.pop("id")]
    if "status" in wanted:
        found["status"] = [STATUSES[code] for code in found["status"]]
    if "attributes" in wanted:
        found["attributes"] = _documents(found["attributes"], dict)
    return _frame(found, wanted, "total_duration")


def _of_session(name: str) -> Any:
    if name == "counted":
        return _SESSION_COUNTS
    table = series if name in _OF_SERIES else environments if name in ENVIRONMENT else sessions
    return table.c[name]


@garbage_collected_later()
def steps_frame(
    connection: Connection,
    *,
    step: str | None = None,
    among: Sequence[int] | None = None,
    columns: Collection[str] = STEP_COLUMNS,
    **filters: Unpack[Chosen],
) -> pd.DataFrame:
    """Return one row per step of the sessions that fit, oldest session first, then ``seq``.

    Args:
        connection: of any role.
        step: only steps of this name.
        among: as in ``sessions_frame``.
        columns: only these are read: of many steps, texts and data take most of the time.
        filters: choose sessions, see ``filters.choose_sessions``; ``last`` counts sessions, and
            ``status`` is that of the session. ``step_attribute`` chooses of the steps too.

    Returns:
        The columns of ``v_steps`` and ``counted``, typed as in ``sessions_frame``; ``additional_data`` dicts,
        ``attempts`` and ``events`` lists of dicts.

    Raises:
        ValueError: a filter has a value that cannot be meant.
    """
    import numpy as np

    chosen = choose_sessions(connection, **filters) if among is None else _of(among)
    wanted = [name for name in STEP_COLUMNS if name in columns]
    read = dict.fromkeys(chain.from_iterable(_MADE_OF_STEP.get(name, (name,)) for name in wanted))
    query = select(steps.c.session_pk, *(steps.c[name] for name in read)).where(
        steps.c.session_pk.in_(chosen)
    )
    if step is not None:
        query = query.where(
            steps.c.series_id.in_(select(series.c.id).where(series.c.step_name == storable_name(step)))
        )
    query = query.where(*steps_with(connection, filters.get("step_attribute") or {}))
    # Ordered as the primary key is, and put in the sessions' order afterwards: a join with an order of its
    # own has SQLite sort whole rows, and the driver make each name anew, per row.
    of_steps = query.order_by(steps.c.session_pk, steps.c.seq)
    of_chosen = chosen.add_columns(
        sessions.c.session_id, sessions.c.fast_mode, sessions.c.start_time, _SESSION_COUNTS
    )
    found, of_sessions, of_series = for_each(
        connection, partial(_columns, connection), (of_steps, of_chosen, select(series))
    )
    session = _places(found.pop("session_pk"), of_sessions["id"])
    made = {
        "session_id": lambda: _spread(of_sessions["session_id"], session, text_type()),
        "fast_mode": lambda: _spread(_truths(of_sessions["fast_mode"]), session, "boolean"),
    }
    if "series_id" in found:
        kind = _places(found.pop("series_id"), of_series["id"])
        for name in _OF_SERIES:
            made[name] = partial(_spread, of_series[name], kind, text_type())
    if "counted" in found:
        counted = np.array(found.pop("counted"), dtype=bool)
        made["counted"] = lambda: counted & np.array(of_sessions["counted"], dtype=bool)[session]
    if "status" in found:
        status = np.array(found.pop("status"), dtype="int64")
        made["status"] = lambda: _spread(STATUSES, status, text_type())
        if "success" in wanted:
            ended = np.array([each is not None for each in found["duration"]], dtype="int64")
            success = [success_of(code, lasted) for code in range(len(STATUSES)) for lasted in (None, 0.0)]
            made["success"] = lambda: _spread(success, 2 * status + ended, "boolean")
    for name in ("additional_data", "attempts", "events"):
        if name in found:
            found[name] = _documents(found[name], dict if name == "additional_data" else list)
    frame = _frame(found, wanted, "duration", {name: made[name]() for name in wanted if name in made})
    turns = np.argsort(np.lexsort((of_sessions["id"], of_sessions["start_time"])))[session]
    if (np.diff(turns) < 0).any():
        frame = frame.take(np.argsort(turns, kind="stable")).reset_index(drop=True)
    return frame


def in_pieces(
    connection: Connection, read: Callable[..., pd.DataFrame], **filters: Unpack[Chosen]
) -> Iterator[pd.DataFrame]:
    """Yield what ``sessions_frame`` or ``steps_frame`` gives of some hundred sessions each; one at least."""
    pks: Sequence[int] = ()
    for pks in keys_in_turn(connection, sessions.c.id, _PIECE, **filters):
        yield read(connection, among=pks)
    if not pks:
        yield read(connection, among=pks)


def session_rows(
    connection: Connection, *, step: str | None = None, **filters: Unpack[Chosen]
) -> list[dict[str, Any]]:
    """Return what ``sessions_frame`` does as plain dictionaries, without pandas; what is unknown is None."""
    query = _view_query(_V_SESSIONS, _chosen(connection, step, filters)).add_columns(_SESSION_COUNTS)
    rows = _plain_rows(connection, query)
    for row in rows:
        row["tags"].sort()  # PostgreSQL sorts them as people do
    return rows


def step_rows(
    connection: Connection, *, step: str | None = None, **filters: Unpack[Chosen]
) -> list[dict[str, Any]]:
    """Return what ``steps_frame`` does as plain dictionaries, without pandas; what is unknown is None."""
    query = _view_query(_V_STEPS, choose_sessions(connection, **filters))
    query = query.join(steps, (steps.c.session_pk == sessions.c.id) & (steps.c.seq == _V_STEPS.c.seq))
    query = query.add_columns((steps.c.counted & _SESSION_COUNTS.element).label("counted"))
    if step is not None:
        query = query.where(_V_STEPS.c.step_name == storable_name(step))
    query = query.where(*steps_with(connection, filters.get("step_attribute") or {}))
    return _plain_rows(connection, query.order_by(_V_STEPS.c.seq))


def counted_rows(connection: Connection, **filters: Unpack[Chosen]) -> list[dict[str, Any]]:
    """Return the sessions that fit and count, oldest first, as ``analysis.splits`` takes them."""
    chosen = choose_sessions(connection, **filters).cte("chosen")
    query = (
        select(
            sessions.c.session_id,
            series.c.pipeline,
            series.c.mode,
            sessions.c.start_time,
            sessions.c.total_duration,
            sessions.c.attributes,
        )
        .join(chosen, chosen.c.id == sessions.c.id)
        .join(series, series.c.id == sessions.c.series_id)
        .where(_SESSION_COUNTS.element)
        .order_by(sessions.c.start_time, sessions.c.id)
    )
    columns = _columns(connection, query)
    for name in ("start_time", "total_duration"):
        columns[name] = _sane(name, columns[name]).tolist()
    columns["attributes"] = _documents(columns["attributes"], dict)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _view_query(view: TableClause, chosen: Select[tuple[int]]) -> Select[Any]:
    """Return a query for the rows of the chosen sessions, oldest first."""
    return (
        select(view)
        .join_from(view, sessions, sessions.c.session_id == view.c.session_id)
        .where(sessions.c.id.in_(chosen))
        .order_by(sessions.c.start_time, sessions.c.id)
    )


def _plain_rows(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    names = [column.name for column in query.selected_columns]
    rows = [
        {name: _plain(name, value) for name, value in zip(names, row, strict=True)}
        for row in driver_rows(connection, query)
    ]
    for row in rows:  # as frames have them: each database rounds to the microsecond in its own way
        row["started_at"] = _instant_text(row["start_time"], row["started_at"])
        row["ended_at"] = _instant_text(row["end_time"], row["ended_at"])
    return rows


def _instant_text(epoch: float | None, as_stored: str | None) -> str | None:
    """Return an instant as ISO text, UTC; what the database has where it is beyond the calendar."""
    if epoch is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=round(epoch * 1e6))
    except (OverflowError, ValueError):
        return as_stored
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" if moment.year >= 1000 else as_stored


def _plain(name: str, value: Any) -> Any:
    if name in _OBJECTS and isinstance(value, str):  # PostgreSQL's driver has parsed it
        return from_json(value)
    return bool(value) if name in _BOOLEANS and value is not None else value


def empty_sessions_frame() -> pd.DataFrame:
    """Return what ``sessions_frame`` gives when nothing fits."""
    return _frame({name: [] for name in SESSION_COLUMNS}, SESSION_COLUMNS, "total_duration")


def empty_steps_frame() -> pd.DataFrame:
    """Return what ``steps_frame`` gives when nothing fits."""
    return _frame({name: [] for name in STEP_COLUMNS}, STEP_COLUMNS, "duration")


# --- rows to frames -----------------------------------------------------------------------------------


def _named(unit: str, kind: type) -> Iterator[str]:
    """Yield the measures of a unit, and the further columns of a kind."""
    yield from (each.name for each in MEASURES if each.unit == unit)
    yield from (name for name, its in (FURTHER_OF_SESSION | FURTHER_OF_STEP).items() if its is kind)


_FLOATS = {"start_time", "end_time", "total_duration", "duration", "cpu_percent", *_named("s", float)}
_INTEGERS = {"product_count", "parent_seq", *_named("bytes", int)}
_WHOLE = {"seq", "lane"}  # never missing
_BOOLEANS = {"fast_mode", "success", "counted", *_named("", bool)}
_OBJECTS = {"attributes", "tags", "additional_data", "attempts", "events"}


def _of(pks: Sequence[int]) -> Select[tuple[int]]:
    return select(sessions.c.id).where(sessions.c.id.in_(pks))


def _chosen(connection: Connection, step: str | None, filters: Chosen) -> Select[tuple[int]]:
    chosen = choose_sessions(connection, **filters)
    if step is not None:
        has_step = (
            select(steps.c.session_pk)
            .join(series, series.c.id == steps.c.series_id)
            .where(steps.c.session_pk == sessions.c.id, series.c.step_name == storable_name(step))
        )
        chosen = chosen.where(has_step.exists())
    return chosen


def _tags(connection: Connection, chosen: CTE) -> dict[int, list[str]]:
    query = select(session_tags.c.session_pk, session_tags.c.name).join(
        chosen, chosen.c.id == session_tags.c.session_pk
    )
    tags: dict[int, list[str]] = {}
    for pk, name in sorted(driver_rows(connection, query)):
        tags.setdefault(pk, []).append(name)
    return tags


def _columns(connection: Connection, query: Select[Any]) -> dict[str, Sequence[Any]]:
    result = connection.execute(query)
    names = list(result.keys())
    # All values in one list, of a few rows at a time: a tuple per row that stays, and zip, take longer.
    batches = iter(partial(result.cursor.fetchmany, 100), [])
    values = list(chain.from_iterable(chain.from_iterable(batches)))
    result.close()
    return {name: values[place :: len(names)] for place, name in enumerate(names)}


def _documents(values: Sequence[Any], empty: type[dict[str, Any]] | type[list[Any]]) -> list[Any]:
    """Parse a JSON column, each value its own object; in one go, which takes a third of the time."""
    if not any(values):
        return [[] for _ in values] if empty is list else [{} for _ in values]
    texts = [value for value in values if isinstance(value, str)]  # PostgreSQL's driver has parsed them
    document = f"[{','.join(texts)}]"
    parsed: list[Any] = without_lone_surrogates(json.loads(document), document)
    if len(parsed) == len(values):
        return parsed
    rest = iter(parsed)
    return [empty() if value is None else next(rest) if isinstance(value, str) else value for value in values]


def _places(keys: Sequence[int], among: Sequence[int]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the place of each key in a list that holds each of them once."""
    import numpy as np

    known = np.array(among, dtype="int64")
    order = np.argsort(known)
    return order[np.searchsorted(known, np.array(keys, dtype="int64"), sorter=order)] if keys else order[:0]


def _spread(values: Any, places: np.ndarray[Any, Any], kind: Any) -> Any:
    """Return a column made of few values: each is made once, however many rows have it."""
    import pandas as pd

    return pd.array(values, dtype=kind).take(places)


def _truths(values: Iterable[Any]) -> list[bool | None]:
    return [None if each is None else bool(each) for each in values]


def text_type() -> Any:
    """Return what this pandas infers from text."""
    import pandas as pd

    return "str" if pd.__version__ >= "3" else "object"


def _frame(
    columns: Mapping[str, Sequence[Any]],
    order: Sequence[str],
    duration: str,
    made: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return a frame of the columns as the database gave them, and of those that are made already."""
    import numpy as np
    import pandas as pd

    made = dict(made or {})
    for name, values in columns.items():
        if name in _FLOATS:
            made[name] = _sane(name, values)
        elif name in _INTEGERS:
            made[name] = _integers(values)
        elif name in _WHOLE:
            made[name] = np.array(values, dtype="int64")
        elif name == "counted":
            made[name] = np.array(values, dtype=bool)
        elif name in _BOOLEANS:
            made[name] = pd.array(_truths(values), dtype="boolean")
        elif name in _OBJECTS:
            made[name] = pd.Series(values, dtype=object).array
        elif values.count(None) == len(values):
            made[name] = _spread([None], np.zeros(len(values), dtype=np.intp), text_type())
        else:
            made[name] = pd.array(values, dtype=text_type())
    if not {"end_time", "ended_at"}.isdisjoint(order):
        made["end_time"] = made["start_time"] + made[duration]
    if "cpu_percent" in order:
        lasted = made[duration]
        with np.errstate(divide="ignore", invalid="ignore"):
            made["cpu_percent"] = np.where(lasted > 0, 100.0 * made["cpu_s"] / lasted, np.nan)
    for name, moment in (("started_at", "start_time"), ("ended_at", "end_time")):
        if name in order:
            made[name] = instants(made[moment])
    return pd.DataFrame({name: made[name] for name in order}, copy=False)


def _sane(name: str, values: Sequence[float | None]) -> np.ndarray[Any, Any]:
    """Return the values, all of which can be what the column says: a file from elsewhere may hold 1e300.

    Raises:
        StoreError: no perfdb wrote one of them.
    """
    import numpy as np

    found = np.array(values, dtype="float64")  # None becomes NaN
    low, high = VALUE_BOUNDS[name]
    if ((found < low) | (found > high)).any():
        raise StoreError(f"the database cannot be read: {name} holds what perfdb never writes")
    return found


def _integers(values: Sequence[int | None]) -> Any:
    """Return an Int64 column; pandas' own way looks at the type of every value first."""
    import numpy as np
    import pandas as pd

    try:
        return pd.arrays.IntegerArray(np.array(values, dtype="int64"), np.zeros(len(values), dtype=bool))
    except TypeError:  # a None
        missing = np.array([each is None for each in values], dtype=bool)
        return pd.arrays.IntegerArray(np.array([each or 0 for each in values], dtype="int64"), missing)


def instants(epochs: np.ndarray[Any, Any]) -> Any:
    """Return epoch seconds as a column of instants, datetime64[us, UTC]; NaN is NaT."""
    import numpy as np
    import pandas as pd

    known = ~np.isnan(epochs)
    micros = np.rint(np.where(known, epochs, 0.0) * 1e6).astype("int64").view("datetime64[us]")
    micros[~known] = np.datetime64("NaT", "us")
    return pd.DatetimeIndex(micros).tz_localize("UTC").array
