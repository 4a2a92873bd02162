"""Take every picture of the documentation from a new demo: pages in light and dark, answers of a terminal.

    python docs/pictures.py docs/pictures

It needs what the tests of the pages need: Playwright, and Chromium where Debian puts it.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

import perfdb
from perfdb.web.app import create_app

SIZE = {"width": 1280, "height": 800}
SCHEMES = ("light", "dark")
SHADES = 200  # enough for flat surfaces, and a third of the bytes
PAGES = {
    "overview": "/",
    "session": "/sessions/last",
    "trend": "/trends?step=Product+Search",
    "alert": "/alerts/{firing}",
}
COMMANDS = {"show": "show last", "bottlenecks": "bottlenecks", "regressions": "regressions"}
TUTORIAL = (  # what its program is called with, then the commands that are shown
    ("30 0.05", {"tutorial-show": "show last", "tutorial-bottlenecks": "bottlenecks"}),
    ("12 0.25", {"tutorial-alerts": "alerts", "tutorial-regressions": "regressions"}),
)
WIDTH = 100  # columns of the terminal
PERFDB = str(Path(sys.executable).with_name("perfdb"))

ANSI = {31: "#f2777a", 32: "#99cc99", 33: "#ffcc66", 34: "#6699cc", 36: "#66cccc"}
PLAIN, DIM, GROUND = "#d6d6d6", "#8a8a8a", "#1e1f22"
BARS = {"█": 1.0, "▒": 0.45}
PIECES = re.compile(r"█+|▒+|[^\s█▒]+(?: [^\s█▒]+)*")  # no spaces side by side: viewers may drop them
FONT_SIZE, LINE_HEIGHT, CHARACTER, MARGIN = 14, 19, 8.43, 16


def spans(line: str) -> list[tuple[str, str, bool]]:
    """Return (text, colour, bold) for each run of one look."""
    runs, colour, bold = [], PLAIN, False
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        codes = re.fullmatch(r"\x1b\[([0-9;]*)m", piece)
        if codes is None:
            if piece:
                runs.append((piece, colour, bold))
            continue
        for code in (int(word or 0) for word in codes[1].split(";")):
            if code == 0:
                colour, bold = PLAIN, False
            elif code == 1:
                bold = True
            elif code == 2:
                colour = DIM
            else:
                colour = ANSI.get(code, colour)
    return runs


def columns(text: str) -> int:
    """Return how many columns the text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def shape(word: str, left: float, top: int, colour: str, bold: bool) -> str:
    """Return a word as text; block characters as bars, which look the same in every font."""
    width = columns(word) * CHARACTER
    if word[0] in BARS:
        return (
            f'<rect x="{left:.1f}" y="{top + 3}" width="{width:.1f}" height="{LINE_HEIGHT - 6}"'
            f' fill="{colour}" opacity="{BARS[word[0]]}"/>'
        )
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{left:.1f}" y="{top + FONT_SIZE}" fill="{colour}" textLength="{width:.1f}"{weight}>'
        f"{escape(word)}</text>"
    )


def picture(command: str, output: str) -> str:
    """Return the SVG of a command and its output."""
    lines = [f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m", *output.rstrip("\n").split("\n")]
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    width = round(max(map(columns, plain)) * CHARACTER + 2 * MARGIN)
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    shapes = []
    for number, line in enumerate(lines):
        x, top = float(MARGIN), MARGIN + LINE_HEIGHT * number
        for text, colour, bold in spans(line):
            for word in PIECES.finditer(text):
                left = x + columns(text[: word.start()]) * CHARACTER
                shapes.append(shape(word[0], left, top, colour, bold))
            x += columns(text) * CHARACTER
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" aria-label="{escape(command)} in a terminal">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n'
        f'<g font-family="Menlo, DejaVu Sans Mono, Consolas, monospace" font-size="{FONT_SIZE}"'
        ">\n" + "\n".join(shapes) + "\n</g>\n</svg>\n"
    )


def on_a_terminal(words: list[str], folder: Path) -> str:
    """Return what a command prints on a terminal of 16 colours."""
    ours, theirs = pty.openpty()
    surroundings = os.environ | {"COLUMNS": str(WIDTH), "TERM": "xterm"}
    process = subprocess.Popen(words, cwd=folder, stdout=theirs, stderr=subprocess.DEVNULL, env=surroundings)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65_536):
            said += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(words)} exited with {process.returncode}")
    return said.decode().replace("\r", "")


@contextmanager
def served() -> Iterator[str]:
    """Serve the history of the working directory, and give the address."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(perfdb.History()), port=0, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def take_pages(folder: Path) -> None:
    """Write a picture of each page in each scheme."""
    firing = perfdb.History().alerts()["id"].iloc[0]
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme in SCHEMES:
            page: Any = browser.new_page(viewport=SIZE, color_scheme=scheme)
            for name, path in PAGES.items():
                answer = page.goto(address + path.format(firing=firing))
                if not answer.ok:
                    raise SystemExit(f"{path} was answered with {answer.status}")
                page.wait_for_selector(".pulse.on")
                page.wait_for_timeout(1_000)  # charts and the first update
                taken = Image.open(BytesIO(page.screenshot())).convert("RGB")
                small = taken.quantize(SHADES, method=Image.Quantize.MAXCOVERAGE)
                small.save(folder / f"{name}-{scheme}.png", optimize=True)
            page.close()
        browser.close()


def take_terminal(commands: dict[str, str], history: Path, folder: Path) -> None:
    """Write a picture of each command's answer about the history of a folder."""
    for name, words in commands.items():
        said = on_a_terminal([PERFDB, *words.split()], history)
        (folder / f"{name}.svg").write_text(picture(f"perfdb {words}", said))


def take_tutorial(work: Path, folder: Path) -> None:
    """Run the tutorial's program as the tutorial says, and take what its commands answer."""
    text = Path(__file__).with_name("tutorial.md").read_text()
    found = re.search(r'```python title="etl.py"\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise SystemExit("the tutorial has no etl.py")
    (work / "etl.py").write_text(found[1])
    for arguments, commands in TUTORIAL:
        subprocess.run([sys.executable, "etl.py", *arguments.split()], cwd=work, check=True)
        take_terminal(commands, work, folder)


def main(folder: Path) -> None:
    """Record the demo and the tutorial in folders of their own and write all pictures into `folder`."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PERFDB_HOST"] = "studio"
    with tempfile.TemporaryDirectory() as work:
        tutorial, demo = Path(work, "tutorial"), Path(work, "perfdb-demo")
        tutorial.mkdir()
        take_tutorial(tutorial, folder)
        subprocess.run([PERFDB, "demo"], cwd=work, check=True, capture_output=True)
        take_terminal(COMMANDS, demo, folder)
        before = Path.cwd()
        os.chdir(demo)
        try:
            take_pages(folder)
        finally:
            os.chdir(before)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
