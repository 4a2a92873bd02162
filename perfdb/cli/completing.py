"""What a shell completes: names of pipelines, steps, tags, modes, attributes, rules; ids of sessions, alerts.

It only looks: nothing is taken in, written or said, and what cannot be read completes to nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from perfdb.text import inert

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.history.history import History

_MOST = 200
_PATTERNS = frozenset("*?[")
Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def complete(kind: str) -> Completer:
    """Return what completes a ``pipeline``, ``step``, ``tag``, ``measure``, ``rule`` …: see ``_found``."""

    def completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            found = _found(kind, ctx.params.get("database") or ctx.obj)
        except Exception:  # a prompt is no place for errors
            return []
        wanted = incomplete.casefold()
        fitting = (each for each in found if each.casefold().startswith(wanted) and _is_plain(each))
        return [_typed(each) for each in islice(fitting, _MOST)]

    return completed


def _found(kind: str, database: str | None) -> Iterable[str]:
    from perfdb.history.history import History
    from perfdb.store.database import Database

    history = History(database)
    history.require_access()
    if kind == "rule":
        return _rules(history)
    if kind == "measure":
        return dict.fromkeys(history.measures(last=_MOST)["measure"])
    if history.is_lake:
        return []  # a look at one takes too long
    with Database(history.url, migrates=False) as known, known.reading_if_there() as connection:
        return [] if connection is None else list(_read(kind, connection))


def _read(kind: str, connection: Connection) -> Iterable[str]:
    from perfdb.filters import checked_filters
    from perfdb.store import alerts, browsing, frames

    if kind == "alert":
        return [str(each.id) for each in alerts.read_alerts(connection, "open")]
    if kind == "session":
        rows = frames.session_rows(connection, **checked_filters(_MOST, {}))
        return ["last", "last~1", *(row["session_id"] for row in reversed(rows))]
    if kind == "attribute":
        return _attributes(frames.session_rows(connection, **checked_filters(_MOST, {})))
    return sorted(browsing.names_of(connection, kind))


def _attributes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the attributes of sessions with their values, as a filter takes them: ``customer=acme``."""
    pairs = ((key, value) for row in rows for key, value in row["attributes"].items())
    return sorted(
        {
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in pairs
            if isinstance(value, str | int | float)
        }
    )


def _rules(history: History) -> list[str]:
    from perfdb.alerts.config import read_alert_settings

    return [rule.name for rule in read_alert_settings(history.settings.alerts, reading=True).rules]


def _is_plain(name: str) -> bool:
    """Tell whether a name can go through a shell: a line each, nothing that a terminal obeys.

    Bash expands what it gets once more, as patterns of files, whose names may be anybody's.
    """
    return inert(name) == name and _PATTERNS.isdisjoint(name) and not name.startswith("-")


def _typed(name: str) -> str:
    """Return a name as it is typed: bash puts in what it gets, other shells quote it.

    Escaped twice for bash, because the ``read`` of click's script takes one layer away.
    """
    if not os.environ.get("_PERFDB_COMPLETE", "").startswith("bash"):
        return name
    plain = "_-.~"
    for _ in range(2):
        is_home = name.startswith("~")  # that of a user, where it stands first
        name = "".join(each if each.isalnum() or each in plain else f"\\{each}" for each in name)
        name = f"\\{name}" if is_home else name
    return name
