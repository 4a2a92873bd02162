"""Threads, locks and clocks of the machine, whatever was put in the place of Python's."""

from __future__ import annotations

import threading
import time

import pytest

from perfdb.recording import native
from perfdb.recording.native import Flag, Thread


def test_a_flag_that_was_set_before_somebody_waits_is_there_once() -> None:
    flag = Flag()
    flag.set()
    flag.set()
    assert (flag.wait(0), flag.wait(0)) == (True, False)


def test_a_thread_is_alive_from_when_it_is_made_until_it_ends_or_leaves() -> None:
    go = Flag()
    thread = Thread(lambda: go.wait(20) and None)
    assert thread.is_alive
    thread.start()
    assert not thread.join(0)
    thread.leave()
    assert not thread.is_alive
    assert not thread.join(0)
    go.set()
    assert thread.join(20)


def test_a_thread_that_cannot_start_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_no_more", True)
    thread = Thread(lambda: None)
    with pytest.raises(RuntimeError):
        thread.start()
    assert not thread.is_alive
    assert thread.join(0)


def test_a_thread_leaves_no_trace_in_threading() -> None:
    before = threading.enumerate()
    thread = Thread(lambda: threading.current_thread() and None)
    thread.start()
    assert thread.join(20)
    assert threading.enumerate() == before


def test_clocks_that_stand_still_do_not_stop_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    begun = native.monotonic(), native.perf_counter()
    native.sleep(0.01)
    assert native.monotonic() > begun[0]
    assert native.perf_counter() > begun[1]
    assert not native.is_greenlet_world()


def test_a_replaced_sleep_tells_of_greenlets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert native.is_greenlet_world()
