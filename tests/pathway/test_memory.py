"""What memory pictures take, in processes of their own: the largest that are accepted, alone and many.

Of: pathway/images.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.pathway import AT_ONCE, MAX_EIGHT, MAX_ONE, encoded, measured

pytestmark = pytest.mark.process

# as large as the budget allows, or nearly so: 90 MB, the file included
LARGEST = {
    "WebP": ("WEBP", "RGB", (3200, 2200), {"quality": 40, "method": 0}),
    "WebP lossless": ("WEBP", "RGBA", (3200, 2150), {"lossless": True, "method": 0}),
    "progressive": ("JPEG", "RGB", (6000, 4000), {"progressive": True, "quality": 40}),
    "colours of full size": (
        "JPEG",
        "RGB",
        (3900, 2900),
        {"progressive": True, "quality": 40, "subsampling": 0},
    ),
    "PNG": ("PNG", "RGBA", (4500, 3800), {"compress_level": 1}),
    "grey of 16 bits": ("PNG", "I;16", (6400, 4900), {"compress_level": 1}),
    "telephone": ("JPEG", "RGB", (12000, 9000), {"quality": 50}),
}


@pytest.mark.parametrize("kind", LARGEST)
def test_an_accepted_picture_takes_less_than_200_mb_and_eight_at_once_less_than_1_gb(kind: str) -> None:
    format_, mode, size, options = LARGEST[kind]
    options: dict[str, Any]
    data = encoded(format_, mode, size, **options)()

    one, eight = measured(data, 1), measured(data, AT_ONCE)

    assert all(answer.startswith("(") for answer in (*one["answers"], *eight["answers"])), one["answers"][0]
    assert one["peak"] < MAX_ONE
    assert eight["peak"] < MAX_EIGHT


def test_what_is_refused_takes_no_more_than_its_file() -> None:
    data = encoded("WEBP", "RGB", (7000, 5600), quality=10, method=0)()

    eight = measured(data, AT_ONCE)

    assert all("send a smaller one" in answer for answer in eight["answers"])
    assert eight["peak"] - eight["before"] < 3 * AT_ONCE * len(data) / 1e6 + 30
