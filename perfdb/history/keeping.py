"""What keeps a history: reports that come in, and what is pruned."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from perfdb.errors import FilterError
from perfdb.filters import checked_filters
from perfdb.history.decisions import Decisions
from perfdb.text import counted, inert

if TYPE_CHECKING:
    from perfdb.maintenance.importer import Imported


class Keeping(Decisions):
    """The methods of a History that bring sessions in and take them out."""

    def import_reports(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        each: Callable[[Imported], object] | None = None,
    ) -> list[Imported]:
        """Take JSON reports and exports into the database, which is made where there is none.

        Args:
            paths: files, folders (every ``*.json`` in and below them) and globs.
            each: called with every file once its sessions are in the database.

        Returns:
            What became of each file: ``path``, how many sessions were ``added`` and ``known`` already, and
            ``error``: why it was refused, or None.

        Raises:
            StoreError: the database cannot be used at all, or no longer.
        """
        from perfdb.maintenance.importer import find_reports, import_reports

        self.require_access()
        found = find_reports([paths] if isinstance(paths, str | os.PathLike) else paths)
        imported = []
        for one in import_reports(found, self._settings):
            imported.append(one)
            if each is not None:
                each(one)
        return imported

    def reindex(self, *, each: Callable[[int], object] | None = None) -> int:
        """Give recorded sessions the modes that ``mode_attributes`` of the settings name now.

        And compute the daily figures, which long windows are answered from, anew. In pieces, while programs
        record; interrupted, it goes on when it is called again. Sessions that run keep their modes. An alert
        of a mode whose sessions have several modes now is resolved.

        Args:
            each: is told after every piece how many sessions were changed so far.

        Returns:
            How many sessions were changed.

        Raises:
            StoreError: there is no database, or it takes no changes now.
        """
        from perfdb.history.pruning import BUSY_S, REST_S, require_database
        from perfdb.store.database import Database
        from perfdb.store.rollups import roll_up, spoil_all
        from perfdb.store.upkeep.reindexing import reindex
        from perfdb.store.upkeep.retention import clear_errors

        self.require_access()
        require_database(self)
        changed, begun = 0, time.monotonic()
        with Database(self.url, BUSY_S) as store, clear_errors(self.url):
            for moved in reindex(store, self._settings.mode_attributes):
                changed += moved
                if each is not None:
                    each(changed)
                time.sleep(max(REST_S, time.monotonic() - begun))
                begun = time.monotonic()
            spoil_all(store)
            for _ in roll_up(store):
                time.sleep(REST_S)
        return changed

    def stale_modes(self) -> str | None:
        """Return a sentence when sessions have modes of other attributes than the settings say; else None."""
        from perfdb.store.upkeep.reindexing import stale_kinds

        names = self._settings.mode_attributes
        with self._reading() as connection:
            stale = [] if connection is None else stale_kinds(connection, names)
        if not stale:
            return None
        found = sorted({name for kind in stale for name in json.loads(kind.mode)})
        now, before = (inert(", ".join(each)) or "none" for each in (names, found))
        modes = counted(len(stale), "mode")
        return (
            f"mode_attributes are now {now}; sessions of {modes} ({before}) are as before: perfdb db reindex"
        )

    def prune(
        self,
        *,
        older_than: str | timedelta | None = None,
        keep_last: int | None = None,
        pipeline: str | None = None,
        dry_run: bool = False,
        reports: bool = False,
    ) -> list[dict[str, Any]]:
        """Delete old sessions in small batches while programs record, as ``perfdb prune`` does.

        Running and tagged sessions, and those that an open alert or a pinned baseline names, stay.

        Args:
            older_than: only sessions older than this age of at least an hour: ``"90d"``, or a timedelta.
            keep_last: always keep so many of the newest of each pipeline and mode. Without both,
                ``[retention]`` of the settings says what goes.
            pipeline: only this pipeline.
            dry_run: change nothing.
            reports: delete JSON reports and the pictures of designs, too.

        Returns:
            One row per pipeline and mode: ``pruned`` and ``kept``; of these ``tagged``, ``named`` and
            ``running``; ``oldest`` and ``newest``, the starts (epoch s) of the first and last that go.

        Raises:
            ValueError: an age or a number that cannot be meant.
            UsageError: nothing says what goes.
            StoreError: there is no database, or it takes no changes now.
        """
        from perfdb.history.pruning import prune_history
        from perfdb.store.upkeep.pruning import Policy, age

        if isinstance(older_than, timedelta):
            older_than = f"{older_than.total_seconds()}s"
        try:
            seconds = None if older_than is None else age(older_than)
        except ValueError as error:
            raise FilterError(f"older_than={older_than!r} {error}") from None
        last = None if keep_last is None else checked_filters(keep_last, {})["last"]
        named = checked_filters(None, {"pipeline": pipeline})["pipeline"]
        return prune_history(self, Policy(seconds, last), pipeline=named, dry_run=dry_run, reports=reports)
