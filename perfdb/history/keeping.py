"""What keeps a history: reports that come in, and what is pruned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from perfdb.errors import FilterError
from perfdb.filters import checked_filters
from perfdb.history.decisions import Decisions

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
