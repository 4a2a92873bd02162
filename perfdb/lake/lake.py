"""One front end to a lake: windows of it as databases, and what is asked of all of it."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from perfdb.analysis.series import Percentile, Statistics
from perfdb.errors import AbsentError
from perfdb.lake.following import annotations_of
from perfdb.lake.place import ANNOTATIONS, CHANGES, HISTORY, Place, require_libraries
from perfdb.lake.windows import Asked, fill_from, read
from perfdb.settings import sqlite_url
from perfdb.store.database import Database

if TYPE_CHECKING:
    from perfdb.lake.changes import Change

_KEPT = 4  # windows
_LOOK_EVERY_S = 2.0  # for a newer version, where one program asks again and again

_empty: list[bytes] = []  # a database with nothing but its tables


class Lake:
    """A lake that is read.

    Args:
        text: a folder or a URL.
    """

    def __init__(self, text: str) -> None:
        require_libraries()
        self.text = text
        self.place = Place(text)
        self._limit_s: float | None = None
        self._ends: Callable[[], bool] | None = None
        self._kept: OrderedDict[str, tuple[object, Database]] = OrderedDict()
        self._lock = RLock()
        self._folder: Path | None = None
        self._made = 0
        self._mark: object = None
        self._marked_at = 0.0

    def limit(self, seconds: float, ends: Callable[[], bool]) -> None:
        """Limit how long the queries of one reading may take together, and until when."""
        self._limit_s, self._ends = seconds, ends

    def statistics(self, percentiles: Sequence[Percentile], **asked: Any) -> list[Statistics]:
        """Return how long each series takes over the whole lake; see ``lake.statistics``."""
        from perfdb.lake.statistics import statistics

        return statistics(self.place, percentiles, **asked)

    def database(self, asked: Asked | None = None) -> Database:
        """Return a database with what a question needs, as the lake is now.

        Raises:
            AbsentError: there is no lake, or nothing in it yet.
            StoreError: it cannot be read.
        """
        asked = asked or Asked()
        with self._lock:
            mark = self.mark()
            for key in (_WHOLE, repr(asked)):
                known = self._kept.get(key)
                if known is not None and known[0] == mark:
                    self._kept.move_to_end(key)
                    return known[1]
            with self.place.in_words("read"):
                table = self.place.open(HISTORY)
                if table is None:
                    raise AbsentError(
                        f"nothing is sealed in {self.place.shown} yet: perfdb lake seal {self.place.shown}"
                    )
                rows, whole = read(self.place, table, asked)
                annotated = annotations_of(self.place)
            url = self._new()
            fill_from(url, rows, annotated)
            database = Database(url, migrates=False, limit_s=self._limit_s, ends=self._ends)
            self._kept[_WHOLE if whole else repr(asked)] = (mark, database)
            while len(self._kept) > _KEPT or (whole and len(self._kept) > 1):
                self._kept.popitem(last=False)[1][1].forget()
            return database

    def mark(self) -> object:
        """Return what changes with the lake."""
        now = time.monotonic()
        if self._mark is None or now - self._marked_at > _LOOK_EVERY_S:
            self.place.require()
            with self.place.in_words("read"):
                table = self.place.open(HISTORY)
                others = [tuple(self.place.names(folder)) for folder in (CHANGES, ANNOTATIONS)]
            self._mark = (None if table is None else table.version(), *others)
            self._marked_at = now
        return self._mark

    def change(self, *changes: Change) -> None:
        """Note changes for the daily pass; answers have them from now on."""
        from perfdb.lake.changes import add_changes

        self.place.require()
        with self.place.in_words("changed"):
            add_changes(self.place, changes)
        self._mark = None

    def watch(self) -> LakeWatch:
        """Return what notices that something was sealed."""
        return LakeWatch(self)

    def _new(self) -> str:
        from perfdb.store.schema import ensure_schema

        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="perfdb-lake-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._made += 1
        path = self._folder / f"window-{self._made}.sqlite3"
        if not _empty:
            ensure_schema(sqlite_url(path))
            _empty.append(path.read_bytes())
        else:
            path.touch(mode=0o600)
            path.write_bytes(_empty[0])
        return sqlite_url(path)


_WHOLE = "whole"


class LakeWatch:
    """Notices that something was sealed, as ``store.database.Watch`` does of a database."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._seen: object = None

    def moved(self) -> bool:
        """Say whether anything may have changed since the last call; the first says yes."""
        try:
            seen = self._lake.mark()
        except AbsentError:
            seen = None
        moved, self._seen = seen != self._seen, seen
        return moved

    def close(self) -> None:
        """Let go of nothing: a lake keeps no connection."""
