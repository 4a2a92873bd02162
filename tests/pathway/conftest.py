"""Stand-in services, a room, and a pathway that records into a folder of the test's own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from perfdb.pathway import RealProductsPathway
from perfdb.pathway.images import as_jpeg
from perfdb.pathway.standin import StandIn
from perfdb.pathway.standin.pictures import draw_room
from perfdb.settings import load

CANARY = "sk-canary0123456789abcdefCANARY"
CANARY_TOO = "canaryserpapi0123456789CANARY"


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture(scope="session")
def room() -> bytes:
    return as_jpeg(draw_room(640, 480))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SERPAPI_API_KEY", "PERFDB_HOME", "PERFDB_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "performance_tracking"


@pytest.fixture
def make_pathway(standin: StandIn, home: Path) -> Iterator[Callable[..., RealProductsPathway]]:
    made = []

    def make(**changes: Any) -> RealProductsPathway:
        keys = {"openai_api_key": CANARY, "serpapi_api_key": CANARY_TOO, "composite_width": 640}
        pathway = RealProductsPathway(
            standin.settings(**(keys | changes)),
            perfdb_settings=load(console=False, monitor=False, wait_s=30),
        )
        made.append(pathway)
        return pathway

    yield make
    for pathway in made:
        pathway.close()


@pytest.fixture
def pathway(make_pathway: Callable[..., RealProductsPathway]) -> RealProductsPathway:
    return make_pathway()


@pytest.fixture
def steps_of() -> Callable[[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Return a function from a response to the steps of its report, by name."""

    def steps(response: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        report = json.loads(Path(response["data"]["performance_report"]).read_text(encoding="utf-8"))
        found: dict[str, list[dict[str, Any]]] = {}
        for step in report["steps"]:
            found.setdefault(step["step_name"], []).append(step)
        return found

    return steps


class Served:
    """Serves apps with uvicorn on loopback until it is stopped; called with one, it returns a client."""

    def __init__(self) -> None:
        self._running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    def __call__(self, app: Any) -> httpx.Client:
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, limits=httpx.Limits(max_connections=None)
        )
        self._running.append((server, thread, client))
        return client

    def stop(self) -> None:
        for server, thread, client in self._running:
            client.close()
            server.should_exit = True
            thread.join(60)
        self._running.clear()


@pytest.fixture
def served() -> Iterator[Served]:
    running = Served()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def make_served() -> type[Served]:
    return Served
