"""Write the database of the current schema: python tests/databases/make.py

Run it once when a schema is released, and never again for that schema: the file is
what a user of that release has on disk.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from perfdb.records import Attempt, Event, Sample, Session, Step
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import HEAD, ensure_schema
from perfdb.vocabulary import DESIGN_STEPS

BEGUN = 1767323045.123456  # 2026-01-02 03:04:05 UTC
HOSTILE = "<script>alert('✗')</script>\n\x1b[31m"
ENVIRONMENT: dict[str, Any] = {
    "host": "studio",
    "pid": 4321,
    "python_version": "3.11.7",
    "perfdb_version": "0.1.0",
    "git_commit": "0" * 40,
    "command": "python design.py",
    "git_branch": "main",
}


def design(session_id: str, start: float, **changes: Any) -> Session:
    at, steps = start, []
    data = (
        {"design_style": "modern", "design_type": "interior redesign"},
        {"products_found": 6, "parallel_workers": 8},
        {"product_count": 6, "image_processing_time": 1.25},
        {"quality": "high"},
    )
    for seq, (name, duration) in enumerate(zip(DESIGN_STEPS, (23.333, 12.45, 2.34, 7.11), strict=True)):
        steps.append(
            Step(
                step_name=name,
                start_time=at,
                duration=duration,
                success=True,
                seq=seq,
                additional_data=data[seq],
                cpu_s=0.5,
                rss_peak_bytes=200_000_000,
                rss_mean_bytes=150_000_000,
            )
        )
        at += duration
    values: dict[str, Any] = {
        "session_id": session_id,
        "pipeline": "design",
        "start_time": start,
        "total_duration": 45.233,
        "status": "completed",
        "success": True,
        "fast_mode": False,
        "product_count": 6,
        "mode": '{"fast_mode":false}',
        "steps": tuple(steps),
        "cpu_s": 2.0,
        **ENVIRONMENT,
        **changes,
    }
    return Session(**values)


def sessions() -> list[Session]:
    failed = (
        Step(
            step_name="Vision Analysis",
            start_time=BEGUN + 3661,
            duration=20.0,
            success=True,
            events=(Event(name="cache-miss", time=BEGUN + 3662, data={"key": HOSTILE}),),
        ),
        Step(
            step_name="Product Search",
            start_time=BEGUN + 3681,
            duration=3.0,
            success=False,
            seq=1,
            error_message=HOSTILE,
            attempts=(
                Attempt(start_time=BEGUN + 3681, duration=1.0, success=False, error_message="429"),
                Attempt(start_time=BEGUN + 3682.5, duration=1.5, wait=0.5),
            ),
        ),
        Step(
            step_name="Product Query",
            start_time=BEGUN + 3681,
            duration=1.0,
            success=True,
            seq=2,
            parent_seq=1,
            lane=1,
            additional_data={"query": "'; DROP TABLE steps; --", "日本": "🚀"},
        ),
    )
    samples = (
        Sample(time=BEGUN + 3662, cpu_percent=99.5, rss_bytes=100_000_000),
        Sample(time=BEGUN + 3663, cpu_percent=0.0, rss_bytes=3_000_000_000),
    )
    return [
        design("20260102_030405_0a1b2c3d", BEGUN),
        design(
            "20260102_040506_1b2c3d4e",
            BEGUN + 3661,
            status="failed",
            success=False,
            total_duration=23.0,
            product_count=None,
            error_message=HOSTILE,
            steps=failed,
            samples=samples,
        ),
        design(
            "20260102_050607_2c3d4e5f",
            BEGUN + 7322,
            status="interrupted",
            success=None,
            total_duration=None,
            product_count=None,
            fast_mode=True,
            mode='{"fast_mode":true}',
            steps=(
                Step(step_name="Vision Analysis", start_time=BEGUN + 7322, duration=5.0, success=True),
                Step(step_name="Product Search", start_time=BEGUN + 7327, duration=None, success=None, seq=1),
            ),
        ),
        Session(
            session_id="nightly-1",
            pipeline="nightly <etl>",
            start_time=BEGUN + 9000,
            total_duration=1.5,
            status="completed",
            success=True,
            tags=("warmup",),
            attributes={"git_sha": "abc", "deep": {"a": [1]}},
            steps=(Step(step_name="load 🚀", start_time=BEGUN + 9000, duration=1.5, success=True),),
        ),
    ]


def main() -> None:
    path = Path(__file__).with_name(f"{HEAD}.sqlite3")
    path.unlink(missing_ok=True)
    url = f"sqlite:///{path}"
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, sessions())
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    connection.execute("VACUUM")
    connection.close()
    print(path)


if __name__ == "__main__":
    main()
