"""Findings as matplotlib figures: the title says what was found, the picture shows it.

No pyplot and no files: a figure belongs to the caller. Names load on first use, because
matplotlib is slow to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfdb.charts.bottlenecks import bottlenecks
    from perfdb.charts.compare import compare
    from perfdb.charts.resources import resources
    from perfdb.charts.steps import steps
    from perfdb.charts.trend import trend
    from perfdb.charts.waterfall import waterfall

__all__ = ["bottlenecks", "compare", "resources", "steps", "trend", "waterfall"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'perfdb.charts' has no attribute {name!r}")
    return getattr(importlib.import_module(f"perfdb.charts.{name}"), name)
