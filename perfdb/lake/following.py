"""Have a lake follow what changes in a source after it was pushed: tags, and annotations.

Of the tags the lake keeps what it was told, by stretches of the source's sessions; a file's name has the
digest of what it says, so that a listing tells what changed. What is gone from a source stays in the lake.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake.changes import Change, add_changes, change_of
from perfdb.lake.place import ANNOTATIONS, TAGS, Place
from perfdb.store.rows import instant, is_as_kept, text
from perfdb.store.upkeep.archiving import Extent, read_tags, starts_of
from perfdb.vocabulary import SESSION_ID

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.store.annotations import Annotation

_STRETCH = 20_000  # numbers of sessions whose tags are in one file
_CHANGES = 20_000  # in one file
_KEYS = ("at", "text", "pipeline", "created_at")
_KINDS = (float, str, str | None, float)

Tags = dict[str, tuple[float, list[str]]]  # by session: when it began (epoch s), and its tags, sorted


@dataclass(frozen=True, slots=True)
class Told:
    """What a lake may know of the tags of a source, and what is so now, by stretches."""

    before: dict[int, list[str]]  # the files that were there: several where somebody died
    now: dict[int, Tags]
    numbers: dict[str, int]  # of the sessions that have tags now


def announce(place: Place, source: str, connection: Connection) -> Told:
    """Say which tags the lake may get from now on, before any of them is sent.

    Whoever dies later leaves both: what the lake knew, and what it may have got meanwhile.
    """
    before = _told(place, source)
    found: dict[int, Tags] = {0: {}}  # the first is always there: it says that the source was followed before
    numbers: dict[str, int] = {}
    for number, session_id, began, tags in read_tags(connection):
        found.setdefault(number // _STRETCH, {})[session_id] = (began, tags)
        numbers[session_id] = number
    for stretch, now in found.items():
        content, name = _file_of(stretch, now)
        if name not in before.get(stretch, ()):
            place.write(content, TAGS, source, name)
    return Told(before, found, numbers)


def follow(
    place: Place, source: str, connection: Connection, told: Told, extent: Extent, sent: Callable[[int], bool]
) -> int:
    """Send what changed in the sessions up to an extent; return how many tags were given or taken.

    A session that was sent now may be in the lake since long ago, with other tags: it gets its tags, too,
    but by the first push of a source.

    Args:
        place: of the lake.
        source: its name.
        connection: to the source.
        told: what was announced, of the same moment of the source.
        extent: which of its sessions were pushed.
        sent: tells of a session's number whether it went with its tags now.
    """
    held = {*extent.held}
    fresh = {name for name, number in told.numbers.items() if sent(number)}
    waiting = {name for name, number in told.numbers.items() if number > extent.last or number in held}
    changed = 0
    for stretch in sorted(told.now.keys() | told.before.keys()):
        now, before = told.now.get(stretch, {}), told.before.get(stretch, [])
        content, name = _file_of(stretch, now)
        if before == [name]:
            continue
        known = [_tags_in(place, source, each) for each in before]
        left_out = waiting if told.before else waiting | fresh
        changes = list(_differences(connection, known, now, left_out))
        for first in range(0, len(changes), _CHANGES):
            add_changes(place, changes[first : first + _CHANGES])
        changed += sum(each["session_id"] not in fresh for each in changes)
        if stretch not in told.now:
            place.write(content, TAGS, source, name)
        for each in before:
            if each != name:
                place.remove(TAGS, source, each)
    return changed


def _file_of(stretch: int, tags: Tags) -> tuple[bytes, str]:
    content = json.dumps(tags, ensure_ascii=False).encode()
    return content, f"{stretch}-{_digest(content)}.json"


def _told(place: Place, source: str) -> dict[int, list[str]]:
    """Return the files of each stretch."""
    found: dict[int, list[str]] = {}
    for name in place.names(f"{TAGS}/{source}"):
        stretch, _, _ = name.partition("-")
        if stretch.isdecimal():
            found.setdefault(int(stretch), []).append(name)
    return found


def _tags_in(place: Place, source: str, name: str) -> dict[str, Any]:
    """Return what a file says that a lake was told, without what no source told it."""
    try:
        found = place.document(TAGS, source, name) or {}
    except StoreError:
        return {}
    return {
        session_id: each
        for session_id, each in found.items()
        if isinstance(each, list) and len(each) == 2 and is_as_kept("tags", each[1])
        if re.fullmatch(SESSION_ID, session_id)
    }


def _differences(
    connection: Connection, known: Sequence[dict[str, Any]], now: Tags, left_out: set[str]
) -> Iterator[Change]:
    """Yield what makes of any state that the lake may know the one that is now."""
    for session_id, (began, tags) in now.items():
        if session_id in left_out:
            continue
        states = [{*each[session_id][1]} if session_id in each else set() for each in known] or [set()]
        for tag in sorted({*tags} - set.intersection(*states)):
            yield change_of(session_id, began, "tag", tag)
        for tag in sorted(set.union(*states) - {*tags}):
            yield change_of(session_id, began, "untag", tag)
    gone: dict[str, set[str]] = {}
    for each in known:
        for session_id in each.keys() - now.keys():
            gone.setdefault(session_id, set()).update(each[session_id][1])
    for session_id, began in starts_of(connection, sorted(gone)).items():  # what is gone keeps its tags
        for tag in sorted(gone[session_id]):
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
                    if _is_annotation(each):
                        found.add((each["at"], each["text"], each.get("pipeline"), each["created_at"]))
        return sorted(found, key=lambda each: (each[0], each[3], each[1], each[2] or ""))

    listed: list[Annotated] = place.once("annotations", tuple(names), read)
    return listed


def _is_annotation(found: object) -> bool:
    if not isinstance(found, dict) or not all(map(isinstance, map(found.get, _KEYS), _KINDS)):
        return False
    times, texts = (found["at"], found["created_at"]), (found["text"], found.get("pipeline"))
    return all(instant(each) == each for each in times) and all(text(each) == each for each in texts)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
