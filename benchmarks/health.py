"""How long /health of the design service takes while designs are made: python benchmarks/health.py

The service, its stand-in services and an idle service beside it are processes of their own, and each is asked
every 20 ms from another one: what the idle one takes is the machine's. Figures are milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from perfdb.pathway.images import as_jpeg
from perfdb.pathway.standin.pictures import draw_room

PROBE = """
import json, select, socket, sys, time
took = []
while not select.select([sys.stdin], [], [], 0.02)[0]:
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60) as asked:
        asked.sendall(b"GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        while asked.recv(4096):
            pass
    took.append(1000 * (time.perf_counter() - began))
print(json.dumps(sorted(took)))
"""


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve the pathway of a folder's settings; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    keys = {"OPENAI_API_KEY": "sk-stand-in", "SERPAPI_API_KEY": "stand-in"}
    command = ["uvicorn", "perfdb.pathway.api:app", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env={**os.environ, **keys}, stdout=subprocess.DEVNULL
    ) as process:
        for _ in range(300):
            try:
                httpx.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield port
        process.terminate()


def probed(port: int) -> subprocess.Popen[str]:
    """Ask a service until its stdin has a line."""
    command = [sys.executable, "-c", PROBE, str(port)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Make designs at once and print what /health took meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--designs", type=int, default=45)
    designs = parser.parse_args().designs
    room = as_jpeg(draw_room(2400, 1800))

    def post(port: int) -> Any:
        files = {"image": ("room.jpg", room, "image/jpeg")}
        return httpx.post(f"http://127.0.0.1:{port}/designs", files=files, timeout=600).status_code

    with ExitStack() as open_things:
        folder = Path(open_things.enter_context(tempfile.TemporaryDirectory()))
        service = open_things.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "perfdb.pathway.standin"], stdout=subprocess.PIPE, text=True
            )
        )
        open_things.callback(service.terminate)
        assert service.stdout is not None
        address = service.stdout.readline().strip().partition("=")[2]
        (folder / "perfdb.toml").write_text(
            f'[pathway]\nopenai_base_url = "{address}"\nserpapi_base_url = "{address.removesuffix("/v1")}"\n'
            f"max_queued_designs = {designs}\n"
        )
        busy, idle = (open_things.enter_context(served(folder)) for _ in range(2))
        post(busy)  # what is imported at the first one
        probes = {"making designs": probed(busy), "idle beside it": probed(idle)}
        began = time.monotonic()
        with ThreadPoolExecutor(designs) as pool:
            made = list(pool.map(post, [busy] * designs)).count(200)
        print(f"{made} of {designs} designs at once in {time.monotonic() - began:.1f} s")
        print(f"{'/health of a service':<22}{'n':>6}{'p50':>8}{'p99':>8}{'worst':>8}")
        for name, probe in probes.items():
            took = json.loads(probe.communicate("\n")[0])
            p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
            print(f"{name:<22}{len(took):>6}{p50:>8.0f}{p99:>8.0f}{took[-1]:>8.0f}")


if __name__ == "__main__":
    main()
