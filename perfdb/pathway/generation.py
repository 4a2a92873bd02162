"""Image Generation: let an image model turn the composite into the final design."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.pathway import openai_service
from perfdb.pathway.composite import Composite
from perfdb.pathway.errors import ImageRefusedError, ServiceError
from perfdb.pathway.images import facts_of
from perfdb.pathway.retries import call
from perfdb.pathway.settings import PathwaySettings

if TYPE_CHECKING:
    import openai

    from perfdb.recording.step import Step

_PROMPT = """\
On the left of this sheet is a photo of a {room_type}, on the right are products. Make one photorealistic
picture of that room after a {design_type} in {design_style} style, from the same viewpoint, with its
walls, windows and doors unchanged, furnished with the products shown. Leave out sheet, cards and all text."""


@dataclass(frozen=True, slots=True)
class Design:
    """The finished picture as it came."""

    data: bytes
    format: str


def generate_design(
    client: openai.OpenAI,
    composite: Composite,
    settings: PathwaySettings,
    step: Step,
    *,
    room_type: str,
    design_style: str,
    design_type: str,
) -> Design:
    """Return the final design; ``step`` gets times, tokens, size and checksum, never the picture.

    Raises:
        ServiceError: the service failed, refused, or sent no complete picture.
    """
    prompt = _PROMPT.format(room_type=room_type, design_style=design_style, design_type=design_type)
    options: dict[str, Any] = {
        "model": settings.image_model,
        "prompt": prompt,
        "size": settings.image_size,
        "quality": settings.image_quality,
        "output_format": settings.image_format,
        "timeout": settings.image_timeout_s,
    }

    def attempt() -> Design:
        reply = openai_service.ask(
            lambda: client.images.with_raw_response.edit(
                image=("composite.jpg", composite.data, "image/jpeg"), **options
            ),
            settings,
            model=settings.image_model,
            setting="image_model",
        )
        data = _picture(reply.parsed)
        try:
            width, height, format_ = facts_of(data, settings)
        except ImageRefusedError as error:
            raise ServiceError(f"the image model sent {error}", transient=True) from None
        step.set(
            **openai_service.usage_of(reply.parsed),
            image_generation_time=round(reply.seconds, 6),
            server_s=reply.server_s,
            request_id=reply.request_id,
            output_width=width,
            output_height=height,
            output_format=format_,
            output_bytes=len(data),
            output_sha256=hashlib.sha256(data).hexdigest(),
        )
        return Design(data, format_)

    return call(step, settings, attempt)


def _picture(answer: Any) -> bytes:
    encoded = answer.data[0].b64_json if getattr(answer, "data", None) else None
    if not encoded:
        raise ServiceError("the image model sent no picture", transient=True)
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ServiceError("the image model sent a picture that is not base64", transient=True) from None
