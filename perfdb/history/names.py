"""Names that a person says in a question: those that nothing has are answered with what is near."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfdb.errors import NotFoundError
from perfdb.filters import Chosen
from perfdb.recording.redaction import redact
from perfdb.settings import shown_path
from perfdb.text import nothing_called
from perfdb.vocabulary import recorded_name

if TYPE_CHECKING:
    from perfdb.history.access import Access

_NEWEST = 1_000  # sessions of a lake among which names are looked for


def require_names(
    history: Access,
    *,
    pipeline: str | None = None,
    step: str | None = None,
    tag: str | None = None,
    branch: str | None = None,
    mode: str | None = None,
    attribute: Mapping[str, Any] | None = None,
    step_attribute: Mapping[str, Any] | None = None,
) -> None:
    """Let a question pass whose names are known, with or without runs that fit; anything where nothing is.

    Of attributes, which are given with their values, the names have to be known: of those of sessions, or
    with ``step_attribute`` of steps, too, but in a lake.

    Raises:
        NotFoundError: nothing was ever recorded under one of them; it says what is near.
        StoreError: the database is missing, unreadable or not perfdb's.
    """
    from perfdb.history.access import reading
    from perfdb.store import browsing
    from perfdb.store.together import for_each, together

    given = {
        kind: name
        for kind, name in (
            ("pipeline", pipeline), ("step", step), ("tag", tag), ("branch", branch), ("mode", mode)
        )
        if name is not None
    }  # fmt: skip
    if history.is_lake:  # the window that is looked at is not chosen by what steps have
        step_attribute = None
    attributes = {**dict.fromkeys(attribute or (), False), **dict.fromkeys(step_attribute or (), True)}
    if not (given or attributes):
        return
    wanted_of: Chosen = {"pipeline": pipeline, "tag": tag, "branch": branch, "mode": mode, "last": _NEWEST}
    if attribute:
        wanted_of["attribute"] = dict(attribute)
    with reading(history, wanted_of) as connection:
        if connection is None:
            return
        wanted_names = {
            kind: name if kind == "mode" else recorded_name(redact(name)) for kind, name in given.items()
        }
        some, known = together(
            connection,
            lambda: browsing.names_of(connection, "pipeline", most=1),
            lambda: for_each(
                connection, lambda pair: browsing.has_name(connection, *pair), wanted_names.items()
            ),
        )
        if not some:
            return
        for (kind, wanted), is_known in zip(wanted_names.items(), known, strict=True):
            if not is_known:
                raise unknown(kind, wanted, browsing.names_of(connection, kind), history.database)
        for name, of_steps in attributes.items():
            if not browsing.has_attribute_called(connection, name, of_steps=of_steps):
                known_names = browsing.attributes_called(connection, of_steps=of_steps)
                raise unknown("attribute", name, known_names, history.database)


def require_home(history: Access) -> None:
    """Let a home pass that is there, or that nobody named by ``PERFDB_HOME``.

    Raises:
        NotFoundError: there is no such folder.
    """
    home = history.settings.home
    named = os.environ.get("PERFDB_HOME", "").strip()
    if not named or history.is_explicit or home.exists():
        return
    try:
        siblings = sorted(each.name for each in home.parent.iterdir() if each.is_dir())
    except OSError:
        siblings = []
    near = difflib.get_close_matches(home.name, siblings, n=1)
    hint = f"; did you mean {shown_path(home.with_name(near[0]))}?" if near else ""
    raise NotFoundError(
        f"PERFDB_HOME names {shown_path(Path(home))}, where nothing is{hint or ': the first run makes it'}"
    )


def unknown(kind: str, name: str, known: Iterable[str], where: str) -> NotFoundError:
    """Return the error that says that nothing is called so, and what is near, or what there is."""
    return NotFoundError(nothing_called(kind, name, known, where))
