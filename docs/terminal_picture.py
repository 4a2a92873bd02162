"""Turn the output of a terminal into an SVG picture, as the README shows it.

    perfdb show last | python docs/terminal_picture.py 'perfdb show last' > docs/show.svg

Colours are taken from ANSI codes where there are any (run the command under `script` to get them).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from html import escape

COLOURS = {31: "#f2777a", 32: "#99cc99", 33: "#ffcc66", 34: "#6699cc", 36: "#66cccc"}
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
                colour = COLOURS.get(code, colour)
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


if __name__ == "__main__":
    sys.stdout.write(picture(sys.argv[1], sys.stdin.read().replace("\r", "")))
