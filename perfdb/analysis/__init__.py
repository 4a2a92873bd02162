"""What the past of a pipeline tells: pure functions, frame or sequence in, frame or frozen dataclass out.

Names load on first use: laying out one session needs no numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfdb.analysis.change_points import ChangePoint, find_change_points, find_past_changes

__all__ = ["ChangePoint", "find_change_points", "find_past_changes"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'perfdb.analysis' has no attribute {name!r}")
    from perfdb.analysis import change_points

    return getattr(change_points, name)
