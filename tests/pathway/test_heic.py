"""HEIC, as telephones send it: read with pillow-heif, and refused with a way out without it.

Of: pathway/images.py.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from perfdb.pathway import ImageRefusedError, PathwaySettings
from perfdb.pathway.images import read_room
from perfdb.pathway.standin.pictures import draw_room

pillow_heif = pytest.importorskip("pillow_heif")
SETTINGS = PathwaySettings()


def heic(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.register_heif_opener()
    picture.save(file, "HEIF", quality=80, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [(640, 480), (2001, 1501)])
def test_a_heic_picture_is_read(size: tuple[int, int]) -> None:
    given = draw_room(*size)

    room = read_room(heic(given), SETTINGS)

    assert (room.format, room.width, room.height, room.picture.mode) == ("HEIF", *size, "RGB")
    same = given.resize(room.picture.size)
    assert max(ImageStat.Stat(ImageChops.difference(room.picture, same)).mean) < 6


def test_what_is_transparent_becomes_white() -> None:
    picture = read_room(heic(Image.new("RGBA", (128, 128), (0, 0, 0, 0))), SETTINGS).picture

    assert min(picture.getpixel((64, 64))) > 240


def test_a_heic_picture_taken_on_its_side_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    assert read_room(heic(draw_room(640, 480), exif=exif.tobytes()), SETTINGS).picture.size == (480, 640)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_cut_off_files_are_refused(share: float) -> None:
    data = heic(draw_room(640, 480, furnished=True))

    with pytest.raises(ImageRefusedError, match="cut off or broken"):
        read_room(data[: int(len(data) * share)], SETTINGS)


def test_what_would_cost_more_memory_is_refused_by_its_name() -> None:
    with pytest.raises(ImageRefusedError, match=r"a HEIC of that size takes .* or an ordinary JPEG"):
        read_room(heic(Image.new("RGB", (5000, 4500))), SETTINGS)


def test_a_picture_too_small_to_show_a_room_is_refused() -> None:
    with pytest.raises(ImageRefusedError, match="at least 64"):
        read_room(heic(Image.new("RGB", (32, 32))), SETTINGS)


def test_without_the_extra_the_answer_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(draw_room(640, 480))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)

    with pytest.raises(ImageRefusedError, match=r"send a JPEG, or .*perfdb\[heic\]") as refused:
        read_room(data, SETTINGS)
    assert refused.value.status == 415
