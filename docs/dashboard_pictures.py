"""Take the pictures of the dashboard that the README shows, of the history of the working directory.

    python docs/dashboard_pictures.py FOLDER

It needs what the tests of the pages need: Playwright, and Chromium where Debian puts it.
"""

from __future__ import annotations

import sys
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

import perfdb
from perfdb.web.app import create_app

SIZE = {"width": 1280, "height": 800}
PICTURES = {
    "overview": ("/", "light"),
    "session": ("/sessions/last", "light"),
    "trend": ("/trends?step=Product+Search", "dark"),
}
COLOURS = 200  # enough for flat surfaces, and a third of the bytes


def main(folder: Path) -> None:
    """Write a picture of each page into a folder."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(perfdb.History()), port=0, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, (path, scheme) in PICTURES.items():
            page: Any = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(f"http://127.0.0.1:{port}{path}")
            page.wait_for_selector(".pulse.on")
            page.wait_for_timeout(1_000)  # charts and the first update
            taken = Image.open(BytesIO(page.screenshot())).convert("RGB")
            taken.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(
                folder / f"dashboard-{name}.png", optimize=True
            )
            page.close()
        browser.close()
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
