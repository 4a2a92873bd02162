"""What a type checker knows of the public face: `mypy tests/public_face.py`, strict, finds nothing to say."""

from __future__ import annotations

from typing import assert_type

import pandas as pd

import perfdb


@perfdb.track("whole")
def pipeline(number: int) -> str:
    return str(number)


@perfdb.on_alert
def told(alert: perfdb.Alert) -> None:
    assert_type(alert.value, float)


def record() -> None:
    with perfdb.track("etl", customer="acme") as run:
        with run.step("load", rows=3) as step:
            step.set(bytes_read=48)
            with step.attempt():
                pass
        assert_type(run.map(lambda number: number * 2, [1, 2]), list[int])

        @run.step("transform")
        def transform(number: int) -> str:
            return str(number)

        assert_type(transform(3), str)
    assert_type(pipeline(3), str)
    assert_type(perfdb.carry(pipeline)(3), str)
    tracker = perfdb.create_tracker()
    tracker.start_pipeline(fast_mode=False)
    with perfdb.track_vision_analysis(tracker):
        assert_type(perfdb.usage({"usage": 3}), dict[str, int])
    tracker.end_pipeline(success=True, product_count=5)


def ask() -> None:
    history = perfdb.History()
    assert_type(history.sessions(pipeline="etl", last=3), pd.DataFrame)
    assert_type(history.session("last"), perfdb.Session)
    assert_type(history.session("last").steps[0].duration, float | None)
    assert_type(history.check().failing, tuple[perfdb.Alert, ...])
    assert_type(history.explain().sentence, str)
    assert_type(history.compare("last~1", "last").sentence, str)
    history.sessions(pipline="etl")  # type: ignore[call-arg]
    history.trends(by="month")  # type: ignore[arg-type]
