"""Opens pictures of strangers with bounded memory and refuses what cannot be used.

The size is read from the header before anything is decoded; a baseline JPEG is
decoded at a fraction of its size, everything else only up to a limit of pixels.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from perfdb.pathway.errors import ImageRefusedError
from perfdb.pathway.settings import PathwaySettings

# What Pillow raises for broken files, and what its plugins let slip.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, OverflowError)
_FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


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
        ImageRefusedError: no such file, not a JPEG, PNG or WebP, broken, or larger than the limits.
    """
    data = source if isinstance(source, bytes) else _content(source, settings.max_image_bytes)
    if len(data) > settings.max_image_bytes:
        raise ImageRefusedError(
            f"the picture is larger than {settings.max_image_bytes / 1e6:.0f} MB: send a smaller one", 413
        )
    side = max(settings.vision_side, settings.composite_width)
    picture, width, height, format_ = decode(
        data,
        side,
        max_pixels=settings.max_image_pixels,
        max_whole_pixels=settings.max_whole_image_pixels,
    )
    return RoomImage(picture, width, height, len(data), hashlib.sha256(data).hexdigest(), format_)


def look(data: bytes, settings: PathwaySettings) -> None:
    """Refuse what can be told by its header to be no usable picture; nothing is decoded.

    Raises:
        ImageRefusedError: as ``read_room``, unless the pixels are broken.
    """
    if not data:
        raise ImageRefusedError("the picture is empty: send a JPEG, PNG or WebP file", 400)
    if len(data) > settings.max_image_bytes:
        raise ImageRefusedError(
            f"the picture is larger than {settings.max_image_bytes / 1e6:.3g} MB: send a smaller one", 413
        )
    try:
        opened = _open(data, settings.max_whole_image_pixels)
    except ImageRefusedError:
        raise
    except _BROKEN as error:
        raise ImageRefusedError(f"the picture is broken ({_said(error)}): send it again") from None
    width, height = opened.size
    opened.close()
    if width * height > settings.max_image_pixels:
        raise _too_many_pixels(width, height, settings.max_image_pixels)


def decode(
    data: bytes, side: int, *, max_pixels: int, max_whole_pixels: int
) -> tuple[Image.Image, int, int, str]:
    """Return an RGB picture of at most ``side`` pixels, and the width, height and format that were given.

    Raises:
        ImageRefusedError: it is not a JPEG, PNG or WebP, is broken, or has too many pixels.
    """
    if not data:
        raise ImageRefusedError("the picture is empty: send a JPEG, PNG or WebP file", 400)
    try:
        opened = _open(data, max_whole_pixels)
    except ImageRefusedError:
        raise
    except _BROKEN as error:
        raise ImageRefusedError(f"the picture is broken ({_said(error)}): send it again") from None
    width, height = opened.size
    # a progressive JPEG keeps all its coefficients in memory, so a reduced decode does not help
    whole = opened.format != "JPEG" or "progressive" in opened.info or "progression" in opened.info
    limit = max_whole_pixels if whole else max_pixels
    if width * height > limit:
        raise _too_many_pixels(width, height, limit)
    try:
        return _reduced(opened, side), width, height, str(opened.format)
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise ImageRefusedError(f"the picture is cut off or broken ({_said(error)}): send it again") from None
    finally:
        opened.close()


def as_jpeg(picture: Image.Image, quality: int = 88) -> bytes:
    """Return the picture as the bytes of a JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def facts_of(data: bytes, settings: PathwaySettings) -> tuple[int, int, str]:
    """Return width, height and format of a finished picture; checksums are verified, pixels not decoded.

    Raises:
        ImageRefusedError: it is not a complete picture.
    """
    try:
        opened = _open(data, settings.max_whole_image_pixels)
        size, format_ = opened.size, str(opened.format)
        opened.verify()
    except _BROKEN as error:
        raise ImageRefusedError(f"not a complete picture ({_said(error)})") from None
    return size[0], size[1], format_.lower()


def _open(data: bytes, max_whole_pixels: int) -> ImageFile:
    """Open by signature; Image.open would know sixty formats and obey a limit of the whole process."""
    file = io.BytesIO(data)
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile(file)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        width, height = _webp_size(data)  # its decoder takes the memory on opening
        if width * height > max_whole_pixels:
            raise _too_many_pixels(width, height, max_whole_pixels)
        return WebPImageFile(file)
    raise ImageRefusedError("this is not a picture that can be used: send a JPEG, PNG or WebP file", 415)


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if len(data) < 30:
        raise ValueError("the header is cut off")
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _reduced(opened: ImageFile, side: int) -> Image.Image:
    picture: Image.Image = opened
    opened.draft("RGB", (side, side))
    opened.load()
    if picture.mode not in {"RGB", "L", "RGBA", "CMYK"}:
        picture = picture.convert("RGBA" if "transparency" in picture.info or "A" in picture.mode else "RGB")
    picture.thumbnail((side, side), reducing_gap=2.0)
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    turned = ImageOps.exif_transpose(picture)
    return turned if turned.mode == "RGB" else turned.convert("RGB")


def _content(path: str | os.PathLike[str], limit: int) -> bytes:
    shown = Path(path).name
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ImageRefusedError(f"the picture {shown!r} cannot be read: {error.strerror}", 400) from None
    except ValueError as error:
        raise ImageRefusedError(f"the picture {shown!r} cannot be read: {error}", 400) from None


def _too_many_pixels(width: int, height: int, limit: int) -> ImageRefusedError:
    return ImageRefusedError(
        f"the picture has {width} x {height} pixels, more than {limit / 1e6:.0f} million: send a smaller one",
        413,
    )


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
