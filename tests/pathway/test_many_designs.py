"""Sixty designs at once under faults: no thread, file or connection stays, and the history is right.

Of: pathway/pipeline.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import perfdb
from perfdb.pathway import PathwaySettings, RealProductsPathway
from perfdb.settings import load

DESIGNS = 60
FAULTS = (
    "vision=dropped:0.05",
    "search=drip-head:0.05",
    "search=nan-rating:0.1",
    "thumbnail=not-found:0.2",
    "thumbnail=drip-body:0.02",
    "image=server-error:0.2",
    "image=moderation:0.1",
)


@pytest.fixture
def service() -> Iterator[str]:
    """Return the address of a stand-in in a process of its own: its threads are none of ours."""
    options = [word for fault in FAULTS for word in ("--fault", fault)]
    command = [sys.executable, "-m", "perfdb.pathway.standin", "--strict", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().partition("=")[2].removesuffix("/v1")
        process.terminate()


def sockets() -> int:
    folder = Path("/proc/self/fd")
    targets = [os.readlink(path) for path in folder.iterdir() if path.is_symlink()]
    return sum(target.startswith("socket:") for target in targets)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are read from /proc")
def test_sixty_designs_at_once_leave_nothing_but_a_right_history(
    service: str, home: Path, room: bytes
) -> None:
    settings = PathwaySettings(
        openai_base_url=f"{service}/v1",
        serpapi_base_url=service,
        openai_api_key="sk-canary0123456789abcdefCANARY",
        serpapi_api_key="canaryserpapi0123456789CANARY",
        vision_side=128,
        composite_width=320,
        image_size="256x256",
        search_timeout_s=3,
        thumbnail_timeout_s=3,
        backoff_s=0.01,
    )
    recorded = load(console=False, monitor=False, wait_s=60)
    threads, open_sockets = set(threading.enumerate()), sockets()
    with RealProductsPathway(settings, perfdb_settings=recorded) as pathway, ThreadPoolExecutor(60) as pool:
        responses = list(pool.map(lambda _: pathway.generate(room), range(DESIGNS)))

    left = [thread.name for thread in set(threading.enumerate()) - threads]
    assert [name for name in left if not name.startswith("perfdb-worker")] == []
    assert sockets() == open_sockets
    sessions = perfdb.History().sessions().set_index("session_id")
    assert len(sessions) == DESIGNS
    for response in responses:
        report = Path(response["data"]["performance_report"])
        row = sessions.loc[report.stem.removeprefix("performance_report_")]
        assert row["status"] == ("completed" if response["success"] else "failed")
        assert row["product_count"] == len(response["data"]["products_info"])
        assert (response["data"]["final_design"] is not None) is response["success"]
    pictures = {path.name for path in (home / "designs").iterdir()}
    assert not any(name.startswith(".") for name in pictures)
