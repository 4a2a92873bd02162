"""perfdb keeps the performance history of multi-step pipelines.

    tracker = perfdb.create_tracker()
    tracker.start_pipeline(fast_mode=False)
    with perfdb.track_vision_analysis(tracker):
        ...
    tracker.end_pipeline(success=True, product_count=5)

Names load on first use: importing perfdb loads neither pandas nor SQLAlchemy.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would be a tenth of what a first step may cost
if TYPE_CHECKING:
    from typing import Any

    from perfdb.alerts.callbacks import on_alert
    from perfdb.errors import (
        InvalidSessionIdError,
        MissingExtraError,
        NewerSchemaError,
        NotFoundError,
        PerfdbError,
        ReportError,
        SchemaError,
        SettingsError,
        StoreError,
        UsageError,
    )
    from perfdb.history.history import History
    from perfdb.integrations.executors import Executor, carry_in_pools
    from perfdb.recorder import Intake, create_tracker, current, join, prepare, track, usage
    from perfdb.recording.context import carry, context
    from perfdb.recording.design_steps import (
        track_composite_creation,
        track_image_generation,
        track_product_search,
        track_vision_analysis,
    )
    from perfdb.records import Alert, Sample, Session, Step
    from perfdb.version import __version__

_HOMES = {
    "perfdb.alerts.callbacks": ("on_alert",),
    "perfdb.errors": (
        "InvalidSessionIdError",
        "MissingExtraError",
        "NewerSchemaError",
        "NotFoundError",
        "PerfdbError",
        "ReportError",
        "SchemaError",
        "SettingsError",
        "StoreError",
        "UsageError",
    ),
    "perfdb.history.history": ("History",),
    "perfdb.integrations.executors": ("Executor", "carry_in_pools"),
    "perfdb.recorder": ("Intake", "create_tracker", "current", "join", "prepare", "track", "usage"),
    "perfdb.recording.context": ("carry", "context"),
    "perfdb.recording.design_steps": (
        "track_composite_creation",
        "track_image_generation",
        "track_product_search",
        "track_vision_analysis",
    ),
    "perfdb.records": ("Alert", "Sample", "Session", "Step"),
    "perfdb.version": ("__version__",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Alert",
    "Executor",
    "History",
    "Intake",
    "InvalidSessionIdError",
    "MissingExtraError",
    "NewerSchemaError",
    "NotFoundError",
    "PerfdbError",
    "ReportError",
    "Sample",
    "SchemaError",
    "Session",
    "SettingsError",
    "Step",
    "StoreError",
    "UsageError",
    "__version__",
    "carry",
    "carry_in_pools",
    "context",
    "create_tracker",
    "current",
    "join",
    "on_alert",
    "prepare",
    "track",
    "track_composite_creation",
    "track_image_generation",
    "track_product_search",
    "track_vision_analysis",
    "usage",
]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'perfdb' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Let ``%load_ext perfdb`` give a notebook ``%%perfdb NAME``."""
    from perfdb.integrations.notebooks import load

    load(shell)
