"""A small history as a team would have it, and the dashboard over it on a port of its own."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import perfdb
from perfdb.alerts.config import read_alert_settings
from perfdb.alerts.evaluation import after_session
from perfdb.records import Attempt, Event, Sample, Session, Step
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.web.app import create_app
from tests.once import Run

RULES = """
[[alerts.rules]]
name = "vision-slow"
kind = "max"
step = "Vision Analysis"
limit = 30.0
severity = "critical"
mode = { fast_mode = false }
"""


def made_session(number: int, start: float, *, fast: bool = False, **changes: Any) -> Session:
    """Return a design session with 8 searches side by side; vision is slower from number 48 on."""
    chance = random.Random(number)
    part = 0.5 if fast else 1.0
    vision = 20.0 * part * chance.uniform(0.95, 1.05) * (1.6 if number >= 48 and not fast else 1.0)
    searches = [1.5 * part * chance.uniform(0.6, 1.4) for _ in range(8)]
    searches[3] += 2.0 * part
    at = start + 0.05
    steps = [
        Step(
            step_name="Vision Analysis",
            start_time=at,
            duration=vision,
            success=True,
            seq=0,
            additional_data={"design_style": "modern", "model": "gpt-4o-mini" if fast else "gpt-4o"},
            cpu_s=0.4,
            rss_peak_bytes=210_000_000,
            rss_mean_bytes=180_000_000,
        )
    ]
    at += vision + 0.02
    steps.append(Step(step_name="Product Search", start_time=at, duration=max(searches), success=True, seq=1))
    for lane, seconds in enumerate(searches):
        attempts: tuple[Attempt, ...] = ()
        if lane == 3:
            attempts = (
                Attempt(start_time=at, duration=0.4, success=False, error_message="HTTP 429: slow down"),
                Attempt(start_time=at + 1.4, duration=seconds - 1.4, wait=1.0),
            )
        steps.append(
            Step(
                step_name="Search",
                start_time=at,
                duration=seconds,
                success=True,
                seq=2 + lane,
                parent_seq=1,
                lane=1 + lane,
                attempts=attempts,
                additional_data={"query": f"lamp {lane}"},
            )
        )
    at += max(searches) + 0.01
    for seq, (name, seconds) in enumerate((("Composite Creation", 2.3), ("Image Generation", 7.1)), start=10):
        seconds *= part * chance.uniform(0.9, 1.1)
        events = (Event(name="queued", time=at + 0.2, data={"place": 2}),) if seq == 11 else ()
        steps.append(
            Step(step_name=name, start_time=at, duration=seconds, success=True, seq=seq, events=events)
        )
        at += seconds
    values: dict[str, Any] = {
        "session_id": time.strftime("%Y%m%d_%H%M%S", time.gmtime(start)) + f"_{number:08x}",
        "pipeline": "design",
        "start_time": start,
        "total_duration": at - start + 0.03,
        "status": "completed",
        "fast_mode": fast,
        "success": True,
        "product_count": 6,
        "mode": f'{{"fast_mode":{"true" if fast else "false"}}}',
        "attributes": {"model": "gpt-4o-mini" if fast else "gpt-4o", "customer": f"c{number % 5}"},
        "steps": tuple(steps),
        "samples": tuple(
            Sample(time=start + second, cpu_percent=20.0 + 60 * (second % 3), rss_bytes=180_000_000 + second)
            for second in range(int(at - start))
        ),
        "cpu_s": 3.5,
        "rss_peak_bytes": 220_000_000,
        "rss_mean_bytes": 180_000_000,
        "host": "build-1",
        "pid": 4711,
        "python_version": "3.12.4",
        "perfdb_version": perfdb.__version__,
        "git_commit": "0a1b2c3d" if number < 48 else "4e5f6a7b",
        "command": "design room.jpg",
    }
    return Session(**(values | changes))


def made_history(now: float) -> Iterator[Session]:
    """Yield 60 normal and 20 fast sessions of the last days: two failed, one cut off, one tagged."""
    for number in range(60):
        start = now - (61 - number) * 3_600
        if number in (20, 41):
            good = made_session(number, start)
            image = good.steps[-1]
            failed = Step(
                step_name=image.step_name,
                start_time=image.start_time,
                duration=image.duration,
                success=False,
                error_message="the image service answered 502",
                seq=image.seq,
            )
            yield made_session(
                number,
                start,
                status="failed",
                success=False,
                error_message="the image service answered 502",
                steps=(*good.steps[:-1], failed),
            )
        elif number == 30:
            whole = made_session(number, start)
            cut_off = Step(
                step_name="Product Search", start_time=start + 21, duration=None, success=None, seq=1
            )
            yield made_session(
                number,
                start,
                status="interrupted",
                success=None,
                total_duration=None,
                steps=(whole.steps[0], cut_off),
            )
        else:
            yield made_session(number, start, tags=("warmup",) if number == 0 else ())
        if number % 3 == 0:
            yield made_session(1_000 + number, start + 1_200, fast=True)


def recorded(url: str, settings: Any, last: int) -> None:
    """Record the newest sessions into an empty database, each judged by the rules when it came."""
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    rules = read_alert_settings(settings.alerts)
    for session in list(made_history(time.time()))[-last:]:
        with engine.begin() as connection:
            insert_sessions(connection, [session])
        with engine.begin() as connection:
            after_session(connection, session.session_id, rules, session.start_time + 60)
    engine.dispose()


@pytest.fixture(scope="session")
def recorded_home(run_of_tests: Run) -> Path:
    """Give a folder with settings and a home that must not be changed: copy it."""

    def make() -> str:
        folder = run_of_tests.folder / "recorded"
        home = folder / "performance_tracking"
        home.mkdir(parents=True)
        (folder / "perfdb.toml").write_text(RULES, encoding="utf-8")
        url = f"sqlite:///{home}/perfdb.sqlite3"
        settings = perfdb.settings.load_for_reading(environ={}, cwd=folder, database_url=url)
        recorded(url, settings, 80)
        return str(folder)

    return Path(run_of_tests.once("recorded_home", make))


@pytest.fixture
def record_history() -> Callable[[str, int], None]:
    """Give a function that records the newest so many sessions into an empty database."""
    return lambda url, last: recorded(url, perfdb.History(url).settings, last)


@pytest.fixture(autouse=True)
def web_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of every test here, without settings from outside."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def history(recorded_home: Path, web_folder: Path) -> perfdb.History:
    """Give a copy of the recorded history as the default home of the working directory."""
    shutil.copytree(recorded_home, web_folder, dirs_exist_ok=True)
    return perfdb.History()


@dataclass(frozen=True)
class Dashboard:
    """A served dashboard; ``client`` asks it as its own pages do."""

    url: str
    app: Any
    client: httpx.Client

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON that ``/api/v1`` answers."""
        answer = self.client.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def change(self, path: str, body: Any = None) -> httpx.Response:
        """Make a change as the pages do, with Origin and token."""
        headers = {"Origin": self.url, "X-Perfdb-Token": self.app.state.gate.change_token}
        return self.client.post(f"/api/v1/{path}", json={} if body is None else body, headers=headers)


@contextmanager
def serving(history: perfdb.History, **options: Any) -> Iterator[Dashboard]:
    """Serve the dashboard of a history on a free port of loopback, in a thread."""
    app = create_app(history, **options)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the dashboard did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=30) as client:
            yield Dashboard(url, app, client)
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def serve() -> Iterator[Callable[..., Dashboard]]:
    """Give a function that serves a history: serve(history, token=…)."""
    with ExitStack() as stack:
        yield lambda history, **options: stack.enter_context(serving(history, **options))


@pytest.fixture
def dashboard(history: perfdb.History, serve: Callable[..., Dashboard]) -> Dashboard:
    """Give the dashboard over a copy of the recorded history."""
    return serve(history)


CHROMIUM = "/usr/bin/chromium"
# The page adds up how far things jumped while it was built.
WATCH_JUMPS = """
window.jumped = 0;
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.jumped += each.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Give a headless browser; for a module, because Playwright keeps an event loop in this thread."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"NO BROWSER: {CHROMIUM} is missing; apt-get install chromium to test the pages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any, dashboard: Dashboard) -> Iterator[Callable[..., Any]]:
    """Give a function that opens a page: browse("/alerts", color_scheme="dark"); ``on_request`` is called.

    In the end no page may have complained in its console, or asked anybody but the dashboard.
    """
    complaints: list[str] = []
    contexts: list[Any] = []

    def watch_request(request: Any) -> None:
        if not request.url.startswith((dashboard.url, "data:")):
            complaints.append(f"asked {request.url}")

    def watch_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def open_page(path: str = "/", on_request: Callable[[Any], None] | None = None, **options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", watch_request)
        if on_request is not None:
            page.on("requestfinished", on_request)
        page.on("console", watch_console)
        page.on("pageerror", lambda error: complaints.append(f"raised {error}"))
        if options.get("java_script_enabled", True):
            page.add_init_script(WATCH_JUMPS)
            page.goto(dashboard.url + path)
            page.wait_for_selector(".pulse.on", state="attached")  # scripts begin after the first paint
        else:
            page.goto(dashboard.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def shared_dashboard(recorded_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Give a dashboard over a copy of the recorded history that the tests of a module share."""
    copy = tmp_path_factory.mktemp("shared") / "copy.sqlite3"
    shutil.copy(recorded_home / "performance_tracking" / "perfdb.sqlite3", copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFDB_CONFIG", str(recorded_home / "perfdb.toml"))
        history = perfdb.History(copy)
    with serving(history) as dashboard:
        yield dashboard
