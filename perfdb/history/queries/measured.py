"""What was measured beside the duration, and the measure that a person names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Unpack

from perfdb.errors import UsageError
from perfdb.filters import Chosen
from perfdb.history.queries.limits import sessions_and_steps
from perfdb.measures import DURATION, FIXED, Measure, named
from perfdb.store import daily_measures
from perfdb.text import inert
from perfdb.vocabulary import recorded_name

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection


_MOST_LOOKED_AT = 1_000  # newest sessions, for the names of measures when one is not known


def measure_named(
    connection: Connection | None, name: str, configured: Mapping[str, Measure], *, where: str
) -> Measure:
    """Return the measure that a person names: as it was recorded, whenever that was.

    Args:
        connection: of any role.
        name: of a measure or an attribute.
        configured: what the settings say of measures.
        where: which database, in words.

    Raises:
        NotFoundError: nothing is called so; it says what is near.
        UsageError: it is an attribute that never was a number.
    """
    measure = named(recorded_name(name), configured)
    if connection is None or measure.name in FIXED or daily_measures.is_recorded(connection, measure):
        return measure
    from perfdb.analysis.measuring import names_in  # with pandas
    from perfdb.history.names import unknown

    known, others = names_in(*sessions_and_steps(connection, last=_MOST_LOOKED_AT))
    if measure.name in others:
        owner = others[measure.name]
        raise UsageError(
            f"the attribute {measure.name!r} of {inert(owner)} never was a number, so that nothing can be "
            f"measured by it; compare its values with: perfdb compare --by {measure.name}"
        )
    if not known:
        return measure
    raise unknown("measure", measure.name, {*known, DURATION.name}, where)


def measures(
    connection: Connection | None, configured: Mapping[str, Measure], **filters: Unpack[Chosen]
) -> pd.DataFrame:
    """Return what ``analysis.measuring`` finds recorded among the sessions that fit."""
    from perfdb.analysis.measuring import recorded

    return recorded(*sessions_and_steps(connection, **filters), configured)


def with_measure(
    connection: Connection | None,
    measure: Measure,
    *,
    of_steps: Collection[str],
    times: int = 1,
    **filters: Unpack[Chosen],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames of ``sessions_and_steps``, with the values of the measure."""
    from perfdb.analysis.measuring import columns_of, measured

    columns = {*of_steps, *columns_of(measure)}
    return measured(*sessions_and_steps(connection, times=times, of_steps=columns, **filters), measure)
