"""What memory pictures take in the design pipeline: python benchmarks/pathway.py

Each row is a process of its own that has loaded the pathway and its libraries and reads one picture, then one
that reads it in eight threads at once. "other" is what the process takes before. The peak is the kernel's
(VmHWM; /usr/bin/time shows the same). The targets: 200 MB for any picture that is accepted, 1 GB for eight at
once; what would take more is refused, for the price of its header. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from PIL import Image

MAX_ONE, MAX_EIGHT = 200, 1000  # MB
AT_ONCE = 8

CHILD = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from perfdb.pathway import ImageRefusedError, PathwaySettings, RealProductsPathway
from perfdb.pathway.images import read_room
import serpapi, openai.resources.chat, openai.resources.images

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1000

def read(path):
    start.wait()
    try:
        return str(read_room(Path(path), PathwaySettings()).picture.size)
    except ImageRefusedError as error:
        return str(error)

path, count = sys.argv[1], int(sys.argv[2])
before, start = peak(), Barrier(count)
with ThreadPoolExecutor(count) as pool:
    answers = list(pool.map(read, [path] * count))
print(json.dumps({"before": before, "peak": peak(), "answers": answers}))
"""


def encoded(format_: str, mode: str, size: tuple[int, int], **options: Any) -> Callable[[], bytes]:
    """return a maker of a picture."""

    def make() -> bytes:
        tile = Image.radial_gradient("L").resize((1024, 1024))
        grey = Image.new("L", size)
        for left in range(0, size[0], 1024):
            for top in range(0, size[1], 1024):
                grey.paste(tile, (left, top))
        if mode == "I;16":
            picture = Image.frombytes("I;16", size, Image.merge("LA", (grey, grey)).tobytes())
        elif mode in ("RGB", "CMYK"):
            picture = Image.merge(mode, [grey] * len(mode))
        else:
            picture = grey.convert(mode)
        file = io.BytesIO()
        picture.save(file, format_, **options)
        return file.getvalue()

    return make


FAST = {"quality": 40, "method": 0}
PICTURES: dict[str, Callable[[], bytes]] = {
    "JPEG 16 MP": encoded("JPEG", "RGB", (4608, 3456), quality=80),
    "JPEG 100 MP": encoded("JPEG", "RGB", (11648, 8736), quality=60),
    "JPEG progressive 12 MP": encoded("JPEG", "RGB", (4000, 3000), quality=80, progressive=True),
    "JPEG progressive 22 MP": encoded("JPEG", "RGB", (5500, 4000), quality=50, progressive=True),
    "JPEG progressive 39 MP": encoded("JPEG", "RGB", (7000, 5600), quality=50, progressive=True),
    "JPEG CMYK 40 MP": encoded("JPEG", "CMYK", (7200, 5500), quality=60),
    "PNG 12 MP": encoded("PNG", "RGB", (4000, 3000), compress_level=6),
    "PNG palette 39 MP": encoded("PNG", "P", (7000, 5600), compress_level=6),
    "PNG grey 16 bit 20 MP": encoded("PNG", "I;16", (5200, 3900), compress_level=6),
    "PNG 39 MP": encoded("PNG", "RGB", (7000, 5600), compress_level=6),
    "WebP 6 MP": encoded("WEBP", "RGB", (3000, 2000), **FAST),
    "WebP lossless 5 MP": encoded("WEBP", "RGBA", (2600, 1950), lossless=True, method=0),
    "WebP 39 MP": encoded("WEBP", "RGB", (7000, 5600), **FAST),
}


def heic() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield pictures as telephones send them, where pillow-heif is installed."""
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        yield "HEIC 12 MP", encoded("HEIF", "RGB", (4032, 3024), quality=40)
        yield "HEIC 48 MP", encoded("HEIF", "RGB", (8064, 6048), quality=20)


def measured(data: bytes, count: int) -> dict[str, Any]:
    """Return what a process that reads a picture so often at once says of its memory, in MB."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = [sys.executable, "-c", CHILD, file.name, str(count)]
        found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    options = parser.parse_args()
    print(f"{'picture':<24} {'file':>8} {'other':>7} {'one':>7} {'eight':>7}  answer")
    missed = False
    for name, make in [*PICTURES.items(), *heic()]:
        if options.only not in name:
            continue
        data = make()
        one, eight = measured(data, 1), measured(data, AT_ONCE)
        missed |= one["peak"] > MAX_ONE or eight["peak"] > MAX_EIGHT
        sizes = " ".join(f"{found:>4.0f} MB" for found in (one["before"], one["peak"], eight["peak"]))
        answer = one["answers"][0]
        print(f"{name:<24} {len(data) / 1e6:>5.1f} MB {sizes}  {answer}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
