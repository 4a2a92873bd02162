"""Sessions that run appear and move by themselves; nobody listening costs nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import perfdb
from perfdb.store.database import Database
from perfdb.text import so_far_text
from perfdb.web.live import LiveFeed
from perfdb.web.schemas import Live
from perfdb.web.served import ServedHistory

SOON_S = 30.0  # 2 s are promised; a busy machine gets more


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield what each ``live`` event of a stream says."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def until(found: Iterator[dict[str, Any]], fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + SOON_S
    for each in found:
        if fits(each):
            return each
        assert time.monotonic() < deadline, "it did not come"
    pytest.fail("the stream ended")


def looks_open(dashboard: Any, session_id: str, usual: float) -> None:
    """Check that all that is said of a running session is of one moment, and its open step looks open."""
    answer = dashboard.get(f"sessions/{session_id}")
    ((bar,),) = (row["bars"] for row in answer["timeline"]["rows"])
    assert answer["timeline"]["wall_s"] == pytest.approx(answer["now"] - answer["session"]["start_time"])
    assert bar["end"] == pytest.approx(answer["timeline"]["wall_s"])
    assert answer["steps"][0]["usual_s"] == usual
    assert bar["so_far"] == so_far_text(bar["end"] - bar["start"], usual)
    assert bar["so_far"] in answer["timeline"]["headline"]
    page = dashboard.client.get(f"/sessions/{session_id}").text.partition("</style>")[2]
    page = page.replace("\u00a0", " ")
    assert len(set(re.findall(r"so far [^<),]+, usually [^<),]+", page))) == 1
    assert 'class="open"' in page


def test_a_session_appears_moves_and_ends_without_being_asked_for(dashboard: Any) -> None:
    with dashboard.client.stream("GET", "/api/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = events(answer.iter_lines())
        first = next(found)
        assert first["running"] == []
        tracker = perfdb.create_tracker(console=False, monitor=False)
        tracker.start_pipeline(fast_mode=False)
        with tracker.step("Vision Analysis"):
            shown = until(
                found, lambda live: bool(live["running"]) and bool(live["running"][0]["open_steps"])
            )
            (running,) = shown["running"]
            assert running["session_id"] == tracker.session_id
            assert running["open_steps"][0]["step_name"] == "Vision Analysis"
            assert running["open_steps"][0]["usual_s"] > 15
            assert running["usual_s"] > 30
            looks_open(dashboard, tracker.session_id, running["open_steps"][0]["usual_s"])
        tracker.end_pipeline(success=True)
        ended = until(found, lambda live: not live["running"])
        assert ended["sessions"][0]["session_id"] == tracker.session_id
        assert ended["version"] > first["version"]


def test_what_a_dead_program_left_is_taken_in_while_somebody_looks(dashboard: Any, web_folder: Path) -> None:
    code = (
        "import os, perfdb\n"
        "tracker = perfdb.create_tracker(console=False, monitor=False)\n"
        "tracker.start_pipeline()\n"
        "tracker.step('work').start()\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=web_folder, timeout=60)
    journal = web_folder / "performance_tracking" / "journal"
    assert list(journal.glob("*")) != []
    before = dashboard.get("sessions")["count"]
    assert dashboard.get("sessions")["count"] == before  # asking changes nothing
    with dashboard.client.stream("GET", "/api/v1/events") as answer:
        until(events(answer.iter_lines()), lambda live: dashboard_counts(dashboard) == before + 1)
    assert dashboard.get("sessions")["rows"][0]["status"] == "interrupted"


def dashboard_counts(dashboard: Any) -> int:
    with httpx.Client(base_url=dashboard.url, timeout=SOON_S) as client:
        count: int = client.get("/api/v1/sessions").json()["count"]
    return count


def test_nobody_listening_nobody_looks(dashboard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    feed: LiveFeed = dashboard.app.state.feed
    assert feed.listeners == 0
    with dashboard.client.stream("GET", "/api/v1/events") as answer:
        lines = answer.iter_lines()  # the stream ends when nobody holds it
        next(events(lines))
        assert feed.listeners == 1
    deadline = time.monotonic() + SOON_S
    while feed.listeners or feed.is_looking:
        assert time.monotonic() < deadline, "somebody still looks"
        time.sleep(0.05)


class Counting(LiveFeed):
    """Counts how often the database is read."""

    reads = 0

    def now(self) -> Live:
        self.reads += 1
        return super().now()


def test_listeners_that_come_and_go_share_one_reading(history: perfdb.History) -> None:
    async def flood() -> int:
        feed = Counting(ServedHistory(history), every_s=3600.0)
        for _ in range(50):
            stream = feed.events()
            assert [(await anext(stream))[:7] for _ in range(2)] == ["retry: ", "event: "]
            await stream.aclose()  # type: ignore[attr-defined]
        await feed.close()
        return feed.reads

    assert asyncio.run(flood()) <= 2  # the first, and the first look


def test_an_idle_look_reads_nothing(history: perfdb.History) -> None:
    feed = LiveFeed(ServedHistory(history))
    assert feed.look() is not None  # the first
    assert feed.look() is None
    assert feed.version == 1
    history.tag("last", "seen")
    assert feed.look() is not None
    assert feed.look() is None


def test_changes_are_noticed_in_either_database_and_after_a_replacement(
    migrated_url: str, record_history: Callable[..., None]
) -> None:
    watch = Database(migrated_url).watch()
    assert watch.moved()
    record_history(migrated_url, 1)
    assert watch.moved()
    watch.close()


def test_a_file_that_comes_goes_and_is_replaced_is_a_change(history: perfdb.History) -> None:
    path = Path("performance_tracking/perfdb.sqlite3")
    watch = Database(history.url).watch()
    assert watch.moved()
    path.rename("away.sqlite3")
    assert watch.moved()
    assert not watch.moved()
    Path("away.sqlite3").rename(path)
    assert watch.moved()
    assert not watch.moved()
    watch.close()


def test_the_stream_waits_for_a_database_that_cannot_be_read(
    history: perfdb.History, web_folder: Path, serve: Callable[..., Any]
) -> None:
    file = web_folder / "performance_tracking" / "perfdb.sqlite3"
    good = file.rename(file.with_name("good"))
    file.write_bytes(b"no database" * 1_000)
    served = serve(history)
    with served.client.stream("GET", "/api/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        good.replace(file)
        deadline = time.monotonic() + SOON_S
        while not (line := next(lines)).startswith("data: "):
            assert time.monotonic() < deadline, "it did not come"
        assert len(json.loads(line.removeprefix("data: "))["sessions"]) == 10


def test_a_look_that_comes_after_the_end_opens_nothing(history: perfdb.History) -> None:
    served = ServedHistory(history)
    feed = LiveFeed(served)
    assert feed.look() is not None
    asyncio.run(feed.close())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()  # what other tests left
        told.clear()
        assert feed.look() is None
        served.close()
        del feed, served
        gc.collect()
    assert [each for each in told if issubclass(each.category, ResourceWarning)] == []
