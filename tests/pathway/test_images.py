"""Pictures of strangers: what is refused, and what memory they may take.

Of: pathway/headers.py, pathway/turns.py.
"""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import psutil
import pytest
from PIL import Image, ImageChops, ImageFile, ImageOps, ImageStat
from PIL.PngImagePlugin import PngInfo

from perfdb.pathway import ImageRefusedError, PathwaySettings
from perfdb.pathway.headers import jpeg_header
from perfdb.pathway.images import as_jpeg, facts_of, look, read_room
from perfdb.pathway.standin.answers import huge_thumbnail
from perfdb.pathway.standin.pictures import draw_room

SETTINGS = PathwaySettings()


def encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def sixteen_bits(grey: Image.Image) -> Image.Image:
    """Return a picture in I;16 that looks the same."""
    return Image.frombytes("I;16", grey.size, Image.merge("LA", (grey, grey)).tobytes())


def far_apart(one: Image.Image, other: Image.Image) -> int:
    """Return the largest difference of two pixels."""
    return max(high for _, high in ImageChops.difference(one, other.convert("RGB")).getextrema())


def mean_distance(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats_are_read(format_: str) -> None:
    room = read_room(encoded(draw_room(320, 200), format_), SETTINGS)

    assert (room.format, room.width, room.height, room.picture.mode) == (format_, 320, 200, "RGB")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_every_mode_of_png_becomes_rgb(mode: str) -> None:
    picture = Image.new(mode, (96, 64)) if mode == "I;16" else draw_room(96, 64).convert(mode)

    assert read_room(encoded(picture, "PNG"), SETTINGS).picture.mode == "RGB"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_taken_on_its_side_is_turned(format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    taken = draw_room(300, 200)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(taken, "PNG", exif=exif))))

    picture = read_room(encoded(taken, format_, exif=exif), SETTINGS).picture

    assert picture.size == upright.size
    assert far_apart(picture, upright) < 40


@pytest.mark.parametrize("size", [(2700, 1900), (3001, 2003), (1279, 1281), (6000, 64)])
@pytest.mark.parametrize("mode", ["RGB", "P", "L", "RGBA", "I;16"])
def test_a_large_picture_is_the_same_made_small(mode: str, size: tuple[int, int]) -> None:
    given = draw_room(*size).convert("L" if mode == "I;16" else mode)
    scale = min(1, 1280 / max(size))
    whole = given.convert("RGB").resize((round(size[0] * scale), round(size[1] * scale)))
    if mode == "I;16":
        given = sixteen_bits(given)

    picture = read_room(encoded(given, "PNG", compress_level=1), SETTINGS).picture

    assert picture.size == whole.size
    assert mean_distance(picture, whole) < 5


def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off() -> None:
    ramp = Image.linear_gradient("L")

    picture = read_room(encoded(sixteen_bits(ramp), "PNG"), SETTINGS).picture

    assert far_apart(picture, ramp.convert("RGB")) <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    if mode in ("RGBA", "LA"):
        picture, options = Image.new(mode, (80, 80), 0), {}
    else:
        picture, options = Image.new(mode, (80, 80), 0), {"transparency": (0, 0, 0) if mode == "RGB" else 0}

    assert read_room(encoded(picture, "PNG", **options), SETTINGS).picture.getpixel((40, 40)) == (255,) * 3


@pytest.mark.parametrize("size", [(1, 1), (63, 63), (2000, 63), (63, 2000)])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_picture_too_small_to_show_a_room_is_refused(format_: str, size: tuple[int, int]) -> None:
    with pytest.raises(ImageRefusedError, match="at least 64 on each side"):
        read_room(encoded(Image.new("RGB", size), format_), SETTINGS)


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


def test_cut_off_files_are_refused_whatever_a_library_allowed_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for format_ in ("JPEG", "PNG", "WEBP"):
        data = encoded(draw_room(320, 200, furnished=True), format_)
        with pytest.raises(ImageRefusedError):
            read_room(data[: len(data) // 2], SETTINGS)
        with pytest.raises(ImageRefusedError):
            facts_of(data[: len(data) // 2], SETTINGS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_half_a_picture_is_no_design(format_: str, options: dict[str, Any]) -> None:
    data = encoded(draw_room(640, 400, furnished=True), format_, **(options if format_ == "JPEG" else {}))

    assert facts_of(data, SETTINGS) == (640, 400, format_.lower())
    for share in (0.05, 0.5, 0.9, 0.999):
        with pytest.raises(ImageRefusedError, match="not a complete picture"):
            facts_of(data[: int(len(data) * share)], SETTINGS)


def test_a_damaged_design_is_refused() -> None:
    data = bytearray(encoded(draw_room(640, 400, furnished=True), "PNG"))
    data[len(data) // 2] ^= 255

    with pytest.raises(ImageRefusedError, match="not a complete picture"):
        facts_of(bytes(data), SETTINGS)


def test_a_design_that_shows_nothing_is_refused() -> None:
    with pytest.raises(ImageRefusedError, match="only 1 x 1 pixels"):
        facts_of(encoded(Image.new("RGB", (1, 1)), "PNG"), SETTINGS)


def test_a_design_too_large_to_be_decoded_is_looked_at_and_kept() -> None:
    settings = PathwaySettings(max_decode_bytes=10_000_000)
    data = encoded(Image.new("RGB", (3000, 2000)), "PNG")

    assert facts_of(data, settings) == (3000, 2000, "png")
    with pytest.raises(ImageRefusedError, match="not a complete picture"):
        facts_of(data[:-20], settings)


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


COSTLY = [
    ("WEBP", "RGB", (7000, 5600), {"lossless": True, "method": 0}),
    ("WEBP", "RGBA", (4000, 3000), {"lossless": True, "method": 0}),
    ("JPEG", "RGB", (6000, 6000), {"progressive": True}),
    ("JPEG", "CMYK", (5000, 4000), {"progressive": True}),
    ("PNG", "RGB", (6000, 6000), {"compress_level": 1}),
    ("PNG", "LA", (6000, 6000), {"compress_level": 1}),
]


@pytest.mark.parametrize(("format_", "mode", "size", "options"), COSTLY)
def test_what_would_cost_more_memory_is_refused_before_it_is_decoded(
    format_: str, mode: str, size: tuple[int, int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.new(mode, size), format_, **options)
    monkeypatch.setattr("perfdb.pathway.images._pixels", lambda opened: pytest.fail("it is decoded"))

    for refuse in (look, read_room):
        with pytest.raises(
            ImageRefusedError, match=r"MB of memory, more than 90 MB: send a smaller"
        ) as refused:
            refuse(data, SETTINGS)
        assert refused.value.status == 413


def test_the_budget_is_a_setting() -> None:
    data = encoded(Image.new("RGB", (3000, 2900)), "WEBP", lossless=True, method=0)

    with pytest.raises(ImageRefusedError, match="WebP of that size"):
        read_room(data, SETTINGS)
    assert read_room(data, PathwaySettings(max_decode_bytes=200_000_000)).width == 3000


def test_a_jpeg_with_a_scan_per_colour_is_counted_whole() -> None:
    data = encoded(Image.new("RGB", (640, 480)), "JPEG")
    scan = data.index(b"\xff\xda")
    one_colour = data[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + data[scan + 14 :]

    assert not jpeg_header(data).coefficients
    assert jpeg_header(one_colour).coefficients == 2 * (640 * 480 * 3 // 2)
    assert jpeg_header(one_colour).is_whole


def test_padding_between_the_segments_of_a_jpeg_is_passed_by() -> None:
    data = encoded(draw_room(640, 480), "JPEG")
    tables = data.index(b"\xff\xdb")

    assert read_room(data[:tables] + bytes(3) + b"\xff\xff" + data[tables:], SETTINGS).width == 640


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 2_000_000,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 500_000,
        b"\x89PNG\r\n\x1a\n" + (bytes(4) + b"abCd" + bytes(4)) * 200_000,
    ],
)
def test_headers_without_end_are_refused(data: bytes) -> None:
    with pytest.raises(ImageRefusedError, match="cut off or broken"):
        read_room(data, SETTINGS)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
@pytest.mark.parametrize("depth", [8, 16])
def test_every_depth_of_png_keeps_its_brightness(colour: int, depth: int) -> None:
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    value, full = (b"\x50", b"\xff") if depth == 8 else (b"\x50\x50", b"\xff\xff")
    pixel = value * samples if colour < 4 else value * (samples - 1) + full
    header = struct.pack(">IIBBBBB", 100, 80, depth, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + pixel * 100) * 80)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    assert read_room(data, SETTINGS).picture.getpixel((50, 40)) == (0x50,) * 3


def test_texts_of_a_png_that_unfold_are_counted() -> None:
    texts = PngInfo()
    for number in range(60):
        texts.add_text(f"note{number}", "0" * 900_000, zip=True)
    data = encoded(Image.new("RGB", (640, 480)), "PNG", pnginfo=texts)

    assert len(data) < 200_000
    with pytest.raises(ImageRefusedError, match="MB of memory"):
        read_room(data, SETTINGS)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_finished_jpeg_whose_end_comes_too_early_is_not_complete(share: float) -> None:
    whole = as_jpeg(draw_room(1536, 1024))
    half = whole[: int(len(whole) * share)] + b"\xff\xd9"

    with pytest.raises(ImageRefusedError, match="lower part is missing"):
        facts_of(half, PathwaySettings())
    assert facts_of(whole, PathwaySettings()) == (1536, 1024, "jpeg")
    assert facts_of(as_jpeg(Image.new("RGB", (640, 480), "#7f7f7f")), PathwaySettings())


def test_a_jpeg_of_thousands_of_scans_is_refused_before_any_is_decoded() -> None:
    made = encoded(draw_room(640, 480), "JPEG", progressive=True)
    scan = made[made.rindex(b"\xff\xda") : -2]
    own = made.count(b"\xff\xda")
    usual = made[:-2] + (100 - own) * scan + made[-2:]
    look(usual, SETTINGS)
    assert read_room(usual, SETTINGS).width == 640
    # between segments a decoder passes by what is none, and more marks of a beginning
    for spoiled in (scan, b"\xff" + scan, b"\xff\xfe\x00\x04\xff\xd9" + scan):
        many = made[:-2] + 5_000 * spoiled + made[-2:]
        for refuse in (look, read_room, facts_of):
            with pytest.raises(ImageRefusedError, match="too many scans"):
                refuse(many, SETTINGS)
