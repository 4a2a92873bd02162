"""Vision Analysis: ask a model which products the room in the picture could do with."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.pathway import openai_service
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.images import RoomImage, as_jpeg
from perfdb.pathway.retries import call
from perfdb.pathway.settings import PathwaySettings

if TYPE_CHECKING:
    import openai

    from perfdb.recording.step import Step

_INSTRUCTIONS = """\
You are an interior designer. Look at the picture of the room and plan a {design_type} in {design_style}
style. Answer with one JSON object:
{{"room_type": str, "observations": str, "products": [{{"type": str, "query": str}}]}}.
"products" holds at most {limit} different kinds of furniture or decoration that the room needs; "query" is
what one would type into a shopping search for it: colour, material, kind."""


@dataclass(frozen=True, slots=True)
class ProductType:
    """A kind of product to look for, and the words to look for it."""

    type: str
    query: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the model saw."""

    room_type: str
    observations: str
    products: tuple[ProductType, ...]


def analyse(
    client: openai.OpenAI,
    room: RoomImage,
    settings: PathwaySettings,
    step: Step,
    *,
    design_style: str,
    design_type: str,
) -> Analysis:
    """Return the products that the room could do with.

    ``step`` gets the model, its tokens and the service's own time.

    Raises:
        ServiceError: the service failed, refused, or gave no usable answer.
    """
    picture = room.picture
    if max(picture.size) > settings.vision_side:
        picture = picture.copy()
        picture.thumbnail((settings.vision_side, settings.vision_side), reducing_gap=2.0)
    url = "data:image/jpeg;base64," + base64.b64encode(as_jpeg(picture)).decode("ascii")
    words = _INSTRUCTIONS.format(
        design_type=design_type, design_style=design_style, limit=settings.max_product_types
    )
    messages: list[Any] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": words},
                {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
            ],
        }
    ]

    def attempt() -> Analysis:
        reply = openai_service.ask(
            lambda: client.chat.completions.with_raw_response.create(
                model=settings.vision_model,
                messages=messages,
                max_tokens=settings.vision_max_tokens,
                temperature=settings.vision_temperature,
                response_format={"type": "json_object"},
                timeout=settings.vision_timeout_s,
            ),
            settings,
            model=settings.vision_model,
            setting="vision_model",
        )
        step.set(
            **openai_service.usage_of(reply.parsed), server_s=reply.server_s, request_id=reply.request_id
        )
        return _read(reply.parsed, settings)

    return call(step, settings, attempt)


def _read(answer: Any, settings: PathwaySettings) -> Analysis:
    choice = answer.choices[0] if getattr(answer, "choices", None) else None
    if choice is None:
        raise ServiceError("the vision model gave an empty answer", transient=True)
    if choice.message.refusal:
        said = settings.redact(choice.message.refusal)[:200]
        raise ServiceError(f"the vision model refused the picture: {said}", refused=True)
    found = _json_object(choice.message.content or "")
    if found is None and choice.finish_reason == "length":
        raise ServiceError(
            f"the vision model's answer was cut at {settings.vision_max_tokens} tokens: "
            "raise vision_max_tokens (fast_vision_max_tokens) under [pathway]"
        )
    if found is None:
        raise ServiceError("the vision model did not answer with a JSON object", transient=True)
    return Analysis(
        room_type=str(found.get("room_type") or "room")[:80],
        observations=str(found.get("observations") or "")[:1000],
        products=_products(found.get("products"), settings.max_product_types),
    )


def _json_object(content: str) -> Mapping[str, Any] | None:
    """Return the object in the text, also out of a fence or after some words."""
    braces = re.search(r"\{.*\}", content, re.DOTALL)
    try:
        found = json.loads(braces[0]) if braces else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _products(listed: object, limit: int) -> tuple[ProductType, ...]:
    products: dict[str, ProductType] = {}
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, str):
            item = {"type": item}
        if not isinstance(item, dict):
            continue
        kind = " ".join(str(item.get("type") or item.get("query") or "").split())[:60]
        query = " ".join(str(item.get("query") or kind).split())[:120]
        if kind:
            products.setdefault(query.lower(), ProductType(kind, query))
    if not products:
        raise ServiceError(
            "the vision model named no product for this room: try another picture or design style",
            refused=True,
        )
    return tuple(products.values())[:limit]
