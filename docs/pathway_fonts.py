"""Make the fonts of the composite: python docs/pathway_fonts.py FOLDER (needs fonttools and brotli).

FOLDER holds DejaVuSans, DroidSansFallback, NotoSansDevanagari-Regular and NotoSansThai-Regular, all .ttf,
as in Debian's fonts-dejavu-core, fonts-droid-fallback and fonts-noto-core. What shops and people write in is
kept: of CJK the characters of GB 2312, JIS X 0208, Big5 and KS X 1001.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools import subset

FONTS = Path(__file__).parents[1] / "perfdb" / "pathway" / "fonts"


def listed(codec: str, first: range, second: list[int]) -> set[int]:
    """Return the characters of an encoding of two bytes."""
    pairs = (bytes((one, two)).decode(codec, "ignore") for one in first for two in second)
    return {ord(pair) for pair in pairs if len(pair) == 1}


def cjk() -> set[int]:
    """Return the characters of the national standards."""
    high = list(range(0xA1, 0xFF))
    found = listed("gb2312", range(0xB0, 0xF8), high) | listed("euc_jp", range(0xA1, 0xF5), high)
    found |= listed("euc_kr", range(0xB0, 0xC9), high)
    found |= listed("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *high])
    return found | set(range(0x3000, 0x3100)) | set(range(0xFF00, 0xFFF0))


KEPT = {
    "DejaVuSans.ttf": {
        *range(0x20, 0x780), *range(0x10A0, 0x1100), *range(0x1D00, 0x2400), *range(0x2500, 0x2800),
        *range(0x1F600, 0x1F650), *range(0xFB00, 0xFF00), 0xFFFD,
    },
    "NotoSansDevanagari-Regular.ttf": {*range(0x20, 0x7F), *range(0x900, 0x980), 0x200C, 0x200D, 0x25CC},
    "NotoSansThai-Regular.ttf": {*range(0x20, 0x7F), *range(0xE00, 0xE80), 0x25CC},
    "DroidSansFallback.ttf": cjk(),
}  # fmt: skip


def main(folder: Path) -> None:
    """Write the subsets."""
    for name, kept in KEPT.items():
        options = subset.Options()
        options.layout_features = ["*"]
        options.hinting = False
        options.flavor = "woff2"
        options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
        options.notdef_outline = True
        options.drop_tables += ["FFTM"]
        font = subset.load_font(str(folder / name), options)
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=kept)
        subsetter.subset(font)
        target = FONTS / Path(name).with_suffix(".woff2")
        subset.save_font(font, str(target), options)
        print(f"{target.name}: {len(font.getGlyphOrder())} glyphs, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
