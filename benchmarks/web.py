"""What the dashboard costs over a long history: 250,000 sessions are 1,000,000 steps, made once.

    python -m benchmarks.web [--sessions 250000] [--folder FOLDER] [--rounds 60] [--visits 7]

Server times are those of a client on loopback, over a kept connection, while nothing else is asked; on a
machine that others use too, the CPU time is the steadier figure. The 1,000th page of sessions is reached by
its key. The browser's figures are medians of fresh profiles, left out where there is no Chromium. The pages
are opened by turns; beside them stands the overview as a file without scripts from a server that does nothing
else: what browser and machine take alone. A page is interactive when its scripts have begun and the server
says what moves, that of a session when its tree is drawn. The idle cost is the CPU time of the server alone.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.analysis import make
from perfdb.records import Step
from perfdb.testing import make_history, make_session

FAR_PAGE = 1_000
ON_A_PAGE = 50
IDLE_S, PARTS = 20.0, 10
MANY_STEPS = 1_500


@contextmanager
def served(path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the dashboard of a database as a person does; give its address and its process."""
    command = [str(Path(sys.executable).with_name("perfdb")), "serve", "--port", "0", "-d", str(path)]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)
        assert process.stderr is not None
        address = next(line for line in process.stderr if "http://" in line).split(": ", 1)[1].strip()
        try:
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def key_of_page(client: httpx.Client, number: int) -> str:
    """Return the key of the so many-th page, by walking there in large pages."""
    query: dict[str, Any] = {"limit": 200}
    for _ in range((number - 1) * ON_A_PAGE // 200):
        query["after"] = client.get("/api/v1/sessions", params=query).json()["after"]
    return str(query["after"])


def server_times(client: httpx.Client, process: psutil.Process, rounds: int) -> None:
    newest = client.get("/api/v1/sessions", params={"limit": 1}).json()["rows"][0]["session_id"]
    thousandth = {"after": key_of_page(client, FAR_PAGE)}
    questions: list[tuple[str, str, dict[str, Any]]] = [
        ("overview", "overview", {}),
        ("overview, a month", "overview", {"since": "2025-12-01"}),
        ("overview, the year", "overview", {"since": "2025-01-02"}),
        ("sessions, first page", "sessions", {}),
        ("sessions, 1,000th page", "sessions", thousandth),
        ("sessions, slowest first", "sessions", {"sort": "slowest"}),
        ("sessions, failed only", "sessions", {"status": "failed"}),
        ("sessions, id begins with", "sessions", {"search": "bench_00012"}),
        ("session", f"sessions/{newest}", {}),
        ("trends, last 500 of the total", "trends", {}),
        ("trends, last 500 of a step", "trends", {"step": "Vision Analysis"}),
        (
            "trends, a week of a step",
            "trends",
            {"step": "Vision Analysis", "since": "2025-12-24", "last": 100_000},
        ),
        ("bottlenecks, last 100", "bottlenecks", {}),
        ("what-if, last 100", "what-if", {"step": "Vision Analysis", "factor": 0.5}),
        ("compare, two sessions", "compare", {}),
        ("alerts", "alerts", {}),
        ("rules", "rules", {}),
        ("live", "live", {}),
    ]
    print(f"{'wall p50, wall p95, CPU mean (ms)':<34} {'API':>20} {'page':>20}  n={rounds}")
    for what, path, query in questions:
        line = f"{what:<34} {figures(client, process, f'/api/v1/{path}', query, rounds):>20}"
        page = f"/{path}" if path != "overview" else "/"
        if client.get(page, params=query).status_code == 200:
            line += f" {figures(client, process, page, query, rounds):>20}"
        print(line, flush=True)


def figures(
    client: httpx.Client, process: psutil.Process, path: str, query: dict[str, Any], rounds: int
) -> str:
    """Return the median and the 95th percentile of the wall time, and the mean CPU time of the server."""
    for _ in range(3):
        client.get(path, params=query).raise_for_status()
    times = []
    before = process.cpu_times()
    for _ in range(rounds):
        began = time.perf_counter()
        client.get(path, params=query).raise_for_status()
        times.append(1e3 * (time.perf_counter() - began))
    after = process.cpu_times()
    times.sort()
    busy = 1e3 * (after.user + after.system - before.user - before.system) / rounds
    return f"{statistics.median(times):.1f} {times[math.ceil(0.95 * len(times)) - 1]:.1f} {busy:.1f}"


@contextmanager
def as_a_file(address: str) -> Iterator[str]:
    """Serve the overview as it is now, without its scripts."""
    html = re.sub(r"<script\b.*?</script>", "", httpx.get(address, timeout=60).text, flags=re.DOTALL).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(html)))
            self.end_headers()
            self.wfile.write(html)

        def log_message(self, *said: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def a_large_session() -> Iterator[str]:
    """Serve a session of so many steps, ten deep; give its address."""
    made = make_session(0, {"step": 1.0})
    steps = [
        Step(
            step_name=f"step {seq % 40}",
            start_time=made.start_time + 0.001 * seq,
            duration=0.001 * (10 - seq % 10),
            success=True,
            seq=seq,
            parent_seq=seq - 1 if seq % 10 else None,
        )
        for seq in range(MANY_STEPS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        whole = 0.001 * (MANY_STEPS + 10)
        make_history(folder, [replace(made, steps=tuple(steps), total_duration=whole)])
        with served(Path(folder) / "perfdb.sqlite3") as (address, _):
            yield f"{address}sessions/last"


_BEGUN, _DRAWN = ".pulse.on", "#tree .line"


def browser_figures(address: str, process: psutil.Process, chromium: str, rounds: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, as_a_file(address) as file, a_large_session() as large:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = {
            "a line of JSON, the floor": (f"{address}api/v1/health", ""),
            "the overview as a file": (file, ""),
            "overview": (address, _BEGUN),
            "sessions": (f"{address}sessions", _BEGUN),
            "trends": (f"{address}trends", _BEGUN),
            f"a session of {MANY_STEPS:,} steps": (large, _DRAWN),
        }
        seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in pages}
        for _ in range(rounds):
            for name, (target, ready) in pages.items():
                page = browser.new_context().new_page()
                page.goto(target, wait_until="load")
                first = page.evaluate(_FIRST_PAINT)
                if ready:
                    page.wait_for_selector(ready, state="attached")
                seen[name].append((first, page.evaluate("performance.now()"), page.evaluate(_BYTES)))
                page.context.close()
        for name, figures_of in seen.items():
            first, interactive, sizes = zip(*figures_of, strict=True)
            print(
                f"{name:<34} first contentful paint {statistics.median(first):.0f} ms (≤ 250), "
                f"interactive {statistics.median(interactive):.0f} ms (≤ 500), "
                f"{max(sizes) / 1e3:.0f} kB (≤ 250)  n={rounds}",
                flush=True,
            )
        page = browser.new_page()
        page.goto(address, wait_until="load")
        time.sleep(3)
        spent = []  # of each part: one update of the page is not the idle cost
        for _ in range(PARTS):
            before = process.cpu_times()
            time.sleep(IDLE_S / PARTS)
            after = process.cpu_times()
            spent.append(after.user + after.system - before.user - before.system)
        mean, most = (100 * PARTS * part / IDLE_S for part in (statistics.mean(spent), max(spent)))
        print(f"{'idle with the page open':<34} {mean:.2f} % of a core (≤ 1), most in 2 s {most:.2f} %")
        browser.close()


_FIRST_PAINT = """() => new Promise(done => {
    const seen = () => performance.getEntriesByName('first-contentful-paint')[0];
    const look = () => seen() ? done(seen().startTime) : setTimeout(look, 5);
    look();
})"""
_BYTES = """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .reduce((sum, entry) => sum + (entry.transferSize || 0), 0)"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=250_000, help="sessions of the long history")
    parser.add_argument("--folder", type=Path, help="keep the database here")
    parser.add_argument("--rounds", type=int, default=60, help="requests per figure")
    parser.add_argument("--visits", type=int, default=7, help="of each page by the browser")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{arguments.sessions}.sqlite3"
        if not path.exists():
            began = time.perf_counter()
            make(path, arguments.sessions)
            print(
                f"made {arguments.sessions:,} sessions in {time.perf_counter() - began:.0f} s",
                file=sys.stderr,
            )
        with served(path) as (address, process):
            with httpx.Client(base_url=address, timeout=60) as client:
                server_times(client, process, arguments.rounds)
            if arguments.chromium is None:
                print("no Chromium: the browser's figures are left out", file=sys.stderr)
            else:
                browser_figures(address, process, arguments.chromium, arguments.visits)


if __name__ == "__main__":
    main()
