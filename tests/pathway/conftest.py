"""Stand-in services, a room, and a pathway that records into a folder of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
