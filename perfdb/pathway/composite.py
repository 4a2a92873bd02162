"""Composite Creation: one sheet with the room on the left and a card per product on the right.

Memory is bounded: the room comes reduced, a thumbnail is read up to a limit and
decoded at the size of its card. A thumbnail that cannot be had is skipped and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests
from PIL import Image, ImageDraw

from perfdb.pathway.budget import carried
from perfdb.pathway.errors import ImageRefusedError, ServiceError
from perfdb.pathway.images import RoomImage, as_jpeg, decode_thumbnail
from perfdb.pathway.lettering import Lettering, lettering
from perfdb.pathway.search import Product
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.shortfalls import Shortfalls
from perfdb.pathway.thumbnails import download

if TYPE_CHECKING:
    from perfdb.recording.step import Step
    from perfdb.recording.tracker import Tracker

_PAPER, _CARD, _EDGE, _INK, _SOFT = "#f3f1ec", "#ffffff", "#dedad2", "#26231f", "#77716a"
_MAX_CARDS = 16

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Composite:
    """The sheet as a JPEG."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Card:
    product: Product
    picture: Image.Image


def make_composite(
    session: requests.Session,
    room: RoomImage,
    products: Sequence[Product],
    settings: PathwaySettings,
    tracker: Tracker,
    step: Step,
    *,
    title: str,
    missing: Shortfalls | None = None,
) -> Composite:
    """Return the sheet; ``step`` gets its counts, sizes and the seconds spent on pictures.

    A product whose thumbnail cannot be had is left out and noted in ``missing``.

    Args:
        session: for the thumbnails; shared by threads.
        room: the picture to start from.
        products: what to show; those without a usable thumbnail are left out.
        settings: widths, limits, time-outs.
        tracker: brings the downloads to its worker threads.
        step: Composite Creation.
        title: one line above the room.
        missing: collects what is left out, and why.

    Raises:
        ServiceError: fewer products can be shown than ``min_products``.
    """
    width = settings.composite_width
    height = width * 2 // 3
    shown = list(products)[:_MAX_CARDS]
    area = (round(width * 0.63), round(width * 0.025), width - round(width * 0.02), height)
    boxes = _grid(len(shown), area)
    side = max((max(_picture_space(box)) for box in boxes), default=1)

    began = time.perf_counter()
    fetch = carried(_fetcher(session, settings, side))
    fetched = tracker.map(fetch, shown, max_workers=settings.search_workers)
    download_time = time.perf_counter() - began
    cards = [
        _Card(product, picture)
        for product, picture in zip(shown, fetched, strict=True)
        if isinstance(picture, Image.Image)
    ]
    reasons = [reason for reason in fetched if isinstance(reason, str)]
    missing = Shortfalls() if missing is None else missing
    for reason in reasons:
        missing.note(step.name, reason)
    if len(cards) < min(settings.min_products, len(shown)):
        step.set(
            product_count=len(cards), skipped_thumbnails=len(reasons), download_time=round(download_time, 6)
        )
        raise ServiceError(
            f"only {len(cards)} of {len(shown)} products have a picture that can be used, fewer than "
            f"min_products = {settings.min_products} under [pathway]: {reasons[0]}"
        )

    began = time.perf_counter()
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_room(sheet, draw, room.picture, title, f"{len(cards)} real products" if cards else "")
    boxes = _grid(len(cards), area)
    for card, box in zip(cards, boxes, strict=True):
        _draw_card(sheet, draw, card, box)
    data = as_jpeg(sheet)
    step.set(
        product_count=len(cards),
        skipped_thumbnails=len(shown) - len(cards),
        image_processing_time=round(time.perf_counter() - began, 6),
        download_time=round(download_time, 6),
        composite_width=width,
        composite_height=height,
        composite_bytes=len(data),
    )
    return Composite(data, width, height)


def _fetcher(
    session: requests.Session, settings: PathwaySettings, side: int
) -> Callable[[Product], Image.Image | str]:
    def fetch(product: Product) -> Image.Image | str:
        """Return the picture, or the reason why there is none."""
        try:
            data = download(session, product.thumbnail, settings)
            return decode_thumbnail(data, side, settings)
        except ServiceError as error:
            return str(error)
        except ImageRefusedError as error:
            return str(error).partition(": send ")[0]

    return fetch


def _grid(count: int, area: Box) -> list[Box]:
    """Return ``count`` boxes that fill the area: one column up to 3, two up to 8, else three."""
    if not count:
        return []
    left, top, right, bottom = area
    columns = 1 if count <= 3 else 2 if count <= 8 else 3
    rows = max(2, -(-count // columns))
    gap = max(6, (right - left) // 40)
    wide = (right - left - gap * (columns - 1)) // columns
    high = (bottom - top - gap * rows) // rows
    return [
        (x, y, x + wide, y + high)
        for number in range(count)
        for x, y in [(left + number % columns * (wide + gap), top + number // columns * (high + gap))]
    ]


def _draw_room(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, room: Image.Image, title: str, subtitle: str
) -> None:
    width, height = sheet.size
    margin, head = round(width * 0.025), round(height * 0.13)
    area = (round(width * 0.585), height - head - 2 * margin)
    fitted = room.copy()
    fitted.thumbnail(area, reducing_gap=2.0)
    if fitted.width < area[0] and fitted.height < area[1]:
        scale = min(area[0] / fitted.width, area[1] / fitted.height)
        fitted = fitted.resize((max(1, int(fitted.width * scale)), max(1, int(fitted.height * scale))))
    left = margin + (area[0] - fitted.width) // 2
    top = head + margin + (area[1] - fitted.height) // 2
    sheet.paste(fitted, (left, top))
    draw.rectangle((left, top, left + fitted.width - 1, top + fitted.height - 1), outline=_EDGE)
    large, small = lettering(round(width * 0.026)), lettering(round(width * 0.015))
    large.draw(draw, (margin, margin), large.cut(title, area[0]), _INK, area[0])
    small.draw(draw, (margin, margin + round(width * 0.038)), subtitle, _SOFT, area[0])


def _draw_card(sheet: Image.Image, draw: ImageDraw.ImageDraw, card: _Card, box: Box) -> None:
    left, top, right, bottom = box
    pad, font = _pad(box), _card_font(box)
    draw.rounded_rectangle(box, pad, fill=_CARD, outline=_EDGE)
    space = _picture_space(box)
    picture = card.picture
    picture.thumbnail(space, Image.Resampling.BILINEAR)
    middle = (left + (right - left - picture.width) // 2, top + pad + (space[1] - picture.height) // 2)
    sheet.paste(picture, middle)
    words = font.lines(card.product.title, space[0], 2)
    text_top = bottom - _text_height(box)
    line = round(font.size * 1.3)
    for number, text in enumerate(words):
        font.draw(draw, (left + pad, text_top + number * line), text, _INK, space[0])
    price = font.cut(card.product.price or "price on request", space[0])
    font.draw(draw, (left + pad, text_top + 2 * line), price, "#8a4b2d", space[0])


def _pad(box: Box) -> int:
    return max(4, (box[2] - box[0]) // 20)


def _card_font(box: Box) -> Lettering:
    return lettering(max(10, (box[2] - box[0]) // 15))


def _text_height(box: Box) -> int:
    """Return the pixels below the picture: two lines of title and one of price."""
    return min(3 * round(_card_font(box).size * 1.3) + _pad(box), (box[3] - box[1]) // 2)


def _picture_space(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    pad = _pad(box)
    return max(1, right - left - 2 * pad), max(1, bottom - top - _text_height(box) - 2 * pad)
