"""Writes the titles and prices of shops of all countries: each character in a font that has it.

The fonts of ``fonts/`` hold Latin, Greek, Cyrillic, Arabic, Hebrew, Devanagari, Thai, Chinese, Japanese and
Korean; for the rest Noto fonts are used where they are installed. Arabic is joined and written from the right
where Pillow has Raqm (its wheels need libfribidi, which Debian has as libfribidi0).
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

_FOLDER = Path(__file__).with_name("fonts")
_OURS = tuple(
    str(_FOLDER / f"{name}.woff2")
    for name in ("DejaVuSans", "NotoSansDevanagari-Regular", "NotoSansThai-Regular", "DroidSansFallback")
)
# by the first word of a character's name; others are NotoSans<Word>-Regular.ttf
_EAST_ASIAN = {"CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH"}
_NOWHERE = "\U0010fffd"  # a character that no font has
_LONGEST = 200  # characters
_MARKS = 4  # on one letter; more would be drawn over the picture
_JOINERS = "\u200c\u200d"
_ELLIPSIS = "…"

Run = tuple[ImageFont.FreeTypeFont, str]


class Lettering:
    """Measures and draws lines of text in one size; shared by threads."""

    def __init__(self, size: int) -> None:
        self.size = size

    def width(self, text: str) -> float:
        """Return the pixels that a line takes."""
        return sum(font.getlength(part) for font, part in self._runs(_clusters(text)))

    def draw(
        self, draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: str, space: int
    ) -> None:
        """Draw a line on the left of a space that is so wide; what is read from the right, on its right."""
        clusters = _clusters(text)
        runs = self._runs(clusters)
        left: float = place[0]
        if _is_from_right(text):
            runs = runs[::-1]
            left += max(0.0, space - self.width(text))
        baseline = place[1] + self.size
        for font, part in runs:
            draw.text((left, baseline), part, fill=colour, font=font, anchor="ls")
            left += font.getlength(part)

    def cut(self, text: str, space: int) -> str:
        """Return the text, or as much of it as fits with an ellipsis."""
        clusters = _clusters(text)
        if self._fitting(clusters, space) == len(clusters):
            return "".join(clusters)
        room = max(0, space - round(self.width(_ELLIPSIS)) - 1)
        return "".join(clusters[: self._fitting(clusters, room)]).rstrip() + _ELLIPSIS

    def lines(self, text: str, space: int, count: int) -> list[str]:
        """Return at most ``count`` lines, broken between words where a script has them; the last is cut."""
        rest = _clusters(text)
        lines: list[str] = []
        while rest and len(lines) < count - 1:
            fits = self._fitting(rest, space)
            end = fits if fits == len(rest) else _break(rest, max(1, fits))
            lines.append("".join(rest[:end]).strip())
            rest = _clusters("".join(rest[end:]))
        return [*lines, *([self.cut("".join(rest), space)] if rest else [])]

    def _fitting(self, clusters: list[str], space: int) -> int:
        """Return how many of the first clusters fit."""
        counts = range(1, len(clusters) + 1)
        return bisect_left(counts, 1, key=lambda count: int(self.width("".join(clusters[:count])) > space))

    def _runs(self, clusters: list[str]) -> list[Run]:
        """Return the parts of one font each; a letter that no font has is a box, a symbol is left out."""
        runs: list[tuple[str, str]] = []
        for cluster in clusters:
            name = self._font_name(cluster, runs[-1][0] if runs else _OURS[0])
            if name is None:
                continue
            if runs and runs[-1][0] == name:
                runs[-1] = (name, runs[-1][1] + cluster)
            else:
                runs.append((name, cluster))
        return [(_font(name, self.size) or _default(self.size), part) for name, part in runs]

    def _font_name(self, cluster: str, current: str) -> str | None:
        base = cluster[0]
        if not base.isalpha() and _has(current, self.size, cluster):
            return current
        names = (*_OURS, *_installed(base))
        for wanted in (cluster, base):
            if found := next((name for name in names if _has(name, self.size, wanted)), None):
                return found
        return _OURS[0] if unicodedata.category(base)[0] in "LNP" else None


@lru_cache(maxsize=64)
def lettering(size: int) -> Lettering:
    """Return what writes in this size."""
    return Lettering(size)


def capital(text: str) -> str:
    """Return the text with a capital at its beginning, if that is one letter: ``ß`` stays ``ß``."""
    first = text[:1].upper()
    return first + text[1:] if len(first) == 1 else text


def _clusters(text: str) -> list[str]:
    """Return what a person calls characters, letters with their marks; controls are left out."""
    clusters: list[str] = []
    for char in unicodedata.normalize("NFC", " ".join(text[:_LONGEST].split())):
        kind = unicodedata.category(char)
        if kind in ("Mn", "Me", "Mc") or char in _JOINERS:
            if clusters and len(clusters[-1]) <= _MARKS and not 0xFE00 <= ord(char) <= 0xFE0F:
                clusters[-1] += char
        elif kind[0] != "C":
            clusters.append(char)
    return clusters


def _break(clusters: list[str], end: int) -> int:
    """Return where a line of at most ``end`` characters ends: behind a space or a wide one, else there."""
    for place in range(end, 0, -1):
        before, after = clusters[place - 1], clusters[place][0] if place < len(clusters) else " "
        if " " in (before, after) or (_is_wide(before[0]) and unicodedata.category(after)[0] != "P"):
            return place
    return end


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in ("W", "F")


def _is_from_right(text: str) -> bool:
    directions = (unicodedata.bidirectional(char) for char in text)
    return next((each in ("R", "AL") for each in directions if each in ("L", "R", "AL")), False)


@lru_cache(maxsize=4096)
def _has(name: str, size: int, cluster: str) -> bool:
    """Say whether a font has all characters; it draws a missing one as it draws one that no font has."""
    font = _font(name, size)
    if font is None:
        return False
    nothing = _drawn(font, _NOWHERE)
    return all(char in _JOINERS or _drawn(font, char) != nothing for char in cluster)


def _drawn(font: ImageFont.FreeTypeFont, char: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(char)
    return mask.size, bytes(mask)


@lru_cache(maxsize=1024)
def _installed(char: str) -> tuple[str, ...]:
    """Return the names of the fonts that may have a character which ours have not."""
    script = unicodedata.name(char, "").partition(" ")[0]
    if not script.isalpha():
        return ()
    if script in _EAST_ASIAN:
        return ("NotoSansCJK-Regular.ttc",)
    return (f"NotoSans{script.title()}-Regular.ttf", "DejaVuSans.ttf")


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)  # by its name alone it is looked for where the system has fonts
    except OSError:
        return None  # not there; or packed in a way that this FreeType cannot read


@lru_cache(maxsize=32)
def _default(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType: install its wheel with pip")
    return font
