"""From a session that runs, or ran here, to the frozen record that everyone shares.

Apart from ``live`` because records are dataclasses, and a host that only records never needs one.
"""

from __future__ import annotations

from typing import Any

from perfdb.recording.live import LiveSession
from perfdb.recording.timed import Timed
from perfdb.records import FURTHER_OF_SESSION, FURTHER_OF_STEP, Attempt, Event, Sample, Session, Step


def snapshot(live: LiveSession) -> Session:
    """Return the session as it stands, rounded as the journal is."""
    process = live.journal.header if live.journal is not None else {}
    return Session(
        session_id=live.session_id,
        pipeline=live.pipeline,
        start_time=live.start_time,
        total_duration=live.total_duration,
        status=live.status,
        fast_mode=live.fast_mode,
        success=live.success,
        product_count=live.product_count,
        error_message=live.error_message,
        mode=live.mode,
        attributes=live.attributes,
        steps=tuple(_step(live, step) for step in list(live.steps)),
        samples=tuple(Sample(time=at, cpu_percent=cpu, rss_bytes=rss) for at, cpu, rss in list(live.samples)),
        utc_offset=live.utc_offset,
        **live.measured(),
        **{name: process.get(name, getattr(live, name, None)) for name in FURTHER_OF_SESSION},
    )


def _step(live: LiveSession, step: Timed) -> Step:
    fixed: dict[str, Any] = {
        "step_name": step.name,
        "start_time": round(live.wall(step.begun), 6),
        "seq": step.seq,
        "parent_seq": step.parent_seq,
        "lane": step.lane,
        "attempts": tuple(Attempt(**attempt) for attempt in step.attempts),
    }
    if step.duration is None or step.cpu_s is None:
        data = live.cleaner().clean(step.data)
        return Step(**fixed, duration=None, success=None, additional_data=data)
    further: dict[str, Any] = {name: getattr(step, name, None) for name in FURTHER_OF_STEP}
    return Step(
        **fixed,
        duration=round(step.duration, 6),
        success=step.success,
        error_message=step.error_message,
        additional_data=step.data,
        events=tuple(Event(name=name, time=at, data=data) for name, at, data in step.events),
        interrupted=step.interrupted,
        **step.measured(),
        **further,
    )
