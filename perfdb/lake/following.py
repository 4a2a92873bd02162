"""Have a lake follow what changes in a source after it was pushed: tags, and annotations.

Of the tags the lake keeps what it was told, by stretches of the source's sessions; a file's name has the
digest of what it says, so that a listing tells what changed. What is gone from a source stays in the lake.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake.changes import Change, add_changes, change_of
from perfdb.lake.place import ANNOTATIONS, TAGS, Place
from perfdb.store.upkeep.archiving import Extent, read_tags, starts_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.store.annotations import Annotation

_STRETCH = 20_000  # numbers of sessions whose tags are in one file
_CHANGES = 20_000  # in one file
_KEYS = ("at", "text", "pipeline", "created_at")
_KINDS = (float, str, str | None, float)

Tags = dict[str, tuple[float, list[str]]]  # by session: when it began (epoch s), and its tags, sorted


def follow(
    place: Place, source: str, connection: Connection, extent: Extent, sent: Callable[[int], bool]
) -> int:
    """Send what changed in the sessions up to an extent; return how many tags were given or taken.

    Args:
        place: of the lake.
        source: its name.
        connection: to the source.
        extent: which of its sessions were pushed.
        sent: tells of a session's number whether its tags went with it now.
    """
    told = _told(place, source)
    found: dict[int, Tags] = {0: {}}  # the first is always there: it says that the source was followed before
    fresh: set[str] = set()
    for number, session_id, began, tags in read_tags(connection, extent):
        found.setdefault(number // _STRETCH, {})[session_id] = (began, tags)
        if sent(number):
            fresh.add(session_id)
    changed = 0
    for stretch in sorted(found.keys() | told.keys()):
        now = found.get(stretch, {})
        content = json.dumps(now, ensure_ascii=False).encode()
        name = f"{stretch}-{_digest(content)}.json"
        before = told.get(stretch, [])
        if before == [name]:
            continue
        known: dict[str, Any] = {}
        for each in before:
            known |= place.document(TAGS, source, each) or {}
        changes = list(_differences(connection, known, now, fresh))
        for first in range(0, len(changes), _CHANGES):
            add_changes(place, changes[first : first + _CHANGES])
        changed += len(changes)
        place.write(content, TAGS, source, name)
        for each in before:
            if each != name:
                place.remove(TAGS, source, each)
    return changed


def is_followed(place: Place, source: str) -> bool:
    """Tell whether a source was followed before."""
    return bool(place.names(f"{TAGS}/{source}"))


def _told(place: Place, source: str) -> dict[int, list[str]]:
    """Return the files of each stretch: several where somebody died."""
    found: dict[int, list[str]] = {}
    for name in place.names(f"{TAGS}/{source}"):
        stretch, _, _ = name.partition("-")
        if stretch.isdecimal():
            found.setdefault(int(stretch), []).append(name)
    return found


def _differences(
    connection: Connection, known: dict[str, Any], now: Tags, fresh: set[str]
) -> Iterator[Change]:
    for session_id, (began, tags) in now.items():
        before = known.get(session_id, (began, tags if session_id in fresh else []))[1]
        for tag in sorted({*tags} - {*before}):
            yield change_of(session_id, began, "tag", tag)
        for tag in sorted({*before} - {*tags}):
            yield change_of(session_id, began, "untag", tag)
    bare = [session_id for session_id in known if session_id not in now]
    for session_id, began in starts_of(connection, bare).items():  # what is gone keeps its tags
        for tag in known[session_id][1]:
            yield change_of(session_id, began, "untag", tag)


def follow_annotations(place: Place, source: str, found: Sequence[Annotation]) -> None:
    """Have the lake show the annotations that a source has now."""
    listed = [{key: getattr(each, key) for key in _KEYS} for each in found]
    content = json.dumps({"annotations": listed}, ensure_ascii=False).encode()
    name = f"{source}-{_digest(content)}.json"
    before = [each for each in place.names(ANNOTATIONS) if each.startswith(f"{source}-")]
    if found and name not in before:
        place.write(content, ANNOTATIONS, name)
    for each in before:
        if each != name or not found:
            place.remove(ANNOTATIONS, each)


Annotated = tuple[float, str, str | None, float]  # instant, text, pipeline, when it was said


def annotations_of(place: Place) -> list[Annotated]:
    """Return what the sources annotated, each once, oldest first."""
    names = place.names(ANNOTATIONS)

    def read() -> list[Annotated]:
        found: set[Annotated] = set()
        for name in names:
            with contextlib.suppress(StoreError):  # that file alone does not count
                listed = (place.document(ANNOTATIONS, name) or {}).get("annotations")
                for each in listed if isinstance(listed, list) else ():
                    if isinstance(each, dict) and all(map(isinstance, map(each.get, _KEYS), _KINDS)):
                        found.add((each["at"], each["text"], each.get("pipeline"), each["created_at"]))
        return sorted(found, key=lambda each: (each[0], each[3], each[1], each[2] or ""))

    listed: list[Annotated] = place.once("annotations", tuple(names), read)
    return listed


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
