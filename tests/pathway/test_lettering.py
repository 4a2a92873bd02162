"""Texts of shops of all countries on the composite: nothing is a box, nothing leaves its place.

Of: pathway/composite.py.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, features

from perfdb.pathway import lettering as lettering_module
from perfdb.pathway.lettering import capital, lettering

TEXTS = {
    "currencies": "€1.299 £899 ¥129 ₩1 ₪1 ₹1 ₽1 ₺1 ₴1 ฿1",
    "German": "Größe: Straßensofa „Weiß“ – ẞ ß",
    "French": "Canapé d’angle œuvre élégant à 3 places «ça»",
    "Polish": "Łóżko źdźbło ąęć",
    "Vietnamese": "Ghế sofa bọc vải hiện đại",
    "Turkish": "İğdır şık koltuk ığ",
    "Greek": "Καναπές τριθέσιος μοντέρνος",
    "Cyrillic": "Диван угловой Ёжик їґєў",
    "Chinese": "简约现代布艺沙发 傳統沙發",
    "Japanese": "ソファ 三人掛け 北欧風 畳ベッド ｿﾌｧ",
    "Korean": "북유럽풍 3인용 소파 패브릭",
    "Arabic": "أريكة عصرية ثلاثية المقاعد",
    "Persian": "مبل راحتی سه نفره پژ گچ",
    "Hebrew": "ספה מודרנית שלוש מושבים",
    "Hindi": "तीन सीटों वाला आधुनिक सोफा",
    "Thai": "โซฟาสามที่นั่งสไตล์",
    "mixed": "IKEA ソファ KIVIK диван 3인용, ß",
}


def drawn(text: str, *, size: int = 24, space: int = 600) -> Image.Image:
    picture = Image.new("L", (space, 60), 0)
    lettering(size).draw(ImageDraw.Draw(picture), (0, 5), text, "white", space)
    return picture


@pytest.mark.parametrize("language", TEXTS)
def test_every_letter_has_a_font_of_our_own(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering_module, "_installed", lambda char: ())
    box = lettering_module._drawn(lettering_module._font(lettering_module._OURS[0], 24), "\U0010fffd")  # type: ignore[arg-type]

    for font, part in lettering(24)._runs(lettering_module._clusters(TEXTS[language])):
        for char in part:
            mask = font.getmask(char)
            assert (mask.size, bytes(mask)) != box, f"{char} U+{ord(char):04X} of {font.getname()}"
    assert drawn(TEXTS[language]).getbbox() is not None


def test_letters_that_differ_look_different() -> None:
    letters = "aäàáâãåæ€£éеßÖoоЖ沙發发ソ소ש"
    assert len({drawn(letter).tobytes() for letter in letters if letter not in "еоо"}) == len(letters) - 2


def test_a_letter_of_marks_is_the_composed_one() -> None:
    assert drawn(unicodedata.normalize("NFD", "é ü Å й")).tobytes() == drawn("é ü Å й").tobytes()


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow has no Raqm")
def test_arabic_is_joined_and_stands_on_the_right() -> None:
    size = lettering(24)
    apart = sum(size.width(letter) for letter in "عصرية")

    assert size.width("عصرية") < 0.9 * apart
    left, _, right, _ = drawn("عصرية").getbbox() or (0, 0, 0, 0)
    assert left > 400
    assert right > 590


def test_pictures_and_controls_are_left_out() -> None:
    hostile = "So\u202efa\x00 \U0001f6cb\ufe0f\u200b\ud800 grau\n\n\tX"

    assert (
        "".join(part for _, part in lettering(24)._runs(lettering_module._clusters(hostile)))
        == "Sofa  grau X"
    )


def test_marks_do_not_pile_up_over_the_picture() -> None:
    assert lettering_module._clusters("a" + "\u0323\u0337" * 50)[0].count("\u0337") <= 4


@pytest.mark.parametrize("text", [*TEXTS.values(), "W" * 300, "沙" * 300, "สั" * 90, "a\u0301" * 200, " ", ""])
@pytest.mark.parametrize("space", [1, 60, 200])
def test_lines_fit_their_space_and_lose_nothing_but_the_end(text: str, space: int) -> None:
    size = lettering(18)
    lines = size.lines(text, space, 2)

    assert len(lines) <= 2
    if space > 20:
        assert all(size.width(line) <= space + 1 for line in lines)
    kept = "".join(lines).replace(" ", "").removesuffix("…")
    assert unicodedata.normalize("NFC", text).replace(" ", "").startswith(kept)


def test_a_long_title_without_spaces_fills_both_lines() -> None:
    first, second = lettering(18).lines("简约现代布艺沙发三人位客厅组合小户型科技布沙发简约现代", 200, 2)

    assert len(first) == 11
    assert second.endswith("…")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("ßofa", "ßofa"), ("élan", "Élan"), ("дом", "Дом"), ("ŉ", "ŉ"), ("", ""), ("居", "居")],
)
def test_a_capital_is_one_letter(given: str, expected: str) -> None:
    assert capital(given) == expected


def test_without_our_fonts_texts_are_still_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering_module, "_font", lambda name, size: None)
    lettering_module._has.cache_clear()
    try:
        assert drawn("Sofa €").getbbox() is not None
    finally:
        lettering_module._has.cache_clear()


def test_the_fonts_are_small_and_have_their_licences() -> None:
    folder = Path(lettering_module.__file__).with_name("fonts")
    words = (folder / "LICENSE").read_text()

    fonts = sorted(folder.glob("*.woff2"))
    assert sum(font.stat().st_size for font in fonts) < 1_000_000
    assert all(font.name in words for font in fonts)
    assert {font.name for font in fonts} == {Path(name).name for name in lettering_module._OURS}
