"""What the rows of a piece must be for the databases that readers make of them: each column and document.

Bounds and shapes are those of the tables, and texts are read by the functions that read a journal's lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from math import isfinite

from perfdb.errors import StoreError
from perfdb.lake.engine import LONGEST_NAME
from perfdb.lake.rows import NAMES, schema, series_of
from perfdb.records import ENVIRONMENT
from perfdb.store.models import from_json
from perfdb.store.rows import is_as_kept, is_mode, text
from perfdb.store.sanity import bounds_of_runs, required_of
from perfdb.vocabulary import MAX_SEQ, SESSION_ID

_LAST_US = 253_402_300_799_000_000  # of the year 9999
_LONGEST_FACT = 100_000  # bytes of what is said of a host
_LONGEST_DOCUMENT = 16 << 20  # bytes; parsed, they take ten times the room
_DEEPEST = 100  # levels of a document
_LARGE = "[eE][+]?[0-9]{3}|[0-9]{300}"  # what may be a number beyond all others
_NO_NUMBER = r"[0-9]{1000}"  # PostgreSQL writes 1e300 in 301 digits
_TEXT = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_LISTS = ("attempts", "events", "samples", "tags")
_IN_LAKE = {"start_time": "start", "total_duration": "duration", "duration": "duration"}  # _us and _exact
_IS_NAME = f"regexp_full_match(session_id, '{SESSION_ID}')"
# The rows of a session mostly follow each other: each name is looked at once.
_KEYS = {
    "session_id": f"CASE WHEN session_id = lag(session_id) OVER () THEN true ELSE {_IS_NAME} END",
    "seq": f"CASE WHEN step_name IS NULL THEN seq IS NULL ELSE seq BETWEEN 0 AND {MAX_SEQ} END",
    "began_us": f"began_us BETWEEN 0 AND {_LAST_US}",
    "start_us": f"start_us BETWEEN 0 AND {_LAST_US}",
    "day": "datediff('day', DATE '1970-01-01', day) = began_us // 86400000000",
    "series": "series IS NOT NULL",
}


def conditions(known: Collection[str]) -> dict[str, str]:
    """Return what DuckDB can tell of each row, by the column that is wrong where it is not true.

    Args:
        known: the columns of the piece.
    """
    found = dict(_KEYS)
    for name, (low, high) in _bounds().items():
        if name in known:
            found[name] = f"({name} IS NULL OR {name} BETWEEN {low!r} AND {high!r})"
    for name, rows in _required().items():
        is_there = f"{name} IS NOT NULL" if name in known else "false"
        found[name] = f"{found.get(name, 'true')} AND ({is_there} OR NOT ({rows}))"
    for name in NAMES:
        found[name] = (
            f"coalesce(strlen({name}), {0 if name == 'step_name' else -1}) BETWEEN 0 AND {LONGEST_NAME}"
        )
    for name in ENVIRONMENT:
        if name in known:
            found[name] = f"coalesce(strlen({name}), 0) <= {_LONGEST_FACT}"
    for name in ("data", *_LISTS):
        if name in known:
            kind = "OBJECT" if name == "data" else "ARRAY"
            is_one = f"json_valid({name}) AND json_type({name}) = '{kind}'"
            is_short = f"strlen({name}) <= {_LONGEST_DOCUMENT}"
            found[name] = f"CASE WHEN {name} IS NULL THEN true ELSE {is_short} AND {is_one} END"
    return found


@cache
def _bounds() -> Mapping[str, tuple[float, float]]:
    """Return the least and the most of the numbers of the tables, by columns of a lake."""
    found = {name: bounds for name, bounds in bounds_of_runs().items() if name != "seq"}
    found["start_exact"] = found.pop("start_time")
    low, high = found["duration_exact"] = found.pop("duration")
    found["duration_us"] = round(low * 1e6), round(high * 1e6)
    del found["total_duration"]
    return found


@cache
def _required() -> Mapping[str, str]:
    """Return which columns of the tables are never null, and in which rows of a lake."""
    own = set(schema().names).difference(_KEYS)
    of_sessions, of_steps = (required_of(table) & own for table in ("sessions", "steps"))
    return {
        **dict.fromkeys(of_sessions, "step_name IS NULL"),
        **dict.fromkeys(of_steps, "step_name IS NOT NULL"),
        **dict.fromkeys(of_sessions & of_steps, "true"),
    }


def together(source: str) -> dict[str, str]:
    """Return queries by the column that is wrong where one finds a row: rows that are of no one session.

    A session is one row with its steps, which are numbered.
    """
    return {
        "session_id": f"SELECT 1 FROM {source} GROUP BY hash(session_id) "
        "HAVING count(*) FILTER (step_name IS NULL) <> 1 OR min(began_us) <> max(began_us) LIMIT 1",
        "seq": f"SELECT 1 FROM {source} WHERE seq IS NOT NULL GROUP BY hash(session_id), seq "
        "HAVING count(*) > 1 LIMIT 1",
    }


def texts(source: str, filled: Collection[str]) -> dict[str, str]:
    """Return queries for the names and documents that are for ``CHECKS`` to look at, by columns."""
    is_deep = f"strlen(data) - strlen(replace(replace(data, '{{', ''), '[', '')) > {_DEEPEST}"
    is_large = f"regexp_matches(data, '{_LARGE}')"
    wheres = {"data": f"{is_deep} OR {is_large}", **{name: f"{name} IS NOT NULL" for name in _LISTS}}
    return {
        "series": f"SELECT DISTINCT {', '.join((*NAMES, 'series'))} FROM {source}",
        **{f: f"SELECT {f} FROM {source} WHERE {where}" for f, where in wheres.items() if f in filled},
    }


def _is_series(pipeline: str, mode: str, step_name: str | None, number: int) -> bool:
    is_kept = all(each is None or each == text(each) for each in (pipeline, step_name))
    return is_kept and is_mode(mode) and number == series_of(pipeline, step_name, mode)


def _is_document(name: str, value: str) -> bool:
    try:
        if name in _LISTS and not is_as_kept(name, json.loads(value)):
            return False
        return _is_strict(from_json(value)) and not _has_long_number(value)
    except (ValueError, RecursionError, StoreError):
        return False


def _has_long_number(value: str) -> bool:
    return bool(re.search(_NO_NUMBER, value) and re.search(_NO_NUMBER, re.sub(_TEXT, "", value)))


def _is_strict(found: object, level: int = 0) -> bool:
    """Say whether a document is nested little, and has numbers that JSON can say."""
    if not isinstance(found, (dict, list)):
        return not isinstance(found, float) or isfinite(found)
    inner = found.values() if isinstance(found, dict) else found
    return level < _DEEPEST and all(_is_strict(each, level + 1) for each in inner)


CHECKS: dict[str, Callable[..., bool]] = {
    "series": _is_series,
    **{name: partial(_is_document, name) for name in ("data", *_LISTS)},
}
