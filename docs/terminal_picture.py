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


def picture(command: str, output: str) -> str:
    """Return the SVG of a command and its output."""
    lines = [f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m", *output.rstrip("\n").split("\n")]
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    width = round(max(map(columns, plain)) * CHARACTER + 2 * MARGIN)
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    texts = []
    for number, line in enumerate(lines):
        x, y = float(MARGIN), MARGIN + LINE_HEIGHT * number + FONT_SIZE
        for text, colour, bold in spans(line):
            length = columns(text) * CHARACTER
            if text.strip():
                weight = ' font-weight="bold"' if bold else ""
                texts.append(
                    f'<text x="{x:.1f}" y="{y}" fill="{colour}" textLength="{length:.1f}"{weight}>'
                    f"{escape(text)}</text>"
                )
            x += length
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" aria-label="{escape(command)} in a terminal">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n'
        f'<g font-family="Menlo, DejaVu Sans Mono, Consolas, monospace" font-size="{FONT_SIZE}"'
        ' xml:space="preserve">\n'
        + "\n".join(texts)
        + "\n</g>\n</svg>\n"
    )


if __name__ == "__main__":
    sys.stdout.write(picture(sys.argv[1], sys.stdin.read().replace("\r", "")))
