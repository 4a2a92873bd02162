"""``@perfdb.on_alert``: functions of the host that are called when an alert fires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from perfdb.records import Alert

Callback = TypeVar("Callback", bound=Callable[[Alert], Any])

_callbacks: list[Callable[[Alert], Any]] = []


def on_alert(function: Callback) -> Callback:
    """Have ``function(alert)`` called, in this process, whenever people are to be notified of an alert.

    It runs on a thread of its own, never in the pipeline's way; what it raises is counted in
    ``tracker.health()`` and goes no further. Usable as a decorator.
    """
    if function not in _callbacks:
        _callbacks.append(function)
    return function


def registered() -> tuple[Callable[[Alert], Any], ...]:
    """Return the functions to call."""
    return tuple(_callbacks)


def forget(function: Callable[[Alert], Any]) -> None:
    """Call ``function`` no more."""
    if function in _callbacks:
        _callbacks.remove(function)
