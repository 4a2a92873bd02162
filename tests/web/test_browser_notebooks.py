"""What a notebook shows is read in its own theme, whatever that of the machine is.

Of: charts/style.py, history/jupyter.py, pages/style.py.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from perfdb.charts import style
from perfdb.history.jupyter import as_picture
from perfdb.pages.session import session_html
from tests.commands import make_session

NOTEBOOKS = {
    "JupyterLab": ('<body data-jp-theme-light="true">', '<body data-jp-theme-light="false">'),
    "VS Code": ('<body class="vscode-light">', '<body class="vscode-dark">'),
    "VS Code, high contrast": (
        '<body class="vscode-high-contrast vscode-high-contrast-light">',
        '<body class="vscode-high-contrast">',
    ),
    "Colab": ('<html theme="light"><body>', '<html theme="dark"><body>'),
}
WORDS = (style.INK, style.MUTED, style.BLUE, style.VERMILLION, style.GREEN)
Colour = tuple[int, int, int]


@pytest.mark.parametrize("machine", ["light", "dark"])
@pytest.mark.parametrize("program", NOTEBOOKS)
def test_a_chart_has_the_theme_of_the_notebook(chromium: Any, program: str, machine: str) -> None:
    figure = style.figure("")
    for place, ink in enumerate(WORDS):
        figure.add_artist(Rectangle((0.1 + 0.1 * place, 0.4), 0.1, 0.2, color=ink))
    html = as_picture(figure)[0]["text/html"]
    for body, is_dark in zip(NOTEBOOKS[program], (False, True), strict=True):
        page = chromium.new_page(color_scheme=machine, viewport={"width": 1300, "height": 800})
        page.set_content(f"<!doctype html>{body}{html}")
        seen = Image.open(io.BytesIO(page.locator("img").screenshot())).convert("RGB")
        paper = seen.getpixel((60, 60))
        assert (brightness(paper) < 0.02) is is_dark
        for place, ink in enumerate(WORDS):
            shown = seen.getpixel((180 + 120 * place, 350))
            assert contrast(shown, paper) >= 4.5, f"{ink} is {shown} on {paper}"
        page.set_content(f"<!doctype html>{body}{session_html(make_session(0))}")
        card = page.locator(".perfdb").evaluate("(card) => getComputedStyle(card).backgroundColor")
        assert card == ("rgb(20, 23, 26)" if is_dark else "rgb(255, 255, 255)")
        page.close()


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours as WCAG defines it."""
    dark, light = sorted(map(brightness, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def brightness(colour: Colour) -> float:
    """Return the relative luminance of a colour, 0 to 1."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (each / 255 for each in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
