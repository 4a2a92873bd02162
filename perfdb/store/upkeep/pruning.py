"""How much history is kept: the policy, and the pruning that follows it in small pieces.

Between two pieces nothing is locked, so that the caller decides how much of the time others get: `perfdb
prune` rests as long as it worked, a host's worker takes one piece per turn.
"""

from __future__ import annotations

from collections.abc import Iterator

from perfdb.filters import DAY_S, parse_age
from perfdb.settings import whole
from perfdb.toml import Table
from perfdb.vocabulary import BIGGEST

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterable

    from perfdb.store.database import Database
    from perfdb.store.upkeep.retention import Counted, Doomed, Share

# That a piece deletes, under the write lock; its commit takes half as long. On a busy machine the system
# suspends a process that computes for 3 ms without a rest, for 10 to 100 ms: not one that holds the lock.
HELD_S = 0.001
SHARED_HELD_S = 0.01  # PostgreSQL locks the rows that go, for which nobody waits
_SHARES = 20  # that are looked at in one go
_TOGETHER = 200  # sessions of several shares
_NOTED = 8  # transactions, after which what they noted of measures is added to the figures of days
SENT_KEPT_S = 30 * DAY_S  # messages that reached their channel; what they said stays with the alerts
_SHORTEST_S, _LONGEST_S = 3600.0, 1e10


class Policy:
    """What is kept: sessions younger than ``older_than_s``, and the last ``keep_last`` in any case."""

    __slots__ = ("keep_last", "older_than_s")

    def __init__(self, older_than_s: float | None = None, keep_last: int | None = None) -> None:
        self.older_than_s = older_than_s
        self.keep_last = None if keep_last is None else min(keep_last, BIGGEST)

    def __bool__(self) -> bool:
        return self.older_than_s is not None or self.keep_last is not None


def read_policy(table: Table) -> Policy:
    """Return the ``[retention]`` of the settings; a false one when nothing is to be pruned.

    Raises:
        SettingsError: a key or value that perfdb does not know.
    """
    found = table.read({"older_than": age, "keep_last": whole(1, 1_000_000_000)})
    return Policy(found.get("older_than"), found.get("keep_last"))


def age(value: object) -> float:
    """Return the seconds of an age of at least an hour, such as ``"90d"``.

    Raises:
        ValueError: it is none.
    """
    try:
        if isinstance(value, str) and _SHORTEST_S <= (seconds := parse_age(value)) < _LONGEST_S:
            return seconds
    except ValueError:
        pass
    raise ValueError("must be an age of at least an hour, such as 90d, 12w or 2y")


def find_shares(database: Database, policy: Policy, now: float, pipeline: str | None = None) -> list[Share]:
    """Return the sessions that a policy leaves to be pruned, per pipeline and mode."""
    from perfdb.store.upkeep import retention as store

    until = None if policy.older_than_s is None else now - policy.older_than_s
    with database.reading() as connection:
        return store.find_shares(connection, until=until, keep_last=policy.keep_last, pipeline=pipeline)


def survey(database: Database, shares: Iterable[Share]) -> list[tuple[Share, Counted]]:
    """Return what would go and stay of each share, shares without sessions left out."""
    from perfdb.store.upkeep import retention as store

    with database.reading() as connection:
        found = [(share, store.count(connection, share)) for share in shares]
    return [(share, planned) for share, planned in found if planned.pruned or planned.kept]


def prune(database: Database, shares: Iterable[Share], now: float) -> Iterator[list[str]]:
    """Delete the sessions of the shares, and what then belongs to nobody; shrink the file.

    Yields:
        after each short transaction the ids of the sessions that it deleted; there may be none.

    Raises:
        SQLAlchemyError: the database takes no changes now; begin again later, what is gone is gone.
    """
    from perfdb.store.upkeep.orphans import delete_orphans

    seconds = SHARED_HELD_S if database.is_shared else HELD_S
    yield from _prune_shares(database, shares, seconds)
    yield from _delete_sent(database, now - SENT_KEPT_S, seconds)
    for _ in delete_orphans(database.url, now, seconds):
        yield []
    yield from _shrink(database)


def _prune_shares(database: Database, shares: Iterable[Share], seconds: float) -> Iterator[list[str]]:
    """Delete what may go of each share; those of many small ones go together."""
    from perfdb.store.upkeep import retention as store

    doomed: list[Doomed] = []
    for number, share in enumerate(shares):
        if number % _SHARES == _SHARES - 1:  # others get their time
            yield []
        last: Doomed | None = None
        while True:
            with database.reading() as connection:
                found = store.find_doomed(connection, share, last)
            doomed += found
            for each in found:
                if each.is_large:
                    _settle(database, each.pk)
            if len(doomed) >= _TOGETHER:
                yield []
                yield from _delete(database, doomed, seconds)
            if len(found) < store.CANDIDATES:
                break
            last = found[-1]
    if doomed:
        yield []
        yield from _delete(database, doomed, seconds)


def _delete(database: Database, doomed: list[Doomed], seconds: float) -> Iterator[list[str]]:
    from perfdb.store.rollups import add_pruned
    from perfdb.store.upkeep import retention as store

    number = 0
    while doomed:
        with database.writing() as connection:
            gone = store.delete_sessions(connection, doomed, seconds)
        yield gone
        number += 1
        if number % _NOTED == 0 or not doomed:
            add_pruned(database)


def _settle(database: Database, pk: int) -> None:
    """Let a large session have itself what its steps make together, before they go."""
    from perfdb.store.upkeep import retention as store

    with database.reading() as connection:
        attributes = store.made_of_steps(connection, pk)
    if attributes is not None:
        with database.writing() as connection:
            store.keep_made(connection, pk, attributes)


def _delete_sent(database: Database, until: float, seconds: float) -> Iterator[list[str]]:
    from perfdb.store.models import outbox
    from perfdb.store.upkeep import retention as store

    with database.reading() as connection:
        sent = store.find_sent(connection, until)
    while sent:
        yield []
        with database.writing() as connection:
            store.delete_rows(connection, outbox, sent, seconds)


def _shrink(database: Database) -> Iterator[list[str]]:
    from perfdb.store.upkeep import space

    with database.reading() as connection:
        more = space.can_shrink(connection) and space.free_space(connection) > 0
    while more:
        with database.writing() as connection:
            more = space.give_back(connection, HELD_S)
        yield []
