"""Draws rooms and furniture, so that no picture has to be shipped or downloaded.

``draw_room`` makes the photo that a design starts from and the design that comes
back; ``draw_product`` makes the thumbnails of a shop. The same seed draws the
same picture.
"""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

_WALLS: tuple[Colour, ...] = (
    (224, 216, 204),
    (206, 214, 218),
    (226, 211, 199),
    (212, 218, 202),
    (218, 213, 224),
)
_FABRICS: tuple[Colour, ...] = (
    (92, 107, 115),
    (158, 88, 69),
    (72, 99, 84),
    (193, 154, 91),
    (86, 80, 122),
    (60, 64, 72),
)
_WOODS: tuple[Colour, ...] = ((146, 104, 68), (112, 76, 50), (178, 138, 98))


def draw_room(width: int, height: int, *, seed: int = 0, furnished: bool = False) -> Image.Image:
    """Return an RGB picture of a room with a window; ``furnished`` adds sofa, rug, lamp and more."""
    pick = random.Random(seed)  # noqa: S311 - repeatable, not secret
    wall, fabric, wood = pick.choice(_WALLS), pick.choice(_FABRICS), pick.choice(_WOODS)
    room = _upright_gradient(width, height, _mix(wall, (255, 255, 255), 0.35), _mix(wall, (90, 80, 70), 0.2))
    draw = ImageDraw.Draw(room)

    def box(left: float, top: float, right: float, bottom: float, colour: Colour, radius: float = 0) -> None:
        corners = (left * width, top * height, right * width, bottom * height)
        draw.rounded_rectangle(corners, radius * width, fill=colour)

    floor_top = 0.72
    box(0, floor_top, 1, 1, _mix(wood, (255, 255, 255), 0.25))
    for plank in range(1, 6):
        level = (floor_top + (1 - floor_top) * (plank / 6) ** 1.5) * height
        draw.line((0, level, width, level), fill=_mix(wood, (0, 0, 0), 0.05), width=max(1, height // 400))
    box(0, floor_top - 0.025, 1, floor_top, (246, 243, 238))
    box(0.06, 0.12, 0.34, 0.56, (250, 249, 246))
    box(0.075, 0.14, 0.195, 0.54, (178, 209, 228))
    box(0.205, 0.14, 0.325, 0.54, (190, 217, 232))
    if not furnished:
        return room

    light, dark = _mix(fabric, (255, 255, 255), 0.18), _mix(fabric, (0, 0, 0), 0.25)
    draw.ellipse(
        (0.22 * width, 0.8 * height, 0.94 * width, 0.985 * height), fill=_mix(fabric, (240, 230, 215), 0.6)
    )
    box(0.42, 0.52, 0.88, 0.72, fabric, 0.02)
    box(0.4, 0.64, 0.9, 0.81, light, 0.015)
    box(0.38, 0.58, 0.44, 0.83, dark, 0.012)
    box(0.86, 0.58, 0.92, 0.83, dark, 0.012)
    box(0.48, 0.56, 0.565, 0.66, pick.choice(_FABRICS), 0.012)
    box(0.74, 0.56, 0.825, 0.66, pick.choice(_FABRICS), 0.012)
    box(0.46, 0.855, 0.76, 0.885, wood, 0.008)
    box(0.49, 0.885, 0.505, 0.95, dark)
    box(0.715, 0.885, 0.73, 0.95, dark)
    box(0.333, 0.38, 0.339, 0.8, (70, 66, 62))
    lamp = [(0.3, 0.4), (0.372, 0.4), (0.358, 0.29), (0.314, 0.29)]
    draw.polygon([(x * width, y * height) for x, y in lamp], fill=(245, 226, 178))
    for left in (0.49, 0.63, 0.77):
        box(left, 0.17, left + 0.11, 0.4, (252, 251, 249))
        box(left + 0.015, 0.19, left + 0.095, 0.38, _mix(pick.choice(_FABRICS), (255, 255, 255), 0.35))
    return room


def draw_product(product: str, *, seed: int = 0, side: int = 240) -> Image.Image:
    """Return a square RGB picture of a piece of furniture on white; an unknown kind is drawn as a vase."""
    pick = random.Random(f"{product}:{seed}")  # noqa: S311 - repeatable, not secret
    fabric, wood = pick.choice(_FABRICS), pick.choice(_WOODS)
    dark, light = _mix(fabric, (0, 0, 0), 0.3), _mix(fabric, (255, 255, 255), 0.3)
    picture = Image.new("RGB", (side, side), (255, 255, 255))
    draw = ImageDraw.Draw(picture)

    def box(
        left: float, top: float, right: float, bottom: float, colour: Colour, radius: float = 0.0
    ) -> None:
        draw.rounded_rectangle(
            (left * side, top * side, right * side, bottom * side), radius * side, fill=colour
        )

    def oval(left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        draw.ellipse((left * side, top * side, right * side, bottom * side), fill=colour)

    oval(0.12, 0.84, 0.88, 0.92, (236, 234, 231))
    if "sofa" in product:
        box(0.12, 0.36, 0.88, 0.66, fabric, 0.06)
        box(0.06, 0.46, 0.2, 0.8, dark, 0.05)
        box(0.8, 0.46, 0.94, 0.8, dark, 0.05)
        box(0.16, 0.58, 0.84, 0.8, light, 0.04)
    elif "chair" in product:
        box(0.28, 0.18, 0.72, 0.6, fabric, 0.1)
        box(0.24, 0.54, 0.76, 0.68, light, 0.05)
        for left in (0.28, 0.67):
            box(left, 0.68, left + 0.05, 0.88, wood)
    elif "table" in product or "desk" in product:
        box(0.1, 0.46, 0.9, 0.54, wood, 0.02)
        for left in (0.15, 0.79):
            box(left, 0.54, left + 0.06, 0.86, _mix(wood, (0, 0, 0), 0.2))
    elif "lamp" in product:
        draw.polygon(
            [(x * side, y * side) for x, y in ((0.3, 0.42), (0.7, 0.42), (0.6, 0.14), (0.4, 0.14))],
            fill=light,
        )
        box(0.48, 0.42, 0.52, 0.84, dark)
        oval(0.36, 0.81, 0.64, 0.89, dark)
    elif "rug" in product:
        box(0.08, 0.3, 0.92, 0.76, fabric, 0.02)
        box(0.14, 0.36, 0.86, 0.7, light, 0.02)
        box(0.22, 0.43, 0.78, 0.63, dark, 0.02)
    elif "shelf" in product or "bookcase" in product:
        box(0.26, 0.1, 0.74, 0.88, wood)
        for row in range(4):
            box(0.3, 0.14 + 0.185 * row, 0.7, 0.29 + 0.185 * row, _mix(wood, (255, 255, 255), 0.55))
            box(0.33, 0.19 + 0.185 * row, 0.45, 0.29 + 0.185 * row, pick.choice(_FABRICS))
    elif "art" in product or "mirror" in product:
        box(0.2, 0.14, 0.8, 0.82, wood)
        box(0.25, 0.19, 0.75, 0.77, (246, 243, 237))
        oval(0.36, 0.3, 0.64, 0.58, fabric)
    elif "plant" in product:
        for left, top in ((0.2, 0.2), (0.5, 0.16), (0.34, 0.08)):
            oval(left, top, left + 0.3, top + 0.48, _mix((72, 119, 74), (255, 255, 255), pick.random() * 0.3))
        draw.polygon(
            [(x * side, y * side) for x, y in ((0.34, 0.6), (0.66, 0.6), (0.6, 0.88), (0.4, 0.88))], fill=wood
        )
    else:
        oval(0.32, 0.34, 0.68, 0.88, fabric)
        box(0.43, 0.16, 0.57, 0.44, light, 0.03)
    return picture


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _upright_gradient(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    """Return a gradient; a mask one pixel wide is stretched, which is quicker than a loop over lines."""
    mask = Image.linear_gradient("L").resize((width, height))
    return Image.composite(
        Image.new("RGB", (width, height), bottom), Image.new("RGB", (width, height), top), mask
    )
