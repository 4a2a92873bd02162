"""Vision Analysis: ask a model which products the room in the picture could do with."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from perfdb.pathway import openai_service, shapes
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.images import RoomImage, as_jpeg
from perfdb.pathway.retries import call
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.watching import Spending

if TYPE_CHECKING:
    import openai

    from perfdb.recording.step import Step

_INSTRUCTIONS = """\
You are an interior designer. Look at the picture of the room and plan its {design_type} in {design_style}
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


@dataclass(slots=True)
class Dialect:
    """Which parameters a model takes: those that think refuse ``max_tokens`` and any temperature but theirs.

    What is not known from the model's name is learned from its refusals.
    """

    limit: str = "max_tokens"
    left_out: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, model: str) -> Dialect:
        """Return the one that fits a model's name."""
        if _THINKS.match(model.rpartition("/")[2]):
            return cls("max_completion_tokens", {"temperature"})
        return cls()

    def parameters(self, settings: PathwaySettings) -> dict[str, Any]:
        """Return them with their values."""
        values = {
            self.limit: settings.vision_max_tokens,
            "temperature": settings.vision_temperature,
            "response_format": {"type": "json_object"},
        }
        return {name: value for name, value in values.items() if name not in self.left_out}

    def learn(self, refused: str | None) -> bool:
        """Do without a parameter that was refused; False when that cannot be."""
        name = (refused or "").partition(".")[0]
        if name in _LIMITS:
            self.refused.add(name)
            if self.limit == name:
                self.limit = _LIMITS[name]
            return self.limit not in self.refused
        if name in _NOT_NEEDED:
            self.left_out.add(name)
        return name in _NOT_NEEDED


_MOST_LESSONS = 4  # in one call
_THINKS = re.compile(r"o\d|gpt-([5-9]|\d\d)")
_NOT_NEEDED = {"temperature", "response_format"}
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


def analyse(
    client: openai.OpenAI,
    room: RoomImage,
    settings: PathwaySettings,
    step: Step,
    *,
    design_style: str,
    design_type: str,
    dialect: Dialect | None = None,
) -> Analysis:
    """Return the products that the room could do with.

    ``step`` gets the model, its tokens and the service's own time. ``dialect`` is what is known of the model;
    it learns.

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

    dialect = dialect or Dialect.of(settings.vision_model)
    request = openai_service.Request(
        send=lambda: client.chat.completions.with_streaming_response.create(
            model=settings.vision_model,
            messages=messages,
            timeout=settings.vision_timeout_s,
            **dialect.parameters(settings),
        ),
        shape=shapes.ChatAnswer,
        model=settings.vision_model,
        setting="vision_model",
        timeout_s=settings.vision_timeout_s,
        max_bytes=shapes.MAX_CHAT_BYTES,
        used=Spending(step).add,
    )

    def attempt() -> Analysis:
        reply = openai_service.ask(request, settings)
        step.set(server_s=reply.server_s, request_id=reply.request_id)
        return _read(reply.answer, settings)

    for _ in range(_MOST_LESSONS):
        try:
            return call(step, settings, attempt)
        except ServiceError as error:
            if not dialect.learn(error.parameter):
                raise
    return call(step, settings, attempt)


def _read(answer: shapes.ChatAnswer, settings: PathwaySettings) -> Analysis:
    choice = answer.choices[0]
    if choice.message.refusal:
        said = settings.redact(shapes.words(choice.message.refusal, 200))
        raise ServiceError(f"the vision model refused the picture: {said}", refused=True)
    found = _plan(choice.message.content or "")
    if found is None and choice.finish_reason == "length":
        raise ServiceError(
            f"the vision model's answer was cut at {settings.vision_max_tokens} tokens: "
            "raise vision_max_tokens (fast_vision_max_tokens) under [pathway]"
        )
    if found is None:
        raise ServiceError("the vision model did not answer with a JSON object", transient=True)
    return Analysis(
        room_type=shapes.words(found.room_type or "", 80) or "room",
        observations=shapes.words(found.observations or "", 1000),
        products=_products(found.products or [], settings.max_product_types),
    )


def _plan(content: str) -> shapes.Plan | None:
    """Return the object in the text, also out of a fence or after some words."""
    begin, end = content.find("{"), content.rfind("}")
    try:
        return shapes.Plan.model_validate_json(content[begin : end + 1]) if 0 <= begin < end else None
    except ValidationError:
        return None


def _products(listed: list[Any], limit: int) -> tuple[ProductType, ...]:
    products: dict[str, ProductType] = {}
    for item in listed:
        if isinstance(item, str):
            item = {"type": item}
        if not isinstance(item, dict):
            continue
        kind = _said(item.get("type"), 60) or _said(item.get("query"), 60)
        query = _said(item.get("query"), 120) or kind
        if kind:
            products.setdefault(query.lower(), ProductType(kind, query))
    if not products:
        raise ServiceError(
            "the vision model named no product for this room: try another picture or design style",
            refused=True,
        )
    return tuple(products.values())[:limit]


def _said(value: object, limit: int) -> str:
    return shapes.words(value, limit) if isinstance(value, str) else ""
