"""Pictures of strangers: what is refused, and what memory they may take."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import psutil
import pytest
from PIL import Image

from perfdb.pathway import ImageRefusedError, PathwaySettings
from perfdb.pathway.images import read_room
from perfdb.pathway.standin.answers import huge_thumbnail
from perfdb.pathway.standin.pictures import draw_room

SETTINGS = PathwaySettings()


def encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats_are_read(format_: str) -> None:
    room = read_room(encoded(draw_room(320, 200), format_), SETTINGS)

    assert (room.format, room.width, room.height, room.picture.mode) == (format_, 320, 200, "RGB")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_every_mode_of_png_becomes_rgb(mode: str) -> None:
    picture = Image.new(mode, (64, 48)) if mode == "I;16" else draw_room(64, 48).convert(mode)

    assert read_room(encoded(picture, "PNG"), SETTINGS).picture.mode == "RGB"


def test_a_picture_taken_on_its_side_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    assert read_room(encoded(draw_room(300, 200), "JPEG", exif=exif), SETTINGS).picture.size == (200, 300)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"GIF89a" + bytes(50), 415, "JPEG, PNG or WebP"),
        (b"<html></html>", 415, "JPEG, PNG or WebP"),
        (b"\xff\xd8\xff" + bytes(100), 422, "broken"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422, "broken"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", 422, "broken"),
        (huge_thumbnail(), 413, "million"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(data: bytes, status: int, words: str) -> None:
    with pytest.raises(ImageRefusedError, match=words) as refused:
        read_room(data, SETTINGS)
    assert refused.value.status == status


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_cut_off_files_are_refused(format_: str, share: float) -> None:
    data = encoded(draw_room(320, 200, furnished=True), format_)

    with pytest.raises(ImageRefusedError):
        read_room(data[: int(len(data) * share)], SETTINGS)


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "room.jpg"
    path.write_bytes(bytes(2_000))

    with pytest.raises(ImageRefusedError, match="larger than"):
        read_room(path, PathwaySettings(max_image_bytes=1_000))


def test_a_missing_file_is_refused_by_its_name() -> None:
    with pytest.raises(ImageRefusedError, match=r"'nowhere\.jpg'"):
        read_room("nowhere.jpg", SETTINGS)


HUGE = (7000, 6000)


def test_a_huge_jpeg_takes_little_memory() -> None:
    data = encoded(Image.new("L", HUGE, 128), "JPEG")
    process = psutil.Process()
    before = process.memory_info().rss
    tracemalloc.start()
    try:
        room = read_room(data, SETTINGS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (room.width, room.height) == HUGE
    assert max(room.picture.size) <= 1280
    assert peak < 20_000_000
    assert process.memory_info().rss - before < 30_000_000  # decoded whole it would be 42 MB, in colour 168


def test_a_huge_progressive_jpeg_is_refused() -> None:
    data = encoded(Image.new("L", HUGE, 128), "JPEG", progressive=True)

    with pytest.raises(ImageRefusedError, match="million"):
        read_room(data, SETTINGS)
