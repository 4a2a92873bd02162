"""Opens pictures of strangers with bounded memory and refuses what cannot be used.

What a picture would take is read from its header before anything is decoded: more than its budget is
refused, and threads take turns, so that many pictures at once stay below a limit, too. Colours are
converted strip by strip: no second picture of the full size is ever made.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from perfdb.pathway import headers
from perfdb.pathway.errors import ImageRefusedError
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.turns import Turns

MIN_SIDE = 64  # pixels: less shows no room
MAX_THUMBNAIL_PIXELS = 16_000_000
_AT_ONCE = 4  # pictures of the largest budget that are decoded together, or more smaller ones

# What Pillow raises for broken files, and what its plugins let slip.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, OverflowError, RuntimeError,
    Image.DecompressionBombError,
)  # fmt: skip
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_SMALL_MODES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # bytes per pixel; all others take 4
_WEBP_DECODING = 12.2  # bytes per pixel: two canvases of its decoder and what comes out of it
_HEIC_DECODING = 5.0  # its planes, and the colours made of them
_STRIP_PIXELS = 1 << 19
_decoding = Turns()


@dataclass(frozen=True, slots=True)
class RoomImage:
    """A picture to start from: ``picture`` is reduced RGB, the other fields describe what was given."""

    picture: Image.Image
    width: int
    height: int
    bytes: int
    sha256: str
    format: str

    @property
    def facts(self) -> dict[str, object]:
        """What perfdb may keep of it: no pixel."""
        return {
            "image_width": self.width,
            "image_height": self.height,
            "image_bytes": self.bytes,
            "image_sha256": self.sha256,
            "image_format": self.format,
        }


def read_room(source: str | os.PathLike[str] | bytes, settings: PathwaySettings) -> RoomImage:
    """Return the picture of a path or of bytes, reduced to what the pathway needs.

    Raises:
        ImageRefusedError: no such file, not a JPEG, PNG, WebP or HEIC, broken, too small, or larger than the
            limits.
    """
    data = source if isinstance(source, bytes) else _content(source, settings.max_image_bytes)
    with _refusing(), _opened_room(data, settings) as (opened, header):
        width, height = opened.size
        side = _side(settings)
        cost = _ensure_affordable(opened, header, len(data), side, settings.max_decode_bytes)
        with _decoding.of(cost, _AT_ONCE * settings.max_decode_bytes):
            picture = _reduced(opened, side)
        format_ = str(opened.format)
    return RoomImage(picture, width, height, len(data), hashlib.sha256(data).hexdigest(), format_)


def look(data: bytes, settings: PathwaySettings) -> None:
    """Refuse what is no usable picture by its header; nothing is decoded.

    Raises:
        ImageRefusedError: as ``read_room``, unless the pixels are broken.
    """
    with _refusing(), _opened_room(data, settings) as (opened, header):
        _ensure_affordable(opened, header, len(data), _side(settings), settings.max_decode_bytes)


def decode_thumbnail(data: bytes, side: int, settings: PathwaySettings) -> Image.Image:
    """Return the picture of a product in RGB, of at most ``side`` pixels.

    Raises:
        ImageRefusedError: as ``read_room``; a small one is good enough.
    """
    with _refusing(), _opened(data, MAX_THUMBNAIL_PIXELS) as (opened, header):
        _ensure_pixels(opened, MAX_THUMBNAIL_PIXELS)
        cost = _ensure_affordable(opened, header, len(data), side, settings.max_decode_bytes)
        with _decoding.of(cost, _AT_ONCE * settings.max_decode_bytes):
            return _reduced(opened, side)


def as_jpeg(picture: Image.Image) -> bytes:
    """Return the picture as the bytes of a JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def facts_of(data: bytes, settings: PathwaySettings) -> tuple[int, int, str]:
    """Return width, height and format of a finished picture that was decoded from its first line to its last.

    One that is larger than the budget has only its checksums and its end looked at: it is paid for.

    Raises:
        ImageRefusedError: it is not a complete picture, or one that shows nothing.
    """
    try:
        with _opened(data, settings.max_whole_image_pixels) as (opened, header):
            (width, height), format_ = opened.size, str(opened.format)
            if min(width, height) < MIN_SIDE:
                raise ImageRefusedError(f"a picture of only {width} x {height} pixels")
            opened.draft("RGB", (width // 8, height // 8))
            cost = len(data) + _cost(opened, header, max(width, height) // 8)
            if cost <= settings.max_decode_bytes:
                with _decoding.of(cost, _AT_ONCE * settings.max_decode_bytes):
                    pixels = _pixels(opened)
                    if format_ == "JPEG" and _lacks_rows(pixels):
                        raise ValueError("its lower part is missing")
        if format_ == "PNG":
            PngImageFile(io.BytesIO(data)).verify()
    except ImageRefusedError:
        raise
    except _BROKEN as error:
        raise ImageRefusedError(f"not a complete picture ({_said(error)})") from None
    return width, height, format_.lower()


def _lacks_rows(picture: Image.Image) -> bool:
    """Say whether the last row of a decoded JPEG is the grey of blocks that never came.

    A decoder fills up with them what an end comes too early for, and says nothing.
    """
    last = picture.crop((0, picture.height - 1, picture.width, picture.height)).convert("RGB")
    return last.getextrema() == ((128, 128),) * 3


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what Pillow raises into an ImageRefusedError."""
    try:
        yield
    except ImageRefusedError:
        raise
    except _BROKEN as error:
        raise ImageRefusedError(f"the picture is cut off or broken ({_said(error)}): send it again") from None


@contextmanager
def _opened_room(data: bytes, settings: PathwaySettings) -> Iterator[tuple[ImageFile, headers.Header]]:
    """Open a picture whose size is within the settings."""
    if len(data) > settings.max_image_bytes:
        raise ImageRefusedError(
            f"the picture is larger than {_megabytes(settings.max_image_bytes)}: send a smaller one", 413
        )
    with _opened(data, settings.max_whole_image_pixels) as (opened, header):
        if min(opened.size) < MIN_SIDE:
            raise ImageRefusedError(
                f"the picture has {opened.width} x {opened.height} pixels, too few to see a room: "
                f"send one with at least {MIN_SIDE} on each side"
            )
        _ensure_pixels(
            opened, settings.max_whole_image_pixels if header.is_whole else settings.max_image_pixels
        )
        yield opened, header


@contextmanager
def _opened(data: bytes, max_whole_pixels: int) -> Iterator[tuple[ImageFile, headers.Header]]:
    """Open a file of which nothing is cut off, and close it."""
    if not data:
        raise ImageRefusedError("the picture is empty: send a JPEG, PNG or WebP file", 400)
    opened, header = _open(data, max_whole_pixels)
    with closing(opened):
        # not left to Pillow: a library may have set its LOAD_TRUNCATED_IMAGES for the whole process
        if not header.has_end:
            raise ValueError("its end is missing")
        yield opened, header


def _open(data: bytes, max_whole_pixels: int) -> tuple[ImageFile, headers.Header]:
    """Open by signature; Image.open would know sixty formats and obey a limit of the whole process."""
    file = io.BytesIO(data)
    if data.startswith(b"\xff\xd8\xff"):
        header = headers.jpeg_header(data)
        return JpegImageFile(file), header
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        header = headers.png_header(data)
        return PngImageFile(file), header
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        width, height, header = headers.webp_header(data)
        if width * height > max_whole_pixels:
            raise _too_many_pixels(width, height, max_whole_pixels)
        return WebPImageFile(file), header
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return _open_heic(file), headers.Header(3 * len(data), True)
    raise ImageRefusedError("this is not a picture that can be used: send a JPEG, PNG or WebP file", 415)


def _open_heic(file: io.BytesIO) -> ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError:
        raise ImageRefusedError(
            "this is a HEIC picture: send a JPEG, or let its service pip install 'perfdb[heic]'", 415
        ) from None
    make: Callable[[io.BytesIO], ImageFile] = HeifImageFile
    return make(file)


def _side(settings: PathwaySettings) -> int:
    return max(settings.vision_side, settings.composite_width)


def _ensure_pixels(opened: ImageFile, limit: int) -> None:
    if opened.width * opened.height > limit:
        raise _too_many_pixels(opened.width, opened.height, limit)


def _ensure_affordable(opened: ImageFile, header: headers.Header, size: int, side: int, limit: int) -> int:
    """Ask the decoder for a fraction where it can give that; return the bytes of memory that this takes."""
    width, height = opened.size
    opened.draft("RGB", _fitted(width, height, side))
    cost = size + _cost(opened, header, side)
    if cost <= limit:
        return cost
    name = {"HEIF": "HEIC", "WEBP": "WebP"}.get(str(opened.format), str(opened.format))
    kind = f"progressive {name}" if name == "JPEG" and header.is_whole else name
    raise ImageRefusedError(
        f"the picture has {width} x {height} pixels: to open a {kind} of that size takes {_megabytes(cost)} "
        f"of memory, more than {_megabytes(limit)}: send a smaller one"
        f"{', or an ordinary JPEG' if header.is_whole else ''}",
        413,
    )


def _cost(opened: ImageFile, header: headers.Header, side: int) -> int:
    """Return the bytes that a picture takes until it is reduced: while it is decoded, or after that."""
    width, height = opened.size
    kept = width * height * (3 if opened.format == "HEIF" else _SMALL_MODES.get(opened.mode, 4))
    decoding = {"WEBP": _WEBP_DECODING, "HEIF": _HEIC_DECODING}.get(str(opened.format))
    most = kept + header.coefficients if decoding is None else round(width * height * decoding)
    factor = _factor(width, height, side)
    reduced = -(-width // factor) * -(-height // factor)
    return header.copied + max(most, kept + 4 * reduced + 16 * _STRIP_PIXELS)


def _reduced(opened: ImageFile, side: int) -> Image.Image:
    """Return the picture in RGB, upright, and of at most ``side`` pixels."""
    pixels = _pixels(opened)  # before there is anything else
    (width, height), factor = opened.size, _factor(*opened.size, side)
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        colours = _rgb(_strip(pixels, width, top, min(height, top + rows)))
        reduced.paste(colours.reduce(factor) if factor > 1 else colours, (0, top // factor))
    turn = _TURNS.get(opened.getexif().get(_ORIENTATION, 1))
    del pixels
    opened.close()
    fitted = _fitted(width, height, side)
    if fitted != reduced.size:
        reduced = reduced.resize(fitted, box=(0, 0, width / factor, height / factor))
    return reduced.transpose(turn) if turn is not None else reduced


def _pixels(opened: ImageFile) -> Any:
    """Decode; return the picture, or pillow-heif's own, without the copy that ``load`` would make."""
    decoder: Any = getattr(opened, "_decoder", None)
    if isinstance(opened, WebPImageFile) and decoder is not None:
        frame, _ = decoder.get_next() or (b"", 0)
        opened._decoder = None  # with two canvases of its own
        return Image.frombuffer(opened.rawmode, opened.size, frame, "raw", opened.rawmode, 0, 1)
    if (heif := getattr(opened, "_heif_file", None)) is not None:
        pixels = heif[opened.tell()]
        if pixels.data and pixels.size == opened.size:
            return pixels
    opened.load()
    return opened


def _strip(pixels: Any, width: int, top: int, bottom: int) -> Image.Image:
    if isinstance(pixels, Image.Image):
        return pixels.crop((0, top, width, bottom))
    part = pixels.data[top * pixels.stride : bottom * pixels.stride]
    return Image.frombytes(pixels.mode, (width, bottom - top), part, "raw", pixels.mode, pixels.stride)


def _fitted(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _factor(width: int, height: int, side: int) -> int:
    """Return by how much to reduce by plain averages; less than twice the wanted size is left."""
    return max(1, max(width, height) // side)


def _rgb(strip: Image.Image) -> Image.Image:
    """Return it in RGB: 16 bits scaled to 8, on white where it is transparent."""
    if strip.mode.startswith(("I", "F")):
        # convert("L") would cut off all above 255: white
        return strip.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if "A" in strip.mode or "a" in strip.mode or "transparency" in strip.info:
        strip = strip.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB")
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _content(path: str | os.PathLike[str], limit: int) -> bytes:
    shown = Path(path).name
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ImageRefusedError(f"the picture {shown!r} cannot be read: {error.strerror}", 400) from None
    except ValueError as error:
        raise ImageRefusedError(f"the picture {shown!r} cannot be read: {error}", 400) from None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1_000_000 else f"{size / 1e3:.0f} kB"


def _too_many_pixels(width: int, height: int, limit: int) -> ImageRefusedError:
    return ImageRefusedError(
        f"the picture has {width} x {height} pixels, more than {limit / 1e6:.0f} million: send a smaller one",
        413,
    )


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
