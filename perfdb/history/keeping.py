"""What keeps a history: reports that come in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from perfdb.history.decisions import Decisions

if TYPE_CHECKING:
    from perfdb.maintenance.importer import Imported


class Keeping(Decisions):
    """The methods of a History that bring sessions in."""

    def import_reports(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        each: Callable[[Imported], object] | None = None,
    ) -> list[Imported]:
        """Take JSON reports and exports into the database, which is made where there is none.

        Args:
            paths: files, folders (every ``*.json`` in and below them) and globs.
            each: is told of every file once its sessions are in the database.

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
