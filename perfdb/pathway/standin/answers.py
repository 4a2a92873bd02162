"""The bodies that the stand-in services answer with, in the shapes of the real ones.

Every function is pure apart from a cache of drawn pictures: the n-th request
gets the n-th answer, so that a repeated run sees the same products.
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import time
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from perfdb.pathway.standin.pictures import draw_product, draw_room

PRODUCTS = (
    "sofa",
    "armchair",
    "coffee table",
    "floor lamp",
    "area rug",
    "bookshelf",
    "wall art",
    "plant",
    "vase",
)
_COLOURS = (
    "grey",
    "rust",
    "sage green",
    "mustard",
    "navy",
    "walnut",
    "oak",
    "ivory",
    "charcoal",
    "terracotta",
)
_MATERIALS = ("linen", "wool", "oak", "velvet", "rattan", "bouclé", "steel", "cotton")
_SHOPS = ("Nordhaus", "Field & Loom", "Casa Verde", "Atelier 9", "Homestead")


def vision(request: Mapping[str, Any], number: int, variant: str | None = None) -> dict[str, Any]:
    """Return a chat completion that lists the products a room could do with."""
    pick = random.Random(f"vision:{number}")  # noqa: S311 - repeatable, not secret
    products = [
        {"type": kind, "query": f"{pick.choice(_COLOURS)} {pick.choice(_MATERIALS)} {kind}"}
        for kind in pick.sample(PRODUCTS, k=6)
    ]
    found = {
        "room_type": "living room",
        "observations": "A bright room with one window on the left, an oak floor and bare walls.",
        "products": products,
    }
    content: str | None = json.dumps(found)
    refusal, finish_reason = None, "stop"
    if variant == "fenced":
        content = f"Here you are:\n```json\n{content}\n```"
    elif variant == "refusal":
        content, refusal = None, "I'm sorry, I can't help with this picture."
    elif variant == "cut":
        content, finish_reason = str(content)[: len(str(content)) // 2], "length"
    elif variant == "empty":
        content = json.dumps(found | {"products": []})
    elif variant == "content-number":
        content = 5  # type: ignore[assignment]
    elif variant == "surrogates":
        content = json.dumps(found | {"products": [{"type": "sofa \ud800", "query": "sofa \ud800"}]})
    prompt_tokens, completion_tokens = 1100 + pick.randrange(60), 120 + pick.randrange(40)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal, "annotations": []}
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": None}
    if variant != "no-message":
        choice["message"] = message
    return {
        "id": f"chatcmpl-standin{number:06d}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.get("model", "gpt-4o"),
        "choices": [] if variant == "no-choices" else [choice],
        "usage": {"prompt_tokens": math.nan, "completion_tokens": "many"}
        if variant == "usage-nonsense"
        else {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_standin",
    }


def search(
    query: Mapping[str, str], base_url: str, seconds: float, variant: str | None = None
) -> dict[str, Any]:
    """Return a page of Google Shopping results; some rows lack a rating, a price or a thumbnail.

    Args:
        query: the parameters of the request; ``q`` is what is looked for.
        base_url: where the thumbnails are.
        seconds: what the service says it took.
        variant: ``empty`` finds nothing; others make rows that make no sense.
    """
    words = query.get("q", "")
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    answer: dict[str, Any] = {
        "search_metadata": {
            "id": f"{random.Random(words).getrandbits(96):024x}",  # noqa: S311 - repeatable, not secret
            "status": "Success",
            "created_at": now,
            "processed_at": now,
            "google_shopping_url": "https://www.google.com/search?" + urlencode({"q": words, "udm": 28}),
            "total_time_taken": round(seconds, 6),
        },
        "search_parameters": {
            "engine": query.get("engine", "google_shopping"),
            "q": words,
            "device": "desktop",
        },
        "search_information": {
            "query_displayed": words,
            "shopping_results_state": "Results for exact spelling",
        },
    }
    if variant == "empty":
        answer["search_information"]["shopping_results_state"] = "Fully empty"
        answer["error"] = "Google hasn't returned any results for this query."
        return answer
    rows = [_result(words, position, base_url) for position in range(1, 9)]
    answer["shopping_results"] = rows
    if variant == "nan-rating":
        rows[:] = [row | {"rating": math.nan} for row in rows]
    elif variant == "many-rows":
        rows[:] = [{"title": rows[0]["title"][:8]}] * 200_000
    elif variant == "huge-thumbnails":
        rows[:] = [row | {"thumbnail": "data:image/png;base64," + "A" * 300_000} for row in rows]
    elif variant == "no-thumbnails":
        rows[:] = [{name: row[name] for name in row if name != "thumbnail"} for row in rows]
    elif variant == "wrong-rows":
        answer["shopping_results"] = [None, 5, "sofa", [], {}, {"title": 7}, {"title": None}, {"title": ""}]
    elif variant == "failed":
        answer["search_metadata"]["status"] = "Error"
        answer["error"] = "The search could not be completed."
    return answer


def image_edit(fields: Mapping[str, str], number: int, variant: str | None = None) -> dict[str, Any]:
    """Return an edited picture as base64, with what it cost in tokens; of a variant, half of it."""
    size = fields.get("size", "1024x1024")
    width, height = (1024, 1024) if size == "auto" else (int(side) for side in size.split("x"))
    format_ = fields.get("output_format", "png")
    tokens = {"low": 400, "medium": 1600, "high": 6200}.get(fields.get("quality", ""), 1600)
    picture = _design(width, height, format_, number % 3)
    if variant == "half-picture":
        picture = picture[: len(picture) // 8 * 4]
    return {
        "created": int(time.time()),
        "background": "opaque",
        "output_format": format_,
        "quality": fields.get("quality", "auto"),
        "size": size,
        "data": [{"b64_json": picture}],
        "usage": {"input_tokens": -5, "output_tokens": [1]}
        if variant == "usage-nonsense"
        else {
            "total_tokens": 440 + tokens,
            "input_tokens": 440,
            "output_tokens": tokens,
            "input_tokens_details": {"text_tokens": 52, "image_tokens": 388},
            "output_tokens_details": {"image_tokens": tokens, "text_tokens": 0},
        },
    }


@lru_cache(maxsize=256)
def thumbnail(name: str) -> bytes:
    """Return the picture of a path such as ``coffee-table-3.webp``, WebP or JPEG by its ending."""
    stem, _, ending = name.rpartition(".")
    product, _, number = stem.rpartition("-")
    picture = draw_product(product.replace("-", " "), seed=int(number) if number.isdigit() else 0)
    return _encoded(picture, "WEBP" if ending == "webp" else "JPEG")


def huge_thumbnail() -> bytes:
    """Return a small file that claims to be a picture of 900 million pixels."""
    picture = bytearray(_encoded(draw_product("vase", side=16), "PNG"))
    picture[16:24] = (30_000).to_bytes(4, "big") * 2
    picture[29:33] = zlib.crc32(picture[12:29]).to_bytes(4, "big")
    return bytes(picture)


def _result(words: str, position: int, base_url: str) -> dict[str, Any]:
    pick = random.Random(f"{words}:{position}")  # noqa: S311 - repeatable, not secret
    kind = next(
        (product for product in PRODUCTS if product in words), words.split()[-1] if words.split() else "vase"
    )
    price = round(pick.lognormvariate(5.2, 0.6), 2)
    ending = pick.choice(("webp", "jpg"))
    result = {
        "position": position,
        "title": f"{words.title()} by {pick.choice(_SHOPS)}",
        "product_id": str(pick.getrandbits(60)),
        "product_link": "https://www.google.com/shopping/product/" + str(pick.getrandbits(40)),
        "source": pick.choice(_SHOPS),
        "price": f"${price:,.2f}",
        "extracted_price": price,
        "rating": round(pick.uniform(3.4, 5.0), 1),
        "reviews": pick.randrange(3, 900),
        "delivery": "Free delivery",
        "thumbnail": f"{base_url}/img/{kind.replace(' ', '-')}-{pick.randrange(4)}.{ending}",
    }
    for often_missing, share in (("rating", 0.2), ("price", 0.1), ("thumbnail", 0.1)):
        if pick.random() < share:
            del result[often_missing]
    return result


@lru_cache(maxsize=32)
def _design(width: int, height: int, format_: str, seed: int) -> str:
    picture = draw_room(width, height, seed=seed, furnished=True)
    return base64.b64encode(_encoded(picture, format_.upper().replace("JPG", "JPEG"))).decode("ascii")


def _encoded(picture: Any, format_: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, quality=85, compress_level=1)
    return file.getvalue()
