"""Pools of threads whose work stays inside the step and session that it was handed in from."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from perfdb.recording.context import carry, current, like, open_from

P = ParamSpec("P")
R = TypeVar("R")


class Executor(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` whose calls keep the caller's step and session."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Hand in a call; ``map`` does it for many."""
        return super().submit(carry(fn), *args, **kwargs)


_undo: list[Callable[[], None]] = []


def carry_in_pools() -> Callable[[], None]:
    """Have every thread pool of this process keep the caller's step and session; return what ends that.

    It takes in ``ThreadPoolExecutor`` and ``multiprocessing.pool.ThreadPool``, and with them what cannot be
    given a ``perfdb.carry``: joblib's threads (scikit-learn), Kedro's ``ThreadRunner``. Calls that are handed
    in where nothing is recorded stay as they are. Twice is as good as once.
    """
    from multiprocessing.pool import ThreadPool

    if not _undo:
        _replace(ThreadPoolExecutor, "submit")
        for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
            _replace(ThreadPool, name)
    return _end


def _end() -> None:
    while _undo:
        _undo.pop()()


def _replace(owner: type, name: str) -> None:
    own = vars(owner).get(name)
    original = getattr(owner, name)
    of_pool = ("callback", "error_callback") if name.endswith("_async") else ()

    def carrying(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if open_from(current.get()) is not None and callable(fn):
            fn = carry(fn)
            for each in of_pool:  # they may hand in more, as joblib's do
                if callable(kwargs.get(each)):
                    kwargs[each] = carry(kwargs[each])
        return original(self, fn, *args, **kwargs)

    def undo() -> None:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)

    setattr(owner, name, like(original, carrying))
    _undo.append(undo)
