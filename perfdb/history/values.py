"""The rows of a frame as built-in Python values, for JSON and for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


_TEXTS = ("started_at", "ended_at", "period")


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as dictionaries of built-in values; a missing one is None.

    An instant is ISO text where the views have it so, else epoch seconds.
    """
    columns = [
        (instant_texts if name in _TEXTS else _epochs)(frame[name])
        if frame[name].dtype.kind == "M"
        else [to_builtin(value) for value in frame[name].tolist()]
        for name in frame.columns
    ]
    names = list(frame.columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def instant_texts(instants: pd.Series[Any]) -> list[str | None]:
    """Return a column of instants as the views have them, ISO text, UTC; of a ``period`` its first day."""
    import numpy as np

    if instants.name == "period":
        micros = instants.dt.tz_localize(None).to_numpy("datetime64[D]")
        texts = np.datetime_as_string(micros)
    else:
        texts = np.datetime_as_string(instants.to_numpy("datetime64[us]"), timezone="UTC")  # with a Z
    return [
        None if is_missing else str(each) for each, is_missing in zip(texts, instants.isna(), strict=True)
    ]


def _epochs(instants: pd.Series[Any]) -> list[float | None]:
    return [None if value is None else value.timestamp() for value in map(to_builtin, instants)]


def to_builtin(value: Any) -> Any:
    """Return a cell as a built-in value; NaN, infinities, NA and NaT are None."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, bool | int | str | Mapping | list):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value.item() if hasattr(value, "item") else value
