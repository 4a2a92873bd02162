"""What became of a copy: rows counted, summed up and compared on both sides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from perfdb.store.upkeep.portable import Key, Names, add_checksums, checksum_of

Digests = Mapping[Key, tuple[int, int]]  # number and checksum of the rows of each key


@dataclass(slots=True)
class Copied:
    """What became of the rows of one table.

    ``rows``: in the source; ``added`` and ``updated`` in the target; ``kept``: there they are otherwise,
    and stayed so; ``wrong``: written, and found otherwise. The checksums are of the source's rows, in the
    source and in the target.
    """

    table: str
    rows: int = 0
    added: int = 0
    updated: int = 0
    kept: int = 0
    wrong: int = 0
    source_checksum: int = 0
    target_checksum: int = 0

    def compare(self, here: Digests, there: Digests, written: Collection[Key]) -> None:
        """Add up the rows of the source and what differs in the target.

        Args:
            here: the source's rows.
            there: the target's rows, more than the source's perhaps.
            written: the keys of what has just been written, and must be equal.
        """
        for key, (rows, checksum) in here.items():
            rows_there, checksum_there = there.get(key, (0, 0))
            self.rows += rows
            self.source_checksum = add_checksums(self.source_checksum, checksum)
            self.target_checksum = add_checksums(self.target_checksum, checksum_there)
            if (rows, checksum) == (rows_there, checksum_there):
                continue
            different = abs(rows - rows_there) or rows
            if key in written:
                self.wrong += different
            else:
                self.kept += different


def digests(
    table: Table,
    names: Names,
    rows: Iterable[Sequence[Any]],
    key_of: Callable[[Any], Key],
) -> Digests:
    """Return the number and the checksum of the rows of each key."""
    digest = checksum_of(table, names)
    found: dict[Key, tuple[int, int]] = {}
    for row in rows:
        key = key_of(row)
        count, checksum = found.get(key, (0, 0))
        found[key] = (count + 1, add_checksums(checksum, digest(row)))
    return found
