"""What is to become of sessions that the history has: tags that they get or lose, and deletions.

Each file of ``changes/`` has some, in the order of their names; answers apply them from then on, and sealing
once their sessions are in the history. A file is never written anew, and those of a session go in their
order: to apply them once more does no harm as long as the later ones are there. A session that was deleted
stays so, whoever sends it again: sealing keeps its name in ``deleted/``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake.place import CHANGES, DELETED, Place
from perfdb.lake.rows import COMPLETED_CODE, day_of
from perfdb.records import counts, is_cached
from perfdb.store.rows import is_as_kept
from perfdb.vocabulary import SESSION_ID, UNCOUNTED_TAGS

if TYPE_CHECKING:
    import pyarrow as pa

Change = dict[str, Any]

_KEYS = {"session_id": str, "day": str, "what": str}
_NUMBER = 20  # digits with which a file's name begins


def change_of(session_id: str, began: float, what: str, tag: str | None = None) -> Change:
    """Return a change: ``tag``, ``untag`` or ``delete`` of a session that began then (epoch s)."""
    return {"session_id": session_id, "day": str(day_of(round(began * 1e6))), "what": what, "tag": tag}


def add_changes(place: Place, changes: Sequence[Change]) -> None:
    """Note changes, after all that are there: the clocks of hosts do not order them."""
    last = max((name[:_NUMBER] for name in place.names(CHANGES) if name[:_NUMBER].isdecimal()), default="0")
    number = max(time.time_ns(), int(last) + 1)
    name = f"{number:0{_NUMBER}d}-{os.urandom(4).hex()}.json"
    place.write(json.dumps({"changes": list(changes)}).encode(), CHANGES, name)


def read_changes(place: Place, folder: str = CHANGES) -> dict[str, list[Change]]:
    """Return the changes of each file, in order; a file that holds none is left out.

    The newest is read first, and sealers remove the oldest first: a later one is never missing alone.
    """
    found: dict[str, list[Change]] = {}
    for name in reversed(place.names(folder)):
        with contextlib.suppress(StoreError):  # that file alone does not count; the doctor names it
            document = place.document(folder, name)
            listed = None if document is None else document.get("changes", [document])
            if isinstance(listed, list) and listed and all(map(_is_change, listed)):
                found[name] = listed
    return dict(reversed(found.items()))


def _is_change(found: object) -> bool:
    if not isinstance(found, dict) or not all(isinstance(found.get(key), of) for key, of in _KEYS.items()):
        return False
    if not re.fullmatch(SESSION_ID, found["session_id"]):
        return False
    tag = found.get("tag")
    return is_as_kept("tags", [tag]) or (tag is None and found["what"] not in ("tag", "untag"))


def by_day(changes: Mapping[str, Sequence[Change]]) -> dict[str, list[Change]]:
    """Return the changes of each day, in order."""
    found: dict[str, list[Change]] = {}
    for listed in changes.values():
        for change in listed:
            found.setdefault(change["day"], []).append(change)
    return found


def deleted(place: Place) -> set[str]:
    """Return the sessions that were deleted for good."""
    names = place.names(DELETED)

    def read() -> set[str]:
        return {each["session_id"] for listed in read_changes(place, DELETED).values() for each in listed}

    found: set[str] = place.once("deleted", tuple(names), read)
    return found


def keep_deleted(place: Place, changes: Mapping[str, Sequence[Change]]) -> None:
    """Have the sessions that the changes delete stay deleted, before they are taken out of the history."""
    known = set(place.names(DELETED))
    for name, listed in changes.items():
        gone = [each for each in listed if each["what"] == "delete"]
        if gone and name not in known:
            place.write(json.dumps({"changes": gone}).encode(), DELETED, name)


def settle(place: Place, changes: Mapping[str, Sequence[Change]], applied: set[str], *, wait: bool) -> None:
    """Remove the files whose changes were applied, oldest first.

    Where one stays, all later ones of its sessions do: else it would be applied again without them.

    Args:
        place: of the lake.
        changes: what was read.
        applied: the sessions that the history had.
        wait: keep those of other sessions, which may come yet.
    """
    waiting: set[str] = set()
    for name, listed in changes.items():
        named = {each["session_id"] for each in listed}
        if wait and not named <= applied - waiting:
            waiting |= named
        else:
            place.remove(CHANGES, name)


def alters(tags: Mapping[str, Iterable[str]], changes: Iterable[Change]) -> bool:
    """Tell whether changes make anything else of sessions that have these tags."""
    after = {name: set(own) for name, own in tags.items()}
    for each in changes:
        if (own := after.get(each["session_id"])) is None:
            continue
        if each["what"] == "delete":
            return True
        if each["what"] in ("tag", "untag"):
            (own.add if each["what"] == "tag" else own.discard)(each["tag"])
    return any(own != set(tags[name]) for name, own in after.items())


def without(rows: pa.Table, gone: set[str]) -> pa.Table:
    """Return the rows of other sessions."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not gone:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows.column("session_id"), pa.array(sorted(gone), pa.string()))))


def changed(rows: pa.Table, changes: Iterable[Change]) -> pa.Table:
    """Return the rows as the changes want them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gone: set[str] = set()
    named: dict[str, list[Change]] = {}
    for each in changes:
        if each["what"] == "delete":
            gone.add(each["session_id"])
        elif each["what"] in ("tag", "untag"):
            named.setdefault(each["session_id"], []).append(each)
    rows = without(rows, gone)
    is_touched = pc.is_in(rows.column("session_id"), pa.array(sorted(named), pa.string())) if named else None
    places = [] if is_touched is None else pc.indices_nonzero(is_touched).to_pylist()
    if not places:
        return rows
    wanted = ["session_id", "step_name", "tags", "status", "success", "duration_us", "data", "mode"]
    some = rows.take(pa.array(places)).select(wanted).to_pylist()
    tags: dict[str, set[str]] = {}
    counted: dict[str, bool] = {}
    for row in some:
        if row["step_name"] is None:
            name, data = row["session_id"], json.loads(row["data"] or "{}")
            own = tags[name] = set(json.loads(row["tags"] or "[]"))
            for each in named[name]:
                (own.add if each["what"] == "tag" else own.discard)(each["tag"])
            is_complete = row["status"] == COMPLETED_CODE
            counted[name] = is_complete and counts(row["success"], data, row["mode"], own)
    columns = {name: rows.column(name).to_pylist() for name in ("tags", "excluded", "counted")}
    for place, row in zip(places, some, strict=True):
        name = row["session_id"]
        own = tags.get(name, set())
        columns["excluded"][place] = any(tag in UNCOUNTED_TAGS for tag in own)
        columns["counted"][place] = counted.get(name, False)
        if row["step_name"] is None:
            columns["tags"][place] = json.dumps(sorted(own), ensure_ascii=False) if own else None
        elif counted.get(name):
            is_ripe = row["status"] == COMPLETED_CODE and row["duration_us"] is not None
            columns["counted"][place] = is_ripe and not is_cached(json.loads(row["data"] or "null"))
    for name, values in columns.items():
        number = rows.schema.get_field_index(name)
        rows = rows.set_column(number, name, pa.array(values, rows.schema.field(name).type))
    return rows
