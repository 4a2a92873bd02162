"""Prune a history for whoever asks: the command line, or a program of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from perfdb.errors import InvalidSessionIdError, StoreError, UsageError
from perfdb.recording.report import report_name
from perfdb.store.database import Database
from perfdb.store.engine import sqlite_path
from perfdb.store.sanity import require_nothing_that_acts
from perfdb.store.session_files import remove_pictures
from perfdb.store.upkeep.pruning import Policy, find_shares, prune, read_policy, survey
from perfdb.store.upkeep.retention import clear_errors

if TYPE_CHECKING:
    from perfdb.history.access import Access
    from perfdb.store.upkeep.retention import Counted, Share

logger = logging.getLogger("perfdb")

# At least, between two transactions: a writer that waits for the lock looks every 3 ms. Who has rested is not
# the next to be stopped by a busy system.
REST_S = 0.005
BUSY_S = 30.0


class Traces:
    """The reports and the pictures that go with pruned sessions; what cannot be removed is reported."""

    def __init__(self, history: Access, tell: Callable[[OSError], object]) -> None:
        self._report_dir = history.settings.report_dir
        self._folders = history.picture_folders()
        self._tell = tell

    def remove(self, session_ids: Iterable[str]) -> None:
        """Remove those of these sessions."""
        for session_id in session_ids:
            with self._told():
                remove_pictures(self._folders, [session_id])
            with self._told(), suppress(InvalidSessionIdError):  # it names no file of ours
                (self._report_dir / report_name(session_id)).unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._tell(error)


def delete(
    store: Database,
    shares: Iterable[Share],
    now: float,
    *,
    traces: Traces | None,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Prune at most half of the time, so that others find the database free; return how many went.

    ``progress`` is told now and then how many are gone.
    """
    deleted = 0
    shares = list(shares)
    begun = time.monotonic()
    for gone in prune(store, shares, now) if shares else ():
        deleted += len(gone)
        if traces is not None and gone:
            traces.remove(gone)
        if progress is not None:
            progress(deleted)
        time.sleep(max(REST_S, time.monotonic() - begun))
        begun = time.monotonic()
    return deleted


def require_database(history: Access) -> None:
    """Raise a StoreError where there is no database, or one that acts when something is deleted."""
    path = sqlite_path(history.url)
    if path is None:
        return
    if not path.exists():
        raise StoreError(f"there is no database at {history.database}: nothing to prune")
    with (
        Database(history.url, BUSY_S, migrates=False) as store,
        clear_errors(history.url),
        store.reading(checked=False) as connection,
    ):
        require_nothing_that_acts(connection)


def row_of(share: Share, found: Counted) -> dict[str, Any]:
    """Return what a prune does to a share, as ``perfdb prune --json`` prints it."""
    return {"pipeline": share.pipeline, "mode": share.mode, **asdict(found)}


def prune_history(
    history: Access, policy: Policy, *, pipeline: str | None, dry_run: bool, reports: bool
) -> list[dict[str, Any]]:
    """Prune, or say what would be pruned; see ``History.prune``."""
    policy = policy or read_policy(history.settings.retention)
    if not policy:
        raise UsageError('choose what to delete: older_than="90d", keep_last=1000, both, or [retention]')
    history.require_access()
    require_database(history)
    now = time.time()
    with Database(history.url, BUSY_S) as store, clear_errors(history.url):
        shares = find_shares(store, policy, now, pipeline)
        planned = survey(store, shares)
        if not dry_run:
            traces = Traces(history, lambda error: logger.warning("not removed: %s", error))
            delete(store, shares, now, traces=traces if reports else None)
    return [row_of(share, each) for share, each in planned]
